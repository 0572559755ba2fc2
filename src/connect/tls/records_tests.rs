//! Tests of TLS over a transport that counts calls, against a server of rustls and against a forger of records.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Wake, Waker};

use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::crypto::ring;
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, ConnectionTrafficSecrets, ContentType, ProtocolVersion, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
};

use super::super::config::tests::Authority;
use super::*;

/// A transport that is always ready and counts its calls, with a server of rustls at its other end.
struct Peer {
    server: ServerConnection,
    /// Bytes from the server that the client has not read.
    to_client: VecDeque<u8>,
    /// Bytes that the client wrote.
    written: Vec<u8>,
    /// Plaintext of the bytes that the client wrote.
    plain: Vec<u8>,
    /// Maximum number of bytes that one call moves.
    at_a_time: usize,
    /// Whether writes are pending.
    is_stuck: bool,
    /// Whether reads end once `to_client` is empty.
    is_ended: bool,
    reads: usize,
    writes: usize,
}

impl Peer {
    fn write(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = self.server.writer().write(rest).unwrap();
            rest = &rest[written..];
            self.transmit();
        }
    }

    /// Moves the records of the server to the client.
    fn transmit(&mut self) {
        while self.server.wants_write() {
            self.server.write_tls(&mut self.to_client).unwrap();
        }
    }

    /// Returns the bytes that the client has not read, and removes them.
    fn intercept(&mut self) -> Vec<u8> {
        self.transmit();
        self.to_client.drain(..).collect()
    }

    /// Returns the plaintext that arrived since the last call.
    fn received(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.plain)
    }
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.reads += 1;
        let count = self.to_client.len().min(self.at_a_time).min(buf.remaining());
        let bytes: Vec<u8> = self.to_client.drain(..count).collect();
        buf.put_slice(&bytes);
        if count > 0 || self.is_ended { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl AsyncWrite for Peer {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_stuck {
            return Poll::Pending;
        }
        self.writes += 1;
        let taken = &buf[..buf.len().min(self.at_a_time)];
        self.written.extend_from_slice(taken);
        let mut rest = taken;
        let this = &mut *self;
        while !rest.is_empty() {
            if this.server.read_tls(&mut rest).unwrap() == 0 {
                // The server reads nothing after a close_notify.
                break;
            }
            let _ = this.server.process_new_packets();
            let _ = this.server.reader().read_to_end(&mut this.plain);
        }
        self.transmit();
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Returns both ends before the handshake.
async fn strangers(at_a_time: usize, version: &'static SupportedProtocolVersion) -> (Records, Peer) {
    let authority = Authority::new();
    let mut config = authority.server_of(&[version]);
    config.enable_secret_extraction = true;
    let mut server = ServerConnection::new(Arc::<ServerConfig>::new(config)).unwrap();
    server.set_buffer_limit(None);
    let client = UnbufferedClientConnection::new(authority.client().await, "localhost".try_into().unwrap());
    let peer = Peer {
        server,
        to_client: VecDeque::new(),
        written: Vec::new(),
        plain: Vec::new(),
        at_a_time,
        is_stuck: false,
        is_ended: false,
        reads: 0,
        writes: 0,
    };
    (Records::new(client.unwrap()), peer)
}

/// Returns both ends after the handshake. The client has not read the session tickets.
async fn pair_of(at_a_time: usize, version: &'static SupportedProtocolVersion) -> (Records, Peer) {
    let (mut records, mut peer) = strangers(at_a_time, version).await;
    let shaken = records.poll_handshake(&mut peer, &mut context());
    assert!(matches!(shaken, Poll::Ready(Ok(()))), "{shaken:?}");
    peer.written.clear();
    (records, peer)
}

/// Returns both ends after the handshake and the session tickets, over a transport that moves any number of bytes at
/// once.
async fn pair() -> (Records, Peer) {
    let (mut records, mut peer) = pair_of(usize::MAX, &TLS13).await;
    assert!(read(&mut records, &mut peer, 100).is_pending());
    (records, peer)
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Reads once. Polls again as often as the read wakes its task.
fn read(records: &mut Records, peer: &mut Peer, size: usize) -> Poll<io::Result<Vec<u8>>> {
    let mut bytes = vec![0; size];
    let woken = Arc::new(Woken(AtomicUsize::new(0)));
    let waker = Waker::from(woken.clone());
    loop {
        let mut buf = ReadBuf::new(&mut bytes);
        let polled = records.poll_read(peer, &mut Context::from_waker(&waker), &mut buf);
        let filled = buf.filled().len();
        if polled.is_ready() || woken.0.swap(0, Relaxed) == 0 {
            bytes.truncate(filled);
            return polled.map_ok(|()| bytes);
        }
    }
}

/// Reads until the end, an error, or a pending read. Returns the bytes, and the kind of the outcome that came last.
fn read_all(records: &mut Records, peer: &mut Peer, size: usize) -> (Vec<u8>, Poll<io::Result<()>>) {
    let mut all = Vec::new();
    loop {
        match read(records, peer, size) {
            Poll::Ready(Ok(bytes)) if bytes.is_empty() => return (all, Poll::Ready(Ok(()))),
            Poll::Ready(Ok(bytes)) => all.extend(bytes),
            Poll::Ready(Err(error)) => return (all, Poll::Ready(Err(error))),
            Poll::Pending => return (all, Poll::Pending),
        }
    }
}

/// Polls one write and returns its outcome.
fn write(records: &mut Records, peer: &mut Peer, parts: &[&[u8]]) -> Poll<io::Result<usize>> {
    let bufs: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let written = records.poll_write(peer, &mut context(), &bufs);
    assert!(records.unsent().len() <= MOST_WIRE);
    written
}

/// Returns bytes that differ from their neighbours.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

/// Returns the lengths of the records in `bytes`, which must be complete.
fn lengths(mut bytes: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while let [_, _, _, high, low, rest @ ..] = bytes {
        lengths.push(usize::from(u16::from_be_bytes([*high, *low])));
        bytes = &rest[lengths[lengths.len() - 1]..];
    }
    assert!(bytes.is_empty());
    lengths
}

#[tokio::test]
async fn a_handshake_in_pieces_of_any_size_keeps_no_buffer() {
    for version in [&TLS12, &TLS13] {
        for at_a_time in [1, 7, 1_000, usize::MAX] {
            let (mut records, mut peer) = pair_of(at_a_time, version).await;
            assert_eq!(records.tls().protocol_version(), Some(version.version));
            assert!(matches!(write(&mut records, &mut peer, &[b"ping"]), Poll::Ready(Ok(4))));
            assert_eq!(peer.received(), b"ping");
            peer.write(b"pong");
            let (all, end) = read_all(&mut records, &mut peer, 3);
            assert_eq!((&all[..], end.is_pending(), records.memory()), (&b"pong"[..], true, 0));
            assert!(records.is_settled());
        }
    }
}

#[tokio::test]
async fn an_end_during_the_handshake_is_an_error() {
    let (mut records, mut peer) = strangers(usize::MAX, &TLS13).await;
    peer.is_ended = true;
    // The server does not get the hello yet.
    peer.at_a_time = 0;
    peer.is_stuck = true;
    assert!(records.poll_handshake(&mut peer, &mut context()).is_pending(), "nothing was written");
    (peer.is_stuck, peer.at_a_time) = (false, usize::MAX);
    assert!(matches!(records.poll_send(&mut peer, &mut context()), Poll::Ready(Ok(()))));
    // The server's answer never reaches the client.
    peer.to_client.clear();
    let Poll::Ready(Err(error)) = records.poll_handshake(&mut peer, &mut context()) else {
        panic!("no error")
    };
    assert_eq!(
        (error.kind(), &*error.to_string()),
        (io::ErrorKind::UnexpectedEof, "the peer closed the connection before the TLS handshake ended")
    );
}

#[tokio::test]
async fn a_record_may_be_split_anywhere() {
    for version in [&TLS12, &TLS13] {
        let (mut records, mut peer) = pair_of(usize::MAX, version).await;
        assert!(read(&mut records, &mut peer, 100).is_pending());
        let mut length = usize::MAX;
        for split in 0.. {
            peer.write(b"hello");
            let record = peer.intercept();
            length = length.min(record.len());
            if split > length {
                break;
            }
            let (first, second) = record.split_at(split);
            peer.to_client.extend(first);
            if split < length {
                assert!(read(&mut records, &mut peer, 100).is_pending(), "{split}");
                assert_eq!(records.is_settled(), split == 0, "{split}");
                assert_eq!(records.known(), Known::Nothing);
                assert_eq!(records.memory(), split, "only the first part is kept");
            }
            peer.to_client.extend(second);
            let Poll::Ready(Ok(read)) = read(&mut records, &mut peer, 100) else { panic!("at {split}") };
            assert_eq!(read, b"hello", "{split}");
            assert!(records.is_settled());
            assert_eq!(records.memory(), 0);
        }
    }
}

#[tokio::test]
async fn several_records_arrive_with_one_read_however_they_are_split() {
    let all = pattern(40_000);
    for size in [1, 7, 1_000, 16_384, 20_000, 100_000] {
        let (mut records, mut peer) = pair().await;
        for part in all.chunks(9_999) {
            peer.write(part);
        }
        let (seen, end) = read_all(&mut records, &mut peer, size);
        assert!(seen == all && end.is_pending(), "by {size}");
        assert_eq!(records.memory(), 0, "by {size}");
    }
    // One read of the user gets several records.
    let (mut records, mut peer) = pair().await;
    peer.reads = 0;
    for part in ["a", "b", "c"] {
        peer.write(part.as_bytes());
    }
    let Poll::Ready(Ok(seen)) = read(&mut records, &mut peer, 100) else { panic!("nothing") };
    assert_eq!((&seen[..], peer.reads), (&b"abc"[..], 1));
}

#[tokio::test]
async fn a_close_notify_after_data_ends_the_reads_after_the_data() {
    let (mut records, mut peer) = pair().await;
    peer.write(b"last words");
    peer.server.send_close_notify();
    peer.transmit();
    // The client must ignore bytes after a close_notify.
    peer.to_client.extend(b"whatever");
    let Poll::Ready(Ok(seen)) = read(&mut records, &mut peer, 5) else { panic!("nothing") };
    assert_eq!((&seen[..], records.is_settled()), (&b"last "[..], false));
    assert_eq!(records.known(), Known::Plaintext);
    let (rest, end) = read_all(&mut records, &mut peer, 100);
    assert!(rest == b"words" && matches!(end, Poll::Ready(Ok(()))), "{end:?}");
    assert_eq!((records.known(), records.is_settled(), records.memory()), (Known::End, false, 0));
    // The client can still write.
    assert!(matches!(write(&mut records, &mut peer, &[b"bye"]), Poll::Ready(Ok(3))));
    assert_eq!(peer.received(), b"bye");
    for _ in 0..2 {
        assert!(matches!(records.poll_shutdown(&mut peer, &mut context()), Poll::Ready(Ok(()))));
    }
    assert_eq!(peer.server.reader().read(&mut [0]).unwrap(), 0, "a close_notify");
    let Poll::Ready(Err(error)) = write(&mut records, &mut peer, &[b"more"]) else { panic!("written") };
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(peer.written.len(), lengths(&peer.written).iter().map(|length| length + 5).sum::<usize>());
    assert_eq!(lengths(&peer.written).len(), 2, "one close_notify was sent");
}

/// The peer may continue to send after the client's close_notify.
#[tokio::test]
async fn our_close_notify_is_sent_once_and_nothing_after_it() {
    let (mut records, mut peer) = pair().await;
    for _ in 0..2 {
        assert!(matches!(records.poll_shutdown(&mut peer, &mut context()), Poll::Ready(Ok(()))));
    }
    let Poll::Ready(Err(error)) = write(&mut records, &mut peer, &[b"more"]) else { panic!("written") };
    assert_eq!((error.kind(), lengths(&peer.written).len()), (io::ErrorKind::BrokenPipe, 1));
    assert_eq!(peer.server.reader().read(&mut [0]).unwrap(), 0, "a close_notify");
    peer.write(b"still here");
    assert!(matches!(read(&mut records, &mut peer, 100), Poll::Ready(Ok(seen)) if seen == b"still here"));
}

#[tokio::test]
async fn an_end_without_close_notify_is_an_error_after_the_data() {
    let (mut records, mut peer) = pair().await;
    peer.write(b"last words");
    peer.is_ended = true;
    for _ in 0..2 {
        let (seen, end) = read_all(&mut records, &mut peer, 100);
        assert!(seen == b"last words" || seen.is_empty());
        let Poll::Ready(Err(error)) = end else { panic!("no error") };
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}

#[tokio::test]
async fn key_updates_are_silent_and_are_answered_with_the_next_write() {
    let (mut records, mut peer) = pair().await;
    for round in 0..3 {
        peer.server.refresh_traffic_keys().unwrap();
        peer.transmit();
        assert!(read(&mut records, &mut peer, 100).is_pending());
        assert!(records.is_settled() && records.known() == Known::Nothing, "{round}");
        assert_eq!(records.memory(), 0, "the answer waits in rustls");
        peer.write(b"new");
        assert!(matches!(read(&mut records, &mut peer, 100), Poll::Ready(Ok(seen)) if seen == b"new"));
        peer.written.clear();
        assert!(matches!(write(&mut records, &mut peer, &[b"also"]), Poll::Ready(Ok(4))));
        assert_eq!(
            (peer.received(), lengths(&peer.written).len()),
            (b"also".to_vec(), 2),
            "the answer to the update goes first"
        );
    }
}

/// The peer cannot keep the client busy with new keys.
#[tokio::test]
async fn a_52_endless_key_updates_are_bounded() {
    let (mut records, mut peer) = pair().await;
    let mut rounds = 0;
    let error = loop {
        peer.server.refresh_traffic_keys().unwrap();
        peer.transmit();
        match read(&mut records, &mut peer, 100) {
            Poll::Pending => assert!(records.memory() <= MOST_WIRE && rounds < 1_000, "A-52"),
            Poll::Ready(end) => break end.expect_err("A-52: key updates carry no data"),
        }
        rounds += 1;
    };
    assert!(error.to_string().contains("TooManyKeyUpdateRequests"), "A-52: {error}");
}

#[tokio::test]
async fn large_writes_leave_a_byte_at_a_time_and_in_order() {
    let (mut records, mut peer) = pair().await;
    peer.at_a_time = 1;
    let all = pattern(300_000);
    let mut rest = &all[..];
    while !rest.is_empty() {
        match write(&mut records, &mut peer, &[rest]) {
            Poll::Ready(Ok(written)) => rest = &rest[written..],
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(records.poll_flush(&mut peer, &mut context()), Poll::Ready(Ok(()))));
    assert!(peer.received() == all);
    assert_eq!((records.memory(), peer.writes > 300_000), (0, true));
}

#[tokio::test]
async fn bytes_that_the_transport_does_not_take_are_held_up_to_64_kib() {
    let (mut records, mut peer) = pair().await;
    let all = pattern(200_000);
    peer.is_stuck = true;
    let mut taken = 0;
    while let Poll::Ready(written) = write(&mut records, &mut peer, &[&all[taken..]]) {
        taken += written.unwrap();
    }
    assert_eq!(taken, 64 * 1024);
    assert!(records.poll_flush(&mut peer, &mut context()).is_pending());
    peer.is_stuck = false;
    peer.writes = 0;
    while taken < all.len() {
        match write(&mut records, &mut peer, &[&all[taken..]]) {
            Poll::Ready(written) => taken += written.unwrap(),
            Poll::Pending => panic!("the transport takes everything"),
        }
    }
    assert_eq!(peer.writes, 4, "one write of the held bytes, and 64 KiB with each other write");
    assert!(peer.received() == all);
    assert_eq!(records.memory(), 0);
}

#[tokio::test]
async fn parts_share_records() {
    let (mut records, mut peer) = pair().await;
    let large = pattern(40_000);
    let (head, suffix) = (b"POST / HTTP/1.1\r\n\r\n", b"\r\n");
    for (parts, records_of) in [
        (vec![&head[..], b"small", suffix], vec![26]),
        (vec![&b""[..], head, b"", &large, suffix], vec![RECORD, RECORD, 19 + 40_000 + 2 - 2 * RECORD]),
        (vec![&large[..RECORD], suffix], vec![RECORD, 2]),
        (vec![&large[..RECORD - 1], suffix], vec![RECORD, 1]),
        (vec![&b""[..]], vec![]),
    ] {
        peer.written.clear();
        let all = parts.concat();
        peer.writes = 0;
        assert!(
            matches!(write(&mut records, &mut peer, &parts), Poll::Ready(Ok(length)) if length == all.len())
        );
        assert!(peer.received() == all);
        // TLS 1.3 adds the type and 16 bytes.
        let lengths: Vec<_> = lengths(&peer.written).iter().map(|length| length - 17).collect();
        assert_eq!((lengths, peer.writes), (records_of, usize::from(!all.is_empty())));
    }
}

/// A large body is read in pieces that are larger than a record.
#[tokio::test]
async fn bodies_take_few_reads_and_leave_no_buffer() {
    let (mut records, mut peer) = pair().await;
    for (length, most) in [(100, 2), (5_000, 2), (1 << 20, (1 << 20) / (32 * 1024)), (100, 2)] {
        let all = pattern(length);
        peer.write(&all);
        peer.reads = 0;
        let (seen, end) = read_all(&mut records, &mut peer, 256 * 1024);
        assert!(seen == all && end.is_pending());
        assert!(peer.reads <= most, "{} reads for {length} bytes", peer.reads);
        assert!(records.is_settled());
        assert_eq!(records.memory(), 0);
    }
}

/// A read that filled its buffer has not processed the records after the data.
#[tokio::test]
async fn records_without_plaintext_after_the_last_byte_are_processed_by_is_settled() {
    let (mut records, mut peer) = pair_of(usize::MAX, &TLS13).await;
    let tickets = peer.intercept();
    peer.write(b"body");
    let body = peer.intercept();
    // The records arrive in the order of sealing: tickets, data, key update.
    peer.server.refresh_traffic_keys().unwrap();
    let update = peer.intercept();
    for bytes in [tickets, body, update] {
        peer.to_client.extend(bytes);
    }
    let Poll::Ready(Ok(seen)) = read(&mut records, &mut peer, 4) else { panic!("nothing") };
    assert_eq!((&seen[..], peer.to_client.len()), (&b"body"[..], 0));
    assert!(records.memory() > 0, "the update was read and not processed");
    assert!(records.is_settled());
    assert_eq!(records.memory(), 0);
}

/// Plaintext that was not read does not block writes.
#[tokio::test]
async fn a_write_goes_out_while_plaintext_is_unread() {
    let (mut records, mut peer) = pair().await;
    let all = pattern(50_000);
    peer.write(&all);
    let Poll::Ready(Ok(mut seen)) = read(&mut records, &mut peer, 10) else { panic!("nothing") };
    assert!(matches!(write(&mut records, &mut peer, &[b"meanwhile"]), Poll::Ready(Ok(9))));
    assert_eq!(peer.received(), b"meanwhile");
    let (rest, _) = read_all(&mut records, &mut peer, 1_000);
    seen.extend(rest);
    assert!(seen == all);
    assert_eq!(records.memory(), 0);
}

#[tokio::test]
async fn an_error_is_reported_after_the_data_to_both_sides() {
    let (mut records, mut peer) = pair().await;
    peer.write(b"good");
    peer.to_client.extend([23, 3, 3, 0, 20].into_iter().chain([7; 20]));
    peer.write(b"never seen");
    let (seen, end) = read_all(&mut records, &mut peer, 100);
    assert_eq!(seen, b"good");
    let Poll::Ready(Err(error)) = end else { panic!("no error") };
    assert_eq!(
        (error.kind(), &*error.to_string()),
        (io::ErrorKind::InvalidData, "cannot decrypt peer's message")
    );
    let alert = peer.server.process_new_packets().unwrap_err();
    assert_eq!(alert, rustls::Error::AlertReceived(AlertDescription::BadRecordMac));
    assert!(matches!(read(&mut records, &mut peer, 100), Poll::Ready(Err(_))), "the error stays");
    assert!(matches!(write(&mut records, &mut peer, &[b"more"]), Poll::Ready(Err(_))));
    peer.written.clear();
    records.send_close_notify();
    assert!(records.unsent().is_empty(), "nothing is sent after an alert");
    assert_eq!((records.known(), records.is_settled(), records.memory()), (Known::End, false, 0));
}

/// A server that seals records which no real server would seal.
struct Forger {
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
    to_client: VecDeque<u8>,
    /// Handshake bytes that the server repeats, at most 100,000 times.
    refrain: Vec<u8>,
    written: usize,
}

impl Forger {
    async fn new() -> (Records, Self) {
        let (records, peer) = pair().await;
        // The keys of aws-lc-rs seal only from the first record on, so that ring seals whatever the client uses.
        let suite = records.tls().negotiated_cipher_suite().unwrap().suite();
        let suite = ring::ALL_CIPHER_SUITES.iter().find(|known| known.suite() == suite).unwrap();
        let (sequence, secrets) = peer.server.dangerous_extract_secrets().unwrap().tx;
        let (ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }) = secrets
        else {
            panic!("the cipher suite has keys of another kind")
        };
        let encrypter = suite.tls13().unwrap().aead_alg.encrypter(key, iv);
        let forger =
            Self { encrypter, sequence, to_client: VecDeque::new(), refrain: Vec::new(), written: 0 };
        (records, forger)
    }

    fn seal(&mut self, typ: ContentType, payload: &[u8]) {
        let payload = OutboundChunks::Single(payload);
        let message = OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_2, payload };
        let record = self.encrypter.encrypt(message, self.sequence).unwrap();
        self.sequence += 1;
        self.to_client.extend(record.encode());
    }
}

impl AsyncRead for Forger {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.to_client.len() < buf.remaining() && !self.refrain.is_empty() && self.sequence < 100_000 {
            let refrain = self.refrain.clone();
            self.seal(ContentType::Handshake, &refrain);
        }
        let count = self.to_client.len().min(buf.remaining());
        let bytes: Vec<u8> = self.to_client.drain(..count).collect();
        buf.put_slice(&bytes);
        if count > 0 { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl AsyncWrite for Forger {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.written += buf.len();
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn read_forged(
    records: &mut Records,
    forger: &mut Forger,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Vec<u8>>> {
    let mut bytes = vec![0; 100];
    let mut buf = ReadBuf::new(&mut bytes);
    records.poll_read(forger, cx, &mut buf).map_ok(|()| buf.filled().to_vec())
}

/// rustls has to see the unfinished part of a handshake message again in every call, including calls that write.
#[tokio::test]
async fn empty_and_unfinished_handshake_messages_block_neither_reads_nor_writes() {
    let (mut records, mut forger) = Forger::new().await;
    let write = |records: &mut Records, forger: &mut Forger| {
        let written = records.poll_write(forger, &mut context(), &[IoSlice::new(b"hello")]);
        assert!(matches!(written, Poll::Ready(Ok(5))));
    };
    for round in 1..=3 {
        forger.seal(ContentType::Handshake, b"");
        assert!(read_forged(&mut records, &mut forger, &mut context()).is_pending());
        assert!(records.is_settled(), "{round}");
        write(&mut records, &mut forger);
        forger.seal(ContentType::ApplicationData, b"data");
        forger.seal(ContentType::ApplicationData, b"");
        let seen = read_forged(&mut records, &mut forger, &mut context());
        assert!(matches!(seen, Poll::Ready(Ok(seen)) if seen == b"data"), "{round}");
        write(&mut records, &mut forger);
    }
    // The message is a session ticket in four parts, of which one is empty.
    let ticket = ticket();
    for part in [&ticket[..3], &ticket[3..9], b"", &ticket[9..]] {
        forger.seal(ContentType::Handshake, part);
        assert!(read_forged(&mut records, &mut forger, &mut context()).is_pending());
        assert!(records.is_settled());
        write(&mut records, &mut forger);
    }
    assert_eq!(records.memory(), 0, "nothing is kept of a complete message");
    forger.seal(ContentType::ApplicationData, b"data");
    let seen = read_forged(&mut records, &mut forger, &mut context());
    assert!(matches!(seen, Poll::Ready(Ok(seen)) if seen == b"data"));
}

/// Returns a NewSessionTicket message with a lifetime, an age, a nonce, a ticket and no extensions.
fn ticket() -> Vec<u8> {
    let mut body = vec![0, 0, 1, 0, 1, 2, 3, 4, 1, 9, 0, 4];
    body.extend(b"tick");
    body.extend([0, 0]);
    [&[4, 0, 0, body.len() as u8][..], &body].concat()
}

#[tokio::test]
async fn empty_records_and_endless_messages_are_bounded() {
    let (mut records, mut forger) = Forger::new().await;
    for _ in 0..40 {
        forger.seal(ContentType::ApplicationData, b"");
    }
    let Poll::Ready(Err(error)) = read_forged(&mut records, &mut forger, &mut context()) else {
        panic!("taken")
    };
    assert!(error.to_string().contains("TooManyEmptyFragments"), "{error}");

    // The message has 60,000 bytes, and each byte is in its own record.
    let (mut records, mut forger) = Forger::new().await;
    forger.seal(ContentType::Handshake, &[4, 0, 0xea, 0x60]);
    forger.refrain = vec![0];
    let end = loop {
        match read_forged(&mut records, &mut forger, &mut context()) {
            Poll::Ready(end) => break end,
            Poll::Pending => assert!(records.memory() <= MOST_WIRE),
        }
    };
    assert_eq!(end.unwrap_err().to_string(), "the peer sent a TLS message that is too large");
}

/// A peer that never stops sending records without plaintext must not keep the task busy.
#[tokio::test]
async fn endless_tickets_starve_no_other_task() {
    let (mut records, mut forger) = Forger::new().await;
    forger.refrain = ticket();
    let woken = Arc::new(Woken(AtomicUsize::new(0)));
    let waker = Waker::from(woken.clone());
    for round in 1..=3 {
        assert!(read_forged(&mut records, &mut forger, &mut Context::from_waker(&waker)).is_pending());
        assert_eq!(woken.0.load(Relaxed), round);
    }
}

/// A transport that fails after a number of writes.
struct Failing {
    peer: Peer,
    writes: usize,
}

impl AsyncWrite for Failing {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.writes == 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        self.writes -= 1;
        Pin::new(&mut self.peer).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A failed write may have delivered a part of its bytes or a complete record, so the bytes count as possibly sent.
#[tokio::test]
async fn a_write_that_fails_may_have_reached_the_peer() {
    for (at_a_time, writes) in [(100, 0), (100, 1), (100, 3), (40_000, 1)] {
        let (mut records, peer) = pair().await;
        let mut failing = Failing { peer: Peer { at_a_time, ..peer }, writes };
        failing.peer.received();
        let before = failing.peer.written.len();
        let content = vec![7; 50_000];
        let bufs = [IoSlice::new(&content)];
        let Poll::Ready(Err(error)) = records.poll_write(&mut failing, &mut context(), &bufs) else {
            panic!("the write did not fail")
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(failing.peer.written.len() - before, at_a_time * writes);
        assert_eq!(!failing.peer.received().is_empty(), at_a_time * writes > RECORD, "a complete record");
    }
}
