//! The record of one attempt to send a request, and the caller's functions that get the record.
//!
//! This module does no I/O. Invariants: `Debug` of a record shows no header value and no secret of a URL. A panic of a
//! caller's function does not leave this module.

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};

use super::methods::OTHER;
use super::request::Sending;
use super::server_timing::ServerTiming;
use crate::codec::ResponseHead;
use crate::codec::shown::FieldNames;
use crate::error::{ErrorKind, Phase, ResendCause, Written, redacted, without_credentials};
use crate::pool::ConnectionInfo;
use crate::time::{self, Wall};
use crate::timings::Timings;
use crate::trace;

/// Everything that is known about one attempt to send a request.
///
/// A function that was set by [`ClientBuilder::on_exchange`](crate::ClientBuilder::on_exchange) gets the record when
/// the attempt ends. A request that is sent again, and a request that follows a redirect, are attempts of their own.
///
/// The record holds the values of header fields. `Debug` shows only the names of the fields. The values of
/// `Authorization`, `Proxy-Authorization` and `Cookie`, and all values that the caller has marked, are
/// [sensitive](HeaderValue::is_sensitive). Code that stores records should leave these values out.
#[derive(Clone)]
pub struct ExchangeRecord {
    method: Method,
    /// Whether spans and metrics show the name of the method.
    is_known: bool,
    uri: Uri,
    port: u16,
    url_template: Option<String>,
    resend_count: u32,
    cause: Option<ResendCause>,
    started: Wall,
    request: EncodedHead,
    response: Option<ResponseHead>,
    connection: Option<ConnectionInfo>,
    amounts: Amounts,
    outcome: ExchangeOutcome,
    phase: Phase,
    close_reason: Option<&'static str>,
    timings: Timings,
}

/// How an attempt ended: see [`ExchangeRecord::outcome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExchangeOutcome {
    /// The response was read to its end. If another attempt follows, an attempt is complete once its response head has
    /// come. An attempt is also complete once the server has switched protocols.
    Complete,
    /// The attempt failed with this kind of error. The kind is [`ErrorKind::Status`] if the caller made an error of a
    /// response whose content had not all come
    /// ([`Response::error_for_status`](crate::Response::error_for_status)).
    Failed(ErrorKind),
    /// The caller dropped the request, or dropped the response before its content ended.
    Cancelled,
}

/// The head of a request as it was encoded.
#[derive(Clone, Default)]
struct EncodedHead {
    bytes: Box<[u8]>,
    /// Names of the fields whose values the caller has marked as sensitive.
    sensitive: Vec<HeaderName>,
    /// The target and the fields. Both are read when a caller first needs one of them, because metrics and most functions
    /// need neither.
    parts: OnceLock<(String, HeaderMap)>,
}

impl EncodedHead {
    fn parts(&self) -> &(String, HeaderMap) {
        self.parts.get_or_init(|| self.read())
    }

    fn read(&self) -> (String, HeaderMap) {
        let mut lines =
            self.bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let first = lines.next().unwrap_or_default();
        let target = first.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        let fields = lines.take_while(|line| !line.is_empty()).filter_map(|line| self.field(line)).fold(
            HeaderMap::new(),
            |mut fields, (name, value)| {
                // The map has room for all fields that the codec encodes. A field without room would be left out.
                let _ = fields.try_append(name, value);
                fields
            },
        );
        (String::from_utf8_lossy(target).into_owned(), fields)
    }

    /// Reads one line.
    fn field(&self, line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
        let at = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..at]).ok()?;
        let mut value = HeaderValue::from_bytes(line[at + 1..].trim_ascii()).ok()?;
        let is_secret =
            [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE].contains(&name) || self.sensitive.contains(&name);
        value.set_sensitive(is_secret);
        Some((name, value))
    }
}

/// How much of an attempt was sent and received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amounts {
    pub(crate) written: Written,
    /// Number of bytes of the request that were written.
    pub(crate) sent: u64,
    /// Number of bytes of the request's content that were written.
    pub(crate) content_sent: u64,
    /// Number of bytes that were read from the connection.
    pub(crate) received: u64,
    /// Number of bytes of the response's content that came.
    pub(crate) content_received: u64,
}

impl Default for Amounts {
    fn default() -> Self {
        Self { written: Written::Nothing, sent: 0, content_sent: 0, received: 0, content_received: 0 }
    }
}

/// # The request
impl ExchangeRecord {
    /// Returns the method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Returns the URI of this attempt, without user and password. The query is complete: see
    /// [`redacted_url`](Self::redacted_url).
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Returns the URL of this attempt without secrets, as the field `url.full` of spans shows it: without user and
    /// password, and with `REDACTED` instead of each value that signs the URL.
    pub fn redacted_url(&self) -> String {
        redacted(&self.uri)
    }

