//! A scripted server on loopback. The server uses blocking sockets and threads of its own, so that it continues to work
//! while the client's runtime is blocked.
//!
//! A script is a closure that is called once for each connection, with the [`Peer`] of that connection. Scripts of
//! different connections run on different threads. Every wait is bounded: sockets have read timeouts, and waits for
//! signals end after [`PATIENCE`]. Dropping the server ends all connections and joins all threads. If a script has
//! panicked, dropping the server fails the test.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use socket2::SockRef;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{self, ServerConfig, ServerConnection};

use super::{PATIENCE, Rng};

/// A server that runs a script for each connection, and counts connections and requests.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
    authority: Option<String>,
}

struct Shared {
    stop: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    clients: Vec<SocketAddr>,
    seen: Vec<Seen>,
    open: Vec<Weak<TcpStream>>,
}

/// A request whose head the server has read.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Number of the connection, counted from 0 in the order of acceptance.
    pub connection: usize,
    /// Number of the request on its connection, counted from 1.
    pub nth: usize,
    pub request: Request,
    /// Whether the server has read the whole body.
    pub is_complete: bool,
}

/// A request as it came over the wire.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    pub target: String,
    /// The head as it came, including its empty line.
    pub head: String,
    pub body: Vec<u8>,
}

impl Request {
    /// Returns the value of the first field with this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.values(name).next()
    }

    /// Returns the values of all fields with this name.
    pub fn fields(&self, name: &str) -> Vec<String> {
        self.values(name).map(str::to_owned).collect()
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(move |(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

impl Server {
    /// Starts a server on a port of its own. `script` is called for each connection, on a thread of its own.
    pub fn start(script: impl Fn(&mut Peer) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::listen(None, Arc::new(script))
    }

    /// Starts a server on a port of its own, at an address of this machine.
    pub fn start_at(
        address: IpAddr,
        script: impl Fn(&mut Peer) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::listen_at(address, None, Arc::new(script))
    }

    /// Starts a server that speaks TLS, with a certificate for `localhost` and `127.0.0.1`.
    /// [`authority`](Self::authority) returns the certificate authority that signed this certificate.
    pub fn start_tls(script: impl Fn(&mut Peer) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::start_tls_at(Ipv4Addr::LOCALHOST.into(), script)
    }

    /// Starts a server that speaks TLS as [`start_tls`](Self::start_tls) does, at an address of this machine.
    pub fn start_tls_at(
        address: IpAddr,
        script: impl Fn(&mut Peer) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let (config, authority) = certify();
        let mut server = Self::listen_at(address, Some(Arc::new(config)), Arc::new(script));
        server.authority = Some(authority);
        server
    }

    /// Starts a server that speaks TLS with the caller's TLS settings.
    pub fn start_tls_by(
        config: ServerConfig,
        script: impl Fn(&mut Peer) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::listen(Some(Arc::new(config)), Arc::new(script))
    }

    /// Starts a server that answers every request with its target.
    pub fn echo() -> Self {
        Self::start(|peer| {
            while let Some(request) = peer.request()? {
                peer.respond(&request.target)?;
            }
            Ok(())
        })
    }

    fn listen(tls: Option<Arc<ServerConfig>>, script: Arc<Script>) -> Self {
        Self::listen_at(Ipv4Addr::LOCALHOST.into(), tls, script)
    }

    fn listen_at(address: IpAddr, tls: Option<Arc<ServerConfig>>, script: Arc<Script>) -> Self {
        super::order::check_all();
        let listener = TcpListener::bind((address, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), state: Mutex::default() });
        let accepting = Arc::clone(&shared);
        let acceptor = thread::spawn(move || accept(&listener, &accepting, tls.as_ref(), &script));
        Self { address, shared, acceptor: Some(acceptor), authority: None }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL of a path on this server, with its address as the host.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address)
    }

    /// Returns the PEM certificate of the authority that signed the server's certificate.
    pub fn authority(&self) -> &str {
        self.authority.as_deref().expect("only a TLS server has an authority")
    }

    /// Returns the number of accepted connections.
    pub fn connections(&self) -> usize {
        self.shared.lock().clients.len()
    }

    /// Returns the clients' addresses of the connections, in the order of acceptance.
    pub fn clients(&self) -> Vec<SocketAddr> {
        self.shared.lock().clients.clone()
    }

    /// Returns all requests, in the order in which their heads were read.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.lock().seen.clone()
    }

    /// Returns the number of requests on each connection.
    pub fn requests_per_connection(&self) -> Vec<usize> {
        let state = self.shared.lock();
        let mut counts = vec![0; state.clients.len()];
        for seen in &state.seen {
            counts[seen.connection] += 1;
        }
        counts
    }

    /// Returns the values of all fields with this name in each request, in the order in which the heads were read.
    pub fn fields(&self, name: &str) -> Vec<Vec<String>> {
        self.shared.lock().seen.iter().map(|seen| seen.request.fields(name)).collect()
    }

    /// Returns where each target was seen: the connection, and the number of the request on it.
    pub fn seen_by_target(&self) -> BTreeMap<String, Vec<(usize, usize)>> {
        let mut targets = BTreeMap::<_, Vec<_>>::new();
        for seen in &self.shared.lock().seen {
            targets.entry(seen.request.target.clone()).or_default().push((seen.connection, seen.nth));
        }
        targets
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let open = std::mem::take(&mut self.shared.lock().open);
        for socket in open.iter().filter_map(Weak::upgrade) {
            // The connection may have ended already.
            let _ = socket.shutdown(Shutdown::Both);
        }
        // The accepting thread is blocked in `accept`. This connection wakes it.
        let _ = TcpStream::connect(self.address);
        let Some(acceptor) = self.acceptor.take() else { return };
        if acceptor.join().is_err() && !thread::panicking() {
            panic!("a server's script panicked: its message is above");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

type Script = dyn Fn(&mut Peer) -> io::Result<()> + Send + Sync;

fn accept(
    listener: &TcpListener,
    shared: &Arc<Shared>,
    tls: Option<&Arc<ServerConfig>>,
    script: &Arc<Script>,
) {
    let (sender, receiver) = mpsc::channel();
    let receiver = Arc::new(Mutex::new(receiver));
    // Number of threads that have no connection. Each new connection reserves one of these threads, or starts a new thread.
    let idle = Arc::new(AtomicUsize::new(0));
    let mut workers = Vec::new();
    while let Ok((socket, client)) = listener.accept() {
        if shared.is_stopped() {
            break;
        }
        let socket = Arc::new(socket);
        let number = {
            let mut state = shared.lock();
            state.open.push(Arc::downgrade(&socket));
            if state.open.len().is_multiple_of(256) {
                state.open.retain(|socket| socket.strong_count() > 0);
            }
            state.clients.push(client);
            state.clients.len() - 1
        };
        sender.send(Peer::new(number, socket, Arc::clone(shared), tls.cloned())).unwrap();
        let reserve = idle.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1));
        if reserve.is_err() {
            let (receiver, idle, script) = (Arc::clone(&receiver), Arc::clone(&idle), Arc::clone(script));
            workers.push(thread::spawn(move || work(&receiver, &idle, &*script)));
        }
    }
    drop(sender);
    for socket in shared.lock().open.iter().filter_map(Weak::upgrade) {
        let _ = socket.shutdown(Shutdown::Both);
    }
    let panicked = workers.into_iter().filter_map(|worker| worker.join().err()).count();
    assert_eq!(panicked, 0, "scripts panicked");
}

/// Runs the script for one connection after another, until the server is dropped.
fn work(connections: &Mutex<mpsc::Receiver<Peer>>, idle: &AtomicUsize, script: &Script) {
    loop {
        let next = connections.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut peer) = next else { return };
        // An error of the script is ignored, because the client may close the connection at any time.
        let _ = script(&mut peer);
        drop(peer);
        idle.fetch_add(1, Ordering::SeqCst);
    }
}

