//! One exchange on one connection: two half machines and a verdict.
//!
//! This module knows no socket, no clock and no second request. The caller passes bytes in and gets events back.
//! Reading, writing and waiting are the caller's work. Invariant: [`Verdict::Reuse`] is returned only if both halves
//! are done, the buffer is empty, and there is no [`CloseReason`].

use bytes::{Buf, BytesMut};
use http::{HeaderMap, Method, StatusCode, Version};

use super::chunked::{ChunkDecoder, Piece, encode_chunk_start, take};
use super::close::{CloseReason, CloseReasons};
use super::encode;
use super::error::{Misuse, ProtocolError};
use super::event::Event;
use super::framing::{Asked, BodyLength, Coding, Framing, Length, message_length};
use super::grammar::CRLF;
use super::head::{self, KeepAlive, Notes, Scan};
use super::limits::Limits;
use super::request::RequestHead;
use super::response::ResponseHead;
use super::trailers;
use super::unasked::{self, MOST_LINE_ENDS};
use super::upgrade::Offer;

/// The codec of one exchange. The [module](super) shows how to drive a machine.
///
/// A machine serves one request and its response. Make a new machine for the next request: a new machine allocates
/// nothing. Dropping a machine has no side effects.
///
/// The methods form three groups: questions change nothing, input methods take the bytes that the server sent, and
/// commands write the request.
#[derive(Debug)]
pub struct Machine {
    limits: Limits,
    send: Send,
    receive: Receive,
    close: CloseReasons,
    asked: Asked,
    /// The protocols that the request offered in an Upgrade field, or `None` if the request had no such field.
    offer: Option<Offer>,
    expects_continue: bool,
    /// Status of the final response, or `None` until the response's head has been read.
    status: Option<StatusCode>,
    /// Framing of the final response, or `None` until the response's head has been read.
    framing: Option<Framing>,
    /// Announced length of content that the final response does not carry, as in a response to HEAD.
    absent: Option<u64>,
    /// Hints of the final response's `Keep-Alive` field.
    keep_alive: KeepAlive,
    has_peer_spoken: bool,
    /// Number of bytes of line ends that may still be skipped before the response.
    line_ends: u16,
    /// Number of interim responses so far.
    informational: u32,
    /// Number of bytes of the heads of interim responses so far.
    informational_bytes: u32,
    /// The rule that the server broke, or `None`. Bytes after a broken rule have no meaning.
    broken: Option<ProtocolError>,
}

/// The codec's decision about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "callers must handle all three verdicts")]
pub enum Verdict {
    /// The exchange is complete, and the connection may carry another request.
    Reuse,
    /// The connection must be closed. The set of reasons is never empty.
    Close(CloseReasons),
    /// The exchange is not complete yet.
    Unfinished,
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
    /// The body has ended, and [`Event::End`] is the next event.
    End,
    Done,
}

/// # Questions
impl Machine {
    /// Creates a machine for one exchange.
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