    /// Returns the host of the URL, as the field `server.address` of spans shows it: an IPv6 address has no brackets.
    pub fn server_address(&self) -> &str {
        server_address(&self.uri)
    }

    /// Returns the port of the URL, or the default port of its scheme.
    pub fn server_port(&self) -> u16 {
        self.port
    }

    /// Returns the template of the URL: see [`RequestBuilder::url_template`](crate::RequestBuilder::url_template).
    /// `None` after a redirect, because the template describes the first URL.
    pub fn url_template(&self) -> Option<&str> {
        self.url_template.as_deref()
    }

    /// Returns the target of the request line as it was encoded, such as `/path?query`. Empty if the attempt ended
    /// before its head was encoded.
    pub fn target(&self) -> &str {
        &self.request.parts().0
    }

    /// Returns all header fields of the request head as it was encoded, with the fields that the client and the codec
    /// have added, such as `Host` and `Content-Length`. Empty if the attempt ended before its head was encoded.
    pub fn request_headers(&self) -> &HeaderMap {
        &self.request.parts().1
    }

    /// Returns the size of the encoded request head in bytes, from the request line to the empty line.
    pub fn request_head_size(&self) -> u64 {
        self.request.bytes.len() as u64
    }

    /// Returns the number of bytes of content that were written to the connection, without the framing of chunks.
    pub fn request_body_size(&self) -> u64 {
        self.amounts.content_sent
    }

    /// Returns the number of bytes that were written to the connection: the head, the content and its framing. TLS is
    /// not counted.
    pub fn bytes_sent(&self) -> u64 {
        self.amounts.sent
    }

    /// Returns how much of the request was written in this attempt.
    pub fn request_written(&self) -> Written {
        self.amounts.written
    }

    /// Returns the number of attempts of the same call before this attempt. Resends and redirects count.
    pub fn resend_count(&self) -> u32 {
        self.resend_count
    }

    /// Returns the reason for which this attempt was made after another attempt. `None` for the first attempt of a
    /// call.
    pub fn cause(&self) -> Option<ResendCause> {
        self.cause
    }
}

/// # The response
impl ExchangeRecord {
    /// Returns the status of the response, or `None` if no response head came.
    pub fn status(&self) -> Option<StatusCode> {
        self.response.as_ref().map(|head| head.status)
    }

    /// Returns the version of the response, HTTP/1.0 or HTTP/1.1, or `None` if no response head came. Requests are sent
    /// in HTTP/1.1.
    pub fn version(&self) -> Option<Version> {
        self.response.as_ref().map(|head| head.version)
    }

    /// Returns the header fields of the response as they came, or `None` if no response head came. Content codings are
    /// not removed.
    pub fn response_headers(&self) -> Option<&HeaderMap> {
        self.response.as_ref().map(ResponseHead::headers)
    }

    /// Returns the reason phrase of the response, or `None` if the phrase is the usual phrase of the status, or if no
    /// response head came.
    pub fn reason(&self) -> Option<&[u8]> {
        self.response.as_ref()?.reason()
    }

    /// Returns the size of the response head in bytes, from the status line to the empty line, or `None` if no response head
    /// came. Interim responses are not counted.
    pub fn response_head_size(&self) -> Option<u64> {
        self.response.as_ref().map(|head| head.raw().len() as u64)
    }

    /// Returns the metrics of the `Server-Timing` fields: see
    /// [`Response::server_timing`](crate::Response::server_timing).
    pub fn server_timing(&self) -> Vec<ServerTiming> {
        self.response_headers().map(ServerTiming::of).unwrap_or_default()
    }

    /// Returns the number of bytes of content that came, without the framing of chunks and before content codings are
    /// removed.
    pub fn response_body_size(&self) -> u64 {
        self.amounts.content_received
    }

    /// Returns the number of bytes that were read from the connection in this attempt: heads, content and framing. TLS
    /// is not counted.
    pub fn bytes_received(&self) -> u64 {
        self.amounts.received
    }
}

/// # The outcome
impl ExchangeRecord {
    /// Returns how the attempt ended. A response with any status can be complete.
    pub fn outcome(&self) -> ExchangeOutcome {
        self.outcome
    }

