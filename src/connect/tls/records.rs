//! TLS between a transport and its user: rustls without buffers of its own, and ours around it.
//!
//! Knows nothing of certificates, of HTTP, or of what a transport is. What was read lies in one buffer, in which rustls
//! decrypts; what is to be written lies sealed in another; and a third has what was decrypted and found no room, of no more
//! than one read, because nothing is read until it is empty. Invariants: a connection on which all was read and written owns
//! no buffer; no more is held of the first two than [`MOST_WIRE`]; what a dropped future has taken in is not lost; and what
//! the peer said before it failed or ended is read first.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::wire::{Meter, Wire};
use crate::buffer::MOST_WIRE;

/// One connection's TLS.
pub(super) struct Records {
    tls: UnbufferedClientConnection,
    /// Read and not yet processed, but for parts of messages of the handshake: those stay until they are whole.
    incoming: Wire,
    held: Held,
    meter: Meter,
    /// How much a read asks for: grows and shrinks with what comes.
    size: usize,
    /// rustls can do nothing more before more is read.
    is_quiet: bool,
    /// The last read took all that it had room for.
    is_more_likely: bool,
    /// The transport has ended.
    is_eof: bool,
    /// The transport failed behind what was read: told by the next read.
    failed: Option<io::Error>,
    /// Something was sealed for the peer to read.
    is_used: bool,
    /// Our close_notify was sealed.
    is_goodbye_said: bool,
    /// Nothing was unsent when the alert was sealed that tells the peer of an error.
    is_alert_first: bool,
}

/// What rustls gave.
#[derive(Default)]
struct Held {
    /// Decrypted when there was no room for it.
    plain: Wire,
    /// Sealed and not yet written.
    outgoing: Wire,
    /// What ended it. Boxed: it is rare.
    error: Option<Box<rustls::Error>>,
    /// The peer's close_notify came.
    is_closed: bool,
}

/// What is known of an idle connection before its transport is asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known {
    Nothing,
    Plaintext,
    End,
}

impl Records {
    pub(super) fn new(tls: UnbufferedClientConnection) -> Self {
        Self {
            tls,
            incoming: Wire::default(),
            held: Held::default(),
            meter: Meter::default(),
            size: LEAST,
            is_quiet: false,
            is_more_likely: true,
            is_eof: false,
            failed: None,
            is_used: false,
            is_goodbye_said: false,
            is_alert_first: false,
        }
    }

    pub(super) fn tls(&self) -> &UnbufferedClientConnection {
        &self.tls
    }

    /// Shakes hands, until the last of it was written.
    pub(super) fn poll_handshake(
        &mut self,
        io: &mut (impl AsyncRead + AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            self.process();
            if let Some(error) = self.error() {
                // It may be an alert that waits: it is tried once, and the error told whatever becomes of it.
                let _ = self.poll_send(io, cx);
                return Poll::Ready(Err(error));
            }
            ready!(self.poll_flush(io, cx))?;
            if !self.tls.is_handshaking() {
                self.free();
                return Poll::Ready(Ok(()));
            }
            if ready!(self.poll_fill(io, cx))? == 0 {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof")));
            }
        }
    }

    /// Reads what there is, of several records if there is room. Nothing is the end.
    pub(super) fn poll_read(
        &mut self,
        io: &mut (impl AsyncRead + AsyncWrite + Unpin),
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.poll_plaintext(io, cx, buf);
        self.free();
        read
    }

    fn poll_plaintext(
        &mut self,
        io: &mut (impl AsyncRead + AsyncWrite + Unpin),
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        self.held.plain.pour(buf);
        self.is_more_likely = true;
        for reads in 0..MAX_READS {
            while buf.remaining() > 0 && self.step(Some(buf)) {}
            let is_some = buf.filled().len() > before;
            if buf.remaining() == 0 || is_some && !self.is_more_likely {
                return Poll::Ready(Ok(()));
            }
            if reads > 0 && !is_some {
                // Whoever talks and says nothing is not to be heard faster.
                self.size = LEAST;
            }
            if self.has_ended() {
                return Poll::Ready(if is_some { Ok(()) } else { self.end(io, cx) });
            }
            match self.poll_fill(io, cx) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => self.failed = Some(error),
                Poll::Pending if is_some => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
        if buf.filled().len() > before {
            return Poll::Ready(Ok(()));
        }
        // A peer that talks and says nothing: it is others' turn.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn has_ended(&self) -> bool {
        self.held.error.is_some() || self.held.is_closed || self.failed.is_some() || self.is_eof
    }

    /// What is read where nothing more comes.
    fn end(
        &mut self,
        io: &mut (impl AsyncRead + AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        if let Some(error) = self.error() {
            // The alert that tells the peer why, if the transport takes it at once. (Behind what was there before, it would
            // have to wait, in place of whoever waits to write that.)
            if self.is_alert_first {
                let _ = self.poll_send(io, cx);
            }
            return Err(error);
        }
        if self.held.is_closed {
            return Ok(());
        }
        let message = "peer closed connection without sending TLS close_notify";
        Err(self.failed.take().unwrap_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, message)))
    }

