//! TLS over a transport that counts, against a server of rustls, and against one that seals what no server should.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Wake, Waker};

use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, ConnectionTrafficSecrets, ContentType, ProtocolVersion, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
};

use super::super::config::tests::Authority;
use super::*;

/// A server at the other end of a transport that counts, is always ready, and takes and gives what it is told to.
struct Peer {
    server: ServerConnection,
    /// What the server said and the client has not read yet.
    said: VecDeque<u8>,
    /// All that the client wrote: its records, and what is in them.
    heard: Vec<u8>,
    plain: Vec<u8>,
    /// The most that one call moves.
    at_a_time: usize,
    /// It takes nothing.
    is_stuck: bool,
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
            self.speak();
        }
    }

    /// What the server has to say is on its way.
    fn speak(&mut self) {
        while self.server.wants_write() {
            self.server.write_tls(&mut self.said).unwrap();
        }
    }

    /// What is on its way, taken off it.
    fn intercept(&mut self) -> Vec<u8> {
        self.speak();
        self.said.drain(..).collect()
    }

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
        let count = self.said.len().min(self.at_a_time).min(buf.remaining());
        let bytes: Vec<u8> = self.said.drain(..count).collect();
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
        self.heard.extend_from_slice(taken);
        let mut rest = taken;
        let this = &mut *self;
        while !rest.is_empty() {
            if this.server.read_tls(&mut rest).unwrap() == 0 {
                // It hears nothing behind a goodbye.
                break;
            }
            let _ = this.server.process_new_packets();
            let _ = this.server.reader().read_to_end(&mut this.plain);
        }
        self.speak();
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Both ends, before the handshake.
async fn strangers(at_a_time: usize, version: &'static SupportedProtocolVersion) -> (Records, Peer) {
    let authority = Authority::new();
    let mut config = authority.server_of(&[version]);
    config.enable_secret_extraction = true;
    let mut server = ServerConnection::new(Arc::<ServerConfig>::new(config)).unwrap();
    server.set_buffer_limit(None);
    let client = UnbufferedClientConnection::new(authority.client().await, "localhost".try_into().unwrap());
    let peer = Peer {
        server,
        said: VecDeque::new(),
        heard: Vec::new(),
        plain: Vec::new(),
        at_a_time,
        is_stuck: false,
        is_ended: false,
        reads: 0,
        writes: 0,
    };
    (Records::new(client.unwrap()), peer)
}

/// Both ends, behind the handshake: the session tickets are still on their way.
async fn pair_of(at_a_time: usize, version: &'static SupportedProtocolVersion) -> (Records, Peer) {
    let (mut records, mut peer) = strangers(at_a_time, version).await;
    let shaken = records.poll_handshake(&mut peer, &mut context());
    assert!(matches!(shaken, Poll::Ready(Ok(()))), "{shaken:?}");
    peer.heard.clear();
    (records, peer)
}

/// Both ends, and everything at once.
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

/// One read, as often as it asks for it.
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

/// Reads until there is nothing more, which is an error or no error or no end.
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

/// One write.
fn write(records: &mut Records, peer: &mut Peer, parts: &[&[u8]]) -> Poll<io::Result<usize>> {
    let bufs: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let written = records.poll_write(peer, &mut context(), &bufs);
    assert!(records.unsent().len() <= MOST_WIRE);
    written
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

/// The lengths of the records in `bytes`, all of which must be whole.
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
async fn hands_are_shaken_a_byte_at_a_time_and_no_buffer_is_kept() {
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
async fn a_handshake_that_ends_is_told() {
    let (mut records, mut peer) = strangers(usize::MAX, &TLS13).await;
    peer.is_ended = true;
    // The server's answer is lost.
    peer.at_a_time = 0;
    peer.is_stuck = true;
    assert!(records.poll_handshake(&mut peer, &mut context()).is_pending(), "nothing was said");
    (peer.is_stuck, peer.at_a_time) = (false, usize::MAX);
    assert!(matches!(records.poll_send(&mut peer, &mut context()), Poll::Ready(Ok(()))));
    peer.said.clear();
    let Poll::Ready(Err(error)) = records.poll_handshake(&mut peer, &mut context()) else {
        panic!("no error")
    };
    assert_eq!((error.kind(), &*error.to_string()), (io::ErrorKind::UnexpectedEof, "tls handshake eof"));
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
            peer.said.extend(first);
            if split < length {
                assert!(read(&mut records, &mut peer, 100).is_pending(), "{split}");
                assert_eq!(records.is_settled(), split == 0, "{split}");
                assert_eq!(records.known(), Known::Nothing);
                assert_eq!(records.memory(), split, "a rest is all that is kept of it");
            }
            peer.said.extend(second);
            let Poll::Ready(Ok(read)) = read(&mut records, &mut peer, 100) else { panic!("at {split}") };
            assert_eq!(read, b"hello", "{split}");
            assert!(records.is_settled());
            assert_eq!(records.memory(), 0);
        }
    }
}

