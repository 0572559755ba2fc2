//! Checks of a request's head on the wire, by an independent parser and by an independent implementation of the
//! rules.
//!
//! This module does not know about responses. Invariant: a head either stands for exactly one message, or is refused
//! and not written.

use bytes::BytesMut;
use handclasp::codec::{BodyLength, CloseReason, Limits, Machine, Misuse, RequestHead, Target};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::{Method, Uri};

use super::seen::{Field, elements, fields, is_host, is_no_trailer, is_text, is_token, trim};

/// Encodes the head into a buffer that already has bytes, and checks that an independent parser reads the intended
/// request from it.
pub(super) fn check(request: &RequestHead<'_>) {
    const BEFORE: &[u8] = b"left alone";
    let mut machine = Machine::new(Limits::default());
    let mut dst = BytesMut::from(BEFORE);
    let result = machine.encode_head(request, &mut dst);
    let expected = Expected::of(request);
    assert!(
        expected.is_some() || result.is_err(),
        "the codec wrote a head that stands for no message: {request:?}"
    );
    let is_sound = expected.as_ref().is_some_and(|expected| is_sound(request, expected));
    assert!(result.is_ok() || !is_sound, "{result:?}: {request:?}");
    if result.is_err() {
        assert_eq!(dst, BEFORE, "a refused call writes nothing");
        assert!(!machine.is_head_sent() && machine.close_reasons().is_empty() && !machine.expects_continue());
        let headers = HeaderMap::new();
        let other = RequestHead::new(&Method::GET, Target::Origin("/"), Some(b"h"), &headers);
        assert_eq!(
            machine.encode_head(&other, &mut dst),
            Ok(()),
            "another head can be encoded after the refusal"
        );
        return;
    }
    let expected = expected.unwrap();
    let wire = dst.strip_prefix(BEFORE).expect("the head is appended to the buffer");
    assert_eq!(machine.encode_head(request, &mut BytesMut::new()), Err(Misuse::HeadAlreadySent));

    let mut slots = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut slots);
    let outcome = parsed.parse(wire);
    assert_eq!(outcome, Ok(httparse::Status::Complete(wire.len())), "{:?}", wire.escape_ascii().to_string());
    assert_eq!((parsed.method, parsed.version), (Some(request.method.as_str()), Some(1)));
    assert_eq!(parsed.path.map(str::as_bytes), Some(&expected.target[..]));

    // The checks below find errors that httparse accepts.
    let text = wire.strip_suffix(b"\r\n\r\n").unwrap();
    let mut lines = Vec::new();
    for line in text.split(|&byte| byte == b'\n') {
        lines.push(line.strip_suffix(b"\r").unwrap_or(line));
    }
    assert_eq!(lines.join(&b"\r\n"[..]), text, "every line ends in CRLF");
    assert!(lines.iter().all(|line| line.iter().all(|&byte| is_text(byte))));
    let words: Vec<_> = lines[0].split(|&byte| byte == b' ').collect();
    assert_eq!(words, [request.method.as_str().as_bytes(), &expected.target, b"HTTP/1.1"]);
    assert!(is_token(words[0]) && words[1].iter().all(|byte| matches!(byte, b'!'..=b'~') && *byte != b'#'));

    let mut got = Vec::new();
    for line in &lines[1..] {
        let colon = line.iter().position(|&byte| byte == b':').unwrap();
        let name = String::from_utf8(line[..colon].to_vec()).unwrap();
        assert!(is_token(name.as_bytes()));
        got.push((name, trim(&line[colon + 1..]).to_vec()));
    }
    let message = Message { request, fields: &got, is_empty: expected.remaining == Some(0) };
    message.is_consistent();
    let says_close = message.elements("connection").contains(&"close".to_owned());
    assert_eq!(machine.expects_continue(), message.has("expect"));

    assert_eq!(got.remove(0), ("host".to_owned(), expected.host.to_vec()), "Host comes first");
    let is_framing = |(name, _): &Field| name == "content-length" || name == "transfer-encoding";
    let framing: Vec<Field> = got.iter().filter(|field| is_framing(field)).cloned().collect();
    assert_eq!(framing, expected.framing.into_iter().collect::<Vec<_>>());
    got.retain(|field| !is_framing(field));
    let added = got.split_off(expected.others.len());
    assert_eq!(got, expected.others);
    let names: Vec<_> = added.iter().map(|(name, _)| name.as_str()).collect();
    assert!(
        matches!(names[..], [] | ["connection"] | ["trailer"] | ["connection", "trailer"]),
        "{names:?} added"
    );
    for (name, value) in &added {
        let said = elements(got.iter().filter(|(other, _)| other == name).map(|(_, value)| &value[..]));
        let again: Vec<_> =
            elements([&value[..]].into_iter()).into_iter().filter(|it| said.contains(it)).collect();
        assert!(again.is_empty(), "{name} says {again:?} again");
    }

    assert_eq!(machine.upload_remaining(), expected.remaining);
    assert_eq!(machine.is_send_done(), expected.remaining == Some(0));
    assert_eq!(machine.close_reasons().contains(CloseReason::OwnClose), says_close);
    assert_eq!(machine.close_reasons().iter().count(), usize::from(says_close));
}

