//! Responses as RFC 9112 defines them, read from all received bytes at once.
//!
//! The reference does not know how the bytes were split. The reference uses nothing of the codec except the
//! documented limits and leniencies. The code of the reference is simple instead of fast. Invariant: the codec must accept
//! exactly the responses that the reference reads as complete.

use handclasp::codec::{Framing, Leniency, Limits};
use http::{Method, Version};

use super::Plan;
use super::seen::{Field, Head, Seen, elements, grouped, is_no_trailer, is_text, is_token, trim, values};

/// A response as RFC 9112 defines it, read from all received bytes at once.
pub(super) struct Reference {
    pub(super) seen: Vec<Seen>,
    pub(super) end: End,
    /// Whether the response broke a rule that a leniency forgives.
    pub(super) is_lenient: bool,
    /// Whether a leniency may have changed the framing.
    pub(super) is_framed_leniently: bool,
    /// Whether a line of a head is not a field, or has blanks before its colon.
    pub(super) is_mended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    Complete {
        used: usize,
    },
    Refused,
    Cut,
    /// The outcome depends on the progress of the upload.
    Depends,
}

impl Reference {
    pub(super) fn read(plan: &Plan, wire: &[u8]) -> Self {
        let (is_lenient, is_framed_leniently, is_mended) = (false, false, false);
        let mut read = Self { seen: Vec::new(), end: End::Cut, is_lenient, is_framed_leniently, is_mended };
        let (mut at, mut interim, mut interim_bytes) = (0, 0, 0);
        let limits = &plan.limits;
        let (head, framing) = loop {
            let mut section = Section::default();
            let head = section.read_head(&wire[at..], limits);
            read.is_lenient |= section.has_bare_lf || section.has_fold;
            read.is_framed_leniently |= section.has_bare_lf || section.has_framing_fold;
            read.is_mended |= section.is_mended;
            let head = match head {
                Ok(head) => head,
                Err(end) => {
                    read.end = end;
                    return read;
                }
            };
            at += section.used;
            if head.status == 101 {
                if plan.offers && plan.has_body() {
                    read.end = End::Depends;
                    return read;
                }
                if !plan.may_switch(&head) {
                    read.end = End::Refused;
                    return read;
                }
                break (head, Framing::Tunnel);
            }
            if (100..200).contains(&head.status) {
                interim += 1;
                interim_bytes += section.used;
                let is_too_much =
                    interim > limits.informational || interim_bytes > limits.informational_bytes;
                if is_too_much {
                    read.end = End::Refused;
                    return read;
                }
                read.seen.push(Seen::Interim(head));
                continue;
            }
            match framing(&plan.method, &head, limits.leniency) {
                Some(framing) => break (head, framing),
                None => {
                    read.end = End::Refused;
                    return read;
                }
            }
        };
        if framing == Framing::Chunked && values(&head, "content-length").next().is_some() {
            (read.is_lenient, read.is_framed_leniently) = (true, true);
        }
        if framing == Framing::None && is_contradictory(&head) {
            (read.is_lenient, read.is_framed_leniently) = (true, true);
        }
        read.seen.push(Seen::Head(head));
        let rest = &wire[at..];
        let mut body = Body::default();
        read.end = match framing {
            Framing::Length(length) => {
                let there = rest.len().min(usize::try_from(length).unwrap_or(usize::MAX));
                body.content.extend_from_slice(&rest[..there]);
                if there as u64 == length { End::Complete { used: there } } else { End::Cut }
            }
            Framing::Chunked => body.read_chunks(rest, limits),
            Framing::UntilClose => {
                body.content.extend_from_slice(rest);
                if plan.closes { End::Complete { used: rest.len() } } else { End::Cut }
            }
            _ => End::Complete { used: 0 },
        };
        read.is_lenient |= body.is_lenient;
        read.is_framed_leniently |= body.is_lenient;
        if !body.content.is_empty() {
            read.seen.push(Seen::Data(body.content));
        }
        read.seen.extend(body.trailers.map(Seen::Trailers));
        if let End::Complete { used } = &mut read.end {
            *used += at;
            read.seen.push(Seen::End);
        }
        read
    }
}

/// A chunked body, <https://www.rfc-editor.org/rfc/rfc9112#section-7.1>.
#[derive(Default)]
pub(super) struct Body {
    pub(super) content: Vec<u8>,
    pub(super) trailers: Option<Vec<Field>>,
    /// Whether an empty extension, or blanks after a size, were accepted.
    is_lenient: bool,
}

