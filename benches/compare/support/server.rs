//! The server of the benches. The server is the program of the bench, started again as a process of its own, so that its
//! processor time and memory are not counted for the client.
//!
//! The server answers these requests:
//!
//! - `GET /SIZE` with SIZE bytes.
//! - `GET /SIZE/chunked` with SIZE bytes in chunks of 16 KiB.
//! - `GET /SIZE/slow` after 5 ms.
//! - `GET /SIZE/together/N` when N such requests have arrived, each on a connection of its own.
//! - `GET /SIZE/held` with the head at once, and with the content when the client asks for it. The client can
//!   have many connections at once without many tasks.
//!
//! The answer to a request with content is the number of its bytes, in [`COUNT`] digits. On a second port, without
//! TLS, the server answers questions about its connections. The server ends when its standard input ends.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream as StdTcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Environment variable with the root certificate that a client process trusts.
pub const ROOT: &str = "HANDCLASP_BENCH_ROOT";

/// The server's process. Dropping the value ends the process.
pub struct Server {
    /// The child process. `None` if another process has started the server.
    child: Option<Child>,
    _stdin: Option<ChildStdin>,
    pub address: SocketAddr,
    pub control: SocketAddr,
    /// Root certificate of the server as PEM. Empty without TLS.
    pub root: String,
}

impl Server {
    /// Starts a server on `address`. Each run passes a different address, because an earlier run may have blocked
    /// ports of its address.
    pub fn start(address: Ipv4Addr, is_tls: bool, threads: usize) -> io::Result<Self> {
        let kind = if is_tls { "tls" } else { "plain" };
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["server", &address.to_string(), kind, &threads.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?);
        let mut address = || {
            let mut line = String::new();
            lines.read_line(&mut line)?;
            line.trim().parse().map_err(io::Error::other)
        };
        let (address, control) = (address()?, address()?);
        let mut root = String::new();
        if is_tls {
            while lines.read_line(&mut root)? > 0 && !root.ends_with("-----END CERTIFICATE-----\n") {}
        }
        Ok(Self { _stdin: child.stdin.take(), child: Some(child), address, control, root })
    }

    /// Returns a server that another process has started.
    pub fn elsewhere(address: SocketAddr, control: SocketAddr, root: String) -> Self {
        Self { child: None, _stdin: None, address, control, root }
    }

    pub fn scheme(&self) -> &'static str {
        if self.root.is_empty() { "http" } else { "https" }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // An error means that the process has already ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Connection to the server's second port, for commands and questions.
pub struct Control(StdTcpStream);

impl Control {
    pub fn connect(server: SocketAddr) -> io::Result<Self> {
        StdTcpStream::connect(server).map(Self)
    }

    /// Tells the server to send the content of the oldest response that it holds back.
    pub fn go_on(&mut self) -> io::Result<()> {
        self.0.write_all(&[GO_ON])
    }

    /// Returns the number of open connections of the server.
    pub fn open_connections(&mut self) -> io::Result<u64> {
        self.ask(HOW_MANY)
    }

    /// Returns the number of connections that the server has accepted so far.
    pub fn accepted(&mut self) -> io::Result<u64> {
        self.ask(ACCEPTED)
    }

    /// Returns the length of the latest request's head.
    pub fn latest_head(&mut self) -> io::Result<u64> {
        self.ask(HEAD)
    }

    fn ask(&mut self, what: u8) -> io::Result<u64> {
        let mut answer = [0; 8];
        self.0.write_all(&[what])?;
        self.0.read_exact(&mut answer)?;
        Ok(u64::from_be_bytes(answer))
    }
}

const GO_ON: u8 = b'g';
const HOW_MANY: u8 = b'?';
const ACCEPTED: u8 = b'a';
const HEAD: u8 = b'h';

/// Runs this process as a server.
pub fn serve(address: &str, kind: &str, threads: usize) -> io::Result<()> {
    let address: Ipv4Addr = address.parse().map_err(io::Error::other)?;
    crate::runtime::runtime(threads).block_on(run(address, kind == "tls"))
}

/// State that all connections of the server share.
#[derive(Default)]
struct State {
    open: AtomicU64,
    accepted: AtomicU64,
    latest_head: AtomicU64,
    /// Connections whose content is held back, oldest first.
    held: Mutex<VecDeque<oneshot::Sender<()>>>,
    /// Connections whose requests wait to be answered together.
    together: Mutex<Vec<oneshot::Sender<()>>>,
}

impl State {
    /// Carries out the client's commands and answers its questions.
    async fn obey(&self, mut control: TcpStream) -> io::Result<()> {
        control.set_nodelay(true)?;
        loop {
            let count = match control.read_u8().await? {
                GO_ON => {
                    // An error means that the connection is lost, which its client notices.
                    let _ = lock(&self.held).pop_front().map(|turn| turn.send(()));
                    continue;
                }
                HOW_MANY => &self.open,
                ACCEPTED => &self.accepted,
                _ => &self.latest_head,
            };
            control.write_all(&count.load(Ordering::SeqCst).to_be_bytes()).await?;
        }
    }

