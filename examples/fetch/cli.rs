//! Parser of the command line.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use lexopt::prelude::*;

use crate::help::{HELP, VERSION};
use crate::usage::Usage;

pub(crate) enum Command {
    Demo,
    Print(&'static str),
    Fetch(Box<Options>),
}

/// Form in which the time of each request is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Bars,
    Json,
}

pub(crate) struct Options {
    pub(crate) urls: Vec<String>,
    pub(crate) include: bool,
    pub(crate) fail: bool,
    pub(crate) silent: bool,
    pub(crate) output: Option<PathBuf>,
    /// Number of times that each URL is fetched, at least 1.
    pub(crate) repeat: u64,
    /// Largest number of requests under way at the same time, at least 1.
    pub(crate) parallel: usize,
    pub(crate) method: Option<Method>,
    pub(crate) headers: HeaderMap,
    pub(crate) content: Option<Content>,
    pub(crate) user: Option<User>,
    /// Whether redirects are followed.
    pub(crate) location: bool,
    pub(crate) compressed: bool,
    pub(crate) timings: Form,
    pub(crate) timeout: Option<Duration>,
    pub(crate) resolve: Vec<(String, SocketAddr)>,
    pub(crate) cacert: Option<PathBuf>,
}

/// Content to send.
pub(crate) enum Content {
    /// Content of `-d`. Several pieces are joined by `&`.
    Form(Bytes),
    /// Content of `--json`. Several pieces are joined without anything between them.
    Json(Bytes),
}

/// User and password of `-u`. No `Debug`, because the password is a secret.
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) password: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            include: false,
            fail: false,
            silent: false,
            output: None,
            repeat: 1,
            parallel: 1,
            method: None,
            headers: HeaderMap::new(),
            content: None,
            user: None,
            location: false,
            compressed: false,
            timings: Form::Bars,
            timeout: None,
            resolve: Vec::new(),
            cacert: None,
        }
    }
}

impl Options {
    /// Returns the number of requests that the options ask for.
    pub(crate) fn total(&self) -> u64 {
        (self.urls.len() as u64).saturating_mul(self.repeat)
    }

    fn add_form(&mut self, piece: Bytes) -> Result<(), Usage> {
        self.content = Some(match self.content.take() {
            None => Content::Form(piece),
            Some(Content::Form(before)) => Content::Form([&before, &b"&"[..], &piece].concat().into()),
            Some(Content::Json(_)) => return Err(Usage::Both("-d", "--json")),
        });
        Ok(())
    }

    fn add_json(&mut self, piece: Bytes) -> Result<(), Usage> {
        self.content = Some(match self.content.take() {
            None => Content::Json(piece),
            Some(Content::Json(before)) => Content::Json([before, piece].concat().into()),
            Some(Content::Form(_)) => return Err(Usage::Both("-d", "--json")),
        });
        Ok(())
    }
}

pub(crate) fn parse() -> Result<Command, Usage> {
    let mut options = Options::default();
    let mut parser = lexopt::Parser::from_env();
    let mut is_empty = true;
    while let Some(argument) = parser.next()? {
        is_empty = false;
        match argument {
            Short('h') | Long("help") => return Ok(Command::Print(HELP)),
            Short('V') | Long("version") => return Ok(Command::Print(VERSION)),
            Short('i') | Long("include") => options.include = true,
            Short('f') | Long("fail") => options.fail = true,
            Short('s') | Long("silent") => options.silent = true,
            Short('o') | Long("output") => options.output = Some(parser.value()?.into()),
            Short('n') => options.repeat = number("-n", parser.value()?)?,
            Short('c') => options.parallel = number("-c", parser.value()?)?,
            Long("timeout") => options.timeout = Some(seconds(parser.value()?)?),
            Long("resolve") => options.resolve.push(resolve(parser.value()?)?),
            Long("cacert") => options.cacert = Some(parser.value()?.into()),
            Long("timings") => options.timings = form(parser.value()?)?,
            Short('L') | Long("location") => options.location = can_redirect()?,
            Long("compressed") => options.compressed = can_decode()?,
            Value(url) => options.urls.push(text("URL", url)?),
            Short('X') | Long("request") => options.method = Some(method(parser.value()?)?),
            Short('u') | Long("user") => options.user = Some(user(parser.value()?)?),
            Short('H') | Long("header") => {
                let (name, value) = header(parser.value()?)?;
                options.headers.append(name, value);
            }
            Short('d') | Long("data") => options.add_form(data("-d", parser.value()?)?)?,
            Long("json") => options.add_json(data("--json", parser.value()?)?)?,
            Short('F') | Long("form") => return Err(Usage::Multipart),
            _ => return Err(argument.unexpected().into()),
        }
    }
    if is_empty {
        return Ok(Command::Demo);
    }
    if options.urls.is_empty() {
        return Err(Usage::NoUrl);
    }
    Ok(Command::Fetch(Box::new(options)))
}

