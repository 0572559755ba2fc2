//! The error of the crate: its kind, its phase, how much of the request was written, and a message.
//!
//! [`Error`] is one word wide. This module knows nothing of sockets or of the codec. The modules that fail build an
//! [`Error`] from their own errors, which stay reachable through [`source`](std::error::Error::source). Invariant: no
//! message contains a header's value or a URL's credentials.

mod attempt;
mod excerpt;
mod written;

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode, Uri};

pub use self::attempt::{EarlierAttempt, ResendCause};
pub(crate) use self::excerpt::Excerpt;
pub use self::written::Written;
#[cfg(feature = "har")]
pub(crate) use crate::redact::without_signature;
pub(crate) use crate::redact::{redacted, without_credentials};
use crate::redirect::History;
use crate::timings::{Rounded, Timings};

/// A boxed error of any type, for custom resolvers, connectors and body streams.
pub type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The error of a request or of building a client.
///
/// [`kind`](Self::kind) says what failed, [`phase`](Self::phase) says in which phase, and
/// [`request_written`](Self::request_written) says how much of the request had been written. `Display` prints one
/// sentence without the causes, after the method and the origin (scheme, host and port) of the request.
/// [`source`](StdError::source) returns the cause, and [`chain`](Self::chain) prints all causes. Neither the path nor the
/// query of a URL, no header value, and no password is printed. The error of JSON that cannot be read shows at most 200
/// bytes of the response's content.
///
/// ```no_run
/// # async fn example() {
/// use handclasp::{ErrorKind, Written};
///
/// match handclasp::get("http://example.org/").await {
///     Ok(response) => println!("{}", response.status()),
///     Err(error) if error.is_timeout() => println!("too slow, in phase {:?}", error.phase()),
///     Err(error) if error.kind() == ErrorKind::Dns => println!("unknown host: {}", error.chain()),
///     Err(error) if error.request_written() == Written::Nothing => println!("not sent: {}", error.chain()),
///     Err(error) => println!("{}", error.chain()),
/// }
/// # }
/// ```
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    phase: Option<Phase>,
    written: Written,
    message: Message,
    method: Option<Method>,
    uri: Option<Uri>,
    status: Option<StatusCode>,
    body: Option<Bytes>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    timings: Option<Timings>,
    /// The attempts before the attempt that failed. Shared, so that a copy of the error copies no attempt.
    earlier: Option<Arc<[EarlierAttempt]>>,
    retry_at: Option<Instant>,
    history: History,
}

/// The sentence of an error. Borrowed if it is fixed: allocates nothing.
type Message = std::borrow::Cow<'static, str>;

/// The kind of failure of an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request cannot be sent as it is, or a setting is invalid. Nothing was written.
    Request,
    /// Too many requests wait for a connection to the host. See
    /// [`max_waiters_per_host`](crate::ClientBuilder::max_waiters_per_host).
    PoolFull,
    /// No connection became available within the [`acquire_timeout`](crate::ClientBuilder::acquire_timeout).
    PoolTimeout,
    /// The host's name could not be resolved.
    Dns,
    /// No connection could be made to any address of the host.
    Connect,
    /// The [`address_filter`](crate::ClientBuilder::address_filter) refused every address of the host, or could not see the
    /// addresses, because a proxy looks the name up.
    AddressRefused,
    /// The proxy refused the request or failed.
    ///
    /// In TLS 1.3, an https proxy refuses the client's certificate after the handshake. A request that the proxy was to
    /// forward may have been written by then: see [`request_written`](Error::request_written).
    Proxy,
    /// The TLS handshake failed, the server's certificate was not accepted, or the server refused the client's certificate.
    ///
    /// In TLS 1.3, a server refuses the client's certificate after the handshake. The request may have been written by
    /// then: see [`request_written`](Error::request_written).
    Tls,
    /// The server broke the rules of HTTP/1.1.
    Protocol,
    /// The server closed or reset the connection before the response was complete. A request whose
    /// [`Reserved`](crate::Reserved) connection was closed has this kind too, and nothing of it was written.
    ConnectionLost,
    /// A timeout passed. [`Error::phase`] says in which phase. The page on [limits](crate::manual::limits) lists all
    /// timeouts.
    Timeout,
    /// The source of the request's body failed, or the body did not have its promised length.
    Body,
    /// The response's content could not be converted, or is larger than
    /// [`max_collected_body`](crate::ClientBuilder::max_collected_body).
    Decode,
    /// A redirect could not be followed.
    Redirect,
    /// [`Response::error_for_status`](crate::Response::error_for_status) was called on a 4xx or 5xx response.
    Status,
    /// The pool was shut down.
    Shutdown,
    /// [`Response::upgrade`](crate::Response::upgrade) was called, but the server did not switch protocols.
    Upgrade,
}

