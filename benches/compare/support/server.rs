//! The server: this same program, run again as a process of its own, so that its memory is not that of the client.
//!
//! `GET /SIZE` is answered with so many bytes. `GET /SIZE/held` is answered with the head at once, and with the content
//! when the client says so: so that it has many connections at once, without many requests at work. On a second port,
//! plain, it is told so, and says how many connections are open. It ends when its standard input does.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream as StdTcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// The process that serves; dropping it ends it.
pub(crate) struct Server {
    child: Child,
    _stdin: Option<ChildStdin>,
    pub(crate) address: SocketAddr,
    pub(crate) control: SocketAddr,
    /// The root that its certificate is signed by, as PEM; empty if it is plain.
    pub(crate) root: String,
}

impl Server {
    /// A server at an address of its own, so that the ports of one run are not those of the next.
    pub(crate) fn start(address: Ipv4Addr, is_tls: bool) -> io::Result<Self> {
        let kind = if is_tls { "tls" } else { "plain" };
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["server", &address.to_string(), kind]);
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
        Ok(Self { _stdin: child.stdin.take(), child, address, control, root })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the client says to the server beside the requests.
pub(crate) struct Control(StdTcpStream);

impl Control {
    pub(crate) fn connect(server: SocketAddr) -> io::Result<Self> {
        StdTcpStream::connect(server).map(Self)
    }

    /// The content of the oldest response that is held back may come.
    pub(crate) fn go_on(&mut self) -> io::Result<()> {
        self.0.write_all(&[GO_ON])
    }

    /// How many connections the server has.
    pub(crate) fn open_connections(&mut self) -> io::Result<u64> {
        let mut open = [0; 8];
        self.0.write_all(&[HOW_MANY])?;
        self.0.read_exact(&mut open)?;
        Ok(u64::from_be_bytes(open))
    }
}

const GO_ON: u8 = b'g';
const HOW_MANY: u8 = b'?';

/// What this process is, if it was started as a server.
pub(crate) fn serve(address: &str, kind: &str) -> io::Result<()> {
    let address: Ipv4Addr = address.parse().map_err(io::Error::other)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(address, kind == "tls"))
}

/// What the connections share.
#[derive(Default)]
struct State {
    open: AtomicU64,
    /// Those whose content is held back, oldest first.
    held: Mutex<VecDeque<oneshot::Sender<()>>>,
}

impl State {
    fn held(&self) -> MutexGuard<'_, VecDeque<oneshot::Sender<()>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what the client says.
    async fn obey(&self, mut control: TcpStream) -> io::Result<()> {
        control.set_nodelay(true)?;
        loop {
            match control.read_u8().await? {
                GO_ON => {
                    // A connection that broke waits for nothing: its client has seen it.
                    let _ = self.held().pop_front().map(|turn| turn.send(()));
                }
                _ => control.write_all(&self.open.load(Ordering::SeqCst).to_be_bytes()).await?,
            }
        }
    }
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
        // The bench has ended, however it ended.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let state = Arc::new(State::default());
    let told = state.clone();
    tokio::spawn(async move {
        while let Ok((control, _)) = control.accept().await {
            // Until the client hangs up.
            let _ = told.obey(control).await;
        }
    });
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (state, acceptor) = (state.clone(), acceptor.clone());
        tokio::spawn(async move {
            state.open.fetch_add(1, Ordering::SeqCst);
            // Whatever goes wrong is seen by the client.
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

/// Answers one connection, as little as is possible: it looks for the target and for the empty line.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, state: &State) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(1024);
    while stream.read_buf(&mut buffer).await? > 0 {
        while let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            buffer.drain(..end + 4);
            let target = head.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
            let (size, is_held) = match target.strip_suffix("/held") {
                Some(size) => (size, true),
                None => (target, false),
            };
            let size = usize::from_str(size).map_err(io::Error::other)?;
            let head = format!(
                "HTTP/1.1 200 OK\r\ndate: Fri, 21 Nov 2025 10:00:00 GMT\r\nserver: bench\r\n\
                 content-type: application/octet-stream\r\ncontent-length: {size}\r\ncache-control: no-cache\r\n\
                 vary: accept-encoding\r\netag: \"5d8c72a5edda8\"\r\nx-bench-trace: 4bf92f3577b34da6\r\n\r\n"
            );
            let turn = is_held.then(|| {
                // Before the head: when it has come, the client sends its next request.
                let (turn, mine) = oneshot::channel();
                state.held().push_back(turn);
                mine
            });
            stream.write_all(head.as_bytes()).await?;
            stream.flush().await?;
            if let Some(turn) = turn {
                turn.await.map_err(io::Error::other)?;
            }
            let piece = [b'.'; 16 * 1024];
            let mut left = size;
            while left > 0 {
                let written = stream.write(&piece[..left.min(piece.len())]).await?;
                left -= written;
            }
            stream.flush().await?;
        }
    }
    Ok(())
}

/// A configuration for this address and for all names of the domain, and the root to trust, made on the spot.
fn certified(address: Ipv4Addr) -> io::Result<(ServerConfig, String)> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().map_err(io::Error::other)?);
    let issuer = issuer.map_err(io::Error::other)?;
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let params =
        CertificateParams::new([address.to_string(), format!("*.{DOMAIN}")]).map_err(io::Error::other)?;
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

/// Names in it are the server's too.
pub(crate) const DOMAIN: &str = "bench.test";
