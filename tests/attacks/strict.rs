//! A strict reader of requests, and a server that answers every request that the reader accepts and records all
//! requests.
//!
//! The reader shares no code with the crate, and accepts nothing that RFC 9112 does not allow a client to send. The
//! reader knows nothing about responses, except that a client may wait for a `100 Continue`.

use std::sync::{Arc, Mutex};

use super::support::Server;

/// A request as a strict recipient reads it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Parsed {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Names of the fields as they were written, and values without the whitespace around them.
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, Vec<u8>)>,
    /// All bytes of the request, as they came over the wire.
    pub(crate) raw: Vec<u8>,
}

impl Parsed {
    /// Returns all values of the field `name`.
    pub(crate) fn values(&self, name: &str) -> Vec<&[u8]> {
        let same = |(field, _): &&(String, Vec<u8>)| field.eq_ignore_ascii_case(name);
        self.fields.iter().filter(same).map(|(_, value)| &value[..]).collect()
    }

    /// Returns the elements of the list field `name` in lower case.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let lines =
            self.values(name).into_iter().map(|line| String::from_utf8_lossy(line).to_ascii_lowercase());
        lines
            .flat_map(|line| line.split(',').map(|member| member.trim().to_owned()).collect::<Vec<_>>())
            .collect()
    }
}

/// Reason why the bytes are not a whole request.
#[derive(Debug, PartialEq)]
pub(crate) enum Unread {
    /// The reader needs more bytes: of the head, or of the body if the head is complete.
    More {
        has_head: bool,
        expects: bool,
    },
    Bad(&'static str),
}

/// Reads the request at the beginning of `bytes`, and returns it or the reason why there is none.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, Unread> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Err(Unread::More { has_head: false, expects: false });
    };
    let mut lines = split_lines(&bytes[..end + 2])?.into_iter();
    let line = lines.next().ok_or(Unread::Bad("no request line"))?;
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, b"HTTP/1.1"] = words[..] else { return Err(Unread::Bad("the request line")) };
    if !is_token(method) {
        return Err(Unread::Bad("the method"));
    }
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut parsed = Parsed { method: text(method), fields: fields(lines)?, ..Parsed::default() };
    if target.is_empty() || !target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
        return Err(Unread::Bad("the target"));
    }
    parsed.target = text(target);
    let is_form = match &*parsed.target {
        "*" => parsed.method == "OPTIONS",
        target if parsed.method == "CONNECT" => target
            .rsplit_once(':')
            .is_some_and(|(host, port)| is_host(host.as_bytes()) && port.parse::<u16>().is_ok()),
        target => {
            let rest = target.strip_prefix("http://").or_else(|| target.strip_prefix("https://"));
            let authority = rest.map(|rest| rest.split(['/', '?']).next().unwrap_or_default());
            target.starts_with('/')
                || authority.is_some_and(|authority| is_host_and_port(authority.as_bytes()))
        }
    };
    if !is_form {
        return Err(Unread::Bad("the form of the target"));
    }
    match parsed.values("host")[..] {
        [host] if is_host_and_port(host) => {}
        [_] => return Err(Unread::Bad("the host")),
        _ => return Err(Unread::Bad("the request has no Host field, or several")),
    }
    for (name, option) in [("te", "te"), ("upgrade", "upgrade"), ("keep-alive", "keep-alive")] {
        if !parsed.values(name).is_empty() && !parsed.list("connection").iter().any(|named| named == option) {
            return Err(Unread::Bad("a field of the connection that Connection does not name"));
        }
    }
    let expects = parsed.list("expect").iter().any(|expectation| expectation == "100-continue");
    let used = read_body(&mut parsed, &bytes[end + 4..]).map_err(|unread| match unread {
        Unread::More { .. } => Unread::More { has_head: true, expects },
        bad => bad,
    })?;
    if bytes.len() > end + 4 + used {
        return Err(Unread::Bad("bytes behind the request"));
    }
    parsed.raw = bytes.to_vec();
    Ok(parsed)
}

/// Reads the body, and returns the number of bytes that it takes on the wire.
fn read_body(parsed: &mut Parsed, rest: &[u8]) -> Result<usize, Unread> {
    const MORE: Unread = Unread::More { has_head: true, expects: false };
    let (lengths, codings) = (parsed.values("content-length"), parsed.values("transfer-encoding"));
    match (&lengths[..], &codings[..]) {
        ([], []) => Ok(0),
        ([length], []) => {
            if length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
                return Err(Unread::Bad("the content-length"));
            }
            let length: usize = std::str::from_utf8(length).unwrap().parse().unwrap();
            parsed.body = rest.get(..length).ok_or(MORE)?.to_vec();
            Ok(length)
        }
        ([], [b"chunked"]) => {
            let mut at = 0;
            loop {
                let line = rest[at..].windows(2).position(|window| window == b"\r\n").ok_or(MORE)?;
                let digits = &rest[at..at + line];
                if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(Unread::Bad("a chunk's size"));
                }
                let size = usize::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
                at += line + 2;
                if size == 0 {
                    break;
                }
                let chunk = rest.get(at..at + size + 2).ok_or(MORE)?;
                parsed
                    .body
                    .extend_from_slice(chunk.strip_suffix(b"\r\n").ok_or(Unread::Bad("a chunk's end"))?);
                at += size + 2;
            }
            let section = &rest[at..];
            if section.starts_with(b"\r\n") {
                return Ok(at + 2);
            }
            let end = section.windows(4).position(|window| window == b"\r\n\r\n").ok_or(MORE)?;
            parsed.trailers = fields(split_lines(&section[..end + 2])?.into_iter())?;
            Ok(at + end + 4)
        }
        _ => Err(Unread::Bad("the request has several statements about the length")),
    }
}

