//! What can go wrong, said once: who did what, in which phase, and how much of the request was written.
//!
//! [`Error`] is one word wide. It knows nothing of sockets or of the codec: the modules that fail build it from
//! their own errors, which stay reachable as its [`source`](std::error::Error::source). Invariant: no message
//! contains a header's value or a URL's credentials.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Uri;

use crate::timings::Timings;

/// A boxed error of any kind, as custom resolvers, connectors and body streams return it.
pub type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// The result of a request.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a request failed.
///
/// `Display` says who did what at this level only; causes follow by [`source`](StdError::source).
/// [`Error::chain`] prints all of it on one line.
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    phase: Option<Phase>,
    written: Written,
    message: Message,
    uri: Option<Uri>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    timings: Option<Timings>,
    retry_at: Option<Instant>,
}

/// The words of an error: fixed ones cost nothing.
type Message = std::borrow::Cow<'static, str>;

/// What kind of failure an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request cannot be sent as it was given: the caller's mistake, found before a byte was written.
    Request,
    /// The host's queue of waiting requests is full.
    PoolFull,
    /// No connection became available within the acquire timeout.
    PoolTimeout,
    /// The host's name could not be resolved.
    Dns,
    /// No address of the host could be connected to.
    Connect,
    /// The proxy refused or failed.
    Proxy,
    /// The TLS handshake failed, or the server's certificate was not accepted.
    Tls,
    /// The peer broke the rules of HTTP/1.1.
    Protocol,
    /// The peer closed or reset the connection before the response was complete.
    ConnectionLost,
    /// A deadline passed; [`Error::phase`] says in which phase.
    Timeout,
    /// The request's body failed, or did not have the length it promised.
    Body,
    /// The response's body could not be turned into what was asked for, or is larger than allowed.
    Decode,
    /// Redirects led nowhere.
    Redirect,
    /// The response's status was an error, and [`Response::error_for_status`](crate::Response::error_for_status)
    /// was called.
    Status,
    /// The pool was shut down.
    Shutdown,
    /// The server did not switch protocols, and [`Response::upgrade`](crate::Response::upgrade) was called.
    Upgrade,
}

/// The part of a request's life in which something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Phase {
    /// Waiting for a connection.
    Queue,
    /// Resolving the host's name.
    Dns,
    /// Connecting to an address.
    Tcp,
    /// Speaking with a proxy.
    Proxy,
    /// The TLS handshake.
    Tls,
    /// Writing the request.
    Send,
    /// Waiting for the response's head.
    Wait,
    /// Reading the response's content.
    Receive,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "invalid request",
            Self::PoolFull => "pool full",
            Self::PoolTimeout => "pool timeout",
            Self::Dns => "DNS error",
            Self::Connect => "connect error",
            Self::Proxy => "proxy error",
            Self::Tls => "TLS error",
            Self::Protocol => "protocol error",
            Self::ConnectionLost => "connection lost",
            Self::Timeout => "timeout",
            Self::Body => "body error",
            Self::Decode => "decode error",
            Self::Redirect => "redirect error",
            Self::Status => "error status",
            Self::Shutdown => "pool shut down",
            Self::Upgrade => "not upgraded",
        })
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queue => "queue",
            Self::Dns => "DNS",
            Self::Tcp => "TCP",
            Self::Proxy => "proxy",
            Self::Tls => "TLS",
            Self::Send => "send",
            Self::Wait => "wait",
            Self::Receive => "receive",
        })
    }
}

/// How much of a request was given to the connection: the most over all attempts.
///
/// For https, bytes count as written once TLS has taken them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[allow(clippy::exhaustive_enums, reason = "there is nothing between part and all")]
pub enum Written {
    /// Not one byte: the server cannot have acted on it.
    #[default]
    Nothing,
    /// Some of it.
    Partly,
    /// All of it.
    All,
}

impl Error {
    pub(crate) const SHUTDOWN: &'static str = "the pool was shut down";

