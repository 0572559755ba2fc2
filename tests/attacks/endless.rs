//! A-01 to A-12: responses that are endless or too large.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use handclasp::codec::{Event, Limits, Machine, ProtocolError, RequestHead, Target};
use handclasp::{Client, ErrorKind, Phase};
use http::{HeaderMap, HeaderName, Method};

use super::meter::{Peak, Tally};
use super::support::{Server, Signal, until, within};
use super::{assert_gone, assert_protocol, read_away};

/// The default limits are written out here, because a test that asks the crate for its limits proves nothing.
const HEAD: usize = 64 * 1024;
const FIELDS: usize = 128;
const INFORMATIONAL: usize = 100;
const INFORMATIONAL_BYTES: usize = 64 * 1024;
const CHUNK_LINE: usize = 4 * 1024;
const EXTENSIONS: usize = 16 * 1024;
const TRAILERS: usize = 16 * 1024;

/// Size of the first read of a connection's first response, which is the largest size of that read.
const FIRST_READ: usize = 16 * 1024;
const LARGEST_READ: usize = 128 * 1024;

/// Number of bytes that the client reads after its first read, up to the read that exceeds a limit of 64 KiB.
const READS: usize = 4 * FIRST_READ;

/// Memory of a request, an exchange, a response, a connection, and the slab to which small responses are copied.
const EXCHANGE: usize = 32 * 1024;

/// Returns a server that sends `prefix`, and sends `unit` again and again until the client closes the connection. The
/// server panics if the client takes `FAR` bytes.
fn endless(prefix: impl Into<Vec<u8>>, unit: impl AsRef<[u8]>) -> Server {
    let prefix = prefix.into();
    let block = unit.as_ref().repeat((FIRST_READ / unit.as_ref().len()).max(1));
    Server::start(move |peer| {
        peer.request()?;
        peer.send(&prefix)?;
        for _ in 0..FAR / block.len() {
            peer.send(&block)?;
        }
        panic!("the client took {FAR} bytes");
    })
}

const FAR: usize = 1 << 30;

/// Returns a server that answers with `prefix` and sends `unit` every few milliseconds. Also returns two counters:
/// the units that were sent, and the connections that the client closed.
fn drip(prefix: &'static str, unit: &'static str) -> (Server, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (sent, cuts) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, cut) = (Arc::clone(&sent), Arc::clone(&cuts));
    let server = Server::start(move |peer| {
        peer.request()?;
        peer.send(prefix)?;
        while counted.load(SeqCst) < DRIPS {
            if peer.is_closed_within(Duration::from_millis(5))? || peer.send(unit).is_err() {
                cut.fetch_add(1, SeqCst);
                return Ok(());
            }
            counted.fetch_add(1, SeqCst);
        }
        Ok(())
    });
    (server, sent, cuts)
}

/// Number of units that a server sends in about fifteen seconds, which is many times longer than any deadline of
/// these tests.
const DRIPS: usize = 3_000;

/// A server sends a head byte by byte. Each byte is progress, but the deadline of the whole head still passes.
#[tokio::test]
async fn a_01_slow_loris_meets_the_deadline_of_the_whole_head() {
    let mut limits = Limits::default();
    limits.fields = 4096;
    let deadline = Duration::from_millis(200);
    for (prefix, unit) in [
        ("HTTP/1.1 200 ", "a"),
        ("HTTP/1.1 200 OK\r\nx: ", "a"),
        ("HTTP/1.1 200 OK\r\nx: y", "\r\n "),
        ("HTTP/1.1 200 OK\r\n", "x: y\r\n"),
    ] {
        let (server, sent, cuts) = drip(prefix, unit);
        let clients = [
            Client::builder().codec_limits(limits).response_timeout(deadline).build().unwrap(),
            Client::builder().codec_limits(limits).timeout(deadline).build().unwrap(),
        ];
        for (index, client) in clients.iter().enumerate() {
            let error = within(20, client.get(server.url("/")).send()).await.unwrap_err();
            assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Some(Phase::Wait)), "{prefix:?}");
            assert_gone(client, 1);
            let cuts = Arc::clone(&cuts);
            until("the server is cut off", move || cuts.load(SeqCst) == index + 1).await;
        }
        assert!(sent.load(SeqCst) < DRIPS, "{} bytes", sent.load(SeqCst));
    }
}