    /// Returns the value of the field `error.type` of the attempt's span: the status from 400 on as a number, otherwise
    /// the name of the [`ErrorKind`]. `None` if the attempt was a success or was cancelled.
    pub fn error_type(&self) -> Option<Cow<'static, str>> {
        error_type(self.status(), self.outcome)
    }

    /// Returns the phase in which the attempt ended. A complete attempt ends in [`Phase::Receive`].
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Returns the reason that forbids the reuse of the connection, as a sentence. `None` if the connection can be
    /// reused, if the attempt got no connection, if the pool was shut down, and if the rest of the response is read after
    /// the attempt.
    pub fn close_reason(&self) -> Option<&'static str> {
        self.close_reason
    }

    /// Returns the connection that carried the attempt, or `None` if the attempt got no connection.
    pub fn connection(&self) -> Option<&ConnectionInfo> {
        self.connection.as_ref()
    }

    /// Returns how long each phase of this attempt took.
    ///
    /// Earlier attempts are not included: [`Timings::total`] begins with this attempt. [`Timings::previous`] is the
    /// time for which the content was read into memory for a server of HTTP/1.0, and zero in any other case.
    pub fn timings(&self) -> &Timings {
        &self.timings
    }

    /// Returns the time of day at which the attempt began.
    pub fn started(&self) -> Wall {
        self.started
    }
}

/// # The steps of the record
impl ExchangeRecord {
    /// Returns the value of the field `http.request.method` of the attempt's span.
    #[cfg_attr(not(feature = "otel"), allow(dead_code, reason = "only metrics use this function"))]
    pub(crate) fn shown_method(&self) -> &str {
        if self.is_known { self.method.as_str() } else { OTHER }
    }

    pub(super) fn new(sending: &Sending<'_>, resend_count: u32, cause: Option<ResendCause>) -> Self {
        Self {
            method: sending.method.clone(),
            is_known: sending.known.has(sending.method),
            uri: without_credentials(sending.uri),
            port: sending.port,
            url_template: sending.template.map(Into::into),
            resend_count,
            cause,
            started: time::wall(),
            request: EncodedHead::default(),
            response: None,
            connection: None,
            amounts: Amounts::default(),
            outcome: ExchangeOutcome::Cancelled,
            phase: Phase::Queue,
            close_reason: None,
            timings: Timings::default(),
        }
    }

    /// Takes the encoded head of the request. `fields` are the fields from which the head was encoded, and tell which
    /// values are sensitive.
    pub(super) fn set_head(&mut self, encoded: &[u8], fields: &HeaderMap) {
        let sensitive = fields.iter().filter(|(_, value)| value.is_sensitive());
        let sensitive = sensitive.map(|(name, _)| name.clone()).collect();
        self.request = EncodedHead { bytes: encoded.into(), sensitive, parts: OnceLock::new() };
    }

    pub(super) fn set_connection(&mut self, connection: &ConnectionInfo) {
        self.connection = Some(connection.clone());
    }

    pub(super) fn set_response(&mut self, head: &ResponseHead) {
        self.response = Some(head.clone());
    }

    pub(super) fn end(
        &mut self,
        outcome: ExchangeOutcome,
        phase: Phase,
        close_reason: Option<&'static str>,
        amounts: Amounts,
        timings: Timings,
    ) {
        self.outcome = outcome;
        self.phase = phase;
        self.close_reason = close_reason;
        self.amounts = amounts;
        self.timings = timings;
    }
}

/// Returns the host of a URI. An IPv6 address has no brackets.
pub(super) fn server_address(uri: &Uri) -> &str {
    trace::server_address(uri.host().unwrap_or_default())
}

/// Returns the `error.type` of an attempt, or `None` if the attempt was a success or was cancelled. The conventions do
/// not count a cancellation by the caller as an error.
pub(super) fn error_type(status: Option<StatusCode>, outcome: ExchangeOutcome) -> Option<Cow<'static, str>> {
    match (status, outcome) {
        (Some(status), _) if status.as_u16() >= 400 => Some(status.as_str().to_owned().into()),
        (_, ExchangeOutcome::Failed(kind)) => Some(format!("{kind:?}").into()),
        (_, ExchangeOutcome::Complete | ExchangeOutcome::Cancelled) => None,
    }
}

impl fmt::Debug for ExchangeRecord {
    /// Shows the names of fields, because values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExchangeRecord")
            .field("method", &self.method)
            .field("url", &format_args!("{}", self.redacted_url()))
            .field("url_template", &self.url_template)
            .field("resend_count", &self.resend_count)
            .field("cause", &self.cause)
            .field("request_headers", &FieldNames(self.request_headers()))
            .field("status", &self.status())
            .field("version", &self.version())
            .field("response_headers", &self.response_headers().map(FieldNames))
            .field("outcome", &self.outcome)
            .field("phase", &self.phase)
            .field("request_written", &self.amounts.written)
            .field("bytes_sent", &self.amounts.sent)
            .field("bytes_received", &self.amounts.received)
            .field("connection", &self.connection)
            .field("close_reason", &self.close_reason)
            .field("timings", &self.timings)
            .finish_non_exhaustive()
    }
}

/// Listener that measures the attempts of a client for its metrics.
pub(crate) trait Observer: Send + Sync {
    /// An attempt began. Of the record, only the facts about the request's method and URL are known.
    fn began(&self, record: &ExchangeRecord);