/// A phase of a request, in the order in which phases follow each other. See the page on
/// [phases](crate::manual::phases).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Phase {
    /// Waiting for a connection.
    Queue,
    /// Resolving the host's name.
    Dns,
    /// Connecting to an address.
    Tcp,
    /// Asking a proxy for a tunnel.
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
            Self::AddressRefused => "address refused",
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

impl Error {
    pub(crate) const SHUTDOWN: &'static str = "the pool was shut down";

    /// Returns the error for a URL such as `http://[fe80::1%25eth0]/`.
    pub(crate) fn zone() -> Self {
        Self::request("the URL's IPv6 address has a zone, and zones are not supported in URLs")
    }

    /// Returns the error for a URL such as `example.org/a`.
    pub(crate) fn no_scheme() -> Self {
        Self::request("the URL has no scheme: give http:// or https://")
    }

    /// Creates the error of a request that a shutdown of the pool ended.
    pub(crate) fn shutdown() -> Self {
        Self::new(ErrorKind::Shutdown, Self::SHUTDOWN)
    }

    /// Returns the kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Returns the phase in which the request failed, or `None` if it failed before the first phase.
    pub fn phase(&self) -> Option<Phase> {
        self.inner.phase
    }

    /// Returns how much of the request had been written. If the request was sent several times, the largest amount
    /// counts.
    ///
    /// With [`Written::Nothing`], the server cannot have acted on the request, and sending it again is safe.
    pub fn request_written(&self) -> Written {
        self.inner.written
    }

    /// Returns the URI of the request without user and password, or `None` if the error belongs to no request.
    pub fn uri(&self) -> Option<&Uri> {
        self.inner.uri.as_ref()
    }

    /// Returns the URL of the request without user and password, or `None` if the error belongs to no request or the URI is
    /// not a WHATWG URL.
    #[cfg(feature = "url")]
    pub fn url(&self) -> Option<url::Url> {
        self.inner.uri.as_ref().and_then(|uri| url::Url::parse(&uri.to_string()).ok())
    }

