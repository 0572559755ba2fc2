//! TLS between a transport and its user: rustls, with buffers of this crate.
//!
//! There are three buffers. `incoming` holds bytes that were read, and rustls decrypts in this buffer. `outgoing` holds
//! sealed records that are to be written. `plain` holds plaintext for which the reader's buffer had no space. `plain`
//! holds the plaintext of at most one read, because the transport is not read until `plain` is empty. Invariants: a
//! connection whose bytes were all read and written owns no buffer. `incoming` and `outgoing` hold at most
//! [`MOST_WIRE`] bytes each. Bytes that a dropped future has read are not lost. Data that the peer sent before its
//! error or end is delivered before the error or end. This file knows nothing of certificates, of HTTP, or of the kind
//! of transport.

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

/// State of one TLS connection, and its buffers.
pub(super) struct Records {
    tls: UnbufferedClientConnection,
    /// Bytes that were read and not processed. The parts of a handshake message stay here until the message is complete.
    incoming: Wire,
    output: Output,
    /// Meter that says whether `incoming` ends between two records.
    meter: Meter,
    /// Number of bytes that the next read asks for. The size grows and shrinks with the number of bytes that reads
    /// return.
    size: usize,
    /// Whether rustls needs more bytes for its next step.
    is_quiet: bool,
    /// Whether the last read filled its buffer, so that more bytes are likely.
    is_more_likely: bool,
    /// Whether the transport has ended.
    is_eof: bool,
    /// Error of the transport. The error is returned after the data that was read before the error.
    failed: Option<io::Error>,
    /// Whether the user has written a byte.
    is_used: bool,
    /// Whether the client's close_notify was sealed.
    is_close_notify_sealed: bool,
    /// Whether an alert of rustls is the first record in `outgoing`, so that the reader sends the alert.
    is_alert_first: bool,
}

/// The output of rustls: the plaintext that was decrypted, the records that were sealed, and the error that ended the
/// connection.
#[derive(Default)]
struct Output {
    /// Plaintext for which the reader's buffer had no space.
    plain: Wire,
    /// Sealed records that were not written yet.
    outgoing: Wire,
    /// Error that ended the connection. Boxed because it is rare.
    error: Option<Box<rustls::Error>>,
    /// Whether the peer's close_notify has arrived.
    is_closed: bool,
}

/// The state of an idle connection that is known without asking the transport.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// No plaintext, no end and no error has arrived.
    Nothing,
    /// Plaintext has arrived that was not read.
    Plaintext,
    /// The peer has closed the connection, or the connection has failed.
    End,
}

impl Records {
    /// Returns a connection before its handshake.
    pub(super) fn new(tls: UnbufferedClientConnection) -> Self {
        Self {
            tls,
            incoming: Wire::default(),
            output: Output::default(),
            meter: Meter::default(),
            size: LEAST,
            is_quiet: false,
            is_more_likely: true,
            is_eof: false,
            failed: None,
            is_used: false,
            is_close_notify_sealed: false,
            is_alert_first: false,
        }
    }

    /// Returns the connection of rustls.
    pub(super) fn tls(&self) -> &UnbufferedClientConnection {
        &self.tls
    }

