//! One exchange on one connection: two half machines and a verdict.
//!
//! It knows no socket, no clock and no second request: bytes go in, events come out, and the caller does the rest.
//! Invariant: [`Verdict::Reuse`] is given only when both halves are done, nothing was left in the buffer, and nobody
//! had a reason to close.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, Version};

use super::chunked::{ChunkDecoder, Piece, encode_chunk_start, take};
use super::close::{CloseReason, CloseReasons};
use super::encode;
use super::error::{Misuse, ProtocolError};
use super::framing::{Asked, BodyLength, Coding, Framing, Length, message_length};
use super::grammar::CRLF;
use super::head::{self, KeepAlive, Notes, Scan};
use super::limits::Limits;
use super::request::RequestHead;
use super::response::ResponseHead;
use super::shown::{FieldNames, Size};
use super::trailers;
use super::unasked::{self, MOST_LINE_ENDS};
use super::upgrade::Offer;

/// The codec of one exchange. See the [module](super) for how it is driven.
///
/// A machine serves one request: make a new one for the next, they are cheap. Dropping it has no effect on anything.
#[derive(Debug)]
pub struct Machine {
    limits: Limits,
    send: Send,
    receive: Receive,
    close: CloseReasons,
    asked: Asked,
    /// The protocols that may be switched to.
    offer: Option<Offer>,
    expects_continue: bool,
    /// Of the final response, once its head was read.
    status: Option<StatusCode>,
    framing: Option<Framing>,
    /// What the head says of the length of content that does not come with it.
    absent: Option<u64>,
    keep_alive: KeepAlive,
    has_peer_spoken: bool,
    /// How many more bytes of line ends are skipped before the response.
    line_ends: u16,
    informational: u32,
    informational_bytes: u32,
    /// The peer's misdeed, after which nothing it sends has a meaning.
    broken: Option<ProtocolError>,
}

/// What is to become of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is no fourth answer, and callers must handle these three")]
pub enum Verdict {
    /// The exchange is complete and the connection may carry another request.
    Reuse,
    /// The connection must be closed, for these reasons; there is at least one.
    Close(CloseReasons),
    /// The exchange is not over.
    Unfinished,
}

/// What [`Machine::decode`] found.
#[non_exhaustive]
pub enum Event {
    /// An interim (1xx) response; others and the final one follow. Never 101.
    Informational(ResponseHead),
    /// The head of the final response; or 101, after which the connection is of a protocol that the request offered.
    Head(ResponseHead),
    /// A piece of the body, never empty, sharing the buffer that it arrived in.
    Data(Bytes),
    /// The trailers of a chunked body, if it had any that may be trailers.
    Trailers(HeaderMap),
    /// The response is complete. Comes once, last.
    End,
}

impl fmt::Debug for Event {
    /// Content by its length, and fields by their names: both may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Informational(head) => f.debug_tuple("Informational").field(head).finish(),
            Self::Head(head) => f.debug_tuple("Head").field(head).finish(),
            Self::Data(data) => f.debug_tuple("Data").field(&Size(data.len())).finish(),
            Self::Trailers(trailers) => f.debug_tuple("Trailers").field(&FieldNames(trailers)).finish(),
            Self::End => f.write_str("End"),
        }
    }
}

#[derive(Debug)]
enum Send {
    Head,
    /// `remaining > 0`
    Known {
        remaining: u64,
    },
    Chunked,
    Done,
    Aborted {
        is_head_sent: bool,
    },
}

#[derive(Debug)]
enum Receive {
    Head(Scan),
    /// `remaining > 0`
    Length {
        remaining: u64,
    },
    Chunked(ChunkDecoder),
    UntilClose,
    /// The body is over; [`Event::End`] is still to be given.
    End,
    Done,
}

