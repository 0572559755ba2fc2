//! Errors of the command line. No message repeats an argument that may hold a secret: the value of a header field, a
//! password, or data to send.

use std::error::Error;
use std::fmt;

/// A reason why a command line is refused. The exit status is 2.
#[derive(Debug)]
pub(crate) enum Usage {
    /// The parser's own words: an unknown option, or an option without its value.
    Parser(lexopt::Error),
    NoUrl,
    /// A value that does not fit the option. The text says what to give.
    Value {
        option: &'static str,
        give: &'static str,
    },
    /// Two options that exclude each other.
    Both(&'static str, &'static str),
    /// `-F`: this crate sends no multipart content yet.
    Multipart,
    /// An option that needs a feature with which the example was not built.
    Feature {
        option: &'static str,
        features: &'static str,
    },
    /// A file that an option names cannot be used. The text says why.
    File {
        option: &'static str,
        path: String,
        why: String,
    },
    /// The client cannot be built from the options.
    Client(String),
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parser(error) => write!(f, "{error}"),
            Self::NoUrl => f.write_str("no URL was given"),
            Self::Value { option, give } => write!(f, "{option}: {give}"),
            Self::Both(one, other) => write!(f, "{one} and {other} exclude each other: give one of them"),
            Self::Multipart => f.write_str(
                "-F: multipart content is not supported yet: send a form with -d, or a ready body with -d @FILE \
                 and its Content-Type with -H",
            ),
            Self::Feature { option, features } => {
                write!(f, "{option}: fetch was built without it: build it with --features {features}")
            }
            Self::File { option, path, why } => write!(f, "{option}: {path}: {why}"),
            Self::Client(why) => f.write_str(why),
        }
    }
}

impl Error for Usage {}

impl From<lexopt::Error> for Usage {
    fn from(error: lexopt::Error) -> Self {
        Self::Parser(error)
    }
}
