//! This module finds the end of a response head and reads the head.
//!
//! [`Scan`] looks for the empty line that ends a head. The scan knows lines and limits, but no fields. After the scan,
//! httparse checks every byte of the head. A head that arrives in one piece and has only plain lines needs no scan.
//! This module notes the facts that the machine needs about the fields, stores no field, and knows neither framing
//! rules nor the connection. Invariants: whether a head is accepted, and with which error a head is refused, does not
//! depend on how its bytes were split. This holds for a complete head, and for an incomplete head at the end of the
//! input. The time is linear in the number of bytes.

use std::mem::MaybeUninit;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, Version};
use httparse::Header;

use super::error::ProtocolError;
use super::framing::FramingFields;
use super::grammar::{elements, find_lf, line_feeds, parse_decimal};
use super::lenient::{Line, broken_rule, mend};
use super::limits::{Leniency, Limits};
use super::names::Names;
use super::response::{ResponseHead, store};
use super::trailers::is_forbidden;

/// The hints of a `Keep-Alive` field. A parameter that cannot be read is ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeepAlive {
    /// Time for which the server keeps an idle connection (`timeout`).
    pub timeout: Option<Duration>,
    /// Number of further requests that the server accepts on the connection (`max`).
    pub max: Option<u64>,
}

/// The facts about the fields of one head that the machine needs, noted while the head is read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Notes {
    pub(super) framing: FramingFields,
    pub(super) keep_alive: KeepAlive,
    pub(super) says_close: bool,
    pub(super) says_keep_alive: bool,
    /// Whether the head has a `Content-Encoding` field.
    is_coded: bool,
    /// Whether the head departs from the grammar in a way that was accepted and that may affect the framing.
    pub(super) is_lenient: bool,
    /// Whether a field line of the head departs from the grammar, and was mended.
    pub(super) is_mended: bool,
}

/// The kind of section in which a scan looks for the empty line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Head,
    Trailers,
}

/// The search for the empty line of a section. The search can stop and resume at any byte.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    section: Section,
    /// Number of bytes that the scan has passed.
    at: usize,
    /// Whether the next byte begins a line.
    at_line_start: bool,
    /// Index at which the current field line begins. A folded line belongs to the field line before the fold.
    field: usize,
    /// Number of field lines that have begun.
    fields: usize,
    /// Number of bytes at which httparse checks an unfinished section next. The number doubles with each check, so that
    /// the total time is linear.
    next_check: usize,
    /// Whether the scan has accepted a departure from the grammar.
    lenient: bool,
    /// Whether the scan has mended a field line.
    mended: bool,
}

impl Scan {
    pub(super) fn head() -> Self {
        Self::new(Section::Head)
    }

    pub(super) fn trailers() -> Self {
        Self { at_line_start: true, ..Self::new(Section::Trailers) }
    }

    fn new(section: Section) -> Self {
        let (at_line_start, lenient, mended) = (false, false, false);
        Self { section, at: 0, at_line_start, field: 0, fields: 0, next_check: 0, lenient, mended }
    }

    /// Whether the scan has not yet accepted the version in the status line.
    pub(super) fn is_within_version(&self) -> bool {
        self.at < STATUS_LINE_VERSION
    }

    /// Returns the index after the empty line of the section, or `None` if the section is incomplete.
    ///
    /// `bytes` must begin with all bytes of the earlier calls. The method prepares the bytes for httparse in place:
    /// spaces replace each fold, and 1 replaces a minor version above 1.
    pub(super) fn find_end(
        &mut self,
        bytes: &mut [u8],
        limits: &Limits,
    ) -> Result<Option<usize>, ProtocolError> {
        let (limit, too_large) = match self.section {
            Section::Head => (limits.head, ProtocolError::HeadTooLarge),
            Section::Trailers => (limits.trailers.saturating_add(2), ProtocolError::TrailersTooLarge),
        };
        let seen = bytes.len().min(limit);
        let window = &mut bytes[..seen];
        if self.section == Section::Head && self.at < STATUS_LINE_VERSION {
            self.at = check_version(window)?;
        }
        match self.walk(window, limits) {
            Ok(None) if seen == limit => {
                self.check(window, limits.leniency)?;
                Err(too_large)
            }
            Ok(None) => {
                if seen >= self.next_check {
                    self.next_check = seen.saturating_mul(2);
                    self.check(window, limits.leniency)?;
                }
                Ok(None)
            }
            Ok(end) => Ok(end),
            // httparse checks the bytes before the error, so that the error at the earliest byte is returned, as if the
            // bytes had come one at a time.
            Err(error) => {
                self.check(&window[..self.at], limits.leniency)?;
                Err(error)
            }
        }
    }