    fn error(&self) -> Option<io::Error> {
        let error = self.held.error.as_deref()?;
        Some(io::Error::new(io::ErrorKind::InvalidData, error.clone()))
    }

    /// Reads once from the transport.
    fn poll_fill(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let size = self.size;
        let mut is_pending = false;
        let read = self.fill(size, |room| {
            let mut room = ReadBuf::new(room);
            match Pin::new(io).poll_read(cx, &mut room) {
                Poll::Ready(Ok(())) => Ok(room.filled().len()),
                Poll::Ready(Err(error)) => Err(error),
                Poll::Pending => {
                    is_pending = true;
                    Err(io::ErrorKind::WouldBlock.into())
                }
            }
        });
        if is_pending {
            self.free();
            // It may be a long wait for the rest of a record.
            self.incoming.shrink_if_little();
            return Poll::Pending;
        }
        if let Ok(read) = read {
            if self.is_more_likely {
                self.size = (size * 2).min(MOST_WIRE);
            } else if read < size / 4 {
                self.size = (size / 2).max(LEAST);
            }
        }
        Poll::Ready(read)
    }

    /// Reads once, at most `size` bytes.
    pub(super) fn fill(
        &mut self,
        size: usize,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        // All that is left of what was processed is less than a record, or part of one message.
        let size = size.min(MOST_WIRE.saturating_sub(self.incoming.len()));
        if size == 0 {
            let message = "message buffer full";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let room = self.incoming.room(size);
        let read = read(room)?;
        self.meter.pass(room.get(..read).unwrap_or_default());
        self.incoming.fill(read);
        self.is_eof = read == 0;
        self.is_more_likely = read == size;
        self.is_quiet = false;
        Ok(read)
    }

    /// Takes in all that was read; plaintext is kept.
    fn process(&mut self) {
        while self.step(None) {}
    }

    /// Does the next of what rustls asks for. `false`: there is nothing to do until more is read.
    fn step(&mut self, buf: Option<&mut ReadBuf<'_>>) -> bool {
        if self.is_quiet || self.held.error.is_some() {
            return false;
        }
        let UnbufferedStatus { mut discard, state } =
            self.tls.process_tls_records(self.incoming.filled_mut());
        match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                let mut buf = buf;
                while let Some(Ok(record)) = traffic.next_record() {
                    discard += record.discard;
                    self.held.deliver(record.payload, buf.as_deref_mut());
                }
            }
            Ok(ConnectionState::EncodeTlsData(message)) => self.held.encode_message(message),
            Ok(ConnectionState::TransmitTlsData(sent)) => sent.done(),
            Ok(ConnectionState::PeerClosed) => {
                self.held.is_closed = true;
                // > Any data received after a closure alert has been received MUST be ignored.
                // <https://www.rfc-editor.org/rfc/rfc8446#section-6.1>
                discard = usize::MAX;
            }
            Ok(_) => self.is_quiet = true,
            Err(error) => {
                self.held.error = Some(Box::new(error));
                self.is_alert_first = self.held.outgoing.is_empty();
                self.encode_alerts();
                discard = usize::MAX;
            }
        }
        self.incoming.consume(discard);
        true
    }

    /// What rustls wants to say of an error. It is asked for nothing else from then on: it would go on reading.
    fn encode_alerts(&mut self) {
        while self.tls.wants_write() {
            match self.tls.process_tls_records(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(message)) => self.held.encode_message(message),
                Ok(ConnectionState::ReadTraffic(mut traffic)) => while traffic.next_record().is_some() {},
                _ => return,
            }
        }
    }

    /// Seals as much as may be held and writes what the transport takes.
    pub(super) fn poll_write(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if !self.held.has_room() {
            match self.poll_send(io, cx) {
                Poll::Ready(sent) => sent?,
                Poll::Pending if self.held.has_room() => {}
                Poll::Pending => return Poll::Pending,
            }
        }
        let sealed = self.seal(bufs)?;
        match self.poll_send(io, cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // What is sealed is written, as far as the caller is concerned.
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(sealed)),
        }
    }

    fn seal(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Ok(0);
        }
        let Some((mut traffic, held)) = self.traffic()? else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        // At once, rather than for one record after another.
        let all = bufs.iter().map(|buf| buf.len()).sum::<usize>();
        let room = all.saturating_add(4 * OVERHEAD).min(MOST_WIRE - held.outgoing.len());
        held.outgoing.room(room);
        let mut parts = bufs.iter().map(|buf| &buf[..]).filter(|part| !part.is_empty()).peekable();
        let mut part: &[u8] = parts.next().unwrap_or_default();
        let mut sealed = 0;
        while held.has_room() && !part.is_empty() {
            let (record, rest) = part.split_at(part.len().min(RECORD));
            // A part that ends within a record, and another behind it: they share one.
            if rest.is_empty() && record.len() < RECORD && parts.peek().is_some() {
                let mut shared = record.to_vec();
                part = rest;
                while part.is_empty() && shared.len() < RECORD {
                    let Some(next) = parts.next() else { break };
                    let (fits, rest) = next.split_at(next.len().min(RECORD - shared.len()));
                    shared.extend_from_slice(fits);
                    part = rest;
                }
                held.seal(&mut traffic, &shared)?;
                sealed += shared.len();
            } else {
                held.seal(&mut traffic, record)?;
                sealed += record.len();
                part = rest;
            }
            if part.is_empty() {
                part = parts.next().unwrap_or_default();
            }
        }
        self.is_used = true;
        Ok(sealed)
    }

    /// What seals, if anything may be said any more.
    #[allow(clippy::type_complexity, reason = "the two that it takes to seal, borrowed apart")]
    fn traffic(&mut self) -> io::Result<Option<(WriteTraffic<'_, ClientConnectionData>, &mut Held)>> {
        // All that was read: what rustls has seen of a message, it wants to see again.
        self.process();
        if let Some(error) = self.error() {
            return Err(error);
        }
        if self.is_goodbye_said {
            return Ok(None);
        }
        match self.tls.process_tls_records(self.incoming.filled_mut()).state {
            Ok(ConnectionState::WriteTraffic(traffic)) => Ok(Some((traffic, &mut self.held))),
            _ => Ok(None),
        }
    }

    /// Writes all that is sealed.
    fn poll_send(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.held.outgoing.is_empty() {
            match ready!(Pin::new(&mut *io).poll_write(cx, self.held.outgoing.filled()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.held.outgoing.consume(written),
            }
        }
        self.held.outgoing.free();
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_flush(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_send(io, cx))?;
        Pin::new(io).poll_flush(cx)
    }

    pub(super) fn poll_shutdown(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.say_goodbye();
        ready!(self.poll_send(io, cx))?;
        match ready!(Pin::new(io).poll_shutdown(cx)) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            other => Poll::Ready(other),
        }
    }

    /// Seals a close_notify, once; none behind an error, of which an alert is the last word.
    pub(super) fn say_goodbye(&mut self) {
        if let Ok(Some((mut traffic, held))) = self.traffic() {
            held.encode(|room| match traffic.queue_close_notify(room) {
                Ok(length) => Ok(length),
                Err(EncryptError::InsufficientSize(needed)) => Err(needed.required_size),
                Err(EncryptError::EncryptExhausted) => Ok(0),
            });
        }
        self.is_goodbye_said = true;
    }

    /// What is sealed and not written.
    pub(super) fn unsent(&self) -> &[u8] {
        self.held.outgoing.filled()
    }

    /// Whether nothing is held between the transport and the reader: neither plaintext nor part of a record.
    pub(super) fn is_settled(&mut self) -> bool {
        let is_settled = self.known() == Known::Nothing && self.is_between_records();
        self.rest();
        is_settled
    }

    pub(super) fn is_between_records(&self) -> bool {
        self.meter.is_between_records()
    }

    /// Whether anything was written by the user of the connection.
    pub(super) fn is_used(&self) -> bool {
        self.is_used
    }

    /// Gives what is decrypted already.
    pub(super) fn take_plaintext(&mut self, buf: &mut ReadBuf<'_>) {
        self.held.plain.pour(buf);
        self.free();
    }

    /// What is known without asking the transport.
    pub(super) fn known(&mut self) -> Known {
        self.process();
        self.free();
        if self.held.error.is_some() {
            Known::End
        } else if !self.held.plain.is_empty() {
            Known::Plaintext
        } else if self.held.is_closed {
            Known::End
        } else {
            Known::Nothing
        }
    }

    /// Whether the transport is known to have ended or failed.
    pub(super) fn is_lost(&self) -> bool {
        self.is_eof || self.failed.is_some()
    }

    /// It will be idle: no more memory is kept than for what cannot be let go.
    pub(super) fn rest(&mut self) {
        self.incoming.shrink();
        self.held.outgoing.shrink();
        self.size = LEAST;
    }

    fn free(&mut self) {
        self.incoming.free();
        self.held.outgoing.free();
        self.held.plain.free();
    }

    /// The memory of all buffers.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.incoming.memory() + self.held.outgoing.memory() + self.held.plain.memory()
    }
}