/// One connection of the server, with the functions that a script calls on it.
pub struct Peer {
    number: usize,
    requests: usize,
    /// Bytes that were read and not yet parsed.
    buffer: Vec<u8>,
    socket: Option<Arc<TcpStream>>,
    tls: Option<Box<ServerConnection>>,
    shared: Arc<Shared>,
    /// Tape that gets a copy of all bytes that are read.
    tape: Option<Tape>,
}

/// Recorded bytes, in the order in which they came.
pub type Tape = Arc<Mutex<Vec<u8>>>;

impl Peer {
    fn new(
        number: usize,
        socket: Arc<TcpStream>,
        shared: Arc<Shared>,
        tls: Option<Arc<ServerConfig>>,
    ) -> Self {
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        let tls = tls.map(|config| Box::new(ServerConnection::new(config).unwrap()));
        Self { number, requests: 0, buffer: Vec::new(), socket: Some(socket), tls, shared, tape: None }
    }

    /// Copies all bytes that are read after this call to the tape.
    pub fn record(&mut self, tape: &Tape) {
        self.tape = Some(Arc::clone(tape));
    }

    /// Returns the number of the connection. The first connection has number 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Returns the client's address of the connection.
    pub fn client(&self) -> SocketAddr {
        self.socket().and_then(TcpStream::peer_addr).expect("a connection has two ends")
    }