    /// Checks an unfinished section with httparse. Fails with the rule that the server broke, if the section breaks a
    /// rule.
    pub(super) fn check(&self, bytes: &[u8], leniency: Leniency) -> Result<(), ProtocolError> {
        // A line that may be mended is judged once the line is complete. All lines before that line are correct.
        let is_open = self.mends(leniency) && self.fields > 0;
        let bytes = if is_open { &bytes[..self.field.min(bytes.len())] } else { bytes };
        match self.section {
            Section::Head => with_parsed_head(bytes, self.fields, |outcome, _| outcome.map(|_| ())),
            Section::Trailers => with_parsed_fields(bytes, self.fields, |outcome| outcome.map(|_| ())),
        }
        .map_err(broken_rule)
    }

    /// Whether field lines of the section may have to be mended.
    fn mends(&self, leniency: Leniency) -> bool {
        self.section == Section::Head && leniency.mends_lines()
    }

    /// Mends the previous field line, unless the current line may be a fold of the previous line.
    fn mend(&mut self, window: &mut [u8], leniency: Leniency) -> Result<(), ProtocolError> {
        let next = window.get(self.at..).unwrap_or_default();
        if self.fields == 0 || matches!(next, [] | [b'\r'] | [b' ' | b'\t', ..]) {
            return Ok(());
        }
        self.mended |= mend(&mut window[..self.at], self.field, leniency)? == Line::Mended;
        Ok(())
    }

    /// Walks over the lines of `window`. Returns the index after the empty line, or `None` if `window` ends before
    /// the empty line.
    fn walk(&mut self, window: &mut [u8], limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        let bare_lf = self.section == Section::Head && limits.leniency.bare_lf_in_head;
        let mends = self.mends(limits.leniency);
        let ignores = mends && limits.leniency.invalid_lines;
        loop {
            if self.at_line_start {
                if mends {
                    self.mend(window, limits.leniency)?;
                }
                match window.get(self.at..).unwrap_or_default() {
                    [] | [b'\r'] => return Ok(None),
                    [b'\r', b'\n', ..] => return Ok(Some(self.at + 2)),
                    [b'\r', ..] => return Err(ProtocolError::BareCarriageReturn),
                    [b'\n', ..] if !bare_lf => return Err(ProtocolError::BareLineFeed),
                    [b'\n', ..] => {
                        self.lenient = true;
                        return Ok(Some(self.at + 1));
                    }
                    [b' ' | b'\t', ..] if self.fields > 0 || !ignores => self.unfold(window, limits)?,
                    _ => {
                        if self.fields >= limits.fields.min(MAX_FIELDS) {
                            return Err(ProtocolError::TooManyFields);
                        }
                        self.fields += 1;
                        self.field = self.at;
                    }
                }
                self.at_line_start = false;
            }

            if !mends {
                self.skip_plain(window, limits.fields.min(MAX_FIELDS));
            }
            let Some(offset) = find_lf(&window[self.at..]) else {
                self.at = window.len();
                return Ok(None);
            };
            let lf = self.at + offset;
            // > a recipient MAY recognize a single LF as a line terminator
            // <https://www.rfc-editor.org/rfc/rfc9112#section-2.2>
            if lf == 0 || window[lf - 1] != b'\r' {
                if !bare_lf {
                    self.at = lf;
                    return Err(ProtocolError::BareLineFeed);
                }
                self.lenient = true;
            }
            self.at = lf + 1;
            self.at_line_start = true;
        }
    }

    /// Advances to the start of the last plain line. A line is plain if CRLF ends the line before it, and if the line
    /// begins with neither a line end nor whitespace.
    fn skip_plain(&mut self, window: &[u8], most: usize) {
        let start = self.at;
        let (words, _) = window[start..].as_chunks::<8>();
        for (index, word) in words.iter().enumerate() {
            let mut hits = line_feeds(*word);
            while hits != 0 {
                let lf = start + index * 8 + hits.trailing_zeros() as usize / 8;
                hits &= hits - 1;
                let is_plain = lf > 0
                    && window[lf - 1] == b'\r'
                    && window.get(lf + 1).is_some_and(|next| !matches!(next, b'\r' | b'\n' | b' ' | b'\t'));
                if !is_plain || self.fields >= most {
                    return;
                }
                self.fields += 1;
                self.at = lf + 1;
                self.field = lf + 1;
            }
        }
    }

