//! The receiving side of an exchange, and the properties that hold after each byte.
//!
//! The receiver counts the machine's events, and does not rely on the machine's own counts. Invariant: the events come
//! in the order interim heads, head, data, trailers, end, and the reuse verdict follows from the events.

use bytes::BytesMut;
use handclasp::codec::{
    CloseReason, CloseReasons, Event, Framing, Machine, ProtocolError, ResponseHead, Verdict,
};
use http::Version;

use super::Plan;
use super::reference::framing;
use super::seen::{Head, Seen, fields, grouped, is_no_trailer, is_text, options, values};
use super::sender::{Sender, Sending};

/// The receiving side of an exchange, which checks the properties after each byte.
pub(super) struct Receiver<'a> {
    pub(super) plan: &'a Plan,
    pub(super) buf: BytesMut,
    pub(super) seen: Vec<Seen>,
    pub(super) error: Option<ProtocolError>,
    pub(super) framing: Option<Framing>,
    /// Number of bytes of a `Framing::Length` body that have not come yet.
    pub(super) remaining: u64,
    pub(super) status: Option<u16>,
    pub(super) interim_bytes: usize,
    /// Reasons in the peer's heads for closing the connection.
    pub(super) reasons: CloseReasons,
    pub(super) is_closed: bool,
    pub(super) was_fed: bool,
}