/// The number of fields and their bytes are bounded. The memory of the fields is bounded by the limit plus one read.
#[tokio::test]
async fn a_02_endless_header_section_is_cut_off() {
    let long = format!("x: {}\r\n", "a".repeat(5_000));
    for (unit, expected) in [
        ("x: y\r\n", ProtocolError::TooManyFields),
        ("x:\n", ProtocolError::TooManyFields),
        (&*long, ProtocolError::HeadTooLarge),
        // This field continues on one line after another without an end.
        (" aaaaaaaaaaaaaaaaaaaaaaaa\r\n", ProtocolError::HeadTooLarge),
    ] {
        let server = endless("HTTP/1.1 200 OK\r\nfirst: one\r\n", unit);
        let tally = Tally::default();
        let client = tally.client().build().unwrap();
        let peak = Peak::start();
        let error = within(20, client.get(server.url("/")).send()).await.unwrap_err();
        assert_protocol(&error, expected, Phase::Wait);
        assert!(tally.read() < HEAD + READS, "R-9110-2.3-2 R-9110-17.5-1: {} bytes were read", tally.read());
        assert!(
            peak.bytes() < HEAD + 2 * READS + EXCHANGE,
            "R-9110-2.3-2 R-9110-17.5-1: {} bytes were held",
            peak.bytes()
        );
        assert_gone(&client, 1);
    }
}

/// Returns a new machine that has sent a GET.
fn machine(limits: Limits) -> Machine {
    let mut machine = Machine::new(limits);
    let headers = HeaderMap::new();
    let head = RequestHead::new(&Method::GET, Target::Origin("/"), Some(b"h"), &headers);
    machine.encode_head(&head, &mut BytesMut::new()).unwrap();
    machine
}

/// Outcome of a wire that `feed` gives to a machine in pieces of one size.
#[derive(Debug, PartialEq)]
struct Fed {
    outcome: Result<bool, ProtocolError>,
    fields: Vec<(String, Bytes)>,
    data: Vec<u8>,
    interim: usize,
}

fn feed(wire: &[u8], step: usize) -> (Fed, usize) {
    let mut machine = machine(Limits::default());
    let mut fed = Fed { outcome: Ok(false), fields: Vec::new(), data: Vec::new(), interim: 0 };
    let (mut buf, mut taken) = (BytesMut::new(), 0);
    for piece in wire.chunks(step) {
        buf.extend_from_slice(piece);
        taken += piece.len();
        loop {
            match machine.decode(&mut buf) {
                Ok(None) => break,
                Ok(Some(Event::Data(data))) => fed.data.extend_from_slice(&data),
                Ok(Some(Event::End)) => fed.outcome = Ok(true),
                Ok(Some(Event::Informational(_))) => fed.interim += 1,
                Ok(Some(Event::Head(head))) => {
                    let fields = head.headers().iter();
                    fed.fields = fields
                        .map(|(name, value)| (name.to_string(), Bytes::copy_from_slice(value.as_bytes())))
                        .collect();
                }
                Ok(Some(_)) => {}
                Err(error) => {
                    fed.outcome = Err(error);
                    return (fed, taken);
                }
            }
        }
    }
    (fed, taken)
}