#[tokio::test]
async fn several_records_come_with_one_read_however_they_are_taken() {
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
    // And they fill a reader's buffer together.
    let (mut records, mut peer) = pair().await;
    peer.reads = 0;
    for part in ["a", "b", "c"] {
        peer.write(part.as_bytes());
    }
    let Poll::Ready(Ok(seen)) = read(&mut records, &mut peer, 100) else { panic!("nothing") };
    assert_eq!((&seen[..], peer.reads), (&b"abc"[..], 1));
}

#[tokio::test]
async fn a_goodbye_behind_data_is_read_behind_it() {
    let (mut records, mut peer) = pair().await;
    peer.write(b"last words");
    peer.server.send_close_notify();
    peer.speak();
    // It must be ignored.
    peer.said.extend(b"whatever");
    let Poll::Ready(Ok(seen)) = read(&mut records, &mut peer, 5) else { panic!("nothing") };
    assert_eq!((&seen[..], records.is_settled()), (&b"last "[..], false));
    assert_eq!(records.known(), Known::Plaintext);
    let (rest, end) = read_all(&mut records, &mut peer, 100);
    assert!(rest == b"words" && matches!(end, Poll::Ready(Ok(()))), "{end:?}");
    assert_eq!((records.known(), records.is_settled(), records.memory()), (Known::End, false, 0));
    // Our side is still open.
    assert!(matches!(write(&mut records, &mut peer, &[b"bye"]), Poll::Ready(Ok(3))));
    assert_eq!(peer.received(), b"bye");
    for _ in 0..2 {
        assert!(matches!(records.poll_shutdown(&mut peer, &mut context()), Poll::Ready(Ok(()))));
    }
    assert_eq!(peer.server.reader().read(&mut [0]).unwrap(), 0, "a goodbye");
    let Poll::Ready(Err(error)) = write(&mut records, &mut peer, &[b"more"]) else { panic!("written") };
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(peer.heard.len(), lengths(&peer.heard).iter().map(|length| length + 5).sum::<usize>());
    assert_eq!(lengths(&peer.heard).len(), 2, "one goodbye");
}

/// Also where the peer goes on.
#[tokio::test]
async fn our_goodbye_is_said_once_and_is_the_last_word() {
    let (mut records, mut peer) = pair().await;
    for _ in 0..2 {
        assert!(matches!(records.poll_shutdown(&mut peer, &mut context()), Poll::Ready(Ok(()))));
    }
    let Poll::Ready(Err(error)) = write(&mut records, &mut peer, &[b"more"]) else { panic!("written") };
    assert_eq!((error.kind(), lengths(&peer.heard).len()), (io::ErrorKind::BrokenPipe, 1));
    assert_eq!(peer.server.reader().read(&mut [0]).unwrap(), 0, "a goodbye");
    peer.write(b"still here");
    assert!(matches!(read(&mut records, &mut peer, 100), Poll::Ready(Ok(seen)) if seen == b"still here"));
}

