//! The server that all clients of a bench talk to. The server is the program of the bench, started again as a process of its
//! own, so that the processor time of the client does not include the processor time of the server.
//!
//! The server answers `GET /N` with a head of eight fields and N bytes. `GET /N/hold` is answered after 700 ms, so that
//! many connections can be opened before the answer. The server ends when its standard input ends. With TLS, the server
//! makes a certificate for its addresses and prints it.
#![allow(dead_code, reason = "each bench uses a part of this module")]

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rcgen::generate_simple_self_signed;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// The server process. Dropping this value ends the process.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    certificate: String,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST, &[])
    }

    /// Starts a server that listens on `address`. The server speaks https if `names` has a name, with a certificate for
    /// all of the names. Otherwise the server speaks http.
    pub(crate) fn start_at(address: Ipv4Addr, names: &[String]) -> Self {
        let program = env::current_exe().expect("the path of this program is known");
        let mut command = Command::new(program);
        command.env(ROLE, "server").arg(address.to_string()).args(names);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("this program can be started again");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        stdout.read_line(&mut line).expect("the server prints its address");
        let address = line.trim().parse().expect("the line is a socket address");
        let mut certificate = String::new();
        while !names.is_empty() && !certificate.ends_with("-----END CERTIFICATE-----\n") {
            let read = stdout.read_line(&mut certificate).expect("the server prints its certificate");
            assert_ne!(read, 0, "the server prints a whole certificate");
        }
        Self { child, address, certificate }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the certificate that a client has to trust, as PEM. The text is empty without TLS.
    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the server and does not return, if this process was started as the server. Every bench calls this function first.
pub(crate) fn serve_if_asked() {
    if env::var_os(ROLE).is_some_and(|role| role == "server") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let served = runtime.and_then(|runtime| runtime.block_on(serve()));
        std::process::exit(i32::from(served.is_err()));
    }
}

async fn serve() -> io::Result<()> {
    let mut arguments = env::args().skip(1);
    let address: Ipv4Addr = arguments.next().unwrap_or_default().parse().map_err(io::Error::other)?;
    let names: Vec<String> = arguments.collect();
    let listener = TcpListener::bind((address, 0)).await?;
    println!("{}", listener.local_addr()?);
    let acceptor = if names.is_empty() { None } else { Some(certified(names)?) };
    std::thread::spawn(|| {
        // The end of the input means that the bench has ended.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        match acceptor.clone() {
            None => drop(tokio::spawn(answer(stream))),
            Some(acceptor) => {
                drop(tokio::spawn(async move { answer(acceptor.accept(stream).await?).await }));
            }
        }
    }
}

/// Makes a certificate for these names and prints it. Returns the acceptor that uses the certificate.
fn certified(names: Vec<String>) -> io::Result<TlsAcceptor> {
    let made = generate_simple_self_signed(names).map_err(io::Error::other)?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(io::Error::other)?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .map_err(io::Error::other)?;
    print!("{}", made.cert.pem().replace("\r\n", "\n"));
    io::stdout().flush()?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves one connection with little work: the server searches each request only for its target and its empty line.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(4096);
    let mut latest = (BytesMut::new(), Bytes::new());
    while stream.read_buf(&mut buffer).await? > 0 {
        while let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = buffer.split_to(end + 4);
            let target = head[..].split(|byte| *byte == b' ').nth(1).unwrap_or_default();
            let (size, is_held) = match target.strip_suffix(b"/hold") {
                Some(size) => (size, true),
                None => (target, false),
            };
            if *latest.0 != *size {
                latest = (BytesMut::from(size), response(size));
            }
            if is_held {
                tokio::time::sleep(HOLD).await;
            }
            stream.write_all(&latest.1).await?;
            stream.flush().await?;
        }
    }
    Ok(())
}

fn response(target: &[u8]) -> Bytes {
    let text = String::from_utf8_lossy(target);
    let size: usize = text.trim_start_matches('/').parse().unwrap_or(0);
    let mut response = format!(
        "HTTP/1.1 200 OK\r\ndate: Fri, 21 Nov 2025 10:00:00 GMT\r\nserver: bench\r\n\
         content-type: text/plain; charset=utf-8\r\ncontent-length: {size}\r\ncache-control: no-cache\r\n\
         vary: accept-encoding\r\netag: \"5d8c72a5edda8\"\r\nx-bench-trace: 4bf92f3577b34da6\r\n\r\n"
    )
    .into_bytes();
    response.resize(response.len() + size, b'.');
    response.into()
}

/// Name of the environment variable that gives this process its role.
pub(crate) const ROLE: &str = "HANDCLASP_BENCH_ROLE";
/// Delay of the answer to `/hold`. Thousands of connections can be opened in this time.
const HOLD: Duration = Duration::from_millis(700);