impl Body {
    pub(super) fn read_chunks(&mut self, wire: &[u8], limits: &Limits) -> End {
        match self.chunks(wire, limits) {
            Ok(used) => End::Complete { used },
            Err(end) => end,
        }
    }

    fn chunks(&mut self, wire: &[u8], limits: &Limits) -> Result<usize, End> {
        let (mut at, mut extensions) = (0, 0);
        loop {
            // The grammar is `chunk-size = 1*HEXDIG`. A size of more than 16 digits is refused, but leading zeros do
            // not count.
            let digits = wire[at..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            let zeros = wire[at..at + digits].iter().take_while(|&&byte| byte == b'0').count();
            if digits - zeros > 16 {
                return Err(End::Refused);
            }
            let size = std::str::from_utf8(&wire[at..at + digits]).unwrap();
            let beyond = digits.saturating_sub(16);
            at += digits;
            let line = &wire[at..];
            if digits == 0 {
                return Err(if line.is_empty() { End::Cut } else { End::Refused });
            }
            let size = u64::from_str_radix(size, 16).unwrap();
            // The grammar is `[ chunk-ext ]`. The bytes of all extensions count towards the limit.
            let length = line.iter().take_while(|&&byte| is_text(byte)).count();
            let blank = line.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            extensions += beyond + length;
            let most = limits.chunk_extensions.saturating_add(self.content.len());
            if extensions > most || beyond + length > limits.chunk_line {
                return Err(End::Refused);
            }
            let extension = &line[..length];
            let is_blank = length > 0 && length == blank;
            if is_blank {
                if length == line.len() {
                    return Err(End::Cut);
                }
                if !limits.leniency.blanks_after_chunk_size || line[length] != b'\r' {
                    return Err(End::Refused);
                }
            } else if !is_extension(extension, limits.leniency.empty_chunk_extensions) {
                return Err(End::Refused);
            }
            let is_empty = is_extension(extension, true) && !is_extension(extension, false);
            self.is_lenient |= is_blank || is_empty;
            at += length + crlf(&line[length..])?;
            if size == 0 {
                break;
            }
            let there = wire[at..].len().min(usize::try_from(size).unwrap_or(usize::MAX));
            self.content.extend_from_slice(&wire[at..at + there]);
            at += there;
            if (there as u64) < size {
                return Err(End::Cut);
            }
            at += crlf(&wire[at..])?;
        }
        let mut section = Section::default();
        let mut fields = grouped(as_slices(&section.read_trailers(&wire[at..], limits)?));
        fields.retain(|(name, _)| !is_no_trailer(name));
        fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.trailers = (!fields.is_empty()).then_some(fields);
        Ok(at + section.used)
    }
}

fn crlf(bytes: &[u8]) -> Result<usize, End> {
    match bytes {
        [] | [b'\r'] => Err(End::Cut),
        [b'\r', b'\n', ..] => Ok(2),
        _ => Err(End::Refused),
    }
}

/// A section of lines that ends with an empty line, <https://www.rfc-editor.org/rfc/rfc9112#section-2.2>.
#[derive(Default)]
struct Section {
    used: usize,
    has_bare_lf: bool,
    has_fold: bool,
    /// Whether a folded field is one that frames the message or says how long the connection lasts.
    has_framing_fold: bool,
    /// Whether a line is not a field, or has blanks before its colon.
    is_mended: bool,
}

impl Section {
    fn read_head(&mut self, wire: &[u8], limits: &Limits) -> Result<Head, End> {
        let lines = self.lines(wire, limits.leniency.bare_lf_in_head);
        let (lines, used) = lines.ok_or_else(|| unfinished(wire))?;
        self.used = used;
        let (first, lines) = lines.split_first().ok_or(End::Refused)?;
        let (version, rest) = first.0.split_at_checked(9).ok_or(End::Refused)?;
        let version = match version {
            b"HTTP/1.0 " => Version::HTTP_10,
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9', b' '] => Version::HTTP_11,
            _ => return Err(End::Refused),
        };
        // Old servers that omit the reason phrase also omit the SP before it.
        let (code, rest) = rest.split_at_checked(3).ok_or(End::Refused)?;
        let reason = match rest {
            [] => rest,
            [b' ', reason @ ..] => reason,
            _ => return Err(End::Refused),
        };
        let is_code = code.iter().all(u8::is_ascii_digit) && code[0] != b'0';
        if !is_code || !reason.iter().all(|&byte| is_text(byte)) || used > limits.head {
            return Err(End::Refused);
        }
        let status = std::str::from_utf8(code).unwrap().parse().unwrap();
        let written = self.fields(lines, limits, limits.leniency)?;
        let fields = grouped(as_slices(&written));
        let reason = if self.is_mended { reason.trim_ascii_end() } else { reason };
        Ok(Head { status, version, reason: reason.to_vec(), fields, written })
    }

