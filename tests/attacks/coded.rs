//! A-10: tests of content that is small on the wire and huge after decoding.

use handclasp::{Client, ErrorKind};

use super::meter::Peak;
use super::support::{Server, within};
use super::{assert_gone, read_away};

const LARGEST_READ: usize = 128 * 1024;

/// Memory of a request, an exchange, a response, a connection, and the slab to which small responses are copied.
const EXCHANGE: usize = 32 * 1024;

/// Memory of a decoder of deflate, with its window and one piece.
const DECODER: usize = 128 * 1024;

/// A whole gzip member without content.
const EMPTY_MEMBER: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0";

/// Starts a server that sends content with these codings, and its length.
fn serve(codings: &str, content: Vec<u8>) -> Server {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: {codings}\r\ncontent-length: {}\r\n\r\n",
        content.len()
    );
    Server::start(move |peer| {
        peer.request()?;
        peer.send(&head)?;
        peer.send(&content)?;
        peer.stall()
    })
}

/// Returns `258 * matches + 1` zeros, encoded as deflate: a block with fixed codes, a literal, and matches of the largest
/// length.
fn deflated(matches: usize) -> Vec<u8> {
    let (mut out, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    let mut put = |value: u32, length: u32| {
        bits |= value << count;
        count += length;
        while count >= 8 {
            out.push(bits as u8);
            (bits, count) = (bits >> 8, count - 8);
        }
    };
    // These bits begin the last block, which has fixed codes. Huffman codes begin with their highest bit.
    put(0b011, 3);
    put(0b0000_1100, 8);
    for _ in 0..matches {
        put(0b1010_0011, 8);
        put(0, 5);
    }
    // These bits are the code for the end of the block, and padding for the last byte.
    put(0, 7);
    put(0, 7);
    out
}

/// If the client does not decode the content, the content is as large as its bytes on the wire.
#[tokio::test]
async fn a_10_decompression_bomb_is_handed_over_as_it_came() {
    let stacked = ["gzip"; 20].join(", ");
    for coding in ["gzip", "br", "zstd", "deflate", "x-gzip, identity", &stacked] {
        let content = EMPTY_MEMBER.repeat((1 << 23) / EMPTY_MEMBER.len() + 1)[..1 << 23].to_vec();
        let server = serve(coding, content.clone());
        let client = Client::new();
        let peak = Peak::start();
        let request = client.get(server.url("/")).decompress(false);
        let mut response = within(20, request.send()).await.unwrap();
        assert_eq!(response.headers()["content-encoding"], coding);
        assert_eq!(response.content_length(), Some(1 << 23));
        let mut at = 0;
        while let Some(piece) = within(20, response.chunk()).await.unwrap() {
            assert!(content[at..].starts_with(&piece), "{coding} at {at}");
            at += piece.len();
        }
        assert_eq!(at, content.len());
        assert!(peak.bytes() < 3 * LARGEST_READ + EXCHANGE, "{} bytes were held", peak.bytes());
        assert_eq!(server.seen()[0].request.field("accept-encoding"), None);
    }
}

/// Reads content with this coding, which decodes to `length` bytes. Fails if the memory grows with the content.
async fn assert_constant_memory(coding: &str, content: Vec<u8>, length: usize) {
    let server = serve(coding, content);
    let client = Client::new();
    let peak = Peak::start();
    let mut response = within(20, client.get(server.url("/")).send()).await.unwrap();
    let (read, end) = within(60, read_away(&mut response)).await;
    end.unwrap();
    assert_eq!(read, length);
    let most = 3 * LARGEST_READ + EXCHANGE + DECODER;
    assert!(peak.bytes() < most, "CE-03: {} bytes were held", peak.bytes());
}

/// Without the feature `deflate`, the content is handed over unchanged.
#[tokio::test]
async fn a_10_decompression_bomb_streams_in_constant_memory() {
    const MATCHES: usize = 100_000;
    let content = deflated(MATCHES);
    let length = if cfg!(feature = "deflate") { 258 * MATCHES + 1 } else { content.len() };
    assert_constant_memory("deflate", content, length).await;
}

/// Empty members, one after another, are 2 MB on the wire and decode to no byte. Without the feature `gzip`, the
/// members are handed over unchanged.
#[tokio::test]
async fn a_10_empty_members_are_read_in_constant_memory() {
    let content = EMPTY_MEMBER.repeat(100_000);
    let length = if cfg!(feature = "gzip") { 0 } else { content.len() };
    assert_constant_memory("gzip", content, length).await;
}

/// The name of a file in the header of a gzip member has no announced length, and ends with a zero byte.
#[tokio::test]
async fn a_10_endless_gzip_header_is_read_in_constant_memory() {
    let content = [
        &b"\x1f\x8b\x08\x18\0\0\0\0\0\x03"[..],
        &[b'x'; 4 << 20],
        b"\0",
        &[b'y'; 4 << 20],
        b"\0\x03\0",
        &[0; 8],
    ]
    .concat();
    let length = if cfg!(feature = "gzip") { 0 } else { content.len() };
    assert_constant_memory("gzip", content, length).await;
}

#[tokio::test]
async fn a_10_decompression_bomb_is_not_collected() {
    const LIMIT: usize = 1 << 18;
    let server = serve("deflate", deflated(1_000_000));
    let client = Client::builder().max_collected_body(LIMIT).build().unwrap();
    let peak = Peak::start();
    let response = within(20, client.get(server.url("/")).send()).await.unwrap();
    let error = within(20, response.bytes()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode, "A-06");
    // A buffer that grows needs memory for its old and its new size until its bytes are copied.
    let most = 3 * LIMIT + 3 * LARGEST_READ + EXCHANGE + DECODER;
    assert!(peak.bytes() < most, "CE-03 A-06: {} bytes were held", peak.bytes());
    within(20, super::support::until("the connection is closed", || client.pool().stats().total.active == 0))
        .await;
    assert_gone(&client, 1);
}