/// # Questions
impl Machine {
    /// A machine for one exchange.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            send: Send::Head,
            receive: Receive::Head(Scan::head()),
            close: CloseReasons::default(),
            asked: Asked::Other,
            offer: None,
            expects_continue: false,
            status: None,
            framing: None,
            absent: None,
            keep_alive: KeepAlive::default(),
            has_peer_spoken: false,
            line_ends: 0,
            informational: 0,
            informational_bytes: 0,
            broken: None,
        }
    }

    /// As it was made with.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What is to become of the connection, of whose bytes `buffered` were read but not decoded.
    ///
    /// The cells of the [joint table](super), in its order.
    #[must_use]
    pub fn verdict(&self, buffered: usize) -> Verdict {
        if self.broken.is_some() {
            return Verdict::Close(self.close);
        }
        let close = match (&self.send, &self.receive) {
            // Nothing can follow: nothing was asked.
            (Send::Aborted { is_head_sent: false }, _) => self.close,
            (_, Receive::End) => return Verdict::Unfinished,
            // > A client MUST NOT process, cache, or forward such extra data as a separate response
            // <https://www.rfc-editor.org/rfc/rfc9112#section-6.3>. (Behind a tunnel's head they belong to the tunnel.)
            (_, Receive::Done) if buffered > 0 && self.framing != Some(Framing::Tunnel) => {
                self.close.with(CloseReason::Surplus)
            }
            (_, Receive::Done) => self.close,
            _ => return Verdict::Unfinished,
        };
        match self.send {
            Send::Head | Send::Known { .. } | Send::Chunked => {
                Verdict::Close(close.with(CloseReason::UploadUnfinished))
            }
            Send::Aborted { .. } => Verdict::Close(close.with(CloseReason::UploadAborted)),
            Send::Done if close.is_empty() => Verdict::Reuse,
            Send::Done => Verdict::Close(close),
        }
    }

    /// The reasons to close that are known so far.
    #[must_use]
    pub fn close_reasons(&self) -> CloseReasons {
        self.close
    }

    /// Whether the request's head was encoded.
    #[must_use]
    pub fn is_head_sent(&self) -> bool {
        !matches!(self.send, Send::Head | Send::Aborted { is_head_sent: false })
    }

    /// Whether the whole request was encoded.
    #[must_use]
    pub fn is_send_done(&self) -> bool {
        matches!(self.send, Send::Done)
    }

    /// Whether the request was given up.
    #[must_use]
    pub fn is_send_aborted(&self) -> bool {
        matches!(self.send, Send::Aborted { .. })
    }

    /// Whether more of the request's body is wanted: it is not complete, and not [refused](Self::is_upload_refused)
    /// either. <https://www.rfc-editor.org/rfc/rfc9112#section-9.5>
    #[must_use]
    pub fn may_send_body(&self) -> bool {
        let is_open = matches!(self.send, Send::Known { .. } | Send::Chunked);
        is_open && self.broken.is_none() && !self.is_upload_refused()
    }

    /// Whether the peer, whose final response has begun, wants no more of the request: its status is 300 or above.
    ///
    /// A 2xx never stops an upload that has begun. (In place of a 100 that an expectation waits for, any final status spares
    /// the content: <https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1>. Its sender gives up the request then.) That the peer closes the connection after it says nothing of the content, on which the
    /// rest of the response may depend.
    #[must_use]
    pub fn is_upload_refused(&self) -> bool {
        self.status.is_some_and(|status| status.as_u16() >= 300)
    }

    /// Whether the request said `Expect: 100-continue` and neither a 100 nor a final response was read yet. How long to
    /// wait for one before sending the body all the same is the caller's to decide.
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// Whether the head of the final response was read.
    #[must_use]
    pub fn is_head_received(&self) -> bool {
        self.status.is_some()
    }

    /// Whether [`Event::End`] was given.
    #[must_use]
    pub fn is_receive_done(&self) -> bool {
        matches!(self.receive, Receive::Done)
    }

    /// How the response's body ends; `None` before its head.
    #[must_use]
    pub fn framing(&self) -> Option<Framing> {
        self.framing
    }

    /// How many bytes of the response's body are still to come, if that is known.
    #[must_use]
    pub fn receive_remaining(&self) -> Option<u64> {
        match self.receive {
            Receive::Length { remaining } => Some(remaining),
            Receive::End | Receive::Done => Some(0),
            Receive::Head(_) | Receive::Chunked(_) | Receive::UntilClose => None,
        }
    }

    /// The length of the content as the peer announced it, or zero where there can be none. A response to HEAD, and a 304,
    /// may announce the content of another response; nothing of it is to come.
    /// <https://www.rfc-editor.org/rfc/rfc9110#section-8.6>
    #[must_use]
    #[inline]
    pub fn announced_length(&self) -> Option<u64> {
        match self.framing? {
            Framing::Length(length) => Some(length),
            Framing::None => self.absent,
            Framing::Tunnel => Some(0),
            Framing::Chunked | Framing::UntilClose => None,
        }
    }

    /// How many bytes of the request's body are still to be sent, if that is known.
    #[must_use]
    pub fn upload_remaining(&self) -> Option<u64> {
        match self.send {
            Send::Known { remaining } => Some(remaining),
            Send::Done => Some(0),
            Send::Head | Send::Chunked | Send::Aborted { .. } => None,
        }
    }

    /// Whether a single byte of any response, interim ones included, was given to the machine.
    #[must_use]
    pub fn has_peer_spoken(&self) -> bool {
        self.has_peer_spoken
    }

    /// Whether the machine failed because the first bytes after the request cannot begin an HTTP/1 response. On a
    /// connection that was used before, they belong to something else: to a body, say, that the peer sent after a
    /// response that has none.
    #[must_use]
    pub fn is_no_response(&self) -> bool {
        let is_of_version = matches!(
            self.broken,
            Some(ProtocolError::NotHttp | ProtocolError::UnsupportedVersion | ProtocolError::BadStatusLine)
        );
        let is_first = matches!(&self.receive, Receive::Head(scan) if scan.is_within_version());
        is_of_version && is_first && self.informational == 0
    }

    /// What the response's `Keep-Alive` field promised.
    #[must_use]
    pub fn keep_alive(&self) -> KeepAlive {
        self.keep_alive
    }
}

