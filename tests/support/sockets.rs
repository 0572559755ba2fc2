//! A server on a unix socket, in tasks of the test's runtime. The server records the head of each request.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// A folder of one test, which is removed at its end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let nth = NEXT.fetch_add(1, Ordering::SeqCst);
        let folder = std::env::temp_dir().join(format!("handclasp-{}-{nth}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server on a unix socket. Dropping the server stops listening and closes all connections. The file stays.
pub struct SocketServer {
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

/// Returns the answer to a request. With `None`, the connection is closed.
type Answer = dyn Fn(&str) -> Option<String> + Send + Sync;

struct Shared {
    answer: Box<Answer>,
    accepted: AtomicUsize,
    /// Number of connections that were accepted and then closed.
    closed: AtomicUsize,
    /// For each request, the number of its connection and its head.
    heads: Mutex<Vec<(usize, String)>>,
    /// Connections with a smaller number than this close as soon as they are idle.
    closed_below: watch::Sender<usize>,
}

impl SocketServer {
    /// Listens on a path. Replaces the socket of an earlier server.
    pub fn start(path: &Path, answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self::listen(path, None, answer)
    }

    /// Starts a server that answers each request with its target.
    pub fn echo(path: &Path) -> Self {
        Self::start(path, |head| Some(content(head.split(' ').nth(1).unwrap_or_default())))
    }

    /// Starts a server that speaks TLS, and answers each request with its target.
    pub fn echo_tls(path: &Path, config: ServerConfig) -> Self {
        let echo = |head: &str| Some(content(head.split(' ').nth(1).unwrap_or_default()));
        Self::listen(path, Some(TlsAcceptor::from(Arc::new(config))), echo)
    }

    fn listen(
        path: &Path,
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).unwrap();
        let (accepted, closed, heads) = Default::default();
        let closed_below = watch::Sender::new(0);
        let shared = Arc::new(Shared { answer: Box::new(answer), accepted, closed, heads, closed_below });
        let serving = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = serving.accepted.fetch_add(1, Ordering::SeqCst);
                let (shared, tls) = (Arc::clone(&serving), tls.clone());
                tokio::spawn(async move {
                    // The client may close a connection at any time.
                    let _ = match tls {
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => shared.serve(number, stream).await,
                            Err(error) => Err(error),
                        },
                        None => shared.serve(number, stream).await,
                    };
                    shared.closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { shared, accepting }
    }

    /// Returns the number of accepted connections.
    pub fn connections(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Returns the number of connections that were accepted and then closed, by either end.
    pub fn closed(&self) -> usize {
        self.shared.closed.load(Ordering::SeqCst)
    }

    /// Returns the heads of all requests.
    pub fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().unwrap().iter().map(|(_, head)| head.clone()).collect()
    }

    /// Returns the number of requests on each connection.
    pub fn requests_per_connection(&self) -> Vec<usize> {
        let mut counts = vec![0; self.connections()];
        self.shared.heads.lock().unwrap().iter().for_each(|(number, _)| counts[*number] += 1);
        counts
    }

    /// Closes the connections that were accepted so far, as soon as they are idle.
    pub fn close_all(&self) {
        self.shared.closed_below.send_replace(self.connections());
    }
}

impl Drop for SocketServer {
    fn drop(&mut self) {
        self.accepting.abort();
        self.shared.closed_below.send_replace(usize::MAX);
    }
}

impl Shared {
    async fn serve(&self, number: usize, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let (mut received, mut closed) = (Vec::new(), self.closed_below.subscribe());
        loop {
            let head = loop {
                if let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                    let rest = received.split_off(end + 4);
                    break String::from_utf8(std::mem::replace(&mut received, rest)).unwrap();
                }
                let read = tokio::select! {
                    read = stream.read_buf(&mut received) => read?,
                    _ = closed.wait_for(|below| *below > number) => 0,
                };
                if read == 0 {
                    return Ok(());
                }
            };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            let length: usize = length.unwrap_or_default();
            while received.len() < length {
                if stream.read_buf(&mut received).await? == 0 {
                    return Ok(());
                }
            }
            received.drain(..length);
            self.heads.lock().unwrap().push((number, head.clone()));
            match (self.answer)(&head) {
                Some(answer) => stream.write_all(answer.as_bytes()).await?,
                None => return Ok(()),
            }
            stream.flush().await?;
        }
    }
}

/// Returns a response with this content.
pub fn content(text: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len())
}

/// Connects to a socket until its queue is full, and returns the connections.
pub fn fill(path: &Path) -> Vec<UnixStream> {
    let mut waiting = Vec::new();
    loop {
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        match socket.connect(&socket2::SockAddr::unix(path).unwrap()) {
            Ok(()) => waiting.push(UnixStream::from_std(socket.into()).unwrap()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return waiting,
            Err(error) => panic!("{error}"),
        }
    }
}