    /// Replaces the fold before the current line by spaces.
    ///
    /// > A user agent that receives an obs-fold in a response message that is not within a "message/http" container
    /// > MUST replace each received obs-fold with one or more SP octets prior to interpreting the field value.
    ///
    /// <https://www.rfc-editor.org/rfc/rfc9112#section-5.2>
    fn unfold(&mut self, window: &mut [u8], limits: &Limits) -> Result<(), ProtocolError> {
        // > A recipient that receives whitespace between the start-line and the first header field MUST either reject
        // > the message as invalid or consume each whitespace-preceded line without further processing of it
        // <https://www.rfc-editor.org/rfc/rfc9112#section-2.2>
        if self.fields == 0 {
            return Err(ProtocolError::LeadingWhitespace);
        }
        if !limits.leniency.obs_fold {
            return Err(ProtocolError::ObsoleteFold);
        }
        let lf = self.at - 1;
        window[lf] = b' ';
        window[self.at] = b' ';
        if window[lf - 1] == b'\r' {
            window[lf - 1] = b' ';
        }
        self.lenient |= FRAMING_NAMES.iter().any(|name| {
            window
                .get(self.field..self.field + name.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(name))
        });
        Ok(())
    }
}

/// Removes a head from the start of `buf` and returns it, or `None` if the head is incomplete.
///
/// Fast path: a head that arrives in one piece and has only plain lines needs no scan, and most heads are of this kind.
/// Every other head is scanned. The fast path changes no outcome: the scan would accept every head that the fast path
/// accepts, and the fast path refuses no head.
pub(super) fn receive(
    scan: &mut Scan,
    buf: &mut BytesMut,
    limits: &Limits,
) -> Result<Option<(ResponseHead, Notes)>, ProtocolError> {
    if scan.at == 0 {
        match glance(buf, limits) {
            Glance::Plain(end, parsed) => return Ok(Some(parsed.into_head(buf.split_to(end).freeze()))),
            // httparse has accepted these bytes, so that the next check begins when twice as many bytes have arrived.
            Glance::Open => scan.next_check = buf.len().min(limits.head).saturating_mul(2),
            Glance::Other => {}
        }
    }
    let Some(end) = scan.find_end(buf, limits)? else { return Ok(None) };
    let head = buf.split_to(end).freeze();
    let mut parsed = with_parsed_head(&head, scan.fields, |outcome, response| match outcome {
        Ok(httparse::Status::Complete(_)) => ParsedHead::new(response),
        Ok(httparse::Status::Partial) => Err(ProtocolError::BadStatusLine),
        Err(error) => Err(broken_rule(error)),
    })?;
    (parsed.notes.is_lenient, parsed.notes.is_mended) = (scan.lenient, scan.mended);
    *scan = Scan::head();
    Ok(Some(parsed.into_head(head)))
}

/// The result of parsing a head without a scan.
enum Glance {
    /// The head is complete and has only plain lines. The variant holds the head's size in bytes and the head's parts.
    Plain(usize, ParsedHead),
    /// The head is incomplete and correct so far.
    Open,
    /// The head needs a scan.
    Other,
}

/// Parses the bytes of a new head without a scan.
fn glance(bytes: &[u8], limits: &Limits) -> Glance {
    let window = &bytes[..bytes.len().min(limits.head)];
    // httparse skips empty lines before a head, but the scan refuses empty lines there.
    if !window.starts_with(b"HTTP/") {
        return Glance::Other;
    }
    with_parsed_head(window, 0, |outcome, response| match outcome {
        Ok(httparse::Status::Complete(end))
            if response.headers.len() <= limits.fields.min(MAX_FIELDS)
                && are_lines_plain(&window[..end], response.headers) =>
        {
            ParsedHead::new(response).map_or(Glance::Other, |parsed| Glance::Plain(end, parsed))
        }
        Ok(httparse::Status::Partial) => Glance::Open,
        _ => Glance::Other,
    })
}