    /// Returns the fields of a trailer section, in which a bare LF never ends a line.
    fn read_trailers(&mut self, wire: &[u8], limits: &Limits) -> Result<Vec<Written>, End> {
        let lines = self.lines(wire, false);
        let (lines, used) = lines.ok_or_else(|| unfinished(wire))?;
        self.used = used;
        if used > limits.trailers.saturating_add(2) {
            return Err(End::Refused);
        }
        let mut leniency = limits.leniency;
        (leniency.blanks_before_colon, leniency.invalid_lines) = (false, false);
        self.fields(&lines, limits, leniency)
    }

    /// Returns the lines before the first empty line, and the number of bytes up to the end of the empty line. For a bare LF
    /// that `bare_lf` does not allow, returns a line that every caller refuses.
    fn lines<'a>(&mut self, wire: &'a [u8], bare_lf: bool) -> Option<(Vec<Line<'a>>, usize)> {
        let (mut lines, mut start, mut at) = (Vec::new(), 0, 0);
        loop {
            at += wire[at..].iter().position(|&byte| byte == b'\n')? + 1;
            let line = &wire[start..at - 1];
            let (line, end) = match line.strip_suffix(b"\r") {
                Some(line) => (line, 2),
                None if bare_lf => {
                    self.has_bare_lf = true;
                    (line, 1)
                }
                None => return Some((vec![(b"\n", 0)], at)),
            };
            if line.is_empty() {
                return Some((lines, at));
            }
            lines.push((line, end));
            start = at;
        }
    }

    fn fields(
        &mut self,
        lines: &[Line<'_>],
        limits: &Limits,
        leniency: Leniency,
    ) -> Result<Vec<Written>, End> {
        // > A user agent that receives an obs-fold [...] MUST replace each received obs-fold with one or more SP octets
        // <https://www.rfc-editor.org/rfc/rfc9112#section-5.2>
        let mut whole: Vec<(Vec<u8>, usize)> = Vec::new();
        for &(line, end) in lines {
            match (line, whole.last_mut()) {
                ([b' ' | b'\t', rest @ ..], Some((before, before_end))) if limits.leniency.obs_fold => {
                    self.has_fold = true;
                    let name = before.split(|&byte| byte == b':').next().unwrap_or_default();
                    self.has_framing_fold |= ["content-length", "transfer-encoding", "connection"]
                        .iter()
                        .any(|framing| name.eq_ignore_ascii_case(framing.as_bytes()));
                    before.resize(before.len() + *before_end + 1, b' ');
                    before.extend_from_slice(rest);
                    *before_end = end;
                }
                _ => whole.push((line.to_vec(), end)),
            }
        }
        if whole.len() > limits.fields.min(4096) {
            return Err(End::Refused);
        }
        let mut fields = Vec::new();
        for (index, (line, _)) in whole.into_iter().enumerate() {
            if let Some(field) = field(&line) {
                fields.push(field);
                continue;
            }
            let is_fold = index > 0 && matches!(line[0], b' ' | b'\t');
            if is_fold || line.iter().any(|byte| b"\0\r\n".contains(byte)) || may_frame(&line) {
                return Err(End::Refused);
            }
            self.is_mended = true;
            match without_blanks(&line).and_then(|line| field(&line)).filter(|_| leniency.blanks_before_colon)
            {
                Some(field) => fields.push(field),
                None if leniency.invalid_lines => {}
                None => return Err(End::Refused),
            }
        }
        Ok(fields)
    }
}

/// Returns the name and the value of a line, or `None` if the line is not a field.
fn field(line: &[u8]) -> Option<Written> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let value = trim(&line[colon + 1..]);
    let is_field = is_token(&line[..colon]) && value.iter().all(|&byte| is_text(byte));
    is_field.then(|| (line[..colon].to_vec(), value.to_vec()))
}

/// Returns the line without the blanks before its first colon, or `None` if the line has no colon.
fn without_blanks(line: &[u8]) -> Option<Vec<u8>> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let name = &line[..colon];
    let size = name.iter().rposition(|byte| !matches!(byte, b' ' | b'\t')).map_or(0, |last| last + 1);
    Some([&name[..size], &line[colon..]].concat())
}