impl Held {
    fn deliver(&mut self, plaintext: &[u8], buf: Option<&mut ReadBuf<'_>>) {
        let mut rest = plaintext;
        if let Some(buf) = buf
            && self.plain.is_empty()
        {
            let (fits, beyond) = rest.split_at(rest.len().min(buf.remaining()));
            buf.put_slice(fits);
            rest = beyond;
        }
        if !rest.is_empty() {
            self.plain.extend(rest);
        }
    }

    /// Whether one more record may be sealed.
    fn has_room(&self) -> bool {
        self.outgoing.len() + RECORD + OVERHEAD <= MOST_WIRE
    }

    fn seal(
        &mut self,
        traffic: &mut WriteTraffic<'_, ClientConnectionData>,
        plaintext: &[u8],
    ) -> io::Result<()> {
        let mut is_exhausted = false;
        let is_sealed =
            self.encode_into(plaintext.len() + OVERHEAD, |room| match traffic.encrypt(plaintext, room) {
                Ok(length) => Ok(length),
                Err(EncryptError::InsufficientSize(needed)) => Err(needed.required_size),
                Err(EncryptError::EncryptExhausted) => {
                    is_exhausted = true;
                    Ok(0)
                }
            });
        match is_sealed {
            true if !is_exhausted => Ok(()),
            true => Err(io::Error::other("the TLS connection's keys are used up")),
            false => Err(io::Error::other("a TLS record could not be sealed")),
        }
    }