/// Whether all lines of a head that httparse has accepted end in CRLF.
///
/// In such a head, httparse accepts no fold, and no empty line before the end. So a line end stands before each name,
/// and the empty line follows the line of the last field.
fn are_lines_plain(head: &[u8], fields: &[Header<'_>]) -> bool {
    let has_plain_start = |field: &Header<'_>| {
        let at = field.name.as_ptr() as usize - head.as_ptr() as usize;
        head[..at].ends_with(b"\r\n")
    };
    head.ends_with(b"\r\n\r\n") && fields.iter().all(has_plain_start)
}

/// The parts of a head that httparse has accepted, apart from the map of its fields.
struct ParsedHead {
    status: StatusCode,
    version: Version,
    notes: Notes,
}

impl ParsedHead {
    fn new(response: &httparse::Response<'_, '_>) -> Result<Self, ProtocolError> {
        let (Some(minor), Some(code)) = (response.version, response.code) else {
            return Err(ProtocolError::BadStatusLine);
        };
        let status = StatusCode::from_u16(code).map_err(|_| ProtocolError::BadStatusCode)?;
        let version = if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
        let mut notes = Notes::default();
        for field in response.headers.iter() {
            // The `http` crate accepts every other field that httparse accepts, so that the map can later be made
            // without an error.
            if field.name.len() > LONGEST_NAME {
                return Err(ProtocolError::BadFieldName);
            }
            notes.note(field.name, field.value);
        }
        Ok(Self { status, version, notes })
    }

    fn into_head(self, head: Bytes) -> (ResponseHead, Notes) {
        let Notes { is_coded, is_mended, .. } = self.notes;
        (ResponseHead::new(self.status, self.version, is_coded, is_mended, head), self.notes)
    }
}

/// Reads a whole trailer section that [`Scan::find_end`] has prepared. Returns `None` if it has no allowed trailers.
///
/// > A recipient MUST NOT merge a received trailer field into the header section unless the recipient understands the
/// > corresponding header field definition and that definition explicitly permits
///
/// <https://www.rfc-editor.org/rfc/rfc9110#section-6.5.1>. A field with a forbidden name is checked like an allowed
/// field and then dropped, so that no caller mistakes the field for a field of the head.
pub(super) fn parse_trailers(section: &Bytes, scan: &Scan) -> Result<Option<HeaderMap>, ProtocolError> {
    if scan.fields == 0 {
        return Ok(None);
    }
    with_parsed_fields(section, scan.fields, |outcome| {
        let httparse::Status::Complete((_, fields)) = outcome.map_err(broken_rule)? else {
            return Err(ProtocolError::BadFieldName);
        };
        let (mut trailers, mut dropped) = (HeaderMap::new(), HeaderMap::new());
        trailers.try_reserve(fields.len()).map_err(|_| ProtocolError::TooManyFields)?;
        Names::with(|names| {
            fields.iter().try_for_each(|field| {
                // A field that will be dropped is checked too.
                let map = if is_forbidden(field.name.as_bytes()) { &mut dropped } else { &mut trailers };
                store(section, field.name.as_bytes(), field.value, names, map)
            })
        })?;
        Ok(Some(trailers).filter(|trailers| !trailers.is_empty()))
    })
}