    /// The pool was shut down, before there was a connection or while it was used.
    pub(crate) fn shutdown() -> Self {
        Self::new(ErrorKind::Shutdown, Self::SHUTDOWN)
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// In which phase it happened; `None` where no exchange had begun.
    pub fn phase(&self) -> Option<Phase> {
        self.inner.phase
    }

    /// How much of the request had been written, over all attempts.
    pub fn request_written(&self) -> Written {
        self.inner.written
    }

    /// The request's URI, without credentials.
    pub fn uri(&self) -> Option<&Uri> {
        self.inner.uri.as_ref()
    }

    /// The request's URL, without credentials.
    #[cfg(feature = "url")]
    pub fn url(&self) -> Option<url::Url> {
        self.inner.uri.as_ref().and_then(|uri| url::Url::parse(&uri.to_string()).ok())
    }

    /// Where the time went until the failure, if a request had been started.
    pub fn timings(&self) -> Option<&Timings> {
        self.inner.timings.as_ref()
    }

    /// Whether a deadline passed: one of the request's phases, or the wait for a connection.
    pub fn is_timeout(&self) -> bool {
        matches!(self.kind(), ErrorKind::Timeout | ErrorKind::PoolTimeout)
    }

    /// Whether no connection could be made: name, address, proxy, or TLS, by failure or by timeout.
    pub fn is_connect(&self) -> bool {
        matches!(self.kind(), ErrorKind::Dns | ErrorKind::Connect | ErrorKind::Proxy | ErrorKind::Tls)
            || (self.kind() == ErrorKind::Timeout
                && matches!(self.phase(), Some(Phase::Dns | Phase::Tcp | Phase::Proxy | Phase::Tls)))
    }

    /// Whether the name could not be resolved (or not in time).
    pub fn is_dns(&self) -> bool {
        self.kind() == ErrorKind::Dns
            || (self.kind() == ErrorKind::Timeout && self.phase() == Some(Phase::Dns))
    }

    /// Whether the TLS handshake failed, or the certificate was not accepted.
    pub fn is_tls(&self) -> bool {
        self.kind() == ErrorKind::Tls
    }

    /// Whether the request itself was at fault: nothing was sent.
    pub fn is_request(&self) -> bool {
        self.kind() == ErrorKind::Request
    }

    /// Whether a body failed: the one sent, or the one received.
    pub fn is_body(&self) -> bool {
        matches!(self.kind(), ErrorKind::Body | ErrorKind::Decode)
            || (self.phase() == Some(Phase::Receive)
                && matches!(self.kind(), ErrorKind::ConnectionLost | ErrorKind::Protocol))
    }

    /// Whether nothing was tried for the request: its host is failing, and the waiting period of
    /// [`failing_host_backoff`](crate::ClientBuilder::failing_host_backoff) is not over. [`retry_at`](Self::retry_at) says
    /// when it is; [`kind`](Self::kind) and [`source`](StdError::source) say why the last dial failed.
    pub fn is_not_attempted(&self) -> bool {
        self.inner.retry_at.is_some()
    }

    /// Returns the time from which on the next dial to a failing host may be made; `None` unless
    /// [`is_not_attempted`](Self::is_not_attempted).
    pub fn retry_at(&self) -> Option<Instant> {
        self.inner.retry_at
    }

    /// Whether this is a status turned into an error.
    pub fn is_status(&self) -> bool {
        self.kind() == ErrorKind::Status
    }

    /// The whole story on one line: this error, then each cause after a colon.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let error = handclasp::get("ftp://example.org/").await.unwrap_err();
    /// assert_eq!(error.chain().to_string(), "the URL's scheme is \"ftp\": only http and https can be fetched");
    /// # });
    /// ```
    pub fn chain(&self) -> impl fmt::Display + '_ {
        Chain(self)
    }

    /// Returns the error of a request for which no dial was made, because this is how the last dials to its host ended.
    pub(crate) fn not_attempted(self, dials: u32, until: Instant, now: Instant) -> Self {
        let wait = until.saturating_duration_since(now);
        let message = format!(
            "no connection was attempted: the last {dials} dials to the host failed, and the next may be made in {wait:?}"
        );
        let mut error = Self::new(self.kind(), message);
        error.inner.retry_at = Some(until);
        let error = match self.phase() {
            Some(phase) => error.in_phase(phase),
            None => error,
        };
        error.because(self)
    }