    /// Waits until `wanted` requests have called this function.
    async fn gather(&self, wanted: usize) -> io::Result<()> {
        let (turn, mine) = oneshot::channel();
        let arrived = {
            let mut waiting = lock(&self.together);
            waiting.push(turn);
            if waiting.len() >= wanted { std::mem::take(&mut *waiting) } else { Vec::new() }
        };
        for turn in arrived {
            // An error means that the connection is lost, which its client notices.
            let _ = turn.send(());
        }
        mine.await.map_err(io::Error::other)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn run(address: Ipv4Addr, is_tls: bool) -> io::Result<()> {
    let listener = TcpListener::bind((address, 0)).await?;
    let control = TcpListener::bind((address, 0)).await?;
    println!("{}\n{}", listener.local_addr()?, control.local_addr()?);
    let acceptor = if is_tls {
        let (config, root) = certified(address)?;
        println!("{}", root.trim());
        Some(TlsAcceptor::from(Arc::new(config)))
    } else {
        None
    };
    std::thread::spawn(|| {
        // The end of the input means that the bench has ended.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let state = Arc::new(State::default());
    let told = state.clone();
    tokio::spawn(async move {
        while let Ok((control, _)) = control.accept().await {
            let told = told.clone();
            // This task ends when the client closes the connection.
            tokio::spawn(async move { told.obey(control).await });
        }
    });
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (state, acceptor) = (state.clone(), acceptor.clone());
        state.accepted.fetch_add(1, Ordering::SeqCst);
        state.open.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            // Errors are ignored, because the client notices them.
            let _ = match acceptor {
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => answer(stream, &state).await,
                    Err(error) => Err(error),
                },
                None => answer(stream, &state).await,
            };
            state.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// Serves one connection with little work: the server searches each request only for its target and its empty line.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, state: &State) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(1024);
    let mut scratch = Vec::new();
    let mut latest = (Vec::new(), Answer::default());
    while stream.read_buf(&mut buffer).await? > 0 {
        while let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = &buffer[..end + 4];
            state.latest_head.store(head.len() as u64, Ordering::SeqCst);
            if head.starts_with(b"POST ") {
                let head = String::from_utf8_lossy(head).to_ascii_lowercase();
                buffer.drain(..end + 4);
                let size = skip(&mut stream, &mut buffer, &mut scratch, &head).await?;
                let answer = format!("{}{size:0COUNT$}", head_of(COUNT, false));
                stream.write_all(answer.as_bytes()).await?;
                stream.flush().await?;
                continue;
            }
            let target = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
            if latest.0 != target {
                latest = (target.to_vec(), Answer::to(&String::from_utf8_lossy(target))?);
            }
            buffer.drain(..end + 4);
            latest.1.write(&mut stream, state).await?;
        }
    }
    Ok(())
}

/// Reads the content of a request. Returns the number of its bytes.
async fn skip(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    scratch: &mut Vec<u8>,
    head: &str,
) -> io::Result<usize> {
    scratch.resize(256 * 1024, 0);
    if let Some((_, rest)) = head.split_once("\r\ncontent-length:") {
        let size = rest.split("\r\n").next().unwrap_or_default().trim();
        let size = size.parse().map_err(io::Error::other)?;
        drop_bytes(stream, buffer, scratch, size).await?;
        return Ok(size);
    }
    assert!(head.contains("\r\ntransfer-encoding: chunked"), "content is framed: {head:?}");
    let mut received = 0;
    loop {
        let end = loop {
            match buffer.windows(2).position(|window| window == b"\r\n") {
                Some(end) => break end,
                None if stream.read_buf(buffer).await? == 0 => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                None => {}
            }
        };
        let digits = String::from_utf8_lossy(&buffer[..end]).into_owned();
        let size = usize::from_str_radix(digits.trim(), 16).map_err(io::Error::other)?;
        buffer.drain(..end + 2);
        drop_bytes(stream, buffer, scratch, size + 2).await?;
        received += size;
        if size == 0 {
            return Ok(received);
        }
    }
}

/// Drops the next `left` bytes of the stream. Later bytes that the same read has taken stay in `buffer`.
async fn drop_bytes(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    scratch: &mut [u8],
    mut left: usize,
) -> io::Result<()> {
    let here = left.min(buffer.len());
    buffer.drain(..here);
    left -= here;
    while left > 0 {
        let read = stream.read(scratch).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let own = read.min(left);
        left -= own;
        buffer.extend_from_slice(&scratch[own..read]);
    }
    Ok(())
}

/// The answer to a target, made once for consecutive requests for the target.
#[derive(Default)]
struct Answer {
    /// The head, and the content if the content is small.
    start: Bytes,
    /// Bytes that are sent again and again after `start`, until the content is complete.
    slab: Bytes,
    slab_bytes: usize,
    end: &'static [u8],
    way: Way,
}

#[derive(Default)]
enum Way {
    #[default]
    AtOnce,
    Held,
    Slow,
    Together(usize),
}

impl Answer {
    fn to(target: &str) -> io::Result<Self> {
        let mut words = target.split('/').skip(1);
        let size = usize::from_str(words.next().unwrap_or_default()).map_err(io::Error::other)?;
        let word = words.next().unwrap_or_default();
        let head = head_of(size, word == "chunked").into_bytes();
        let way = match word {
            "" | "chunked" => Way::AtOnce,
            "held" => Way::Held,
            "slow" => Way::Slow,
            "together" => Way::Together(words.next().unwrap_or_default().parse().map_err(io::Error::other)?),
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        if word == "chunked" {
            assert_eq!(size % CHUNK, 0, "only whole chunks are sent");
            static CHUNKS: LazyLock<Bytes> = LazyLock::new(|| chunk().repeat(16).into());
            let slab = CHUNKS.clone();
            return Ok(Self { start: head.into(), slab, slab_bytes: encoded(size), end: LAST_CHUNK, way });
        }
        let mut answer = Self { way, ..Self::default() };
        let mut start = head;
        if size <= CHUNK && !matches!(answer.way, Way::Held) {
            start.resize(start.len() + size, b'.');
        } else {
            static DOTS: LazyLock<Bytes> = LazyLock::new(|| vec![b'.'; 16 * CHUNK].into());
            answer.slab = DOTS.clone();
            answer.slab_bytes = size;
        }
        answer.start = start.into();
        Ok(answer)
    }

    async fn write(&self, stream: &mut (impl AsyncWrite + Unpin), state: &State) -> io::Result<()> {
        match self.way {
            Way::AtOnce => stream.write_all(&self.start).await?,
            Way::Slow => {
                tokio::time::sleep(SLOW).await;
                stream.write_all(&self.start).await?;
            }
            Way::Together(wanted) => {
                state.gather(wanted).await?;
                stream.write_all(&self.start).await?;
            }
            Way::Held => {
                // The turn is queued before the head is sent, because the client sends its next request as soon as
                // the head arrives.
                let (turn, mine) = oneshot::channel();
                lock(&state.held).push_back(turn);
                stream.write_all(&self.start).await?;
                stream.flush().await?;
                mine.await.map_err(io::Error::other)?;
            }
        }
        let mut left = self.slab_bytes;
        while left > 0 {
            let part = &self.slab[..left.min(self.slab.len())];
            stream.write_all(part).await?;
            left -= part.len();
        }
        stream.write_all(self.end).await?;
        stream.flush().await
    }
}

/// Returns a head with eight fields, one of which is not standard.
fn head_of(size: usize, is_chunked: bool) -> String {
    let framing =
        if is_chunked { "transfer-encoding: chunked".into() } else { format!("content-length: {size}") };
    format!(
        "HTTP/1.1 200 OK\r\ndate: Fri, 21 Nov 2025 10:00:00 GMT\r\nserver: bench\r\n\
         content-type: application/octet-stream\r\n{framing}\r\ncache-control: no-cache\r\n\
         vary: accept-encoding\r\netag: \"5d8c72a5edda8\"\r\nx-bench-trace: 4bf92f3577b34da6\r\n\r\n"
    )
}

/// Returns the number of bytes of a response on the wire.
pub fn response_length(size: usize, is_chunked: bool) -> usize {
    let content = if is_chunked { encoded(size) + LAST_CHUNK.len() } else { size };
    head_of(size, is_chunked).len() + content
}

/// Returns one chunk of content as it is sent, with its size line.
pub fn chunk() -> Vec<u8> {
    let mut chunk = format!("{CHUNK:x}\r\n").into_bytes();
    chunk.resize(chunk.len() + CHUNK, b'.');
    chunk.extend_from_slice(b"\r\n");
    chunk
}

fn encoded(size: usize) -> usize {
    size / CHUNK * chunk().len()
}

/// Makes a certificate for this address, for `LINKED`, and for all names of the domain. Returns the server's
/// configuration, and the root certificate that signed it.
fn certified(address: Ipv4Addr) -> io::Result<(ServerConfig, String)> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().map_err(io::Error::other)?);
    let issuer = issuer.map_err(io::Error::other)?;
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let names = [address.to_string(), LINKED.to_string(), format!("*.{DOMAIN}")];
    let params = CertificateParams::new(names).map_err(io::Error::other)?;
    let certificate = params.signed_by(&key, &issuer).map_err(io::Error::other)?;
    let private = PrivateKeyDer::try_from(key.serialize_der()).map_err(io::Error::other)?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .map_err(io::Error::other)?;
    Ok((config, issuer.pem()))
}

/// Address at which the bench `pooled_vs_fresh` reaches the server over its link.
pub const LINKED: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// Domain whose names the server's certificate is valid for.
pub const DOMAIN: &str = "bench.test";
/// Number of digits in the answer to an upload.
pub const COUNT: usize = 13;
/// The size of a chunk, and of a piece of an upload.
pub const CHUNK: usize = 16 * 1024;
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
const SLOW: Duration = Duration::from_millis(5);