#[tokio::test]
async fn an_end_without_goodbye_is_an_error_behind_the_data() {
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
async fn keys_are_updated_in_silence_and_the_peer_is_answered() {
    let (mut records, mut peer) = pair().await;
    for round in 0..3 {
        peer.server.refresh_traffic_keys().unwrap();
        peer.speak();
        assert!(read(&mut records, &mut peer, 100).is_pending());
        assert!(records.is_settled() && records.known() == Known::Nothing, "{round}");
        assert_eq!(records.memory(), 0, "the answer waits in rustls");
        peer.write(b"new");
        assert!(matches!(read(&mut records, &mut peer, 100), Poll::Ready(Ok(seen)) if seen == b"new"));
        peer.heard.clear();
        assert!(matches!(write(&mut records, &mut peer, &[b"also"]), Poll::Ready(Ok(4))));
        assert_eq!((peer.received(), lengths(&peer.heard).len()), (b"also".to_vec(), 2), "the answer first");
    }
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
async fn what_is_not_taken_is_held_up_to_64_kib() {
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
            Poll::Pending => panic!("it takes everything"),
        }
    }
    assert_eq!(peer.writes, 4, "what was held, and 64 KiB with each");
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
        peer.heard.clear();
        let all = parts.concat();
        peer.writes = 0;
        assert!(
            matches!(write(&mut records, &mut peer, &parts), Poll::Ready(Ok(length)) if length == all.len())
        );
        assert!(peer.received() == all);
        // TLS 1.3 adds the type and 16 bytes.
        let lengths: Vec<_> = lengths(&peer.heard).iter().map(|length| length - 17).collect();
        assert_eq!((lengths, peer.writes), (records_of, usize::from(!all.is_empty())));
    }
}

/// Content is read in pieces that are larger than a record, and nothing is kept of it.
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

/// Also behind a read that left no room to see that there is nothing more.
#[tokio::test]
async fn what_means_nothing_behind_the_last_byte_is_taken_in_when_it_is_asked() {
    let (mut records, mut peer) = pair_of(usize::MAX, &TLS13).await;
    let tickets = peer.intercept();
    peer.write(b"body");
    let body = peer.intercept();
    // The tickets are of the same keys, and come first; an update comes last.
    peer.server.refresh_traffic_keys().unwrap();
    let update = peer.intercept();
    for bytes in [tickets, body, update] {
        peer.said.extend(bytes);
    }
    let Poll::Ready(Ok(seen)) = read(&mut records, &mut peer, 4) else { panic!("nothing") };
    assert_eq!((&seen[..], peer.said.len()), (&b"body"[..], 0));
    assert!(records.memory() > 0, "the update was read and not looked at");
    assert!(records.is_settled());
    assert_eq!(records.memory(), 0);
}

/// Plaintext that nobody has read yet is not in the way of what is to be written.
#[tokio::test]
async fn it_writes_while_it_is_not_read() {
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
async fn what_is_wrong_is_told_behind_the_data_to_both_sides() {
    let (mut records, mut peer) = pair().await;
    peer.write(b"good");
    peer.said.extend([23, 3, 3, 0, 20].into_iter().chain([7; 20]));
    peer.write(b"never seen");
    let (seen, end) = read_all(&mut records, &mut peer, 100);
    assert_eq!(seen, b"good");
    let Poll::Ready(Err(error)) = end else { panic!("no error") };
    assert_eq!(
        (error.kind(), &*error.to_string()),
        (io::ErrorKind::InvalidData, "cannot decrypt peer's message")
    );
    let told = peer.server.process_new_packets().unwrap_err();
    assert_eq!(told, rustls::Error::AlertReceived(AlertDescription::BadRecordMac));
    assert!(matches!(read(&mut records, &mut peer, 100), Poll::Ready(Err(_))), "for ever");
    assert!(matches!(write(&mut records, &mut peer, &[b"more"]), Poll::Ready(Err(_))));
    peer.heard.clear();
    records.say_goodbye();
    assert!(records.unsent().is_empty(), "an alert was the last word");
    assert_eq!((records.known(), records.is_settled(), records.memory()), (Known::End, false, 0));
}

/// A server that seals what no server should.
struct Forger {
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
    said: VecDeque<u8>,
    /// It says this for ever, or nearly so.
    refrain: Vec<u8>,
    heard: usize,
}

impl Forger {
    async fn new() -> (Records, Self) {
        let (records, peer) = pair().await;
        let suite = records.tls().negotiated_cipher_suite().unwrap();
        let (sequence, secrets) = peer.server.dangerous_extract_secrets().unwrap().tx;
        let (ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }) = secrets
        else {
            panic!("keys of another kind")
        };
        let encrypter = suite.tls13().unwrap().aead_alg.encrypter(key, iv);
        let forger = Self { encrypter, sequence, said: VecDeque::new(), refrain: Vec::new(), heard: 0 };
        (records, forger)
    }

    fn seal(&mut self, typ: ContentType, payload: &[u8]) {
        let payload = OutboundChunks::Single(payload);
        let message = OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_2, payload };
        let record = self.encrypter.encrypt(message, self.sequence).unwrap();
        self.sequence += 1;
        self.said.extend(record.encode());
    }
}