/// Whether the name of the line has the letters of a field that frames the message, whatever other bytes stand between the
/// letters. The name ends at the first colon after its first letter.
fn may_frame(line: &[u8]) -> bool {
    let mut name = String::new();
    for &byte in line {
        match byte {
            b':' if !name.is_empty() => break,
            byte if is_token(&[byte]) => name.push(byte.to_ascii_lowercase() as char),
            _ => {}
        }
    }
    name.contains("content-length") || name.contains("transfer-encoding")
}

fn as_slices(fields: &[Written]) -> impl Iterator<Item = (&[u8], &[u8])> {
    fields.iter().map(|(name, value)| (&name[..], &value[..]))
}

/// Whether the bytes match `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`, without whitespace at the end.
/// With `may_be_empty`, a name or a value may be missing.
fn is_extension(mut rest: &[u8], may_be_empty: bool) -> bool {
    fn past(bytes: &[u8], is_of: impl Fn(u8) -> bool) -> &[u8] {
        &bytes[bytes.iter().take_while(|&&byte| is_of(byte)).count()..]
    }
    let past_blank = |bytes| past(bytes, |byte| matches!(byte, b' ' | b'\t'));
    let past_token = |bytes| past(bytes, |byte| is_token(&[byte]));
    if matches!(rest, [.., b' ' | b'\t']) {
        return false;
    }
    while !rest.is_empty() {
        let [b';', part @ ..] = past_blank(rest) else { return false };
        let name = past_blank(part);
        rest = past_token(name);
        if rest.len() == name.len() && !may_be_empty {
            return false;
        }
        if let [b'=', value @ ..] = past_blank(rest) {
            rest = match past_blank(value) {
                [b'"', quoted @ ..] => {
                    let mut quoted = quoted;
                    loop {
                        match quoted {
                            [b'"', behind @ ..] => break behind,
                            [b'\\', _, behind @ ..] | [_, behind @ ..] => quoted = behind,
                            [] => return false,
                        }
                    }
                }
                token if past_token(token).len() == token.len() && !may_be_empty => return false,
                token => past_token(token),
            };
        }
    }
    true
}

/// A line without its line end, and the length of the line end.
type Line<'a> = (&'a [u8], usize);

/// Name and value of a field, with the bytes as they were written.
type Written = (Vec<u8>, Vec<u8>);

/// Returns how a section without an empty line ends. Such a section is refused, either because it is cut off or because of
/// its content.
fn unfinished(section: &[u8]) -> End {
    if section.is_empty() { End::Cut } else { End::Refused }
}

/// Returns how the body is framed by <https://www.rfc-editor.org/rfc/rfc9112#section-6.3>, or `None` if the response is
/// refused.
pub(super) fn framing(method: &Method, head: &Head, leniency: Leniency) -> Option<Framing> {
    if *method == Method::CONNECT && (200..300).contains(&head.status) {
        return Some(Framing::Tunnel);
    }
    if *method == Method::HEAD || matches!(head.status, 100..=199 | 204 | 304) {
        return Some(Framing::None);
    }
    let (lengths, mut codings) =
        (elements(values(head, "content-length")), elements(values(head, "transfer-encoding")));
    if !codings.is_empty() {
        if !lengths.is_empty() && !leniency.length_with_transfer_encoding {
            return None;
        }
        codings.retain(|coding| !coding.is_empty());
        return match &codings[..] {
            [coding] if coding == "chunked" => Some(Framing::Chunked),
            [_, ..] if codings.iter().all(|coding| coding == "identity") => Some(Framing::UntilClose),
            _ => None,
        };
    }
    if lengths.is_empty() { Some(Framing::UntilClose) } else { length(&lengths).map(Framing::Length) }
}

/// Whether the head announces a body that a response of its kind cannot have.
fn is_contradictory(head: &Head) -> bool {
    let lengths = elements(values(head, "content-length"));
    let is_coded = values(head, "transfer-encoding").next().is_some();
    match (lengths.is_empty(), is_coded) {
        (false, true) => true,
        (false, false) => length(&lengths).is_none(),
        (true, is_coded) => is_coded && head.status == 204,
    }
}

/// Parses the values of `Content-Length`. Returns `None` unless all of them are the same number in the same spelling.
fn length(said: &[String]) -> Option<u64> {
    let first = said.first().filter(|first| said.iter().all(|other| other == *first))?;
    if first.bytes().all(|byte| byte.is_ascii_digit()) { first.parse().ok() } else { None }
}