    /// Polls the handshake. Returns ready when the client's last message was written.
    pub(super) fn poll_handshake(
        &mut self,
        io: &mut (impl AsyncRead + AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            self.process();
            if let Some(error) = self.error() {
                // An alert may be waiting, so one attempt is made to send it. The error of the handshake is returned in
                // any case.
                let _ = self.poll_send(io, cx);
                return Poll::Ready(Err(error));
            }
            ready!(self.poll_flush(io, cx))?;
            if !self.tls.is_handshaking() {
                self.free();
                return Poll::Ready(Ok(()));
            }
            if ready!(self.poll_fill(io, cx))? == 0 {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the peer closed the connection before the TLS handshake ended",
                )));
            }
        }
    }

    /// Reads plaintext into `buf`, from several records if they fit. A read of no byte means that the peer has closed
    /// the connection.
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

    /// Reads plaintext, without freeing buffers.
    fn poll_plaintext(
        &mut self,
        io: &mut (impl AsyncRead + AsyncWrite + Unpin),
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        self.output.plain.pour(buf);
        self.is_more_likely = true;
        for reads in 0..MAX_READS {
            while buf.remaining() > 0 && self.step(Some(buf)) {}
            let is_some = buf.filled().len() > before;
            if buf.remaining() == 0 || is_some && !self.is_more_likely {
                return Poll::Ready(Ok(()));
            }
            if reads > 0 && !is_some {
                // Reads stay small for a peer that sends records without plaintext.
                self.size = LEAST;
            }
            if self.has_ended() {
                return Poll::Ready(if is_some { Ok(()) } else { self.end(io, cx) });
            }
            match self.poll_fill(io, cx) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => self.failed = Some(error),
                Poll::Pending if is_some => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    // The peer may wait for the alert: a server that asks for a renegotiation gets a refusal.
                    if self.is_alert_first {
                        let _ = self.poll_send(io, cx);
                    }
                    return Poll::Pending;
                }
            }
        }
        if buf.filled().len() > before {
            return Poll::Ready(Ok(()));
        }
        // The peer keeps sending records without plaintext, so this task yields to other tasks.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether no more plaintext can arrive.
    fn has_ended(&self) -> bool {
        self.output.error.is_some() || self.output.is_closed || self.failed.is_some() || self.is_eof
    }

    /// Returns how the connection ended, for a read that found no plaintext.
    fn end(
        &mut self,
        io: &mut (impl AsyncRead + AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        if let Some(error) = self.error() {
            // The alert about the error is sent if the transport takes the alert at once. If other records precede the
            // alert, the writer sends the alert, because sending from here would replace the waker of the task that
            // waits to write those records.
            if self.is_alert_first {
                let _ = self.poll_send(io, cx);
            }
            return Err(error);
        }
        if self.output.is_closed {
            return Ok(());
        }
        let message = "the peer closed the connection without a TLS close_notify";
        Err(self.failed.take().unwrap_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, message)))
    }

    /// Returns the error of rustls that ended the connection.
    fn error(&self) -> Option<io::Error> {
        let error = self.output.error.as_deref()?;
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
            // The remainder of a record may arrive much later.
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

    /// Reads at most `size` bytes by one call of `read`.
    pub(super) fn fill(
        &mut self,
        size: usize,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        // `incoming` was processed before, so the buffer holds less than a record, or a part of one handshake message.
        let size = size.min(MOST_WIRE.saturating_sub(self.incoming.len()));
        if size == 0 {
            let message = "the peer sent a TLS message that is too large";
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

    /// Processes all bytes that were read. Plaintext goes to `plain`.
    fn process(&mut self) {
        while self.step(None) {}
    }

    /// Takes the next step that rustls asks for. Returns false if no step is possible before more bytes are read.
    /// Plaintext that fits goes to `buf`, and further plaintext goes to `plain`.
    fn step(&mut self, buf: Option<&mut ReadBuf<'_>>) -> bool {
        if self.is_quiet || self.output.error.is_some() {
            return false;
        }
        let UnbufferedStatus { mut discard, state } =
            self.tls.process_tls_records(self.incoming.filled_mut());
        match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                let mut buf = buf;
                while let Some(Ok(record)) = traffic.next_record() {
                    discard += record.discard;
                    self.output.deliver(record.payload, buf.as_deref_mut());
                }
            }
            Ok(ConnectionState::EncodeTlsData(message)) => {
                self.is_alert_first |= self.output.outgoing.is_empty();
                self.output.encode_message(message);
            }
            Ok(ConnectionState::TransmitTlsData(sent)) => sent.done(),
            Ok(ConnectionState::PeerClosed) => {
                self.output.is_closed = true;
                // > Any data received after a closure alert has been received MUST be ignored.
                // <https://www.rfc-editor.org/rfc/rfc8446#section-6.1>
                discard = usize::MAX;
            }
            Ok(_) => self.is_quiet = true,
            Err(error) => {
                self.output.error = Some(Box::new(error));
                self.is_alert_first |= self.output.outgoing.is_empty();
                self.encode_alerts();
                discard = usize::MAX;
            }
        }
        self.incoming.consume(discard);
        true
    }

    /// Seals the alerts of rustls about an error. After this call rustls is not used any more, because rustls would
    /// continue to read.
    fn encode_alerts(&mut self) {
        while self.tls.wants_write() {
            match self.tls.process_tls_records(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(message)) => self.output.encode_message(message),
                Ok(ConnectionState::ReadTraffic(mut traffic)) => while traffic.next_record().is_some() {},
                _ => return,
            }
        }
    }

    /// Seals as many bytes as `outgoing` may hold, and writes as many records as the transport takes. Returns the
    /// number of sealed bytes.
    pub(super) fn poll_write(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if !self.output.has_room() {
            match self.poll_send(io, cx) {
                Poll::Ready(sent) => sent?,
                Poll::Pending if self.output.has_room() => {}
                Poll::Pending => return Poll::Pending,
            }
        }
        let sealed = self.seal(bufs)?;
        self.is_alert_first = false;
        match self.poll_send(io, cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // Sealed bytes count as written, because they stay in `outgoing` until the transport takes them.
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(sealed)),
        }
    }

    /// Seals bytes of `bufs` until `outgoing` is full. Returns the number of sealed bytes.
    fn seal(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Ok(0);
        }
        let Some((mut traffic, output)) = self.traffic()? else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        // Memory is reserved once for all records instead of once for each record.
        let all = bufs.iter().map(|buf| buf.len()).sum::<usize>();
        let room = all.saturating_add(4 * OVERHEAD).min(MOST_WIRE - output.outgoing.len());
        output.outgoing.room(room);
        let mut parts = bufs.iter().map(|buf| &buf[..]).filter(|part| !part.is_empty()).peekable();
        let mut part: &[u8] = parts.next().unwrap_or_default();
        let mut sealed = 0;
        while output.has_room() && !part.is_empty() {
            let (record, rest) = part.split_at(part.len().min(RECORD));
            // The part ends within a record and another part follows, so both parts share the record.
            if rest.is_empty() && record.len() < RECORD && parts.peek().is_some() {
                let mut shared = record.to_vec();
                part = rest;
                while part.is_empty() && shared.len() < RECORD {
                    let Some(next) = parts.next() else { break };
                    let (fits, rest) = next.split_at(next.len().min(RECORD - shared.len()));
                    shared.extend_from_slice(fits);
                    part = rest;
                }
                output.seal(&mut traffic, &shared)?;
                sealed += shared.len();
            } else {
                output.seal(&mut traffic, record)?;
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

    /// Returns the part of rustls that seals records, and the output for them. Returns `None` if no further
    /// record may be sent.
    #[allow(
        clippy::type_complexity,
        reason = "a record is sealed with the state of rustls and the output, which are borrowed separately"
    )]
    fn traffic(&mut self) -> io::Result<Option<(WriteTraffic<'_, ClientConnectionData>, &mut Output)>> {
        // All bytes that were read are processed first, because rustls has to see the earlier parts of an unfinished
        // message again.
        self.process();
        if let Some(error) = self.error() {
            return Err(error);
        }
        if self.is_close_notify_sealed {
            return Ok(None);
        }
        match self.tls.process_tls_records(self.incoming.filled_mut()).state {
            Ok(ConnectionState::WriteTraffic(traffic)) => Ok(Some((traffic, &mut self.output))),
            _ => Ok(None),
        }
    }

    /// Writes all sealed records.
    fn poll_send(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.output.outgoing.is_empty() {
            match ready!(Pin::new(&mut *io).poll_write(cx, self.output.outgoing.filled()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.output.outgoing.consume(written),
            }
        }
        self.output.outgoing.free();
        self.is_alert_first = false;
        Poll::Ready(Ok(()))
    }

    /// Writes all sealed records and flushes the transport.
    pub(super) fn poll_flush(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_send(io, cx))?;
        Pin::new(io).poll_flush(cx)
    }

    /// Sends a close_notify and shuts down the transport.
    pub(super) fn poll_shutdown(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.send_close_notify();
        ready!(self.poll_send(io, cx))?;
        match ready!(Pin::new(io).poll_shutdown(cx)) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            other => Poll::Ready(other),
        }
    }

    /// Seals a close_notify, unless a close_notify was sealed before. After an error no close_notify is sealed, because
    /// the alert was the last message.
    pub(super) fn send_close_notify(&mut self) {
        if let Ok(Some((mut traffic, output))) = self.traffic() {
            output.encode(|room| match traffic.queue_close_notify(room) {
                Ok(length) => Ok(length),
                Err(EncryptError::InsufficientSize(needed)) => Err(needed.required_size),
                Err(EncryptError::EncryptExhausted) => Ok(0),
            });
        }
        self.is_close_notify_sealed = true;
    }

    /// Returns the sealed records that were not written.
    pub(super) fn unsent(&self) -> &[u8] {
        self.output.outgoing.filled()
    }

    /// Whether no plaintext and no part of a record is between the transport and the reader.
    pub(super) fn is_settled(&mut self) -> bool {
        let is_settled = self.known() == Known::Nothing && self.is_between_records();
        self.rest();
        is_settled
    }

    /// Whether the last byte that was read ended a record.
    pub(super) fn is_between_records(&self) -> bool {
        self.meter.is_between_records()
    }

    /// Whether the user has written a byte.
    pub(super) fn is_used(&self) -> bool {
        self.is_used
    }

    /// Moves plaintext that was decrypted already into `buf`.
    pub(super) fn take_plaintext(&mut self, buf: &mut ReadBuf<'_>) {
        self.output.plain.pour(buf);
        self.free();
    }

    /// Returns the state of an idle connection that is known without asking the transport.
    pub(super) fn known(&mut self) -> Known {
        self.process();
        self.free();
        if self.output.error.is_some() {
            Known::End
        } else if !self.output.plain.is_empty() {
            Known::Plaintext
        } else if self.output.is_closed {
            Known::End
        } else {
            Known::Nothing
        }
    }

    /// Whether the transport has ended or failed.
    pub(super) fn is_lost(&self) -> bool {
        self.is_eof || self.failed.is_some()
    }

    /// Frees all memory that holds no bytes, because the connection becomes idle.
    pub(super) fn rest(&mut self) {
        self.incoming.shrink();
        self.output.outgoing.shrink();
        self.size = LEAST;
    }

    /// Frees the buffers that are empty.
    fn free(&mut self) {
        self.incoming.free();
        self.output.outgoing.free();
        self.output.plain.free();
    }

    /// Returns the capacity of all buffers.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.incoming.memory() + self.output.outgoing.memory() + self.output.plain.memory()
    }
}