    fn encode_message(&mut self, mut message: EncodeTlsData<'_, ClientConnectionData>) {
        self.encode(|room| match message.encode(room) {
            Ok(length) => Ok(length),
            Err(EncodeError::InsufficientSize(needed)) => Err(needed.required_size),
            Err(EncodeError::AlreadyEncoded) => Ok(0),
        });
    }

    fn encode(&mut self, encode: impl FnMut(&mut [u8]) -> Result<usize, usize>) {
        let _ = self.encode_into(OVERHEAD, encode);
    }

    /// Has something put behind what is to be written, in as much room as it asks for by its error.
    /// `false`: it was not.
    fn encode_into(
        &mut self,
        size: usize,
        mut encode: impl FnMut(&mut [u8]) -> Result<usize, usize>,
    ) -> bool {
        let encoded = encode(self.outgoing.room(size));
        let encoded = encoded.or_else(|needed| encode(self.outgoing.room(needed)));
        encoded.is_ok_and(|length| {
            self.outgoing.fill(length);
            true
        })
    }
}

/// The most plaintext of one record: <https://www.rfc-editor.org/rfc/rfc8446#section-5.1>.
const RECORD: usize = 16 * 1024;

/// More than a record is longer than its plaintext.
const OVERHEAD: usize = 64;

/// The least that a read asks for: a record, of any length that TLS 1.3 allows.
/// <https://www.rfc-editor.org/rfc/rfc8446#section-5.2>
const LEAST: usize = 17 * 1024;

/// So often is read in one poll.
const MAX_READS: usize = 16;

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