impl AsyncRead for Forger {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.said.len() < buf.remaining() && !self.refrain.is_empty() && self.sequence < 100_000 {
            let refrain = self.refrain.clone();
            self.seal(ContentType::Handshake, &refrain);
        }
        let count = self.said.len().min(buf.remaining());
        let bytes: Vec<u8> = self.said.drain(..count).collect();
        buf.put_slice(&bytes);
        if count > 0 { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl AsyncWrite for Forger {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.heard += buf.len();
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

/// rustls keeps its place behind empty messages of the handshake: it must see them again, also when we write.
#[tokio::test]
async fn empty_and_unfinished_messages_are_in_nobodys_way() {
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
    // A session ticket in three parts, one of them of nothing.
    let ticket = ticket();
    for part in [&ticket[..3], &ticket[3..9], b"", &ticket[9..]] {
        forger.seal(ContentType::Handshake, part);
        assert!(read_forged(&mut records, &mut forger, &mut context()).is_pending());
        assert!(records.is_settled());
        write(&mut records, &mut forger);
    }
    assert_eq!(records.memory(), 0, "a message that is whole takes everything with it");
    forger.seal(ContentType::ApplicationData, b"data");
    let seen = read_forged(&mut records, &mut forger, &mut context());
    assert!(matches!(seen, Poll::Ready(Ok(seen)) if seen == b"data"));
}

/// A new session ticket: lifetime, age, nonce, the ticket, no extensions.
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

    // A message of 60,000 bytes, of which each comes alone.
    let (mut records, mut forger) = Forger::new().await;
    forger.seal(ContentType::Handshake, &[4, 0, 0xea, 0x60]);
    forger.refrain = vec![0];
    let end = loop {
        match read_forged(&mut records, &mut forger, &mut context()) {
            Poll::Ready(end) => break end,
            Poll::Pending => assert!(records.memory() <= MOST_WIRE),
        }
    };
    assert_eq!(end.unwrap_err().to_string(), "message buffer full");
}

/// A peer that talks for ever and says nothing: others have their turn.
#[tokio::test]
async fn endless_tickets_starve_nobody() {
    let (mut records, mut forger) = Forger::new().await;
    forger.refrain = ticket();
    let woken = Arc::new(Woken(AtomicUsize::new(0)));
    let waker = Waker::from(woken.clone());
    for round in 1..=3 {
        assert!(read_forged(&mut records, &mut forger, &mut Context::from_waker(&waker)).is_pending());
        assert_eq!(woken.0.load(Relaxed), round);
    }
}

/// A transport that fails after so many writes.
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

/// A write that fails may have reached the peer in part, or as a whole record: whoever wrote must not take it for nothing.
#[tokio::test]
async fn a_write_that_fails_may_have_been_heard() {
    for (at_a_time, writes) in [(100, 0), (100, 1), (100, 3), (40_000, 1)] {
        let (mut records, peer) = pair().await;
        let mut failing = Failing { peer: Peer { at_a_time, ..peer }, writes };
        failing.peer.received();
        let before = failing.peer.heard.len();
        let content = vec![7; 50_000];
        let bufs = [IoSlice::new(&content)];
        let Poll::Ready(Err(error)) = records.poll_write(&mut failing, &mut context(), &bufs) else {
            panic!("it fails")
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(failing.peer.heard.len() - before, at_a_time * writes);
        assert_eq!(!failing.peer.received().is_empty(), at_a_time * writes > RECORD, "a whole record");
    }
}
