//! Earlier attempts of a call, as responses and errors show them.
//!
//! This module decides nothing. Invariant: neither a header value nor a secret of a URL is shown.

use std::fmt;
use std::net::SocketAddr;

use http::{Method, StatusCode, Uri};

use super::{ErrorKind, redacted};
use crate::timings::Timings;

/// The reason for which a request was sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResendCause {
    /// The server answered with a redirect, which the client followed.
    Redirect,
    /// The reused connection was closed or reset before an answer came.
    ConnectionLost,
    /// Bytes that answer no request came on the reused connection before the request was written.
    Unsolicited,
    /// The answer came so soon on the reused connection that the answer belongs to an earlier request.
    TooSoon,
    /// The server answered 408 and closed the reused connection.
    RequestTimeout,
    /// The server answered 417, and the request was sent again without `Expect`.
    ExpectationFailed,
}

impl ResendCause {
    /// Returns the cause as one word, for labels of metrics: `redirect`, `connection_lost`, `unsolicited`, `too_soon`,
    /// `request_timeout` or `expectation_failed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Redirect => "redirect",
            Self::ConnectionLost => "connection_lost",
            Self::Unsolicited => "unsolicited",
            Self::TooSoon => "too_soon",
            Self::RequestTimeout => "request_timeout",
            Self::ExpectationFailed => "expectation_failed",
        }
    }
}

impl fmt::Display for ResendCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redirect => "redirect",
            Self::ConnectionLost => "connection lost",
            Self::Unsolicited => "unsolicited bytes",
            Self::TooSoon => "answer too soon",
            Self::RequestTimeout => "answered 408",
            Self::ExpectationFailed => "answered 417",
        })
    }
}

/// An attempt to send a request, after which another attempt of the same call followed.
///
/// [`Response::earlier_attempts`](crate::Response::earlier_attempts) and
/// [`Error::earlier_attempts`](crate::Error::earlier_attempts) return these attempts in their order. The request that a
/// redirect answered is an attempt, and so is a request that was sent again.
///
/// ```no_run
/// # async fn example() -> handclasp::Result<()> {
/// let response = handclasp::get("http://example.org/").await?;
/// for attempt in response.earlier_attempts() {
///     println!("{} {}: {}, {}", attempt.method(), attempt.uri(), attempt.cause(), attempt.timings());
/// }
/// println!("{}", response.timings());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct EarlierAttempt {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) status: Option<StatusCode>,
    pub(crate) error: Option<ErrorKind>,
    pub(crate) cause: ResendCause,
    pub(crate) timings: Timings,
    pub(crate) connection: u64,
    pub(crate) peer: Option<SocketAddr>,
}

impl EarlierAttempt {
    /// Returns the method that was sent.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Returns the URI of the attempt, without user and password.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Returns the status of the answer, or `None` if no response head came.
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Returns the kind of the failure, or `None` if the attempt was answered.
    pub fn error_kind(&self) -> Option<ErrorKind> {
        self.error
    }

    /// Returns the reason for which another attempt followed.
    pub fn cause(&self) -> ResendCause {
        self.cause
    }

    /// Returns the timings of this attempt alone: [`Timings::total`] begins with this attempt. [`Timings::previous`] is
    /// the time for which the content was read into memory for a server of HTTP/1.0, and zero in any other case.
    pub fn timings(&self) -> &Timings {
        &self.timings
    }

    /// Returns the number of the connection: see [`ConnectionInfo::id`](crate::ConnectionInfo::id).
    pub fn connection_id(&self) -> u64 {
        self.connection
    }

    /// Returns the address of the server or of the proxy. `None` for a connection that a custom connector made, and for
    /// a unix socket.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer
    }
}

impl fmt::Debug for EarlierAttempt {
    /// Shows the URI as spans show it, without the secrets of a signed URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EarlierAttempt")
            .field("method", &self.method)
            .field("uri", &format_args!("{}", redacted(&self.uri)))
            .field("status", &self.status)
            .field("error_kind", &self.error)
            .field("cause", &self.cause)
            .field("timings", &self.timings)
            .field("connection_id", &self.connection)
            .field("peer_addr", &self.peer)
            .finish()
    }
}