/// A line that never ends is refused in each part of a response. The error comes at the same byte for every way to
/// cut the bytes, and the memory is bounded. This test cannot show that no byte is scanned twice, so the codec's
/// bench counts instructions.
#[tokio::test]
async fn a_03_endless_single_line_is_cut_off() {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let ended = format!("{CHUNKED}0\r\n");
    for (prefix, unit, expected, bound) in [
        ("HTTP/1.1 200 ", "a", ProtocolError::HeadTooLarge, HEAD),
        ("HTTP/1.1 200 OK\r\nx: ", "a", ProtocolError::HeadTooLarge, HEAD),
        ("HTTP/1.1 200 OK\r\n", "a", ProtocolError::HeadTooLarge, HEAD),
        (CHUNKED, "0", ProtocolError::ChunkExtensionsTooLarge, CHUNKED.len() + 16 + CHUNK_LINE + 1),
        (CHUNKED, "5", ProtocolError::ChunkSizeTooLarge, CHUNKED.len() + 17),
        (
            CHUNKED,
            "1;aaaaaaaaaaaaaaaa",
            ProtocolError::ChunkExtensionsTooLarge,
            CHUNKED.len() + CHUNK_LINE + 2,
        ),
        (CHUNKED, "1               ", ProtocolError::BadChunkSize, CHUNKED.len() + 17),
        (&*ended, "a", ProtocolError::TrailersTooLarge, ended.len() + TRAILERS + 2),
        (&*ended, "x: aaaaaaaaaaaaa", ProtocolError::TrailersTooLarge, ended.len() + TRAILERS + 2),
    ] {
        let mut wire = prefix.as_bytes().to_vec();
        while wire.len() < 2 * bound {
            wire.extend_from_slice(unit.as_bytes());
        }
        let (by_bytes, taken) = feed(&wire, 1);
        assert_eq!(by_bytes.outcome, Err(expected), "{prefix:?} {unit:?}");
        assert!(taken <= bound, "{prefix:?} {unit:?}: known after {taken} bytes, not {bound}");
        for step in [2, 7, 4096, wire.len()] {
            assert_eq!(feed(&wire, step).0, by_bytes, "{prefix:?} {unit:?} by {step}");
        }

        let server = endless(prefix, unit);
        let tally = Tally::default();
        let client = tally.client().build().unwrap();
        let peak = Peak::start();
        let (error, phase) = match within(20, client.get(server.url("/")).send()).await {
            Err(error) => (error, Phase::Wait),
            Ok(mut response) => (within(20, read_away(&mut response)).await.1.unwrap_err(), Phase::Receive),
        };
        assert_protocol(&error, expected, phase);
        assert_eq!(phase == Phase::Receive, prefix.starts_with(CHUNKED));
        assert!(tally.read() < bound + READS, "R-9110-2.3-2 R-9110-17.5-1: {} bytes were read", tally.read());
        assert!(
            peak.bytes() < bound + 2 * READS + EXCHANGE,
            "R-9110-2.3-2 R-9110-17.5-1: {} bytes were held",
            peak.bytes()
        );
        assert_gone(&client, 1);
    }
}

/// A server sends interim responses without an end. Their number is bounded, and so are the bytes of all of them
/// together.
#[tokio::test]
async fn a_04_endless_interim_responses_are_cut_off() {
    let large = format!("HTTP/1.1 103 Early Hints\r\nlink: {}\r\n\r\n", "a".repeat(INFORMATIONAL_BYTES / 8));
    for (unit, expected, count) in [
        ("HTTP/1.1 100 Continue\r\n\r\n", ProtocolError::TooManyInformational, INFORMATIONAL),
        ("HTTP/1.1 102 Processing\r\nx: y\r\n\r\n", ProtocolError::TooManyInformational, INFORMATIONAL),
        ("HTTP/1.1 199 \r\n\r\n", ProtocolError::TooManyInformational, INFORMATIONAL),
        (&*large, ProtocolError::InformationalTooLarge, 7),
    ] {
        let wire = unit.repeat(INFORMATIONAL + 2);
        for step in [1, 100, wire.len()] {
            let (fed, _) = feed(wire.as_bytes(), step);
            assert_eq!(
                (fed.outcome, fed.interim),
                (Err(expected), count),
                "R-9110-15.2-1: {unit:.30} by {step}"
            );
        }
        let server = endless("", unit);
        let tally = Tally::default();
        let told = Arc::new(AtomicUsize::new(0));
        let tell = Arc::clone(&told);
        let client =
            tally.client().on_informational(move |_, _| _ = tell.fetch_add(1, SeqCst)).build().unwrap();
        let peak = Peak::start();
        let error = within(20, client.get(server.url("/")).send()).await.unwrap_err();
        assert_protocol(&error, expected, Phase::Wait);
        let bound = INFORMATIONAL_BYTES + READS;
        assert!(tally.read() < bound, "R-9110-2.3-2: {} bytes were read", tally.read());
        assert!(peak.bytes() < bound + READS + EXCHANGE, "R-9110-2.3-2: {} bytes were held", peak.bytes());
        assert_eq!(told.load(SeqCst), count, "{unit:.30}");
        assert_gone(&client, 1);
    }
}