impl<'a> Receiver<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        let mut reasons = CloseReasons::default();
        if plan.says_close {
            reasons.insert(CloseReason::OwnClose);
        }
        Self {
            plan,
            buf: BytesMut::new(),
            seen: Vec::new(),
            error: None,
            framing: None,
            remaining: 0,
            status: None,
            interim_bytes: 0,
            reasons,
            is_closed: false,
            was_fed: false,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.seen.last() == Some(&Seen::End)
    }

    pub(super) fn feed(&mut self, machine: &mut Machine, piece: &[u8]) {
        self.was_fed |= !piece.is_empty() && machine.is_head_sent();
        self.buf.extend_from_slice(piece);
        self.drain(machine, Machine::decode);
        if self.error.is_some() || self.has_ended() {
            return;
        }
        // The buffer keeps only an unfinished section, and at most as many bytes of that section as the limit allows.
        let limits = &self.plan.limits;
        let most = match self.framing {
            None => limits.head,
            Some(Framing::Chunked) => limits.trailers + 2,
            Some(_) => 0,
        };
        assert!(self.buf.len() <= most, "{} bytes are kept", self.buf.len());
    }

    pub(super) fn close(&mut self, machine: &mut Machine) {
        self.drain(machine, Machine::decode_eof);
        self.is_closed = true;
        assert!(self.error.is_some() || self.has_ended(), "the exchange has ended or failed");
    }

    fn drain(
        &mut self,
        machine: &mut Machine,
        decode: fn(&mut Machine, &mut BytesMut) -> Result<Option<Event>, ProtocolError>,
    ) {
        for _ in 0..self.buf.len() + 3 {
            let before = self.buf.len();
            match decode(machine, &mut self.buf) {
                Ok(None) => return,
                Ok(Some(event)) => self.take(machine, event, before - self.buf.len()),
                Err(error) => {
                    self.error = Some(error);
                    return;
                }
            }
        }
        panic!("the codec returns more events than bytes");
    }

    fn take(&mut self, machine: &Machine, event: Event, used: usize) {
        let limits = &self.plan.limits;
        assert!(!self.has_ended(), "{event:?} after the end");
        assert_eq!(self.framing.is_none(), matches!(event, Event::Head(_) | Event::Informational(_)));
        match event {
            Event::Informational(head) => {
                self.interim_bytes += used;
                assert!(
                    self.seen.len() < limits.informational
                        && self.interim_bytes <= limits.informational_bytes
                );
                let head = self.head(&head, used);
                assert!((100..200).contains(&head.status) && head.status != 101);
                self.seen.push(Seen::Interim(head));
            }
            Event::Head(head) => {
                let head = self.head(&head, used);
                self.framing = if head.status == 101 {
                    assert!(self.plan.may_switch(&head) && machine.is_send_done());
                    self.reasons.insert(CloseReason::Upgrade);
                    Some(Framing::Tunnel)
                } else {
                    assert!(head.status >= 200);
                    self.note_persistence(&head);
                    framing(&self.plan.method, &head, limits.leniency)
                };
                assert!(self.framing.is_some(), "the reference accepts the framing");
                assert_eq!(machine.framing(), self.framing);
                if let Some(Framing::Length(length)) = self.framing {
                    self.remaining = length;
                }
                match self.framing {
                    Some(Framing::UntilClose) => self.reasons.insert(CloseReason::CloseDelimited),
                    Some(Framing::Tunnel) if head.status != 101 => self.reasons.insert(CloseReason::Tunnel),
                    _ => {}
                }
                self.status = Some(head.status);
                self.seen.push(Seen::Head(head));
            }
            Event::Data(data) => {
                assert!(!data.is_empty() && data.len() <= used);
                match self.framing {
                    Some(Framing::Length(_)) => {
                        self.remaining = self.remaining.checked_sub(data.len() as u64).unwrap()
                    }
                    Some(Framing::Chunked | Framing::UntilClose) => {}
                    other => panic!("data in {other:?}"),
                }
                match self.seen.last_mut() {
                    Some(Seen::Data(before)) => before.extend_from_slice(&data),
                    _ => self.seen.push(Seen::Data(data.to_vec())),
                }
            }
            Event::Trailers(trailers) => {
                assert_eq!(self.framing, Some(Framing::Chunked));
                assert!(!trailers.is_empty() && trailers.len() <= limits.fields);
                assert!(!matches!(self.seen.last(), Some(Seen::Trailers(_))));
                // A `HeaderMap` keeps the order of the values of one name, but not the order of the names.
                let mut trailers = fields(&trailers);
                trailers.sort_by(|(one, _), (other, _)| one.cmp(other));
                assert!(trailers.iter().all(|(name, _)| !is_no_trailer(name)));
                self.seen.push(Seen::Trailers(trailers));
            }
            Event::End => {
                assert!(self.remaining == 0);
                self.seen.push(Seen::End);
            }
            other => panic!("{other:?} is new"),
        }
        let remaining = match self.framing {
            Some(Framing::Length(_)) => Some(self.remaining),
            Some(Framing::None | Framing::Tunnel) => Some(0),
            _ if self.has_ended() || matches!(self.seen.last(), Some(Seen::Trailers(_))) => Some(0),
            _ => None,
        };
        assert_eq!(machine.receive_remaining(), remaining);
    }

    fn head(&mut self, head: &ResponseHead, used: usize) -> Head {
        let limits = &self.plan.limits;
        assert!(used <= limits.head && head.headers().len() <= limits.fields.min(4096));
        assert!(matches!(head.version, Version::HTTP_10 | Version::HTTP_11));
        let usual = head.status.canonical_reason().unwrap_or_default();
        let reason = head.reason().map_or_else(|| usual.as_bytes().to_vec(), |reason| reason.to_vec());
        assert!(reason.iter().all(|&byte| is_text(byte)), "{reason:?}");
        assert_eq!(head.raw().len(), used);
        let written: Vec<_> =
            head.raw_fields().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        let fields = fields(head.headers());
        assert_eq!(fields, grouped(head.raw_fields()), "both lists of fields are the same");
        let head = Head { status: head.status.as_u16(), version: head.version, reason, fields, written };
        if options(&head).contains(&"close".to_owned()) {
            self.reasons.insert(CloseReason::PeerClose);
        }
        head
    }

    fn note_persistence(&mut self, head: &Head) {
        if head.version == Version::HTTP_10 {
            if !options(head).contains(&"keep-alive".to_owned()) {
                self.reasons.insert(CloseReason::Http10);
            }
            if values(head, "transfer-encoding").next().is_some() {
                self.reasons.insert(CloseReason::Http10TransferEncoding);
            }
        }
    }

    /// Compares the machine's counts and its verdict with those of the receiver.
    pub(super) fn judge(&self, machine: &Machine, sender: &Sender) {
        assert_eq!(machine.is_receive_done(), self.has_ended());
        assert_eq!(machine.is_head_received(), self.status.is_some());
        assert_eq!(machine.has_peer_spoken(), self.was_fed);
        let is_refused = self.status.is_some_and(|status| status >= 300);
        assert_eq!(machine.is_upload_refused(), is_refused);
        assert_eq!(machine.may_send_body(), sender.is_open() && self.error.is_none() && !is_refused);
        let was_continued = self.seen.iter().filter_map(Seen::head).any(|head| head.status == 100);
        let expects_continue = self.plan.expects && self.status.is_none() && !was_continued;
        assert_eq!(machine.expects_continue(), expects_continue);

        let mut expected = self.reasons;
        let verdict = machine.verdict(self.buf.len());
        match (self.error, verdict) {
            (Some(error), Verdict::Close(reasons)) => {
                let reason = if error.is_closed() { CloseReason::Eof } else { CloseReason::Protocol };
                assert!(reasons.contains(reason));
                return;
            }
            (Some(_), _) => panic!("{verdict:?} after an error"),
            (None, _) if !self.has_ended() => {
                assert_eq!(verdict, Verdict::Unfinished);
                return;
            }
            (None, Verdict::Close(reasons)) => {
                // The reference checks whether these two reasons are right.
                for reason in [CloseReason::Lenient, CloseReason::LenientField] {
                    if reasons.contains(reason) {
                        expected.insert(reason);
                    }
                }
            }
            _ => {}
        }
        if self.is_closed {
            expected.insert(CloseReason::Eof);
        }
        if !self.buf.is_empty() && self.framing != Some(Framing::Tunnel) {
            expected.insert(CloseReason::Surplus);
        }
        match sender.state {
            Sending::Done => {}
            Sending::Aborted => expected.insert(CloseReason::UploadAborted),
            Sending::Head | Sending::Known(_) | Sending::Chunked => {
                expected.insert(CloseReason::UploadUnfinished)
            }
        }
        let expected = if expected.is_empty() { Verdict::Reuse } else { Verdict::Close(expected) };
        assert_eq!(verdict, expected, "{:?}", self.seen);
    }

    /// Checks that every call after an error returns the same error, and that no event comes after the end.
    pub(super) fn stays_as_it_is(&self, machine: &mut Machine) {
        if self.error.is_none() && !self.has_ended() {
            return;
        }
        for (more, is_eof) in
            [(&b""[..], false), (b"HTTP/1.1 200 OK\r\n\r\n", false), (b"", true), (b"x", true)]
        {
            let mut buf = BytesMut::from(&self.buf[..]);
            buf.extend_from_slice(more);
            let length = buf.len();
            let outcome = if is_eof { machine.decode_eof(&mut buf) } else { machine.decode(&mut buf) };
            match (self.error, outcome) {
                (Some(error), Err(again)) => assert_eq!(again, error),
                (None, Ok(None)) => assert_eq!(buf.len(), length),
                (before, now) => panic!("{now:?} after {before:?}"),
            }
            if self.is_closed || self.error.is_some() {
                continue;
            }
            if is_eof {
                assert!(machine.close_reasons().contains(CloseReason::Eof));
            }
        }
    }
}