/// Returns the value of an option as text. The parser's own conversion is not used, because its error repeats the value.
fn text(option: &'static str, value: OsString) -> Result<String, Usage> {
    value.into_string().map_err(|_| Usage::Value { option, give: "the text is not Unicode" })
}

fn number<T>(option: &'static str, value: OsString) -> Result<T, Usage>
where
    T: std::str::FromStr + Default + PartialOrd,
{
    let number = text(option, value)?.parse().ok().filter(|number| *number > T::default());
    number.ok_or(Usage::Value { option, give: "give a number above 0" })
}

fn seconds(value: OsString) -> Result<Duration, Usage> {
    let seconds = text("--timeout", value)?.parse().ok().filter(|seconds| *seconds > 0.0);
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.filter(|time| !time.is_zero())
        .ok_or(Usage::Value { option: "--timeout", give: "give a number of seconds above 0" })
}

fn form(value: OsString) -> Result<Form, Usage> {
    match text("--timings", value)?.as_str() {
        "bars" => Ok(Form::Bars),
        "json" => Ok(Form::Json),
        _ => Err(Usage::Value { option: "--timings", give: "give bars or json" }),
    }
}

fn method(value: OsString) -> Result<Method, Usage> {
    let give = "give a method, such as PUT";
    text("-X", value)?.parse().map_err(|_| Usage::Value { option: "-X", give })
}

/// Splits a header field at its first colon. No message repeats the argument: even the part before the colon may be a
/// secret if the colon that was meant is missing.
fn header(value: OsString) -> Result<(HeaderName, HeaderValue), Usage> {
    let bad = |give| Usage::Value { option: "-H", give };
    let field = text("-H", value)?;
    let (name, value) = field.split_once(':').ok_or_else(|| bad("write a header field as 'name: value'"))?;
    let name = name.trim().parse().map_err(|_| bad("the part before the colon is not a field name"))?;
    let value = value.trim().parse().map_err(|_| bad("the part after the colon is not a field value"))?;
    Ok((name, value))
}

/// Splits user and password at the first colon. Without a colon, the password is empty.
fn user(value: OsString) -> Result<User, Usage> {
    let both = text("-u", value)?;
    if both.chars().any(char::is_control) {
        return Err(Usage::Value { option: "-u", give: "leave out control characters" });
    }
    let (name, password) = both.split_once(':').unwrap_or((&both, ""));
    Ok(User { name: name.to_owned(), password: password.to_owned() })
}

/// Returns the content that `value` stands for: the content of FILE for `@FILE`, what stdin has for `@-`, and otherwise the
/// text itself.
fn data(option: &'static str, value: OsString) -> Result<Bytes, Usage> {
    let value = text(option, value)?;
    let Some(path) = value.strip_prefix('@') else { return Ok(value.into()) };
    let read = if path == "-" {
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut content).map(|_| content)
    } else {
        std::fs::read(path)
    };
    let failed =
        |error: std::io::Error| Usage::File { option, path: path.to_owned(), why: error.to_string() };
    Ok(read.map_err(failed)?.into())
}

/// Parses `host:port:address`, and returns the host and the address with the port. Brackets may surround an IPv6
/// address.
fn resolve(value: OsString) -> Result<(String, SocketAddr), Usage> {
    let bad = || Usage::Value { option: "--resolve", give: "write the argument as host:port:address" };
    let text = text("--resolve", value)?;
    let (host, rest) = text.split_once(':').filter(|(host, _)| !host.is_empty()).ok_or_else(bad)?;
    let (port, address) = rest.split_once(':').ok_or_else(bad)?;
    let port: u16 = port.parse().map_err(|_| bad())?;
    let bare = address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address);
    let address: IpAddr = bare.parse().map_err(|_| bad())?;
    Ok((format!("{host}:{port}"), SocketAddr::new(address, port)))
}

fn can_redirect() -> Result<bool, Usage> {
    match cfg!(feature = "url") {
        true => Ok(true),
        false => Err(Usage::Feature { option: "-L", features: "url" }),
    }
}

fn can_decode() -> Result<bool, Usage> {
    match cfg!(any(feature = "gzip", feature = "deflate", feature = "brotli", feature = "zstd")) {
        true => Ok(true),
        false => Err(Usage::Feature { option: "--compressed", features: "gzip,deflate,brotli,zstd" }),
    }
}