/// A server sends an interim response from time to time. The deadline of the final head still passes.
#[tokio::test]
async fn a_04_interim_responses_do_not_hold_off_the_deadline() {
    let mut limits = Limits::default();
    (limits.informational, limits.informational_bytes) = (usize::MAX, usize::MAX);
    let client = Client::builder().codec_limits(limits);
    let client = client.response_timeout(Duration::from_millis(300)).build().unwrap();
    let (server, sent, cuts) = drip("", "HTTP/1.1 102 Processing\r\n\r\n");
    let error = within(20, client.get(server.url("/")).send()).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Some(Phase::Wait)));
    assert_gone(&client, 1);
    until("the server is cut off", move || cuts.load(SeqCst) == 1).await;
    assert!((1..DRIPS).contains(&sent.load(SeqCst)), "{} interim responses", sent.load(SeqCst));
}

/// The first byte shows that the bytes are no response.
#[tokio::test]
async fn a_05_endless_blanks_before_the_status_line_are_refused() {
    for unit in ["\r\n", "\n", " ", "\t", "\0", "\r"] {
        assert_eq!(feed(unit.as_bytes(), 1).1, 1);
        let server = endless("", unit);
        let tally = Tally::default();
        let client = tally.client().build().unwrap();
        let peak = Peak::start();
        let error = within(20, client.get(server.url("/")).send()).await.unwrap_err();
        assert_protocol(&error, ProtocolError::NotHttp, Phase::Wait);
        assert!(
            tally.reads() == 1 && tally.read() <= FIRST_READ,
            "R-9110-2.3-2: {} bytes were read",
            tally.read()
        );
        assert!(peak.bytes() < FIRST_READ + EXCHANGE, "R-9110-2.3-2: {} bytes were held", peak.bytes());
        assert_gone(&client, 1);
    }
}

const ENDLESS_CHUNKS: (&str, &str) =
    ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "10\r\n0123456789abcdef\r\n");
const ENDLESS_UNTIL_CLOSE: (&str, &str) = ("HTTP/1.1 200 OK\r\n\r\n", "0123456789abcdef");

/// A caller that streams the body holds the bytes of one read. While the caller does not read, the client reads
/// nothing. When the caller drops the body, the client closes the connection.
#[tokio::test]
async fn a_06_endless_body_streams_in_constant_memory() {
    for (prefix, unit) in [ENDLESS_CHUNKS, ENDLESS_UNTIL_CLOSE] {
        let server = endless(prefix, unit);
        let tally = Tally::default();
        let client = tally.client().build().unwrap();
        let peak = Peak::start();
        let mut response = within(20, client.get(server.url("/")).send()).await.unwrap();
        let at_first = tally.read();
        assert!(at_first <= 2 * FIRST_READ, "{at_first} bytes were read for the head");
        // Other tasks run and the server continues to send, but no task reads the response.
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(tally.read(), at_first, "back-pressure");
        let mut length = 0;
        while length < 8 << 20 {
            length += within(20, response.chunk()).await.unwrap().unwrap().len();
        }
        // The memory holds the delivered piece, the buffer that the piece was cut from, and the buffer of the next
        // read.
        assert!(peak.bytes() < 3 * LARGEST_READ + EXCHANGE, "R-9110-2.3-2: {} bytes were held", peak.bytes());
        let before = tally.read();
        assert!(before - length < before / 2, "{before} bytes were read for {length}");
        drop(response);
        // The client would read the end of a body that has only a few bytes left, but this body has no end.
        until("the connection is closed", || client.pool().stats().total.active == 0).await;
        assert_gone(&client, 1);
    }
}

/// A caller that collects an endless body gets an error at the limit. The total timeout passes although the body
/// never pauses.
#[tokio::test]
async fn a_06_endless_body_is_not_collected() {
    const MOST: usize = 1 << 20;
    for (prefix, unit) in [ENDLESS_CHUNKS, ENDLESS_UNTIL_CLOSE] {
        let server = endless(prefix, unit);
        for how in ["bytes", "text", "collect"] {
            let tally = Tally::default();
            let client = tally.client().max_collected_body(MOST).build().unwrap();
            let peak = Peak::start();
            let response = within(20, client.get(server.url("/")).send()).await.unwrap();
            let error = match how {
                "bytes" => within(20, response.bytes()).await.unwrap_err(),
                "text" => within(20, response.text()).await.unwrap_err(),
                _ => within(20, response.collect()).await.unwrap_err(),
            };
            assert_eq!((error.kind(), error.phase()), (ErrorKind::Decode, Some(Phase::Receive)), "{how}");
            assert!(error.to_string().contains("max_collected_body"), "{error}");
            // A buffer that grows needs memory for its old and its new size until its bytes are copied.
            assert!(peak.bytes() < 3 * MOST + 2 * LARGEST_READ, "{how}: {} bytes were held", peak.bytes());
            until("the connection is closed", || client.pool().stats().total.active == 0).await;
            assert_gone(&client, 1);
        }
        let client = Client::builder().timeout(Duration::from_millis(200)).build().unwrap();
        let mut response = within(20, client.get(server.url("/")).send()).await.unwrap();
        let error = within(20, read_away(&mut response)).await.1.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Some(Phase::Receive)));
        assert_gone(&client, 1);
    }
}