    /// Returns the limits that the machine was created with.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns the verdict on the connection: reuse the connection, close the connection, or wait for the end of the
    /// exchange.
    ///
    /// `buffered` is the number of bytes that were read from the connection but not consumed by
    /// [`decode`](Self::decode). The verdict is a cell of the [joint table](super#the-joint-table).
    #[must_use]
    pub fn verdict(&self, buffered: usize) -> Verdict {
        if self.broken.is_some() {
            return Verdict::Close(self.close);
        }
        let close = match (&self.send, &self.receive) {
            // No response can follow, because no request was sent.
            (Send::Aborted { is_head_sent: false }, _) => self.close,
            (_, Receive::End) => return Verdict::Unfinished,
            // > A client MUST NOT process, cache, or forward such extra data as a separate response
            // <https://www.rfc-editor.org/rfc/rfc9112#section-6.3>. Bytes after the head of a tunnel belong to the
            // tunnel.
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

    /// Returns the reasons to close that are known so far.
    #[must_use]
    pub fn close_reasons(&self) -> CloseReasons {
        self.close
    }

    /// Whether the request's head has been encoded.
    #[must_use]
    pub fn is_head_sent(&self) -> bool {
        !matches!(self.send, Send::Head | Send::Aborted { is_head_sent: false })
    }

    /// Whether the whole request has been encoded.
    #[must_use]
    pub fn is_send_done(&self) -> bool {
        matches!(self.send, Send::Done)
    }

    /// Whether the upload was aborted, by [`abort_send`](Self::abort_send) or because the body ended too early.
    #[must_use]
    pub fn is_send_aborted(&self) -> bool {
        matches!(self.send, Send::Aborted { .. })
    }

    /// Whether the caller may send more of the request's body, because the body is neither complete nor
    /// [refused](Self::is_upload_refused). <https://www.rfc-editor.org/rfc/rfc9112#section-9.5>
    #[must_use]
    pub fn may_send_body(&self) -> bool {
        let is_open = matches!(self.send, Send::Known { .. } | Send::Chunked);
        is_open && self.broken.is_none() && !self.is_upload_refused()
    }

    /// Whether the server wants no more of the request, because the server sent a final response with a status of 300 or
    /// above.
    ///
    /// A 2xx does not refuse an upload that has begun, even if the server closes the connection after the response,
    /// because the response may depend on the content. For a request that still waits for 100, any final status means
    /// that the content need not be sent. The caller aborts such an upload by [`abort_send`](Self::abort_send).
    /// <https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1>
    #[must_use]
    pub fn is_upload_refused(&self) -> bool {
        self.status.is_some_and(|status| status.as_u16() >= 300)
    }

    /// Whether the request said `Expect: 100-continue`, and neither a 100 nor a final response has been read yet.
    ///
    /// The caller decides how long to wait before sending the body without a 100.
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// Whether the head of the final response has been read.
    #[must_use]
    pub fn is_head_received(&self) -> bool {
        self.status.is_some()
    }

    /// Whether [`Event::End`] has been returned.
    #[must_use]
    pub fn is_receive_done(&self) -> bool {
        matches!(self.receive, Receive::Done)
    }

    /// Returns how the response's body ends, or `None` before the head of the final response has been read.
    #[must_use]
    pub fn framing(&self) -> Option<Framing> {
        self.framing
    }

    /// Returns the number of bytes of the response's body that are still to come, or `None` if the number is not known.
    #[must_use]
    pub fn receive_remaining(&self) -> Option<u64> {
        match self.receive {
            Receive::Length { remaining } => Some(remaining),
            Receive::End | Receive::Done => Some(0),
            Receive::Head(_) | Receive::Chunked(_) | Receive::UntilClose => None,
        }
    }

    /// Whether the response's body ends within `bytes`, which have come and were not decoded.
    #[cfg(feature = "url")]
    pub fn ends_within(&self, bytes: &[u8]) -> bool {
        match &self.receive {
            Receive::Chunked(decoder) => decoder.ends_within(bytes, &self.limits),
            _ => self.receive_remaining().is_some_and(|rest| rest <= bytes.len() as u64),
        }
    }

    /// Returns the length of the content that the server announced, or `None` if the server announced no length.
    ///
    /// A response to HEAD, and a 304, may announce the length of content that the response does not carry. The length
    /// is 0 for a 204, for a 2xx to CONNECT, and for a 101. <https://www.rfc-editor.org/rfc/rfc9110#section-8.6>
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

    /// Returns the number of bytes of the request's body that are still to be encoded, or `None` if the number is not
    /// known.
    #[must_use]
    pub fn upload_remaining(&self) -> Option<u64> {
        match self.send {
            Send::Known { remaining } => Some(remaining),
            Send::Done => Some(0),
            Send::Head | Send::Chunked | Send::Aborted { .. } => None,
        }
    }

    /// Whether the machine has seen at least one byte of a response, interim responses included.
    #[must_use]
    pub fn has_peer_spoken(&self) -> bool {
        self.has_peer_spoken
    }

    /// Whether decoding failed because the first bytes after the request cannot begin an HTTP/1 response.
    ///
    /// On a reused connection, such bytes belong to an earlier exchange. One example is a body that the server sent
    /// after a response that has no body.
    #[must_use]
    pub fn is_no_response(&self) -> bool {
        let is_of_version = matches!(
            self.broken,
            Some(ProtocolError::NotHttp | ProtocolError::UnsupportedVersion | ProtocolError::BadStatusLine)
        );
        let is_first = matches!(&self.receive, Receive::Head(scan) if scan.is_within_version());
        is_of_version && is_first && self.informational == 0
    }

    /// Returns the hints of the final response's `Keep-Alive` field. The hints are empty until the head of that
    /// response was read.
    #[must_use]
    pub fn keep_alive(&self) -> KeepAlive {
        self.keep_alive
    }
}

/// # Input
impl Machine {
    /// Decodes the next event from `buf` and removes its bytes.
    ///
    /// `buf` holds the bytes that the server sent and that the machine has not consumed yet. `Ok(None)` means that the
    /// machine needs more bytes: append more bytes to `buf` and call this method again. After [`Event::End`], every call
    /// returns `Ok(None)`, and the bytes in `buf` are surplus.
    ///
    /// # Errors
    ///
    /// An error if the server broke the rules of HTTP/1.1. Every later call returns the same error.
    #[inline]
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Event>, ProtocolError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        self.receive(buf).map_err(|error| self.fail(error))
    }

    /// Decodes the next event from `buf` after the server closed the connection in an orderly way.
    ///
    /// The method returns the events that [`decode`](Self::decode) finds in `buf`. After these events, the method returns
    /// [`Event::End`] if the body ends with the connection. Every later call returns `Ok(None)`.
    ///
    /// Do not call this method for a connection that was reset, or for a TLS connection that ended without
    /// `close_notify`, because the body may be incomplete. <https://www.rfc-editor.org/rfc/rfc9112#section-8>
    ///
    /// # Errors
    ///
    /// An error if the response is incomplete, or the error of [`decode`](Self::decode).
    pub fn decode_eof(&mut self, buf: &mut BytesMut) -> Result<Option<Event>, ProtocolError> {
        if let Some(event) = self.decode(buf)? {
            return Ok(Some(event));
        }
        let leniency = self.limits.leniency;
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
            Receive::Head(scan) => scan.check(buf, leniency).err().unwrap_or(ProtocolError::ClosedWithinHead),
            Receive::Length { remaining } => ProtocolError::ClosedWithinBody { missing: Some(*remaining) },
            Receive::Chunked(decoder) => decoder
                .check(buf, leniency)
                .err()
                .unwrap_or(ProtocolError::ClosedWithinBody { missing: None }),
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
        if notes.is_mended {
            self.close.insert(CloseReason::LenientField);
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

    /// Counts an interim response against the limits, and returns its event.
    ///
    /// > A client MUST be able to parse one or more 1xx responses received prior to a final response
    ///
    /// <https://www.rfc-editor.org/rfc/rfc9110#section-15.2>
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

    /// Fails if the server must not answer this request with a 101, or must not send the 101 yet.
    ///
    /// > A client cannot begin using an upgraded protocol on the connection until it has completely sent the request
    /// > message (i.e., the client can't change the protocol it is sending in the middle of a message).
    ///
    /// <https://www.rfc-editor.org/rfc/rfc9110#section-7.8>. The bytes after the head of a 101 belong to the new
    /// protocol, so that the framing fields of a 101 have no meaning. CONNECT asks for a tunnel by its method, so that a
    /// 101 is no answer to CONNECT.
    fn judge_switch(&mut self, head: &ResponseHead) -> Result<(), ProtocolError> {
        self.close.insert(CloseReason::Upgrade);
        match &self.offer {
            None => Err(ProtocolError::UnsolicitedUpgrade),
            Some(_) if self.asked == Asked::Connect => Err(ProtocolError::UnsolicitedUpgrade),
            Some(_) if !matches!(self.send, Send::Done) => Err(ProtocolError::UpgradeTooEarly),
            Some(offer) => offer.judge(head.headers()),
        }
    }

    /// Notes whether the connection persists: <https://www.rfc-editor.org/rfc/rfc9112#section-9.3>.
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
    /// A request without content is [sent completely](Self::is_send_done) by this method. In any other request, the
    /// body must follow. [`upload_remaining`](Self::upload_remaining) tells how the length of the body was announced,
    /// which may differ from [`RequestHead::body`]: a Content-Length header gives a chunked body that length, and
    /// `Transfer-Encoding: chunked` makes any body chunked. POST, PUT, PATCH and QUERY without a body announce
    /// `content-length: 0`, because servers expect a body with these methods.
    ///
    /// The method adds two fields that the headers lack: `connection` for [`RequestHead::close`] and for fields that
    /// concern only this connection, and `trailer` for [`RequestHead::trailers`].
    ///
    /// # Errors
    ///
    /// An error if the given head cannot be sent. In this case no byte was written, and the caller may try another head.
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

    /// Frames the next `len` bytes of the body: appends to `dst` the framing before these bytes, and returns the
    /// framing that must be written after these bytes. The caller writes the bytes of the body.
    ///
    /// # Errors
    ///
    /// An error if the head has not been encoded, or if the body is longer than its promised length. The machine is
    /// unchanged in both cases.
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

    /// Ends the body. For a chunked body, appends the last chunk and the trailers to `dst`.
    ///
    /// A complete body of known length has already ended, so that no byte is written.
    ///
    /// # Errors
    ///
    /// An error if the body is shorter than its promised length. In this case the upload is aborted. An error too if the
    /// trailers cannot be sent. In this case no byte was written, and the body is still open.
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

    /// Aborts the upload. The response may still be read, but the connection must be closed after the response.
    ///
    /// A head that has not been encoded cannot be encoded after this call, and bytes of the server are still an
    /// [error](ProtocolError::SpokeFirst). The call has no effect on a request that was sent completely.
    pub fn abort_send(&mut self) {
        if !self.is_send_done() {
            self.send = Send::Aborted { is_head_sent: self.is_head_sent() };
            self.close.insert(CloseReason::UploadAborted);
        }
    }

    /// Tells the machine that the connection carried another exchange before this exchange.
    ///
    /// The machine skips up to 1 KiB of line ends before a response on such a connection.
    /// <https://www.rfc-editor.org/rfc/rfc9112#section-9.2>
    pub fn set_reused(&mut self) {
        self.line_ends = MOST_LINE_ENDS as u16;
    }

    /// Adds a reason to close that the machine cannot see, such as a failed write.
    pub fn close_after(&mut self, reason: CloseReason) {
        self.close.insert(reason);
    }
}