/// # Input
impl Machine {
    /// The next event in `buf`, which holds what the peer sent and the machine has not consumed; append to it and call
    /// again. `Ok(None)`: more bytes are needed, or the response is over and all that is left is surplus.
    ///
    /// # Errors
    ///
    /// When the peer broke the protocol; every later call says the same.
    #[inline]
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Event>, ProtocolError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        self.receive(buf).map_err(|error| self.fail(error))
    }

    /// The next event in `buf`, after which the peer closed the connection in an orderly way: first whatever is still
    /// to be decoded, then [`Event::End`] of a body that ends with the connection, then `Ok(None)`.
    ///
    /// Not for a connection that was reset, or whose TLS was cut without notice: what came of such a body is a part.
    /// <https://www.rfc-editor.org/rfc/rfc9112#section-8>
    ///
    /// # Errors
    ///
    /// When the response is incomplete, or for any reason that [`decode`](Self::decode) has.
    pub fn decode_eof(&mut self, buf: &mut BytesMut) -> Result<Option<Event>, ProtocolError> {
        if let Some(event) = self.decode(buf)? {
            return Ok(Some(event));
        }
        let error = match &self.receive {
            Receive::Done | Receive::End => {
                self.close.insert(CloseReason::Eof);
                return Ok(None);
            }
            Receive::UntilClose => {
                self.close.insert(CloseReason::Eof);
                self.receive = Receive::Done;
                return Ok(Some(Event::End));
            }
            Receive::Head(_) if buf.is_empty() => ProtocolError::ClosedBeforeResponse,
            Receive::Head(scan) => scan.check(buf).err().unwrap_or(ProtocolError::ClosedWithinHead),
            Receive::Length { remaining } => ProtocolError::ClosedWithinBody { missing: Some(*remaining) },
            Receive::Chunked(decoder) => {
                decoder.check(buf).err().unwrap_or(ProtocolError::ClosedWithinBody { missing: None })
            }
        };
        Err(self.fail(error))
    }

    fn receive(&mut self, buf: &mut BytesMut) -> Result<Option<Event>, ProtocolError> {
        let is_head_sent = self.is_head_sent();
        match &mut self.receive {
            Receive::End => {
                self.receive = Receive::Done;
                Ok(Some(Event::End))
            }
            Receive::Done => Ok(None),
            _ if buf.is_empty() => Ok(None),
            Receive::Head(scan) => {
                if !is_head_sent {
                    self.close.insert(CloseReason::Unsolicited);
                    return Err(ProtocolError::SpokeFirst);
                }
                if self.line_ends > 0 && !self.has_peer_spoken && matches!(buf.first(), Some(b'\r' | b'\n')) {
                    let most = buf.len().min(usize::from(self.line_ends));
                    let skipped = unasked::line_ends(&buf[..most]);
                    buf.advance(skipped);
                    self.line_ends -= skipped as u16;
                    if buf.is_empty() {
                        return Ok(None);
                    }
                }
                self.has_peer_spoken = true;
                match head::receive(scan, buf, &self.limits)? {
                    Some((head, notes)) => self.receive_head(head, &notes).map(Some),
                    None => Ok(None),
                }
            }
            Receive::Length { remaining } => {
                let data = take(buf, remaining);
                if *remaining == 0 {
                    self.receive = Receive::End;
                }
                Ok(Some(Event::Data(data)))
            }
            Receive::Chunked(decoder) => {
                let piece = decoder.decode(buf, &self.limits);
                if decoder.is_lenient() {
                    self.close.insert(CloseReason::Lenient);
                }
                Ok(match piece? {
                    None => None,
                    Some(Piece::Data(data)) => Some(Event::Data(data)),
                    Some(Piece::End(Some(trailers))) => {
                        self.receive = Receive::End;
                        Some(Event::Trailers(trailers))
                    }
                    Some(Piece::End(None)) => {
                        self.receive = Receive::Done;
                        Some(Event::End)
                    }
                })
            }
            Receive::UntilClose => Ok(Some(Event::Data(buf.split().freeze()))),
        }
    }

    fn receive_head(&mut self, head: ResponseHead, notes: &Notes) -> Result<Event, ProtocolError> {
        if notes.is_lenient {
            self.close.insert(CloseReason::Lenient);
        }
        if notes.says_close {
            self.close.insert(CloseReason::PeerClose);
        }
        let is_switch = head.status == StatusCode::SWITCHING_PROTOCOLS;
        if head.status.is_informational() && !is_switch {
            return self.receive_informational(head);
        }

        let framing = if is_switch {
            self.judge_switch(&head)?;
            Framing::Tunnel
        } else {
            let framing = message_length(self.asked, head.status, notes.framing, self.limits.leniency)?;
            self.note_persistence(&head, framing, notes);
            if framing == Framing::None {
                self.absent = match notes.framing.length {
                    _ if head.status == StatusCode::NO_CONTENT => Some(0),
                    Length::Valid { length, .. } => Some(length),
                    _ => None,
                };
            }
            framing
        };
        self.keep_alive = notes.keep_alive;
        self.expects_continue = false;
        self.status = Some(head.status);
        self.framing = Some(framing);
        self.receive = match framing {
            Framing::None | Framing::Length(0) | Framing::Tunnel => Receive::End,
            Framing::Length(remaining) => Receive::Length { remaining },
            Framing::Chunked => Receive::Chunked(ChunkDecoder::new()),
            Framing::UntilClose => Receive::UntilClose,
        };
        Ok(Event::Head(head))
    }

    /// > A client MUST be able to parse one or more 1xx responses received prior to a final response
    ///
    /// <https://www.rfc-editor.org/rfc/rfc9110#section-15.2>; how many is bounded.
    fn receive_informational(&mut self, head: ResponseHead) -> Result<Event, ProtocolError> {
        self.informational = self.informational.saturating_add(1);
        self.informational_bytes = self.informational_bytes.saturating_add(head.raw().len() as u32);
        if self.informational as usize > self.limits.informational {
            return Err(ProtocolError::TooManyInformational);
        }
        if self.informational_bytes as usize > self.limits.informational_bytes {
            return Err(ProtocolError::InformationalTooLarge);
        }
        if head.status == StatusCode::CONTINUE {
            self.expects_continue = false;
        }
        Ok(Event::Informational(head))
    }

    /// > A client cannot begin using an upgraded protocol on the connection until it has completely sent the request
    /// > message (i.e., the client can't change the protocol it is sending in the middle of a message).
    ///
    /// <https://www.rfc-editor.org/rfc/rfc9110#section-7.8>. What follows the head of a 101 is of the new protocol, so
    /// that its framing fields mean nothing. CONNECT has its own way to ask for a tunnel.
    fn judge_switch(&mut self, head: &ResponseHead) -> Result<(), ProtocolError> {
        self.close.insert(CloseReason::Upgrade);
        match &self.offer {
            None => Err(ProtocolError::UnsolicitedUpgrade),
            Some(_) if self.asked == Asked::Connect => Err(ProtocolError::UnsolicitedUpgrade),
            Some(_) if !matches!(self.send, Send::Done) => Err(ProtocolError::UpgradeTooEarly),
            Some(offer) => offer.judge(head.headers()),
        }
    }

    /// <https://www.rfc-editor.org/rfc/rfc9112#section-9.3>, the decision that a client makes of the response.
    fn note_persistence(&mut self, head: &ResponseHead, framing: Framing, notes: &Notes) {
        if head.version == Version::HTTP_10 {
            if !notes.says_keep_alive {
                self.close.insert(CloseReason::Http10);
            }
            // > A server or client that receives an HTTP/1.0 message containing a Transfer-Encoding header field MUST
            // > treat the message as if the framing is faulty, even if a Content-Length is present, and close the
            // > connection after processing the message.
            // <https://www.rfc-editor.org/rfc/rfc9112#section-6.1>
            if notes.framing.coding != Coding::Absent {
                self.close.insert(CloseReason::Http10TransferEncoding);
            }
        }
        match framing {
            Framing::UntilClose => self.close.insert(CloseReason::CloseDelimited),
            Framing::Tunnel => self.close.insert(CloseReason::Tunnel),
            Framing::Chunked if notes.framing.length != Length::Absent => {
                self.close.insert(CloseReason::Lenient)
            }
            Framing::None if notes.framing.is_contradictory(head.status) => {
                self.close.insert(CloseReason::Lenient)
            }
            _ => {}
        }
    }

    #[cold]
    fn fail(&mut self, error: ProtocolError) -> ProtocolError {
        self.close.insert(if error.is_closed() { CloseReason::Eof } else { CloseReason::Protocol });
        self.broken = Some(error);
        error
    }
}