/// Returns the lines of `bytes`. Each line must end with CRLF and contain no other CR or LF.
fn split_lines(bytes: &[u8]) -> Result<Vec<&[u8]>, Unread> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let end =
            rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')).ok_or(Unread::Bad("a line's end"))?;
        lines.push(&rest[..end]);
        rest = rest[end..].strip_prefix(b"\r\n").ok_or(Unread::Bad("a bare CR or LF"))?;
    }
    Ok(lines)
}

fn fields<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Result<Vec<(String, Vec<u8>)>, Unread> {
    let mut fields = Vec::new();
    for line in lines {
        let colon =
            line.iter().position(|byte| *byte == b':').ok_or(Unread::Bad("a field without a colon"))?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if !is_token(name) {
            return Err(Unread::Bad("a field's name"));
        }
        // > field-vchar = VCHAR / obs-text
        if !value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..)) {
            return Err(Unread::Bad("a field's value"));
        }
        fields.push((String::from_utf8(name.to_vec()).unwrap(), value.to_vec()));
    }
    Ok(fields)
}

pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

fn is_host_and_port(value: &[u8]) -> bool {
    let host_end = match value.iter().rposition(|byte| *byte == b':') {
        Some(colon) if value[colon + 1..].iter().all(u8::is_ascii_digit) => colon,
        _ => value.len(),
    };
    is_host(&value[..host_end])
}

/// Whether the bytes are a host.
///
/// > host = IP-literal / IPv4address / reg-name
fn is_host(host: &[u8]) -> bool {
    if let Some(literal) = host.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) {
        return literal.iter().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(byte));
    }
    let is_reg = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte);
    !host.is_empty() && host.iter().all(is_reg)
}

/// A server that answers and records every request that the strict reader accepts. If the reader refuses a request,
/// the server records the error and closes the connection.
pub(crate) struct Recorder {
    pub(crate) server: Server,
    heard: Arc<Mutex<Vec<Result<Parsed, String>>>>,
}

impl Recorder {
    pub(crate) fn start() -> Self {
        let heard = Arc::<Mutex<Vec<_>>>::default();
        let hears = Arc::clone(&heard);
        let server = Server::start(move |peer| {
            loop {
                let (mut bytes, mut is_continued) = (Vec::new(), false);
                let request = loop {
                    match peer.take(1) {
                        Ok(byte) => bytes.extend(byte),
                        Err(_) if bytes.is_empty() => return Ok(()),
                        Err(_) => break Err("the request is incomplete"),
                    }
                    match parse(&bytes) {
                        Ok(request) => break Ok(request),
                        Err(Unread::Bad(what)) => break Err(what),
                        Err(Unread::More { has_head: true, expects: true }) if !is_continued => {
                            is_continued = true;
                            peer.send("HTTP/1.1 100 Continue\r\n\r\n")?;
                        }
                        Err(Unread::More { .. }) => {}
                    }
                };
                let is_good = request.is_ok();
                let is_head = request.as_ref().is_ok_and(|request| request.method == "HEAD");
                let told = request.map_err(|what| format!("{what}: {}", bytes.escape_ascii()));
                hears.lock().unwrap().push(told);
                if !is_good {
                    return peer
                        .send("HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
                }
                let content = if is_head { "" } else { "ok" };
                peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{content}"))?;
            }
        });
        Self { server, heard }
    }

    /// Returns the number of recorded requests, including those that the reader refused.
    pub(crate) fn count(&self) -> usize {
        self.heard.lock().unwrap().len()
    }

    /// Returns the last recorded request, or the error if the reader refused it.
    pub(crate) fn last(&self) -> Result<Parsed, String> {
        self.heard.lock().unwrap().last().cloned().unwrap()
    }
}

#[test]
fn the_reader_is_strict() {
    let good = b"PUT /a?b HTTP/1.1\r\nhost: h:1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx: y\r\n\r\n";
    let parsed = parse(good).unwrap();
    assert_eq!((&*parsed.method, &*parsed.target, &parsed.body[..]), ("PUT", "/a?b", &b"hello"[..]));
    assert_eq!(parsed.trailers, [("x".to_owned(), b"y".to_vec())]);
    for length in 0..good.len() {
        assert!(matches!(parse(&good[..length]), Err(Unread::More { .. })), "{length} bytes");
    }
    for bad in [
        "GET  / HTTP/1.1\r\nhost: h\r\n\r\n",
        "GET / HTTP/1.1\nhost: h\r\n\r\n",
        "GET /\t HTTP/1.1\r\nhost: h\r\n\r\n",
        "GET / HTTP/1.0\r\nhost: h\r\n\r\n",
        "GET a HTTP/1.1\r\nhost: h\r\n\r\n",
        "G@T / HTTP/1.1\r\nhost: h\r\n\r\n",
        "GET /\u{e4} HTTP/1.1\r\nhost: h\r\n\r\n",
        "GET http://u:p@h/ HTTP/1.1\r\nhost: h\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: h\r\nhost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: h/\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: \r\n\r\n",
        "GET / HTTP/1.1\r\nhost: h\r\nx : y\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: h\r\n x: y\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: h\r\nx: \0\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: h\r\nx: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx",
        "GET / HTTP/1.1\r\nhost: h\r\ncontent-length: +1\r\n\r\nx",
        "GET / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n1\r\nxx\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\nxx",
        "GET / HTTP/1.1\r\nhost: h\r\nte: trailers\r\n\r\n",
    ] {
        assert!(matches!(parse(bad.as_bytes()), Err(Unread::Bad(_))), "{bad:?}: {:?}", parse(bad.as_bytes()));
    }
}
