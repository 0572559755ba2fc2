//! Cost of a request on a warm connection, counted in allocations and in calls of the transport. The test also counts
//! the memory that a long body needs, and the memory that an idle connection holds after a long body, plain and in
//! TLS.
//!
//! This file has one test only, because the allocator counts for the whole process.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/heap.rs"]
mod heap;
mod support;

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use handclasp::{Client, Look, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use self::support::layer::{Layer, Layered};

#[test]
fn rule_37_a_warm_request_costs_what_it_may() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let port = serve();
        let calls = Arc::new(Calls::default());
        let seen = calls.clone();
        let client = Client::builder().connector(move |to| {
            let calls = seen.clone();
            async move {
                let tcp = TcpStream::connect(("127.0.0.1", to.port())).await?;
                Ok(Layered::boxed(Counted { tcp, calls }))
            }
        });
        let client = client.build().unwrap();
        let small: http::Uri = format!("http://127.0.0.1:{port}/small").parse().unwrap();
        let get = async || {
            let request = client.get(&small).header("accept", "*/*").header("user-agent", "counted");
            let response = request.send().await.unwrap();
            assert_eq!(response.headers().len(), 8);
            assert_eq!(response.bytes().await.unwrap().len(), 13);
        };
        for _ in 0..100 {
            get().await;
        }

        let before = (heap::allocations(), calls.now());
        for _ in 0..ROUNDS {
            get().await;
        }
        let allocations = (heap::allocations() - before.0) as f64 / ROUNDS as f64;
        let [writes, reads, looks] =
            [0, 1, 2].map(|at| (calls.now()[at] - before.1[at]) as f64 / ROUNDS as f64);
        println!("a warm GET: {allocations:.2} allocations, {writes} writes, {reads} reads, {looks} looks");
        assert!(allocations <= 4.0, "{allocations} allocations");
        assert_eq!((writes, reads, looks), (1.0, 1.0, 1.0));

        // A response that the caller holds owns the bytes that were read. Its map of fields is made when the caller
        // asks for the fields.
        let mut held = Vec::with_capacity(HELD_RESPONSES);
        let before = heap::held();
        for _ in 0..HELD_RESPONSES {
            held.push(client.get(&small).send().await.unwrap());
        }
        let each = (heap::held() - before) / HELD_RESPONSES;
        held.iter().for_each(|response| assert_eq!(response.headers().len(), 8));
        let asked = (heap::held() - before) / HELD_RESPONSES;
        println!("a held response: {each} bytes, {asked} once its fields were asked for");
        assert!(each <= 1024 && asked > each, "{each} bytes for each response");
        drop(held);

        // The client writes the head and the content in one vectored write, and copies neither.
        let before = calls.now();
        client.post(&small).body("x".repeat(500)).send().await.unwrap().bytes().await.unwrap();
        let [writes, reads, looks] = [0, 1, 2].map(|at| calls.now()[at] - before[at]);
        assert_eq!((writes, reads, looks, calls.parts.load(Relaxed)), (1, 1, 1, 2));

        for path in ["known", "chunked"] {
            let mut response = client.get(format!("http://127.0.0.1:{port}/{path}")).send().await.unwrap();
            let peak = heap::Peak::start();
            let mut length = 0;
            while let Some(piece) = response.chunk().await.unwrap() {
                length += piece.len();
            }
            let most = peak.bytes();
            println!("{} MiB {path}: {} KiB held at the most", length >> 20, most >> 10);
            assert_eq!(length, BLOCKS * BLOCK);
            assert!(most < 2 << 20, "{most} bytes held");
        }
        // The client reads content of a small known length into one buffer of that length.
        let quarter: http::Uri = format!("http://127.0.0.1:{port}/quarter").parse().unwrap();
        let whole = async || client.get(&quarter).send().await.unwrap().bytes().await.unwrap();
        whole().await;
        // Some responses allocate a new slab for their heads, but the response after such a response does not. The
        // smaller of two counts is a response without a new slab.
        let (mut length, mut allocated) = (0, usize::MAX);
        for _ in 0..2 {
            let before = heap::allocated();
            length = whole().await.len();
            allocated = allocated.min(heap::allocated() - before);
        }
        println!("{} KiB as one: {allocated} bytes allocated", length >> 10);
        assert_eq!(length, 4 * BLOCK);
        assert!(allocated < length + 8 * 1024, "{allocated} bytes allocated for {length} as one");
        // The client reuses the same buffers for all pieces of streamed content.
        let some: http::Uri = format!("http://127.0.0.1:{port}/some").parse().unwrap();
        let stream = async |times: usize| {
            let (before, mut length) = (heap::allocated(), 0);
            for _ in 0..times {
                let mut response = client.get(&some).send().await.unwrap();
                while let Some(piece) = response.chunk().await.unwrap() {
                    length += piece.len();
                }
            }
            (heap::allocated() - before) as f64 / length as f64
        };
        stream(20).await;
        let share = stream(200).await;
        println!("streaming: {share:.3} bytes allocated for each byte of content");
        assert!(share <= 0.1, "{share} bytes allocated for each byte of content");
        assert_eq!(client.pool().stats().total.opened, 1);
        let client = || Client::builder().max_idle_per_host(IDLE);
        let each = idle(&client().build().unwrap(), &format!("http://127.0.0.1:{port}/some")).await;
        println!("an idle connection: {each} bytes");
        assert!(each <= 1536, "{each} bytes for each idle connection");
        #[cfg(feature = "rustls")]
        {
            let (port, root) = serve_tls();
            let client = client().add_root_certificate(root).build().unwrap();
            let each = idle(&client, &format!("https://localhost:{port}/some")).await;
            println!("an idle TLS connection: {each} bytes");
            assert!(each <= 8192, "{each} bytes for each idle TLS connection");
        }

        // All counts hold without a subscriber. The same requests open and close their spans in a legal order.
        support::order::check_all();
        get().await;
        whole().await;
        stream(1).await;
        assert!(support::order::seen() > 0);
    });
}