/// Whether the codec must accept the head. Returns false if a field or a connection option is one that this function does
/// not know.
fn is_sound(request: &RequestHead<'_>, expected: &Expected<'_>) -> bool {
    const PLAIN: [&str; 10] = [
        "content-length",
        "transfer-encoding",
        "host",
        "accept",
        "x-a",
        "x-b",
        "cookie",
        "content-type",
        "authorization",
        "user-agent",
    ];
    const HOPS: [&str; 4] = ["te", "upgrade", "keep-alive", "http2-settings"];
    const RULED: [&str; 3] = ["connection", "expect", "trailer"];
    let is_known = |name: &str| PLAIN.contains(&name) || HOPS.contains(&name) || RULED.contains(&name);
    let lines = |name: &'static str| {
        request.headers.get_all(name).into_iter().map(|value| value.as_bytes()).collect::<Vec<_>>()
    };
    let list = |name| elements(lines(name).into_iter());
    let is_list = |name, is_good: &dyn Fn(&String) -> bool| list(name).iter().all(is_good);

    let options = list("connection");
    let closes = request.close || options.iter().any(|option| option == "close");
    let keeps = options.iter().any(|option| option == "keep-alive") || !lines("keep-alive").is_empty();
    let is_option =
        |option: &String| HOPS.contains(&&**option) || ["close", "x-hop", "x-a", "x-b"].contains(&&**option);
    let is_protocol = |protocol: &String| {
        let (name, version) = protocol.split_once('/').unwrap_or((protocol, "any"));
        is_token(name.as_bytes()) && is_token(version.as_bytes())
    };
    let is_trailer = |name: &String| is_token(name.as_bytes()) && !is_no_trailer(name);
    let is_expected = lines("expect").is_empty()
        || list("expect") == ["100-continue"] && expected.remaining != Some(0) && brings_content(request);
    let is_chunked = expected.framing.as_ref().is_some_and(|(name, _)| name == "transfer-encoding");
    let keeps_secrets =
        *request.method != Method::TRACE || lines("authorization").is_empty() && lines("cookie").is_empty();

    request.headers.keys().all(|name| is_known(name.as_str()))
        && SINGLETONS.into_iter().all(|name| name == "content-length" || lines(name).len() <= 1)
        && is_list("connection", &is_option)
        && !(closes && keeps)
        && is_list("te", &|coding| coding == "trailers")
        && is_list("upgrade", &is_protocol)
        && is_expected
        && is_list("trailer", &is_trailer)
        && (lines("trailer").is_empty() || is_chunked)
        && request.trailers.into_iter().flat_map(HeaderMap::keys).all(|name| !is_no_trailer(name.as_str()))
        && keeps_secrets
}

/// Fields that can have only one value, on one line.
const SINGLETONS: [&str; 13] = [
    "host",
    "content-length",
    "expect",
    "content-type",
    "authorization",
    "user-agent",
    "cookie",
    "http2-settings",
    "origin",
    "sec-websocket-key",
    "access-control-request-method",
    "content-disposition",
    "etag",
];