/// Chunk extensions are bounded over the whole body. The bound is a fixed number of bytes plus the number of content
/// bytes so far.
#[tokio::test]
async fn a_07_chunk_extensions_are_bounded_over_the_body() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let large = format!("1;{}\r\nx\r\n", "e".repeat(4095));
    for (unit, chunks) in [
        (&*large, EXTENSIONS / 4096),
        ("1;a\r\nx\r\n", EXTENSIONS - 1),
        ("1;ab\r\nx\r\n", EXTENSIONS / 2 - 1),
    ] {
        let server = endless(HEAD, unit);
        let tally = Tally::default();
        let client = tally.client().build().unwrap();
        let peak = Peak::start();
        let mut response = within(20, client.get(server.url("/")).send()).await.unwrap();
        let (length, end) = within(20, read_away(&mut response)).await;
        assert_protocol(&end.unwrap_err(), ProtocolError::ChunkExtensionsTooLarge, Phase::Receive);
        assert_eq!(length, chunks, "the content of the chunks pays for their extensions");
        assert!(
            tally.read() < unit.len() * (chunks + 1) + LARGEST_READ,
            "R-9110-2.3-2: {} bytes were read",
            tally.read()
        );
        // A read buffer that grows needs memory for its old and its new size until its bytes are copied.
        let held = peak.bytes();
        assert!(held < 2 * LARGEST_READ + EXCHANGE, "R-9110-2.3-2: {held} bytes were held");
        assert_gone(&client, 1);
    }
    // A chunk size of sixteen digits does not count towards the limit. Each further digit counts like a byte of an
    // extension.
    let wire = format!("{HEAD}{}0\r\n\r\n", "0000000000000001\r\nx\r\n".repeat(10_000));
    let (fed, taken) = feed(wire.as_bytes(), 4096);
    assert_eq!((fed.outcome, fed.data.len(), taken), (Ok(true), 10_000, wire.len()));
    let zeros = format!("{HEAD}{}", "0".repeat(100_000));
    for step in [1, 1_000, zeros.len()] {
        let (fed, _) = feed(zeros.as_bytes(), step);
        assert_eq!(fed.outcome, Err(ProtocolError::ChunkExtensionsTooLarge), "endless zeros, by {step}");
    }
}

/// A stream of signed chunks, as object stores send it, may have any length, because its content raises the limit of
/// the extensions.
#[test]
fn a_long_stream_of_signed_chunks_is_read() {
    const CHUNKS: usize = 1_000;
    let chunk = format!("400;chunk-signature={}\r\n{}\r\n", "a".repeat(64), "x".repeat(1024));
    let wire =
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(CHUNKS));
    for step in [1_000, 70_000] {
        let (fed, taken) = feed(wire.as_bytes(), step);
        assert_eq!((fed.outcome, fed.data.len(), taken), (Ok(true), CHUNKS * 1024, wire.len()));
    }
}