    /// Reads the next request with its body. Returns `None` if the client closes the connection before another request.
    pub fn request(&mut self) -> io::Result<Option<Request>> {
        let Some(index) = self.request_head()? else { return Ok(None) };
        self.request_body(index).map(Some)
    }

    /// Reads the head of the next request, and adds the request to those that the server has seen. Returns the index of the
    /// request for [`request_body`](Self::request_body), or `None` if the client closes the connection before another head.
    pub fn request_head(&mut self) -> io::Result<Option<usize>> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            if self.fill()? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        };
        let head = String::from_utf8(self.buffer.drain(..end).collect()).unwrap();
        let mut words = head.split(' ');
        let [method, target] = [words.next(), words.next()].map(|word| word.unwrap_or_default().to_owned());
        let request = Request { method, target, head, body: Vec::new() };
        self.requests += 1;
        let mut state = self.shared.lock();
        state.seen.push(Seen { connection: self.number, nth: self.requests, request, is_complete: false });
        Ok(Some(state.seen.len() - 1))
    }

    /// Returns the request with that index, as far as it has been read.
    pub fn seen(&self, index: usize) -> Request {
        self.shared.lock().seen[index].request.clone()
    }

    /// Reads the body of the request with that index, with the length that the head announces, and returns the request.
    pub fn request_body(&mut self, index: usize) -> io::Result<Request> {
        let mut request = self.shared.lock().seen[index].request.clone();
        if request.field("transfer-encoding").is_some() {
            loop {
                let line = self.take_line()?;
                let size = usize::from_str_radix(&line, 16).expect("a chunk begins with its size");
                if size == 0 {
                    while !self.take_line()?.is_empty() {}
                    break;
                }
                let data = self.take(size + 2)?;
                request.body.extend_from_slice(&data[..size]);
            }
        } else if let Some(length) = request.field("content-length") {
            let length = length.parse().expect("a content-length is a number");
            request.body = self.take(length)?;
        }
        let mut state = self.shared.lock();
        state.seen[index].request = request.clone();
        state.seen[index].is_complete = true;
        Ok(request)
    }

    /// Reads `size` bytes and returns them.
    pub fn take(&mut self, size: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < size {
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buffer.drain(..size).collect())
    }

    fn take_line(&mut self) -> io::Result<String> {
        let at = loop {
            if let Some(at) = self.buffer.windows(2).position(|bytes| bytes == b"\r\n") {
                break at;
            }
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let mut line = self.take(at + 2)?;
        line.truncate(at);
        Ok(String::from_utf8(line).unwrap())
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut bytes = [0; 16 * 1024];
        let Self { socket, tls, .. } = self;
        let mut socket = socket.as_deref().ok_or(io::ErrorKind::NotConnected)?;
        let read = match tls {
            Some(tls) => rustls::Stream::new(&mut **tls, &mut socket).read(&mut bytes)?,
            None => socket.read(&mut bytes)?,
        };
        self.buffer.extend_from_slice(&bytes[..read]);
        if let Some(tape) = &self.tape {
            tape.lock().unwrap().extend_from_slice(&bytes[..read]);
        }
        Ok(read)
    }

    /// Whether no byte comes from the client within `moment`.
    pub fn is_quiet(&mut self, moment: Duration) -> bool {
        self.socket().unwrap().set_read_timeout(Some(moment)).unwrap();
        let kind = self.fill().map_err(|error| error.kind());
        self.socket().unwrap().set_read_timeout(Some(PATIENCE)).unwrap();
        self.buffer.is_empty() && matches!(kind, Err(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
    }

    /// Whether the client has closed its direction without further bytes. Inside TLS, the client must have sent a
    /// close_notify before that.
    pub fn is_ended(&mut self) -> io::Result<bool> {
        Ok(self.fill()? == 0 && self.buffer.is_empty())
    }

    /// Sends a response with status 200 and this content.
    pub fn respond(&mut self, body: &str) -> io::Result<()> {
        self.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
    }

    /// Sends the bytes in one write.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let Self { socket, tls, .. } = self;
        let mut socket = socket.as_deref().ok_or(io::ErrorKind::NotConnected)?;
        match tls {
            Some(tls) => {
                let mut stream = rustls::Stream::new(&mut **tls, &mut socket);
                stream.write_all(bytes.as_ref())?;
                stream.flush()
            }
            None => socket.write_all(bytes.as_ref()),
        }
    }

    /// Sends the bytes in several writes.
    pub fn send_split(&mut self, bytes: impl AsRef<[u8]>, split: Split) -> io::Result<()> {
        for piece in split.pieces(bytes.as_ref()) {
            self.send(piece)?;
            // During this pause the client most likely reads the piece, before the next piece arrives.
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_micros(10) {
                std::hint::spin_loop();
            }
        }
        Ok(())
    }

    /// Sends the bytes without encrypting them, even if the connection uses TLS.
    pub fn send_in_the_clear(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket()?.write_all(bytes)
    }

    /// Whether the client has not closed its direction, and all bytes that it sent were parsed.
    pub fn is_silent(&self) -> io::Result<bool> {
        let socket = self.socket()?;
        socket.set_nonblocking(true)?;
        let peeked = socket.peek(&mut [0]);
        socket.set_nonblocking(false)?;
        match peeked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(self.buffer.is_empty()),
            _ => Ok(false),
        }
    }

    /// Sends the first half of the TLS record that the bytes would make. The other half never comes.
    pub fn send_half_record(&mut self, bytes: &[u8]) -> io::Result<()> {
        let tls = self.tls.as_mut().expect("only TLS has records");
        tls.writer().write_all(bytes)?;
        let mut record = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut record)?;
        }
        record.truncate(record.len() / 2);
        self.socket()?.write_all(&record)
    }

    /// Sends the bytes and a close_notify in one write.
    pub fn send_and_notify(&mut self, bytes: &[u8]) -> io::Result<()> {
        let tls = self.tls.as_mut().expect("only TLS has a close_notify");
        tls.writer().write_all(bytes)?;
        tls.send_close_notify();
        let mut records = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut records)?;
        }
        self.socket()?.write_all(&records)
    }

    /// Sends a close_notify. The socket stays open.
    pub fn notify(&mut self) -> io::Result<()> {
        let Self { socket, tls, .. } = self;
        let mut socket = socket.as_deref().ok_or(io::ErrorKind::NotConnected)?;
        if let Some(tls) = tls {
            tls.send_close_notify();
            while tls.wants_write() {
                tls.write_tls(&mut socket)?;
            }
        }
        Ok(())
    }

    /// Sends a FIN, without a close_notify. The server can still read bytes of the client.
    pub fn fin(&mut self) -> io::Result<()> {
        self.socket()?.shutdown(Shutdown::Write)
    }

    /// Closes the socket: the kernel sends a FIN, or a reset if bytes were left unread.
    pub fn close(&mut self) -> io::Result<()> {
        self.notify()?;
        self.socket = None;
        Ok(())
    }

    /// Closes the connection with a reset.
    pub fn reset(&mut self) -> io::Result<()> {
        SockRef::from(self.socket()?).set_linger(Some(Duration::ZERO))?;
        self.socket = None;
        Ok(())
    }

    /// Waits until the client closes the connection or the server is dropped. Discards the bytes that the client sends.
    pub fn stall(&mut self) -> io::Result<()> {
        while self.fill()? > 0 {
            self.buffer.clear();
        }
        Ok(())
    }

    /// Discards the bytes that have arrived or arrive within five milliseconds. Fails if the client has closed the connection.
    pub fn drain(&mut self) -> io::Result<()> {
        self.socket()?.set_read_timeout(Some(Duration::from_millis(5)))?;
        let read = self.fill();
        self.socket()?.set_read_timeout(Some(PATIENCE))?;
        self.buffer.clear();
        match read {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Discards the bytes that come within `pause`, and returns whether the client closes the connection within that time.
    pub fn is_closed_within(&mut self, pause: Duration) -> io::Result<bool> {
        let end = Instant::now() + pause;
        let is_closed = loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break false;
            }
            self.socket()?.set_read_timeout(Some(left))?;
            match self.fill() {
                Ok(0) => break true,
                Ok(_) => self.buffer.clear(),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                }
                Err(_) => break true,
            }
        };
        self.socket()?.set_read_timeout(Some(PATIENCE))?;
        Ok(is_closed)
    }

    /// Waits for a signal. Fails if the server is dropped first.
    pub fn wait(&self, signal: &Signal) -> io::Result<()> {
        let begun = Instant::now();
        loop {
            if signal.wait_for(Duration::from_millis(20)) {
                return Ok(());
            }
            if self.shared.is_stopped() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            assert!(begun.elapsed() < PATIENCE, "a script timed out waiting for a signal");
        }
    }

    fn socket(&self) -> io::Result<&TcpStream> {
        self.socket.as_deref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// A counting signal between a test and its scripts. Each call of `raise` ends one wait.
#[derive(Clone, Default)]
pub struct Signal {
    raised: Arc<(Mutex<usize>, Condvar)>,
}

impl Signal {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn raise(&self) {
        *self.raised.0.lock().unwrap() += 1;
        self.raised.1.notify_one();
    }

    /// Whether the signal was raised at least once.
    pub fn is_raised(&self) -> bool {
        *self.raised.0.lock().unwrap() > 0
    }

    /// Blocks the thread until the signal is raised.
    #[track_caller]
    pub fn wait(&self) {
        assert!(self.wait_for(PATIENCE), "timed out waiting for a signal");
    }

    /// Waits until the signal is raised, without blocking the runtime.
    pub async fn raised(&self) {
        let signal = self.clone();
        tokio::task::spawn_blocking(move || signal.wait()).await.unwrap();
    }

    fn wait_for(&self, patience: Duration) -> bool {
        let (count, changed) = &*self.raised;
        let guard = count.lock().unwrap();
        let (mut guard, _) = changed.wait_timeout_while(guard, patience, |count| *count == 0).unwrap();
        let is_raised = *guard > 0;
        if is_raised {
            *guard -= 1;
        }
        is_raised
    }
}

/// Ways to cut bytes into pieces.
#[derive(Clone, Copy, Debug)]
pub enum Split {
    Whole,
    Bytes,
    Seeded(u64),
}

impl Split {
    pub fn pieces(self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut rng = Rng::new(if let Self::Seeded(seed) = self { seed } else { 0 });
        let mut pieces = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let size = match self {
                Self::Whole => rest.len(),
                Self::Bytes => 1,
                Self::Seeded(_) => 1 + rng.below(rest.len().min(24) as u64) as usize,
            };
            let (piece, left) = rest.split_at(size);
            pieces.push(piece.to_vec());
            rest = left;
        }
        pieces
    }
}

/// Returns the TLS settings of a server, and the PEM of the authority that signed its certificate.
fn certify() -> (ServerConfig, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("handclasp tests {:x?}", &key.public_key_raw()[..8]));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
    let params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (config, issuer.pem())
}