/// A request head as it was read back from the wire.
struct Message<'a> {
    request: &'a RequestHead<'a>,
    fields: &'a [Field],
    is_empty: bool,
}

impl Message<'_> {
    fn lines(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.fields.iter().filter(move |(other, _)| other == name).map(|(_, value)| &value[..])
    }

    fn has(&self, name: &str) -> bool {
        self.lines(name).next().is_some()
    }

    fn elements(&self, name: &str) -> Vec<String> {
        elements(self.lines(name))
    }

    /// Checks that no field contradicts another.
    fn is_consistent(&self) {
        let options = self.elements("connection");
        assert!(options.iter().all(|option| is_token(option.as_bytes())), "{options:?}");
        for hop in ["te", "upgrade", "keep-alive", "http2-settings"] {
            assert!(
                !self.has(hop) || options.contains(&hop.to_owned()),
                "R-9110-7.6.1-1: {hop}: {options:?}"
            );
        }
        let has = |option: &str| options.iter().any(|other| other == option);
        assert!(!(has("close") && has("keep-alive")), "both close and keep-alive");
        assert!(has("close") || !self.request.close, "close was asked for");
        for end_to_end in
            ["host", "content-length", "transfer-encoding", "content-type", "trailer", "authorization"]
        {
            assert!(!has(end_to_end), "R-9110-7.6.1-2: {end_to_end}");
        }
        assert!(!self.has("proxy-connection"));
        assert!(self.elements("te").iter().all(|coding| coding == "trailers"), "R-9112-7.4-1");
        let protocols = self.elements("upgrade");
        assert!(protocols.iter().all(|name| name.splitn(2, '/').all(|part| is_token(part.as_bytes()))));
        for singleton in SINGLETONS {
            assert!(self.lines(singleton).count() <= 1, "R-9110-5.3-1: {singleton}");
        }
        if self.has("expect") {
            assert_eq!(self.elements("expect"), ["100-continue"]);
            assert!(!self.is_empty && brings_content(self.request), "R-9110-10.1.1-1");
        }
        let announced = self.elements("trailer");
        assert!(
            announced.iter().all(|name| is_token(name.as_bytes()) && !is_no_trailer(name)),
            "{announced:?}"
        );
        assert!(!self.has("trailer") || self.has("transfer-encoding"), "trailers without chunks");
        for name in self.request.trailers.into_iter().flat_map(HeaderMap::keys) {
            assert!(announced.contains(&name.as_str().to_owned()), "R-9110-6.6.2-1: {name}");
        }
        let method = self.request.method;
        let is_secret = ["authorization", "cookie"].into_iter().any(|name| self.has(name));
        assert!(*method != Method::TRACE || !is_secret, "R-9110-9.3.8-1");
        assert!(*method != Method::OPTIONS || self.is_empty || self.has("content-type"), "R-9110-9.3.7-1");
    }
}

/// Whether content or trailers follow the head.
fn brings_content(request: &RequestHead<'_>) -> bool {
    let has_trailers = request.trailers.is_some_and(|trailers| !trailers.is_empty());
    has_trailers || !matches!(request.body, BodyLength::None | BodyLength::Known(0))
}

/// The one message that a request head stands for, without the fields that the codec adds.
struct Expected<'a> {
    target: Vec<u8>,
    host: &'a [u8],
    framing: Option<Field>,
    others: Vec<Field>,
    remaining: Option<u64>,
}