impl Notes {
    /// Notes one field. The length of the name is compared first, so that most fields cost only this comparison.
    fn note(&mut self, name: &str, value: &[u8]) {
        match name.len() {
            10 if name.eq_ignore_ascii_case("connection") => {
                // Options are case-insensitive; <https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1>
                for option in elements(value) {
                    self.says_close |= option.eq_ignore_ascii_case(b"close");
                    self.says_keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            10 if name.eq_ignore_ascii_case("keep-alive") => self.keep_alive.note(value),
            14 if name.eq_ignore_ascii_case("content-length") => self.framing.length.note(value),
            16 if name.eq_ignore_ascii_case("content-encoding") => self.is_coded = true,
            17 if name.eq_ignore_ascii_case("transfer-encoding") => self.framing.coding.note(value),
            _ => {}
        }
    }
}

impl KeepAlive {
    /// Notes one `Keep-Alive` line. A later parameter replaces an earlier parameter of the same name.
    fn note(&mut self, value: &[u8]) {
        for parameter in value.split(|&byte| byte == b',' || byte == b';') {
            let mut halves = parameter.splitn(2, |&byte| byte == b'=');
            let name = halves.next().unwrap_or_default().trim_ascii();
            let number = halves.next().unwrap_or_default().trim_ascii();
            let number =
                number.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(number);
            let Some(number) = parse_decimal(number) else { continue };
            if name.eq_ignore_ascii_case(b"timeout") {
                self.timeout = Some(Duration::from_secs(number));
            } else if name.eq_ignore_ascii_case(b"max") {
                self.max = Some(number);
            }
        }
    }
}

/// Checks `HTTP/1.x`, or the part of the version that has arrived, and replaces a minor version above 1 by 1. Returns
/// the number of checked bytes.
///
/// > a recipient that receives a message with a major version number that it implements and a minor version number
/// > higher than what it implements SHOULD process the message as if it was in the highest minor version
///
/// <https://www.rfc-editor.org/rfc/rfc9110#section-2.5>
fn check_version(bytes: &mut [u8]) -> Result<usize, ProtocolError> {
    let mut at = 0;
    for byte in bytes.iter_mut().take(STATUS_LINE_VERSION) {
        match (at, *byte) {
            (5, b'1') => {}
            (5, b'0'..=b'9') => return Err(ProtocolError::UnsupportedVersion),
            (7, b'0' | b'1') => {}
            (7, b'2'..=b'9') => *byte = b'1',
            (6 | 7, _) if at == 7 || *byte != b'.' => return Err(ProtocolError::BadStatusLine),
            (0..=4 | 6, byte) if byte == b"HTTP/1."[at] => {}
            _ => return Err(ProtocolError::NotHttp),
        }
        at += 1;
    }
    Ok(at)
}

/// Parses a head with httparse, and returns the result of `read`, which gets the outcome. There is space for
/// `fields` fields. The space is on the stack unless there are more than [`STACK_FIELDS`] fields.
fn with_parsed_head<R>(
    bytes: &[u8],
    fields: usize,
    read: impl FnOnce(Result<httparse::Status<usize>, httparse::Error>, &httparse::Response<'_, '_>) -> R,
) -> R {
    fn run<'b, R>(
        bytes: &'b [u8],
        slots: &mut [MaybeUninit<Header<'b>>],
        read: impl FnOnce(Result<httparse::Status<usize>, httparse::Error>, &httparse::Response<'_, '_>) -> R,
    ) -> R {
        let mut response = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let outcome = config.parse_response_with_uninit_headers(&mut response, bytes, slots);
        read(outcome, &response)
    }
    if fields <= STACK_FIELDS {
        run(bytes, &mut [const { MaybeUninit::uninit() }; STACK_FIELDS], read)
    } else {
        let mut slots = Vec::new();
        slots.resize_with(fields, MaybeUninit::uninit);
        run(bytes, &mut slots, read)
    }
}

/// Parses a trailer section, which has fields but no status line, with httparse. Returns the result of the closure that
/// gets the outcome.
fn with_parsed_fields<R>(
    bytes: &[u8],
    fields: usize,
    read: impl FnOnce(Result<httparse::Status<(usize, &[Header<'_>])>, httparse::Error>) -> R,
) -> R {
    if fields <= STACK_FIELDS {
        read(httparse::parse_headers(bytes, &mut [httparse::EMPTY_HEADER; STACK_FIELDS]))
    } else {
        read(httparse::parse_headers(bytes, &mut vec![httparse::EMPTY_HEADER; fields]))
    }
}

/// The length of `HTTP/1.1`.
const STATUS_LINE_VERSION: usize = 8;
/// Number of fields that fit into the space on the stack. This space takes 4 KiB and is never initialised.
const STACK_FIELDS: usize = 128;
/// Largest number of fields that is accepted, even if the limits allow more.
const MAX_FIELDS: usize = 4096;
/// Length of the longest name that the `http` crate accepts.
const LONGEST_NAME: usize = 65_535;
/// Names of fields in which a fold may hide the framing of the message from a proxy.
const FRAMING_NAMES: [&[u8]; 3] = [b"content-length", b"transfer-encoding", b"connection"];

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that only plain heads are read without a scan. A head that arrives in pieces is scanned, so that the
    /// tests that split their input show that the scan and the fast path have the same outcome.
    #[test]
    fn only_plain_heads_skip_the_scan() {
        let limits = Limits { head: 60, fields: 2, ..Limits::default() };
        let fits = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(60 - 17 - 7));
        for (head, expected) in [
            ("HTTP/1.1 200 OK\r\nA: b\r\n\r\n", "plain"),
            ("HTTP/1.0 299\r\nA:\r\nB: \t \r\n\r\n", "plain"),
            ("HTTP/1.1 204 \r\n\r\n", "plain"),
            (&*fits, "plain"),
            (&fits.replace(": ", ": c"), "open"),
            ("", "other"),
            ("HTTP/1", "open"),
            ("HTTP/1.1 200 OK\r\nA: b\r\n", "open"),
            ("HTTP/1.1 200 OK\r\nA: b\r\n\r", "open"),
            ("\r\nHTTP/1.1 200 OK\r\n\r\n", "other"),
            ("HTTP/1.2 200 OK\r\n\r\n", "other"),
            ("HTTP/1.1 200 OK\n\r\n", "other"),
            ("HTTP/1.1 200 OK\r\n\n", "other"),
            ("HTTP/1.1 200 OK\nA: b\r\n\r\n", "other"),
            ("HTTP/1.1 200 OK\r\nA: b\n\r\n", "other"),
            ("HTTP/1.1 200 OK\r\nA: b\r\n\n", "other"),
            ("HTTP/1.1 200 OK\r\nA: b \nB:\r\n\r\n", "other"),
            ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", "other"),
            ("HTTP/1.1 200 OK\r\n A: b\r\n\r\n", "other"),
            ("HTTP/1.1 200 OK\r\nA: b\r\n ", "other"),
            ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "other"),
            ("HTTP/1.1 200 OK\r\nA:\r\nB:\r\nC:\r\n\r\n", "other"),
            ("HTTP/1.1 099 OK\r\n\r\n", "other"),
        ] {
            for body in ["", "HTTP/1.1 200\n\n"] {
                let wire = [head, body].concat();
                let glanced = match glance(wire.as_bytes(), &limits) {
                    Glance::Plain(end, _) if end == head.len() => "plain",
                    Glance::Plain(..) => "elsewhere",
                    Glance::Open => "open",
                    Glance::Other => "other",
                };
                // If the head is incomplete and a body follows, the bytes are a different head, which is not plain
                // either.
                let is_other = expected != "plain" && !body.is_empty() && matches!(glanced, "open" | "other");
                assert!(glanced == expected || is_other, "{wire:?}: {glanced}");
            }
        }
    }

    #[test]
    fn keep_alive_hints_are_read() {
        for (value, timeout, max) in [
            ("timeout=5, max=100", Some(5), Some(100)),
            ("Timeout = 5", Some(5), None),
            ("timeout=\"7\"", Some(7), None),
            ("max=0", None, Some(0)),
            ("timeout=-1, max=x, =, ;;", None, None),
            ("timeout=99999999999999999999", None, None),
            ("timeout=18446744073709551615", Some(u64::MAX), None),
            ("115", None, None),
            ("", None, None),
        ] {
            let mut keep_alive = KeepAlive::default();
            keep_alive.note(value.as_bytes());
            assert_eq!(keep_alive, KeepAlive { timeout: timeout.map(Duration::from_secs), max }, "{value}");
        }
    }

    #[test]
    fn versions_are_checked_and_replaced() {
        for (bytes, expected) in [
            (&b"HTTP/1.1 200"[..], Ok(8)),
            (b"HTTP/1.0", Ok(8)),
            (b"HTTP/1.9 ", Ok(8)),
            (b"HTTP/1", Ok(6)),
            (b"", Ok(0)),
            (b"HTTP/2", Err(ProtocolError::UnsupportedVersion)),
            (b"HTTP/0.9", Err(ProtocolError::UnsupportedVersion)),
            (b"HTTP/11.1", Err(ProtocolError::BadStatusLine)),
            (b"HTTP/1.x", Err(ProtocolError::BadStatusLine)),
            (b"HTTP/1.\n", Err(ProtocolError::BadStatusLine)),
            (b"http/1.1", Err(ProtocolError::NotHttp)),
            (b"HTTP/x", Err(ProtocolError::NotHttp)),
            (b"\r\nHTTP/1.1", Err(ProtocolError::NotHttp)),
            (b"S", Err(ProtocolError::NotHttp)),
        ] {
            let mut bytes = bytes.to_vec();
            assert_eq!(check_version(&mut bytes), expected, "{bytes:?}");
            assert!(!bytes.starts_with(b"HTTP/1.9"));
        }
    }
}