    /// Returns the same error, for a body whose every later read repeats how it failed.
    pub(crate) fn repeat(&self) -> Self {
        Self { inner: self.inner.clone() }
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<Message>) -> Self {
        Self {
            inner: Box::new(Inner {
                kind,
                phase: None,
                written: Written::Nothing,
                message: message.into(),
                uri: None,
                source: None,
                timings: None,
                retry_at: None,
            }),
        }
    }

    /// The caller's mistake.
    pub(crate) fn request(message: impl Into<Message>) -> Self {
        Self::new(ErrorKind::Request, message)
    }

    /// A deadline passed in `phase`.
    pub(crate) fn timeout(phase: Phase, after: Duration, what: &str) -> Self {
        Self::new(ErrorKind::Timeout, format!("{what} within {after:?}")).in_phase(phase)
    }

    #[must_use]
    pub(crate) fn in_phase(mut self, phase: Phase) -> Self {
        self.inner.phase = Some(phase);
        self
    }

    #[must_use]
    pub(crate) fn because(mut self, source: impl Into<BoxError>) -> Self {
        self.inner.source = Some(source.into().into());
        self
    }

    /// Raises what is known of the writing; it never falls.
    #[must_use]
    pub(crate) fn with_written(mut self, written: Written) -> Self {
        self.inner.written = self.inner.written.max(written);
        self
    }

    #[must_use]
    pub(crate) fn with_timings(mut self, timings: Timings) -> Self {
        self.inner.timings = Some(timings);
        self
    }

    /// Names the request; credentials are removed here.
    #[must_use]
    pub(crate) fn with_uri(mut self, uri: &Uri) -> Self {
        self.inner.uri = Some(without_credentials(uri));
        self
    }
}

/// The same URI, without user and password.
pub(crate) fn without_credentials(uri: &Uri) -> Uri {
    let Some(authority) = uri.authority().filter(|a| a.as_str().contains('@')) else { return uri.clone() };
    let host = authority.as_str().rsplit('@').next().unwrap_or_default();
    let mut parts = uri.clone().into_parts();
    parts.authority = host.parse().ok();
    if parts.authority.is_none() {
        parts.scheme = None;
    }
    Uri::from_parts(parts).unwrap_or_default()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("kind", &self.inner.kind);
        if let Some(phase) = self.inner.phase {
            out.field("phase", &phase);
        }
        out.field("request_written", &self.inner.written).field("message", &self.inner.message);
        if let Some(uri) = &self.inner.uri {
            out.field("uri", uri);
        }
        if let Some(source) = &self.inner.source {
            out.field("source", source);
        }
        out.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as _)
    }
}

struct Chain<'a>(&'a Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A speed bump: an error travels in every `Result`, so it stays one word.
    #[test]
    fn an_error_is_one_word() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        assert_eq!(size_of::<Result<(), Error>>(), size_of::<usize>());
    }

    #[test]
    fn credentials_never_show() {
        let uri: Uri = "http://user:secret@example.org:8080/a?b".parse().unwrap();
        let error = Error::request("no").with_uri(&uri);
        assert_eq!(error.uri().unwrap(), &"http://example.org:8080/a?b".parse::<Uri>().unwrap());
        assert!(!format!("{error:?} {error}").contains("secret"), "R-9110-17.9-1");
    }

    #[test]
    fn kinds_and_phases_are_words() {
        assert_eq!(ErrorKind::PoolTimeout.to_string(), "pool timeout");
        assert_eq!(ErrorKind::ConnectionLost.to_string(), "connection lost");
        assert_eq!([Phase::Dns, Phase::Wait].map(|phase| phase.to_string()), ["DNS", "wait"]);
    }

    #[test]
    fn written_never_falls() {
        let error = Error::request("no").with_written(Written::All).with_written(Written::Nothing);
        assert_eq!(error.request_written(), Written::All);
    }

    #[test]
    fn the_chain_names_every_cause() {
        let error = Error::new(ErrorKind::Connect, "no address could be connected to")
            .because(std::io::Error::other("connection refused"));
        assert_eq!(error.chain().to_string(), "no address could be connected to: connection refused");
    }
}