/// The trailer section has the limits of a head, even if the caller wants the trailers. If the caller stops reading
/// the body, the client does not read the trailers.
#[tokio::test]
async fn a_08_endless_trailers_are_cut_off() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
    let long = format!("x: {}\r\n", "a".repeat(1_000));
    for (unit, expected) in [
        ("x: y\r\n", ProtocolError::TooManyFields),
        (&*long, ProtocolError::TrailersTooLarge),
        ("x: a\r\n b\r\n c\r\n d\r\n e\r\n f\r\n g\r\n", ProtocolError::TooManyFields),
    ] {
        let server = endless(HEAD, unit);
        for how in ["chunk", "trailers", "drop"] {
            let tally = Tally::default();
            let client = tally.client().build().unwrap();
            let peak = Peak::start();
            let mut response = within(20, client.get(server.url("/")).send()).await.unwrap();
            let error = match how {
                "chunk" => {
                    let (length, end) = within(20, read_away(&mut response)).await;
                    assert_eq!(length, 5);
                    end.err()
                }
                "trailers" => within(20, response.trailers()).await.err(),
                _ => {
                    drop(response);
                    // The client may read for a short time before it closes the connection, because the body may end
                    // soon.
                    until("the connection is given up", || client.pool().stats().total.active == 0).await;
                    None
                }
            };
            match error {
                Some(error) => assert_protocol(&error, expected, Phase::Receive),
                None => assert_eq!(how, "drop", "{unit:.10}"),
            }
            let bound = TRAILERS + READS;
            assert!(tally.read() < bound, "R-9110-2.3-2: {how}: {} bytes were read", tally.read());
            assert!(
                peak.bytes() < bound + READS + EXCHANGE,
                "R-9110-2.3-2: {how}: {} bytes were held",
                peak.bytes()
            );
            assert_gone(&client, 1);
        }
    }
}

/// A huge announced length costs no memory and does not overflow. The client reports the length unchanged.
#[tokio::test]
async fn a_09_claimed_lengths_allocate_nothing() {
    const LARGE: u64 = (1 << 63) - 1;
    let claims: [(&str, Option<u64>); 4] = [
        ("content-length: 9223372036854775807\r\n\r\n", Some(LARGE)),
        ("content-length: 18446744073709551615\r\n\r\n", Some(u64::MAX)),
        ("transfer-encoding: chunked\r\n\r\n8000000000000000\r\n", None),
        ("transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n", None),
    ];
    for (claim, length) in claims {
        // The content comes in two pieces. The client delivers the first piece at once, and reserves no memory for
        // the second piece.
        let received = Signal::new();
        let when = received.clone();
        let server = Server::start(move |peer| {
            peer.request()?;
            peer.send(format!("HTTP/1.1 200 OK\r\n{claim}hello"))?;
            peer.wait(&when)?;
            peer.send(" world")?;
            peer.close()
        });
        for how in ["chunk", "bytes"] {
            let client = Client::new();
            let peak = Peak::start();
            let mut response = within(20, client.get(server.url("/")).send()).await.unwrap();
            received.raise();
            assert_eq!(response.content_length(), length);
            let (got, error) = match how {
                "chunk" => {
                    let (got, end) = within(20, read_away(&mut response)).await;
                    (got, end.unwrap_err())
                }
                _ => (11, within(20, response.bytes()).await.unwrap_err()),
            };
            let missing = length.map(|length| length - 11);
            let expected = ProtocolError::ClosedWithinBody { missing };
            assert_eq!(
                (got, error.kind(), error.message().to_owned()),
                (11, ErrorKind::ConnectionLost, expected.to_string())
            );
            assert_eq!(error.phase(), Some(Phase::Receive));
            // The memory holds the largest buffer that `bytes` reserves in advance, and the buffer of one read.
            assert!(
                peak.bytes() < 2 * LARGEST_READ + EXCHANGE,
                "R-9110-2.3-2 R-9110-17.5-1: {claim:?}: {} bytes were held",
                peak.bytes()
            );
            assert_gone(&client, 1);
        }
    }
    // A number that is one larger than the largest number is refused in each of these places.
    for (claim, expected) in [
        ("content-length: 18446744073709551616\r\n\r\n", ProtocolError::BadContentLength),
        ("content-length: 99999999999999999999999999999999\r\n\r\n", ProtocolError::BadContentLength),
        ("transfer-encoding: chunked\r\n\r\n10000000000000000\r\n", ProtocolError::ChunkSizeTooLarge),
    ] {
        let (fed, _) = feed(format!("HTTP/1.1 200 OK\r\n{claim}").as_bytes(), 1);
        assert_eq!(fed.outcome, Err(expected), "R-9110-17.5-1: {claim:?}");
    }
}

