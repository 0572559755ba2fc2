//! A decoder of responses for tests. The decoder reads each response whole, byte by byte, split at every index, and with
//! surplus bytes after the response.
//!
//! This module uses only the public interface of the codec. Invariant: all these ways of decoding have the same outcome,
//! and the surplus stays in the buffer.

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue, Method, Version};

use super::*;

pub(super) static EMPTY: std::sync::LazyLock<HeaderMap> = std::sync::LazyLock::new(HeaderMap::new);

/// All parts of a response that a test can observe.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) interim: Vec<u16>,
    pub(super) head: Option<(u16, Version, Option<String>)>,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<(String, Vec<u8>)>,
    pub(super) has_ended: bool,
    pub(super) error: Option<ProtocolError>,
    pub(super) reasons: Vec<CloseReason>,
    pub(super) left: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Peer {
    Stays,
    Closes,
}

/// Returns a machine that has sent a request. `UPGRADE` as the method makes the request a GET that offers protocols.
pub(super) fn machine(method: &Method, limits: Limits) -> Machine {
    let mut machine = Machine::new(limits);
    if method.as_str() == "UPGRADE" {
        let mut headers = HeaderMap::new();
        headers.append("upgrade", HeaderValue::from_static("foo/1, Bar"));
        headers.append("upgrade", HeaderValue::from_static("baz/2"));
        let request = RequestHead::new(&Method::GET, Target::Origin("/"), Some(b"h"), &headers);
        machine.encode_head(&request, &mut BytesMut::new()).unwrap();
        return machine;
    }
    let target = if *method == Method::CONNECT { Target::Authority("h:443") } else { Target::Origin("/") };
    let request = RequestHead::new(method, target, Some(b"h"), &EMPTY);
    machine.encode_head(&request, &mut BytesMut::new()).unwrap();
    machine
}

pub(super) fn observe(method: &Method, limits: Limits, pieces: &[&[u8]], peer: Peer) -> Seen {
    let mut machine = machine(method, limits);
    let mut seen = Seen {
        interim: Vec::new(),
        head: None,
        headers: Vec::new(),
        body: Vec::new(),
        trailers: Vec::new(),
        has_ended: false,
        error: None,
        reasons: Vec::new(),
        left: Vec::new(),
    };
    let mut buf = BytesMut::new();
    'input: for (index, piece) in pieces.iter().chain([&&b""[..]]).enumerate() {
        buf.extend_from_slice(piece);
        loop {
            let is_eof = index == pieces.len() && peer == Peer::Closes;
            match if is_eof { machine.decode_eof(&mut buf) } else { machine.decode(&mut buf) } {
                Ok(Some(event)) => seen.take(event),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(machine.decode(&mut buf).unwrap_err(), error, "a broken machine stays broken");
                    assert!(matches!(machine.verdict(0), Verdict::Close(_)));
                    seen.error = Some(error);
                    buf.clear();
                    break 'input;
                }
            }
        }
    }
    assert_eq!(machine.is_receive_done(), seen.has_ended);
    assert_eq!(machine.is_head_received(), seen.head.is_some());
    seen.reasons = match machine.verdict(buf.len()) {
        Verdict::Reuse => Vec::new(),
        Verdict::Close(reasons) => reasons.iter().collect(),
        Verdict::Unfinished => {
            assert!(!seen.has_ended);
            Vec::new()
        }
    };
    seen.left = buf.to_vec();
    seen
}

impl Seen {
    fn take(&mut self, event: Event) {
        assert!(!self.has_ended, "nothing follows the end");
        match event {
            Event::Informational(head) => {
                check_raw(&head);
                self.interim.push(head.status.as_u16());
            }
            Event::Head(head) => {
                check_raw(&head);
                let reason = head.reason().map(|reason| String::from_utf8_lossy(reason).into_owned());
                self.head = Some((head.status.as_u16(), head.version, reason));
                self.headers = pairs(head.headers());
            }
            Event::Data(data) => {
                assert!(!data.is_empty());
                self.body.extend_from_slice(&data);
            }
            Event::Trailers(trailers) => self.trailers = pairs(&trailers),
            Event::End => self.has_ended = true,
        }
    }
}

pub(super) fn pairs(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}

/// Checks that `raw` holds a status line, the fields of `headers` and an empty line, that httparse finds the same fields,
/// and that the `http` crate accepts all fields.
pub(super) fn check_raw(head: &ResponseHead) {
    let mut slots = vec![httparse::EMPTY_HEADER; 4096];
    let mut response = httparse::Response::new(&mut slots);
    assert_eq!(response.parse(head.raw()), Ok(httparse::Status::Complete(head.raw().len())));
    let found = response.headers.iter().map(|field| (field.name.as_bytes(), field.value));
    assert!(found.clone().eq(head.raw_fields()), "{:?}", head.raw());
    let mut fields = HeaderMap::new();
    let mut length = 0;
    for (name, value) in found {
        fields.append(http::HeaderName::from_bytes(name).unwrap(), HeaderValue::from_bytes(value).unwrap());
        length += name.len() + 1 + value.len();
    }
    assert_eq!(pairs(&fields), pairs(head.headers()));
    assert_eq!((fields.len(), fields.keys_len()), (head.headers().len(), head.headers().keys_len()));
    assert!(head.raw().starts_with(b"HTTP/1.") && head.raw().len() > length);
    assert!(head.raw().ends_with(b"\n\r\n") || head.raw().ends_with(b"\n\n"));
}

/// Observes a response in all splits, checks that the outcome is always the same, and returns the outcome.
pub(super) fn observe_always(method: &Method, limits: Limits, wire: &[u8], peer: Peer) -> Seen {
    let whole = observe(method, limits, &[wire], peer);
    let bytes: Vec<&[u8]> = wire.chunks(1).collect();
    let wire_text = String::from_utf8_lossy(wire);
    assert_eq!(observe(method, limits, &bytes, peer), whole, "byte by byte: {wire_text:?}");
    for at in 0..=wire.len() {
        let halves = [&wire[..at], &wire[at..]];
        assert_eq!(observe(method, limits, &halves, peer), whole, "split at {at}: {wire_text:?}");
    }
    if whole.has_ended && whole.left.is_empty() && peer == Peer::Stays {
        let surplus = b"\r\nHTTP/1.1 200 OK\r\n\r\n";
        let more = observe(method, limits, &[wire, surplus], peer);
        assert_eq!(more.left, surplus, "surplus is left alone: {wire_text:?}");
        assert_eq!(more.body, whole.body);
        assert_eq!(observe(method, limits, &[&[wire, surplus].concat()], peer), more);
        let is_tunnel =
            [CloseReason::Tunnel, CloseReason::Upgrade].iter().any(|reason| whole.reasons.contains(reason));
        assert_ne!(more.reasons.contains(&CloseReason::Surplus), is_tunnel);
    }
    whole
}