/// Returns the memory of one idle connection after a body that filled its buffers. The memory is an average over many
/// connections.
async fn idle(client: &Client, url: &str) -> usize {
    let hold = async |count: usize| {
        let mut held = Vec::new();
        for _ in 0..count {
            held.push(client.get(url).send().await.unwrap());
        }
        for mut response in held {
            while response.chunk().await.unwrap().is_some() {}
        }
        let total = client.pool().stats().total;
        assert_eq!((total.idle, total.active), (count, 0));
        // The first connection has allocated the memory that all connections share.
        heap::held()
    };
    let (one, all) = (hold(1).await, hold(IDLE).await);
    (all - one) / (IDLE - 1)
}

/// Starts the server inside TLS. Returns its port, and the certificate that a client has to trust.
#[cfg(feature = "rustls")]
fn serve_tls() -> (u16, handclasp::Certificate) {
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;
    use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let root = handclasp::Certificate::from_der(made.cert.der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![made.cert.der().clone()],
            PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into()),
        );
    let config = Arc::new(config.unwrap());
    let port = listen(move |tcp| StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), tcp));
    (port, root)
}

/// Starts a server on threads of its own, and returns its port. The server relies on each request to arrive in one
/// read.
fn serve() -> u16 {
    listen(|tcp| tcp)
}

fn listen<S: Read + Write>(wrap: impl Fn(std::net::TcpStream) -> S + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        heap::do_not_count();
        for tcp in listener.incoming() {
            let Ok(tcp) = tcp else { return };
            tcp.set_nodelay(true).unwrap();
            let wrap = wrap.clone();
            std::thread::spawn(move || {
                heap::do_not_count();
                answer(wrap(tcp));
            });
        }
    });
    port
}

/// Answers requests until the client closes the connection.
fn answer(mut stream: impl Read + Write) {
    let block = vec![b'x'; BLOCK];
    let mut head = [0; 1024];
    while let Ok(read @ 1..) = stream.read(&mut head) {
        let head = &head[..read];
        let sent = if head.starts_with(b"GET /small") || head.starts_with(b"POST /small") {
            stream.write_all(SMALL)
        } else if !head.starts_with(b"GET /chunked") {
            let blocks = match &head[..6] {
                b"GET /q" => 4,
                b"GET /s" => 8,
                _ => BLOCKS,
            };
            let length = blocks * BLOCK;
            let begun = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            stream
                .write_all(begun.as_bytes())
                .and_then(|()| (0..blocks).try_for_each(|_| stream.write_all(&block)))
        } else {
            let begun = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            let mut chunk = || {
                write!(stream, "{BLOCK:x}\r\n")?;
                stream.write_all(&block)?;
                stream.write_all(b"\r\n")
            };
            let sent = begun.and_then(|()| (0..BLOCKS).try_for_each(|_| chunk()));
            sent.and_then(|()| stream.write_all(b"0\r\n\r\n"))
        };
        if sent.is_err() {
            return;
        }
    }
}

/// A response with eight fields, one of which has a name that the `http` crate does not know.
const SMALL: &[u8] = b"HTTP/1.1 200 OK\r\nserver: counted\r\ndate: Sun, 22 Nov 2026 06:12:00 GMT\r\n\
    content-type: text/plain\r\ncache-control: no-cache\r\nvary: accept-encoding\r\nx-request-id: 4f1c7a52\r\n\
    etag: \"1\"\r\ncontent-length: 13\r\n\r\nhello, world\n";

const ROUNDS: usize = 1000;
const BLOCK: usize = 64 * 1024;
const BLOCKS: usize = 2048;
const IDLE: usize = 128;
const HELD_RESPONSES: usize = 256;

/// Numbers of calls of the transport. A read that returns `Pending` is not counted, because it did no work.
#[derive(Default)]
struct Calls {
    writes: AtomicUsize,
    reads: AtomicUsize,
    looks: AtomicUsize,
    /// Number of buffers in the latest write.
    parts: AtomicUsize,
}

impl Calls {
    fn now(&self) -> [usize; 3] {
        [&self.writes, &self.reads, &self.looks].map(|calls| calls.load(Relaxed))
    }
}

struct Counted {
    tcp: TcpStream,
    calls: Arc<Calls>,
}

impl Layer for Counted {
    type Below = TcpStream;

    fn below(&mut self) -> &mut TcpStream {
        &mut self.tcp
    }

    fn look(&mut self) -> Look {
        self.calls.looks.fetch_add(1, Relaxed);
        self.tcp.look()
    }

    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.tcp).poll_read(cx, buf);
        self.calls.reads.fetch_add(read.is_ready() as usize, Relaxed);
        read
    }

    fn write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.calls.writes.fetch_add(1, Relaxed);
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.calls.writes.fetch_add(1, Relaxed);
        self.calls.parts.store(bufs.iter().filter(|buf| !buf.is_empty()).count(), Relaxed);
        Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