/// # Commands
impl Machine {
    /// Appends the request's head to `dst`.
    ///
    /// A request without a body, or with an empty one, is then [done](Self::is_send_done); otherwise its body is due,
    /// and [`upload_remaining`](Self::upload_remaining) says how it was announced. That is not always as
    /// [`RequestHead::body`] asked: a single Content-Length among the headers gives a chunked body its length, and
    /// `Transfer-Encoding: chunked` makes any body chunked. No body at all is announced as `content-length: 0` where the
    /// method would lead one to expect a body (POST, PUT, PATCH).
    ///
    /// What the connection needs to be told is added: `connection`, for fields that concern only it and for
    /// [`RequestHead::close`], and `trailer`, for [`RequestHead::trailers`]; but never what the headers say already.
    ///
    /// # Errors
    ///
    /// When the head cannot be sent as it was given; nothing was written then, and another head may be tried.
    pub fn encode_head(&mut self, request: &RequestHead<'_>, dst: &mut BytesMut) -> Result<(), Misuse> {
        match self.send {
            Send::Head => {}
            Send::Aborted { .. } => return Err(Misuse::SendAborted),
            Send::Known { .. } | Send::Chunked | Send::Done => return Err(Misuse::HeadAlreadySent),
        }
        let encoded = encode::encode(request, dst)?;
        // > After sending "close": MUST NOT send any further requests on that connection
        // <https://www.rfc-editor.org/rfc/rfc9112#section-9.6>
        if encoded.says_close {
            self.close.insert(CloseReason::OwnClose);
        }
        self.asked = match *request.method {
            Method::HEAD => Asked::Head,
            Method::CONNECT => Asked::Connect,
            _ => Asked::Other,
        };
        self.offer = encoded.offer;
        self.expects_continue = encoded.expects_continue;
        self.send = match encoded.body {
            BodyLength::None | BodyLength::Known(0) => Send::Done,
            BodyLength::Known(remaining) => Send::Known { remaining },
            BodyLength::Chunked => Send::Chunked,
        };
        Ok(())
    }

