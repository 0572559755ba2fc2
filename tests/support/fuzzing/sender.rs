//! Expected behaviour of the side of an exchange that sends the request.
//!
//! The sender predicts the result of each call, makes the call, and lets the reference read the written bytes.
//! Invariant: the wire holds no more content than was announced, and a refused call has written nothing.

use bytes::BytesMut;
use handclasp::codec::{BodyLength, Limits, Machine, Misuse, RequestHead, Target};
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, TRAILER, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::reference::{Body, End};
use super::seen::{Field, fields, trimmed};
use super::{OFFER, Plan};

/// Expected state of the side of an exchange that sends the request.
pub(super) struct Sender {
    pub(super) state: Sending,
    pub(super) out: BytesMut,
    pub(super) content: Vec<u8>,
    pub(super) promised: BodyLength,
    pub(super) trailers: Vec<Field>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Sending {
    Head,
    Known(u64),
    Chunked,
    Done,
    Aborted,
}

/// Number of received bytes that an operation of the sender returns: zero, because the sender receives nothing.
const NOTHING: usize = 0;

impl Sender {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            state: Sending::Head,
            out: BytesMut::new(),
            content: Vec::new(),
            promised: plan.body,
            trailers: Vec::new(),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, Sending::Known(_) | Sending::Chunked)
    }

    fn try_head(&mut self, plan: &Plan, machine: &mut Machine) -> Result<(), Misuse> {
        let mut headers = HeaderMap::new();
        if plan.says_close {
            headers.insert(CONNECTION, HeaderValue::from_static("x-hop, close"));
        }
        if plan.offers {
            headers.insert(UPGRADE, HeaderValue::from_static(OFFER));
        }
        if plan.expects {
            headers.insert(EXPECT, HeaderValue::from_static("100-continue"));
        }
        if plan.method == Method::OPTIONS {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        let target = match plan.method {
            Method::CONNECT => Target::Authority("h.test:443"),
            _ => Target::Origin("/"),
        };
        let mut request = RequestHead::new(&plan.method, target, Some(b"h.test"), &headers);
        request.body = plan.body;
        machine.encode_head(&request, &mut self.out)
    }

    pub(super) fn head(&mut self, plan: &Plan, machine: &mut Machine) {
        assert_eq!(machine.encode_data(1, &mut self.out), Err(Misuse::HeadNotSent));
        assert_eq!(machine.encode_end(None, &mut self.out), Err(Misuse::HeadNotSent));
        assert_eq!(self.try_head(plan, machine), Ok(()));
        self.state = match plan.body {
            BodyLength::None | BodyLength::Known(0) => Sending::Done,
            BodyLength::Known(length) => Sending::Known(length),
            _ => Sending::Chunked,
        };
        self.out.clear();
        self.agree(machine);
    }

    pub(super) fn head_again(&mut self, plan: &Plan, machine: &mut Machine) -> usize {
        let expected =
            if self.state == Sending::Aborted { Misuse::SendAborted } else { Misuse::HeadAlreadySent };
        let before = self.out.len();
        assert_eq!(self.try_head(plan, machine), Err(expected));
        assert_eq!(self.out.len(), before);
        NOTHING
    }

    pub(super) fn data(&mut self, machine: &mut Machine, length: usize) -> usize {
        let before = self.out.len();
        let result = machine.encode_data(length, &mut self.out);
        let amount = length as u64;
        let expected = match self.state {
            _ if length == 0 => Ok(&b""[..]),
            Sending::Known(remaining) if amount <= remaining => {
                self.state =
                    if amount == remaining { Sending::Done } else { Sending::Known(remaining - amount) };
                Ok(&b""[..])
            }
            Sending::Chunked => Ok(&b"\r\n"[..]),
            Sending::Known(_) | Sending::Done => Err(Misuse::MoreThanPromised),
            Sending::Aborted => Err(Misuse::SendAborted),
            Sending::Head => Err(Misuse::HeadNotSent),
        };
        assert_eq!(result, expected);
        match result {
            Ok(after) => {
                let data = vec![b'0' + (self.content.len() % 10) as u8; length];
                self.out.extend_from_slice(&data);
                self.out.extend_from_slice(after);
                self.content.extend_from_slice(&data);
            }
            Err(_) => assert_eq!(self.out.len(), before, "a refused call writes nothing"),
        }
        self.agree(machine);
        NOTHING
    }

    pub(super) fn end(&mut self, machine: &mut Machine, trailers: Option<usize>) -> usize {
        let trailers = trailers.map(|choice| {
            let names =
                [HeaderName::from_static("x-a"), HeaderName::from_static("x-b"), CONTENT_LENGTH, TRAILER];
            let mut trailers = HeaderMap::new();
            for (index, name) in names.iter().enumerate().filter(|(index, _)| choice >> index & 1 != 0) {
                trailers.append(name, HeaderValue::from_static(["1", "2 \t3"][index & 1]));
            }
            trailers
        });
        let has_trailers = trailers.as_ref().is_some_and(|trailers| !trailers.is_empty());
        let is_forbidden = trailers
            .as_ref()
            .is_some_and(|trailers| trailers.contains_key(CONTENT_LENGTH) || trailers.contains_key(TRAILER));
        let before = self.out.len();
        let result = machine.encode_end(trailers.as_ref(), &mut self.out);
        let expected = match self.state {
            Sending::Known(missing) => {
                self.state = Sending::Aborted;
                Err(Misuse::FewerThanPromised { missing })
            }
            Sending::Done if has_trailers => Err(Misuse::TrailersWithoutChunked),
            Sending::Done => Ok(()),
            Sending::Chunked if is_forbidden => Err(Misuse::BadTrailer),
            Sending::Chunked => {
                self.state = Sending::Done;
                self.trailers = trailers.as_ref().map(fields).unwrap_or_default();
                Ok(())
            }
            Sending::Aborted => Err(Misuse::SendAborted),
            Sending::Head => Err(Misuse::HeadNotSent),
        };
        assert_eq!(result, expected);
        if result.is_err() || self.promised != BodyLength::Chunked {
            assert_eq!(self.out.len(), before);
        }
        self.agree(machine);
        NOTHING
    }

    pub(super) fn abort(&mut self, machine: &mut Machine) -> usize {
        machine.abort_send();
        if self.state != Sending::Done {
            self.state = Sending::Aborted;
        }
        self.agree(machine);
        NOTHING
    }

    fn agree(&self, machine: &Machine) {
        let remaining = match self.state {
            Sending::Known(remaining) => Some(remaining),
            Sending::Done => Some(0),
            _ => None,
        };
        assert_eq!(machine.upload_remaining(), remaining);
        assert_eq!(machine.is_head_sent(), self.state != Sending::Head);
        assert_eq!(machine.is_send_done(), self.state == Sending::Done);
        assert_eq!(machine.is_send_aborted(), self.state == Sending::Aborted);
        if let BodyLength::Known(promised) = self.promised {
            assert!(self.content.len() as u64 <= promised, "more content than announced is on the wire");
        }
    }

    /// Checks that the bytes after the head are the sent body, framed as the head announced.
    pub(super) fn is_well_formed(&self) {
        if self.promised != BodyLength::Chunked {
            assert_eq!(self.out, self.content, "a body of known length has no framing");
            return;
        }
        let mut body = Body::default();
        let end = body.read_chunks(&self.out, &Limits::default());
        assert_eq!(body.content, self.content);
        match self.state {
            Sending::Done => {
                assert_eq!(end, End::Complete { used: self.out.len() });
                assert_eq!(body.trailers.unwrap_or_default(), trimmed(&self.trailers));
            }
            _ => assert_eq!(end, End::Cut),
        }
    }
}