impl<'a> Expected<'a> {
    /// Returns the message of the request, or `None` if the request cannot be sent as one message.
    fn of(request: &RequestHead<'a>) -> Option<Self> {
        let (method, headers) = (request.method, request.headers);
        let target = target(request)?;

        let hosts: Vec<_> = headers.get_all(HOST).iter().collect();
        let host = match hosts[..] {
            [] => request.host?,
            [host] => host.as_bytes(),
            _ => return None,
        };
        // An empty Host field stands for a target without a host.
        let is_unnamed = host.is_empty() && request.host.is_none_or(<[u8]>::is_empty);
        if !is_host(host) && !is_unnamed {
            return None;
        }
        let named = match request.target {
            Target::Absolute(uri) | Target::AbsoluteAsterisk(uri) => {
                uri.authority()?.as_str().rsplit('@').next()
            }
            Target::Authority(authority) => Some(authority),
            _ => None,
        };
        let differs = named.is_some_and(|named| !named.as_bytes().eq_ignore_ascii_case(host));
        if !hosts.is_empty() && differs {
            return None;
        }

        let mut said = None;
        for value in headers.get_all(CONTENT_LENGTH) {
            let text = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
            let length: u64 = text.parse().ok()?;
            if said.replace(length).is_some_and(|before| before != length) {
                return None;
            }
        }
        let codings: Vec<_> = headers.get_all(TRANSFER_ENCODING).iter().collect();
        let is_chunked = match codings[..] {
            [] => false,
            [coding] if coding.as_bytes().eq_ignore_ascii_case(b"chunked") && said.is_none() => true,
            _ => return None,
        };
        let has_trailers = request.trailers.is_some_and(|trailers| !trailers.is_empty());
        let body = match (request.body, said) {
            (_, Some(_)) if has_trailers => return None,
            _ if is_chunked || has_trailers => BodyLength::Chunked,
            (BodyLength::Known(length), Some(said)) if said != length => return None,
            (BodyLength::None, Some(1..)) => return None,
            (BodyLength::Chunked, Some(said)) => BodyLength::Known(said),
            (body, _) => body,
        };
        let remaining = match body {
            BodyLength::None => Some(0),
            BodyLength::Known(length) => Some(length),
            _ => None,
        };
        let has_no_body = matches!(*method, Method::TRACE | Method::CONNECT);
        if has_no_body && remaining != Some(0) {
            return None;
        }
        if *method == Method::OPTIONS && remaining != Some(0) && !headers.contains_key(CONTENT_TYPE) {
            return None;
        }
        let expects_body = matches!(*method, Method::POST | Method::PUT | Method::PATCH | Method::QUERY);
        let framing = match body {
            _ if has_no_body => None,
            BodyLength::None if said.is_none() && !expects_body => None,
            BodyLength::Chunked => Some(("transfer-encoding".to_owned(), b"chunked".to_vec())),
            _ => Some(("content-length".to_owned(), remaining?.to_string().into_bytes())),
        };

        // Whitespace around a value is not part of the value, because a recipient removes it.
        let mut others = fields(headers);
        let trailers = request.trailers.map(fields).unwrap_or_default();
        if others.iter().chain(&trailers).any(|(_, value)| trim(value) != value) {
            return None;
        }
        others.retain(|(name, _)| !["host", "content-length", "transfer-encoding"].contains(&name.as_str()));
        Some(Self { target, host, framing, others, remaining })
    }
}

fn target(request: &RequestHead<'_>) -> Option<Vec<u8>> {
    let path = |path: &str| match path.chars().next() {
        None => Some("/".to_owned()),
        Some('?') => Some(format!("/{path}")),
        Some('/') => Some(path.to_owned()),
        _ => None,
    };
    let origin = |uri: &Uri| {
        let authority = uri.authority()?.as_str();
        let host = authority.rsplit('@').next().filter(|host| is_host(host.as_bytes()))?;
        Some(format!("{}://{host}", uri.scheme_str()?))
    };
    let is_connect = *request.method == Method::CONNECT;
    let is_options = *request.method == Method::OPTIONS;
    let target = match request.target {
        Target::Authority(authority) if is_connect => {
            let (_, port) = authority.rsplit_once(':')?;
            let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            (is_port && is_host(authority.as_bytes())).then(|| authority.to_owned())?
        }
        _ if is_connect => return None,
        Target::Origin(text) => path(text)?,
        Target::Absolute(uri) => origin(uri)? + &path(uri.path_and_query().map_or("", |path| path.as_str()))?,
        Target::AbsoluteAsterisk(uri) if is_options => origin(uri)?,
        Target::Asterisk if is_options => "*".to_owned(),
        _ => return None,
    };
    let is_clean = target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    is_clean.then(|| target.into_bytes())
}