    /// Returns the sentence that `Display` prints, without the method and the origin of the request.
    ///
    /// Use this text to count equal failures of different hosts.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// Returns the status of the response. Only errors of the kinds [`ErrorKind::Status`] and [`ErrorKind::Upgrade`], and
    /// errors of JSON that cannot be read ([`ErrorKind::Decode`]), have a status. Returns `None` for every other error, even
    /// if the head of a response had come.
    ///
    /// If an HTTP proxy refused to open a tunnel, the error has the kind [`ErrorKind::Proxy`] and the status of the
    /// proxy's answer. The status is 407 if the proxy requires credentials or does not accept the credentials.
    ///
    /// ```no_run
    /// # async fn example() -> handclasp::Result<()> {
    /// use handclasp::StatusCode;
    ///
    /// let outcome = handclasp::get("http://example.org/a").await?.error_for_status();
    /// if outcome.is_err_and(|error| error.status() == Some(StatusCode::NOT_FOUND)) {
    ///     println!("there is no such page");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn status(&self) -> Option<StatusCode> {
        self.inner.status
    }

    /// Returns the start of the content of the response, which
    /// [`error_for_status_with_body`](crate::Response::error_for_status_with_body) has read. Returns `None` for every
    /// other error.
    pub fn body(&self) -> Option<&Bytes> {
        self.inner.body.as_ref()
    }

    /// Returns the bytes of [`body`](Self::body) as text. Bytes that are not UTF-8 become U+FFFD.
    pub fn body_text(&self) -> Option<std::borrow::Cow<'_, str>> {
        self.inner.body.as_deref().map(String::from_utf8_lossy)
    }

    /// Returns a `Display` of the progress of the request: the phase of the failure, and the amount that was written.
    /// For example, `in phase wait; the request was sent`.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let error = handclasp::get("ftp://example.org/").await.unwrap_err();
    /// eprintln!("{} ({})", error.chain(), error.progress());
    /// assert_eq!(error.progress().to_string(), "nothing was sent");
    /// # });
    /// ```
    pub fn progress(&self) -> impl fmt::Display + '_ {
        Progress(self)
    }

    /// Returns the error without its URL, and therefore without the origin in its text.
    #[must_use]
    pub fn without_url(mut self) -> Self {
        self.inner.uri = None;
        self
    }

    /// Returns the error with another URL, without the user and the password of the URL. The text names the URL's origin.
    #[cfg(feature = "url")]
    #[must_use]
    pub fn with_url(mut self, url: url::Url) -> Self {
        self.inner.uri = String::from(url).parse().ok().map(|uri| without_credentials(&uri));
        self
    }

    /// Returns how long each phase took until the failure, or `None` if the request was not started.
    pub fn timings(&self) -> Option<&Timings> {
        self.inner.timings.as_ref()
    }

    /// Returns the attempts that were made before the attempt that failed, in their order. A request that was sent once
    /// has none.
    pub fn earlier_attempts(&self) -> &[EarlierAttempt] {
        self.inner.earlier.as_deref().unwrap_or_default()
    }

    /// Whether a timeout passed: the kind is [`Timeout`](ErrorKind::Timeout) or [`PoolTimeout`](ErrorKind::PoolTimeout).
    pub fn is_timeout(&self) -> bool {
        matches!(self.kind(), ErrorKind::Timeout | ErrorKind::PoolTimeout)
    }

    /// Whether no connection could be made: resolving, connecting, the proxy or the TLS handshake failed or took too long,
    /// or the address filter refused every address.
    pub fn is_connect(&self) -> bool {
        use ErrorKind::{AddressRefused, Connect, Dns, Proxy, Timeout, Tls};
        matches!(self.kind(), Dns | Connect | AddressRefused)
            || (matches!(self.kind(), Proxy | Tls | Timeout)
                && matches!(self.phase(), Some(Phase::Dns | Phase::Tcp | Phase::Proxy | Phase::Tls)))
    }

    /// Whether the host's name could not be resolved, or could not be resolved in time.
    pub fn is_dns(&self) -> bool {
        self.kind() == ErrorKind::Dns
            || (self.kind() == ErrorKind::Timeout && self.phase() == Some(Phase::Dns))
    }

    /// Whether the TLS handshake failed, or the certificate was not accepted.
    pub fn is_tls(&self) -> bool {
        self.kind() == ErrorKind::Tls
    }

    /// Whether the request cannot be sent as it is: the kind is [`Request`](ErrorKind::Request).
    ///
    /// This is the caller's mistake. In reqwest, a method of this name is true for most failures of a request.
    pub fn is_request(&self) -> bool {
        self.kind() == ErrorKind::Request
    }

    /// Whether the request or a setting is invalid. This method is [`is_request`](Self::is_request) under a name of
    /// reqwest.
    pub fn is_builder(&self) -> bool {
        self.is_request()
    }

    /// Whether the content of the response could not be converted, or is larger than
    /// [`max_collected_body`](crate::ClientBuilder::max_collected_body).
    pub fn is_decode(&self) -> bool {
        self.kind() == ErrorKind::Decode
    }

    /// Whether [`Response::upgrade`](crate::Response::upgrade) failed, because the server did not switch protocols.
    pub fn is_upgrade(&self) -> bool {
        self.kind() == ErrorKind::Upgrade
    }

    /// Whether a body failed: the source of the request's body, or the transfer or conversion of the response's content.
    pub fn is_body(&self) -> bool {
        matches!(self.kind(), ErrorKind::Body | ErrorKind::Decode)
            || (self.phase() == Some(Phase::Receive)
                && matches!(self.kind(), ErrorKind::ConnectionLost | ErrorKind::Protocol))
    }

    /// Whether no connection was attempted, because the host is failing and the waiting period of
    /// [`failing_host_backoff`](crate::ClientBuilder::failing_host_backoff) is not over.
    ///
    /// [`retry_at`](Self::retry_at) returns the end of the waiting period. [`kind`](Self::kind) and
    /// [`source`](StdError::source) describe the failure of the last dial.
    pub fn is_not_attempted(&self) -> bool {
        self.inner.retry_at.is_some()
    }

    /// Returns the time at which the next dial to a failing host may be made, or `None` unless
    /// [`is_not_attempted`](Self::is_not_attempted).
    pub fn retry_at(&self) -> Option<Instant> {
        self.inner.retry_at
    }

    /// Whether a redirect could not be followed. `Error::redirects` returns the chain, with the feature `url`.
    pub fn is_redirect(&self) -> bool {
        self.kind() == ErrorKind::Redirect
    }

    /// Returns the requests that were answered by a redirect before the failure, in their order. If the failure is that
    /// of a redirect, the last element is this redirect.
    #[cfg(feature = "url")]
    pub fn redirects(&self) -> &[crate::redirect::Hop] {
        self.inner.history.hops()
    }

    /// Whether the error comes from [`Response::error_for_status`](crate::Response::error_for_status).
    pub fn is_status(&self) -> bool {
        self.kind() == ErrorKind::Status
    }

    /// Returns a `Display` of this error and all its causes on one line, separated by colons. The start of the content
    /// follows, if [`error_for_status_with_body`](crate::Response::error_for_status_with_body) has read it.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let error = handclasp::get("ftp://example.org/").await.unwrap_err();
    /// let text = "GET ftp://example.org: the URL's scheme is \"ftp\": only http and https can be fetched";
    /// assert_eq!(error.chain().to_string(), text);
    /// # });
    /// ```
    pub fn chain(&self) -> impl fmt::Display + '_ {
        Chain(self)
    }

    /// Turns the error of the last dial into the error of a request for which no dial is made.
    pub(crate) fn not_attempted(self, dials: u32, until: Instant, now: Instant) -> Self {
        let wait = Rounded(until.saturating_duration_since(now));
        let message = format!(
            "no connection was attempted: the last {dials} dials to the host failed, and the next may be made in {wait}"
        );
        let mut error = Self::new(self.kind(), message);
        error.inner.retry_at = Some(until);
        error.inner.status = self.inner.status;
        let error = match self.phase() {
            Some(phase) => error.in_phase(phase),
            None => error,
        };
        error.because(self)
    }

    /// Returns a copy of this error, for a body that returns the error at every later read.
    pub(crate) fn repeat(&self) -> Self {
        Self { inner: self.inner.clone() }
    }

    /// Creates an error without phase, URI, source or timings.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<Message>) -> Self {
        Self {
            inner: Box::new(Inner {
                kind,
                phase: None,
                written: Written::Nothing,
                message: message.into(),
                method: None,
                uri: None,
                status: None,
                body: None,
                source: None,
                timings: None,
                earlier: None,
                retry_at: None,
                history: History::default(),
            }),
        }
    }

    /// Creates the error of a request that cannot be sent as it is.
    pub(crate) fn request(message: impl Into<Message>) -> Self {
        Self::new(ErrorKind::Request, message)
    }

    /// Creates the error of a timeout `after` in `phase`. `what` names the event that did not happen in time, and `setting`
    /// the method that sets the timeout.
    pub(crate) fn timeout(phase: Phase, after: Duration, what: &str, setting: &str) -> Self {
        let message = format!("{what} within {} ({setting})", Rounded(after));
        Self::new(ErrorKind::Timeout, message).in_phase(phase)
    }

    /// Sets the phase.
    #[must_use]
    pub(crate) fn in_phase(mut self, phase: Phase) -> Self {
        self.inner.phase = Some(phase);
        self
    }

    /// Sets the source.
    #[must_use]
    pub(crate) fn because(mut self, source: impl Into<BoxError>) -> Self {
        self.inner.source = Some(source.into().into());
        self
    }

    /// Raises the written amount to `written`. A smaller amount changes nothing.
    #[must_use]
    pub(crate) fn with_written(mut self, written: Written) -> Self {
        self.inner.written = self.inner.written.max(written);
        self
    }

    /// Sets the timings until the failure.
    #[must_use]
    pub(crate) fn with_timings(mut self, timings: Timings) -> Self {
        self.inner.timings = Some(timings);
        self
    }

    /// Sets the attempts before the attempt that failed.
    #[must_use]
    pub(crate) fn with_earlier(mut self, earlier: &[EarlierAttempt]) -> Self {
        if !earlier.is_empty() {
            self.inner.earlier = Some(earlier.into());
        }
        self
    }

    /// Sets the method and the URI of the request.
    #[must_use]
    pub(crate) fn with_request(mut self, method: &Method, uri: &Uri) -> Self {
        self.inner.method = Some(method.clone());
        self.with_uri(uri)
    }

    /// Sets the status of the response that this error is about.
    #[must_use]
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.inner.status = Some(status);
        self
    }

    /// Sets the start of the content of the response that this error is about.
    #[must_use]
    pub(crate) fn with_body(mut self, body: Bytes) -> Self {
        self.inner.body = Some(body);
        self
    }

    /// Sets the URI of the request, without user and password.
    #[must_use]
    pub(crate) fn with_uri(mut self, uri: &Uri) -> Self {
        self.inner.uri = Some(without_credentials(uri));
        self
    }

    /// Sets the redirects that came before the failure.
    #[must_use]
    pub(crate) fn with_redirects(mut self, history: History) -> Self {
        self.inner.history = history;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { method, uri, message, .. } = &*self.inner;
        let origin = uri.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.authority()?)));
        if let Some((scheme, authority)) = origin {
            if let Some(method) = method {
                write!(f, "{method} ")?;
            }
            write!(f, "{scheme}://{authority}: ")?;
        }
        f.write_str(message)
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
            out.field("uri", &format_args!("{}", redacted(uri)));
        }
        if let Some(status) = self.inner.status {
            out.field("status", &status);
        }
        if let Some(body) = &self.inner.body {
            out.field("body", &format_args!("{} bytes", body.len()));
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

struct Progress<'a>(&'a Error);

impl fmt::Display for Progress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(phase) = self.0.phase() {
            write!(f, "in phase {phase}; ")?;
        }
        f.write_str(match self.0.request_written() {
            Written::Nothing => "nothing was sent",
            Written::Partly => "a part of the request was sent",
            Written::All => "the request was sent",
        })
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
        match self.0.body() {
            Some(body) if !body.is_empty() => write!(f, ": the content is {}", Excerpt::first(body)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the size of an error, because every `Result` has space for an error.
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
        assert!(!format!("{error:?} {error}").contains("secret"), "R-9110-17.9-1 A-77");
    }

    #[test]
    fn kinds_and_phases_are_printed_as_words() {
        assert_eq!(ErrorKind::PoolTimeout.to_string(), "pool timeout");
        assert_eq!(ErrorKind::ConnectionLost.to_string(), "connection lost");
        assert_eq!([Phase::Dns, Phase::Wait].map(|phase| phase.to_string()), ["DNS", "wait"]);
    }

    #[test]
    fn a_smaller_written_amount_changes_nothing() {
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