impl Output {
    /// Moves plaintext into `buf`, and plaintext that does not fit into `plain`.
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

    /// Whether `outgoing` has space for one more record.
    fn has_room(&self) -> bool {
        self.outgoing.len() + RECORD + OVERHEAD <= MOST_WIRE
    }

    /// Seals one record.
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
            true => Err(io::Error::other("the keys of the TLS connection have sealed too many records")),
            false => Err(io::Error::other("a TLS record could not be sealed")),
        }
    }

    /// Appends a message of rustls to `outgoing`.
    fn encode_message(&mut self, mut message: EncodeTlsData<'_, ClientConnectionData>) {
        self.encode(|room| match message.encode(room) {
            Ok(length) => Ok(length),
            Err(EncodeError::InsufficientSize(needed)) => Err(needed.required_size),
            Err(EncodeError::AlreadyEncoded) => Ok(0),
        });
    }

    /// Appends the bytes that `encode` writes to `outgoing`.
    fn encode(&mut self, encode: impl FnMut(&mut [u8]) -> Result<usize, usize>) {
        let _ = self.encode_into(OVERHEAD, encode);
    }

    /// Appends the bytes that `encode` writes to `outgoing`. `encode` gets space for `size` bytes. If `encode` fails,
    /// this method calls `encode` once more, with as much space as the error asks for. Returns whether `encode` has
    /// written.
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

/// Maximum number of plaintext bytes in one record: <https://www.rfc-editor.org/rfc/rfc8446#section-5.1>.
const RECORD: usize = 16 * 1024;

/// Upper bound of the bytes that sealing adds to a record.
const OVERHEAD: usize = 64;

/// Minimum number of bytes that a read asks for: one record of any length that TLS 1.3 allows.
/// <https://www.rfc-editor.org/rfc/rfc8446#section-5.2>
const LEAST: usize = 17 * 1024;

/// Maximum number of reads in one poll.
const MAX_READS: usize = 16;

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