    /// Frames the next `len` bytes of the body: appends to `dst` what goes before them, and returns what goes after
    /// them. The bytes themselves are the caller's to write.
    ///
    /// # Errors
    ///
    /// When no body is due, or less of it; nothing changed then.
    pub fn encode_data(&mut self, len: usize, dst: &mut BytesMut) -> Result<&'static [u8], Misuse> {
        if len == 0 {
            return Ok(b"");
        }
        match &mut self.send {
            Send::Head => Err(Misuse::HeadNotSent),
            Send::Known { remaining } => {
                *remaining = remaining.checked_sub(len as u64).ok_or(Misuse::MoreThanPromised)?;
                if *remaining == 0 {
                    self.send = Send::Done;
                }
                Ok(b"")
            }
            Send::Chunked => {
                encode_chunk_start(len, dst);
                Ok(CRLF)
            }
            Send::Done => Err(Misuse::MoreThanPromised),
            Send::Aborted { .. } => Err(Misuse::SendAborted),
        }
    }

    /// Ends the body: appends the last chunk and the trailers of a chunked one. Does nothing for a body that is
    /// complete already.
    ///
    /// # Errors
    ///
    /// When fewer bytes were sent than promised: the upload is then given up. When trailers were given that cannot be
    /// sent: nothing was written then, and the body is still open.
    pub fn encode_end(&mut self, trailers: Option<&HeaderMap>, dst: &mut BytesMut) -> Result<(), Misuse> {
        let has_trailers = trailers.is_some_and(|trailers| !trailers.is_empty());
        match self.send {
            Send::Head => Err(Misuse::HeadNotSent),
            Send::Known { remaining } => {
                self.abort_send();
                Err(Misuse::FewerThanPromised { missing: remaining })
            }
            Send::Done if has_trailers => Err(Misuse::TrailersWithoutChunked),
            Send::Done => Ok(()),
            Send::Chunked => {
                trailers::encode(trailers, dst)?;
                self.send = Send::Done;
                Ok(())
            }
            Send::Aborted { .. } => Err(Misuse::SendAborted),
        }
    }

    /// Gives the request up; what the peer says may still be read, but the connection will close. If not even the head
    /// was encoded, none can be any more, and what the peer says is [unsolicited](ProtocolError::SpokeFirst) as before.
    /// No effect on a request that was sent completely.
    pub fn abort_send(&mut self) {
        if !self.is_send_done() {
            self.send = Send::Aborted { is_head_sent: self.is_head_sent() };
            self.close.insert(CloseReason::UploadAborted);
        }
    }

    /// Says that the connection carried another exchange before this one: line ends between the two are skipped, up to
    /// 1 KiB. <https://www.rfc-editor.org/rfc/rfc9112#section-9.2>
    pub fn set_reused(&mut self) {
        self.line_ends = MOST_LINE_ENDS as u16;
    }

    /// Adds a reason to close that the machine cannot see.
    pub fn close_after(&mut self, reason: CloseReason) {
        self.close.insert(reason);
    }
}