/// A response in many small pieces has the same outcome as in one piece, and memory does not grow with the number of
/// pieces. The codec's bench counts instructions to show that the cost is linear.
#[tokio::test]
async fn a_11_many_small_pieces_come_to_the_same() {
    let mut head = String::from("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n");
    for index in 0..FIELDS - 1 {
        head.push_str(&format!("x-{index}: {}\r\n", "v".repeat((HEAD - 256) / FIELDS - 10)));
    }
    head.push_str("\r\n");
    assert!((HEAD - 2_000..=HEAD).contains(&head.len()), "{} bytes", head.len());
    let (by_bytes, taken) = feed(head.as_bytes(), 1);
    assert_eq!((&by_bytes.outcome, by_bytes.fields.len(), taken), (&Ok(true), FIELDS, head.len()));
    for step in [2, 3, 1000, head.len()] {
        assert_eq!(feed(head.as_bytes(), step).0, by_bytes, "by {step}");
    }

    const CHUNKS: usize = 1 << 20;
    let server = Server::start(|peer| {
        peer.request()?;
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        let block = "1\r\nx\r\n".repeat(4096);
        for _ in 0..CHUNKS / 4096 {
            peer.send(&block)?;
        }
        peer.send("0\r\n\r\n")?;
        peer.stall()
    });
    let tally = Tally::default();
    let client = tally.client().build().unwrap();
    let peak = Peak::start();
    let mut response = within(20, client.get(server.url("/")).send()).await.unwrap();
    let (length, end) = within(60, read_away(&mut response)).await;
    end.unwrap();
    assert_eq!(length, CHUNKS);
    assert!(peak.bytes() < 3 * LARGEST_READ + EXCHANGE, "{} bytes were held", peak.bytes());
    assert_eq!(client.pool().stats().total.idle, 1);
}

/// The hash function with which the map of `http` places a name until the map notices an attack.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Returns different names with the same hash in a map of up to 4096 slots.
fn colliding(count: usize) -> Vec<HeaderName> {
    let place = |name: &HeaderName| {
        let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
        name.hash(&mut hasher);
        hasher.finish() & 0xfff
    };
    let mut names = Vec::with_capacity(count);
    for index in 0u32.. {
        let name = HeaderName::try_from(format!("x{index:x}")).unwrap();
        if names.first().is_none_or(|first| place(first) == place(&name)) {
            names.push(name);
        }
        if names.len() == count {
            break;
        }
    }
    names
}

/// The client bounds the number of fields before it puts them into a map, so 128 colliding names cost at most 8,128
/// comparisons. A map of 4096 fields, which is the highest limit, changes to a keyed hash.
#[tokio::test]
async fn a_12_colliding_names_are_bounded_by_their_count() {
    let names = colliding(FIELDS + 1);
    let head = |count: usize| {
        let mut head = String::from("HTTP/1.1 200 OK\r\n");
        for (index, name) in names.iter().enumerate().take(count - 1) {
            head.push_str(&format!("{name}: {index}\r\n"));
        }
        head.push_str("content-length: 0\r\n\r\n");
        head
    };
    let (fits, too_many) = (head(FIELDS), head(FIELDS + 1));
    let server = Server::start(move |peer| {
        while let Some(request) = peer.request()? {
            peer.send(if request.target == "/fits" { &fits } else { &too_many })?;
        }
        Ok(())
    });
    let client = Client::new();
    let response = within(20, client.get(server.url("/fits")).send()).await.unwrap();
    for (index, name) in names.iter().enumerate().take(FIELDS - 1) {
        assert_eq!(response.headers()[name], *index.to_string(), "{name}");
    }
    assert_eq!(response.headers().len(), FIELDS);
    let error = within(20, client.get(server.url("/more")).send()).await.unwrap_err();
    assert_protocol(&error, ProtocolError::TooManyFields, Phase::Wait);
    assert_gone(&client, 1);

    // The highest limit that a caller can set allows 4096 fields, and refuses one more.
    let mut limits = Limits::default();
    (limits.fields, limits.head) = (usize::MAX, 1 << 20);
    for (count, outcome) in [(4096, Ok(4096)), (4097, Err(ProtocolError::TooManyFields))] {
        let mut machine = machine(limits);
        let mut buf = BytesMut::from("HTTP/1.1 200 OK\r\n");
        let unique: HashSet<_> = (0..count).map(|index| format!("x{index:x}: y\r\n")).collect();
        unique.iter().for_each(|line| buf.extend_from_slice(line.as_bytes()));
        buf.extend_from_slice(b"\r\n");
        let decoded = machine.decode(&mut buf).map(|event| match event {
            Some(Event::Head(head)) => head.headers().len(),
            other => panic!("{other:?}"),
        });
        assert_eq!(decoded, outcome);
    }
}