    /// An attempt ended. Each attempt that began ends once.
    fn ended(&self, record: &ExchangeRecord);
}

/// The caller's functions and the observer, which get the record of each attempt.
#[derive(Clone, Default)]
pub(crate) struct OnExchange(Arc<Hooks>);

#[derive(Clone, Default)]
struct Hooks {
    /// The caller's functions, in the order in which they were added.
    functions: Vec<Arc<Hook>>,
    observer: Option<Arc<dyn Observer>>,
}

type Hook = dyn Fn(&ExchangeRecord) + Send + Sync;

impl OnExchange {
    /// Adds a function.
    pub(crate) fn add(&mut self, hook: impl Fn(&ExchangeRecord) + Send + Sync + 'static) {
        Arc::make_mut(&mut self.0).functions.push(Arc::new(hook));
    }

    /// Sets the observer. Replaces an earlier observer.
    #[cfg_attr(not(feature = "otel"), allow(dead_code, reason = "nothing measures attempts"))]
    pub(crate) fn observe(&mut self, observer: Arc<dyn Observer>) {
        Arc::make_mut(&mut self.0).observer = Some(observer);
    }

    /// Tells the observer that an attempt began.
    pub(super) fn begin(&self, record: &ExchangeRecord) {
        if let Some(observer) = &self.0.observer {
            let _ = catch_unwind(AssertUnwindSafe(|| observer.began(record)));
        }
    }

    /// Gives the record to the observer and to each function. A panic of a function is caught, because the request did not
    /// cause the panic. The panic hook has reported the panic by then.
    pub(super) fn call(&self, record: &ExchangeRecord) {
        if let Some(observer) = &self.0.observer {
            let _ = catch_unwind(AssertUnwindSafe(|| observer.ended(record)));
        }
        for hook in &self.0.functions {
            let _ = catch_unwind(AssertUnwindSafe(|| hook(record)));
        }
    }
}

impl fmt::Debug for OnExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnExchange")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::KnownMethods;

    /// Returns a record of a request to this URL, before its head was encoded.
    fn record(url: &str) -> ExchangeRecord {
        let (method, uri) = (Method::GET, url.parse().unwrap());
        let known = &KnownMethods::default();
        let sending = Sending { method: &method, uri: &uri, port: 81, template: None, known, hook: None };
        ExchangeRecord::new(&sending, 0, None)
    }

    #[test]
    fn the_encoded_head_is_read_and_secrets_are_marked() {
        let mut fields = HeaderMap::new();
        let mut key = HeaderValue::from_static("hunter2");
        key.set_sensitive(true);
        fields.append("x-key", key);
        let mut record = record("http://me:hunter2@[::1]:81/x?sig=hunter2");
        let head = b"GET /x?sig=hunter2 HTTP/1.1\r\nHost: [::1]:81\r\nX-Key: hunter2\r\nAuthorization: \
            Bearer hunter2\r\na: 1\r\na: 2\r\nempty:\r\n\r\n";
        record.set_head(head, &fields);
        assert!(record.request.parts.get().is_none(), "the parts are read when they are needed");
        assert_eq!((record.target(), record.request_head_size()), ("/x?sig=hunter2", head.len() as u64));
        let headers = record.request_headers();
        assert_eq!(
            (&headers["host"], &headers["empty"]),
            (&"[::1]:81".parse().unwrap(), &"".parse().unwrap())
        );
        assert_eq!(headers.get_all("a").iter().collect::<Vec<_>>(), ["1", "2"]);
        for (name, is_sensitive) in [("x-key", true), ("authorization", true), ("host", false)] {
            assert_eq!(headers[name].is_sensitive(), is_sensitive, "{name}");
        }
        assert_eq!((record.server_address(), record.server_port()), ("::1", 81));
        assert_eq!(record.redacted_url(), "http://[::1]:81/x?sig=REDACTED");
        let shown = format!("{record:?} {record:#?} {headers:?}");
        assert!(!shown.contains("hunter2"), "A-77: {shown}");
    }

    #[test]
    fn the_type_of_an_error_is_the_status_or_the_kind() {
        use ExchangeOutcome::{Cancelled, Complete, Failed};

        for (status, outcome, expected) in [
            (Some(200), Complete, None),
            (Some(302), Complete, None),
            (Some(404), Complete, Some("404")),
            (Some(500), Failed(ErrorKind::ConnectionLost), Some("500")),
            (Some(400), Cancelled, Some("400")),
            (Some(200), Failed(ErrorKind::ConnectionLost), Some("ConnectionLost")),
            (None, Failed(ErrorKind::Dns), Some("Dns")),
            (Some(200), Cancelled, None),
            (None, Cancelled, None),
        ] {
            let status = status.map(|status| StatusCode::from_u16(status).unwrap());
            assert_eq!(error_type(status, outcome).as_deref(), expected);
        }
    }
}
