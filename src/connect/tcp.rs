//! TCP connection attempts, started in the order and at the times that the race decides.
//!
//! The attempts spawn no task: all attempts run inside the future that polls them, and dropping this future closes every
//! socket.
//! This file knows nothing of names or of TLS. Invariant: when an attempt has won or the attempts are dropped, no socket
//! of another attempt stays open.

use std::error::Error as StdError;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Sleep;

use super::Scope;
use super::destination::Destination;
use super::filter::Refused;
use super::options::TcpOptions;
use super::race::{Race, Step};
use super::shortage::{Shortage, shortage};
use crate::time;
use crate::trace::{Attempt, Setup};

/// The connection attempts of one dial.
pub(crate) struct Attempts<'a> {
    race: Race,
    in_flight: Vec<InFlight>,
    /// Errors of the attempts that failed, in the order in which they failed.
    failures: Vec<(SocketAddr, io::Error)>,
    /// Wakes the task when the next attempt may start.
    timer: Option<Pin<Box<Sleep>>>,
    /// Local address that sockets are bound to.
    local: Option<IpAddr>,
    options: TcpOptions,
    setup: &'a Setup,
}

/// The connection of the attempt that won.
#[derive(Debug)]
pub(crate) struct Won {
    pub(crate) tcp: TcpStream,
    pub(crate) peer: SocketAddr,
    /// Time that this attempt took, without the attempts before it.
    pub(crate) took: Duration,
}

/// An attempt that has neither connected nor failed.
struct InFlight {
    index: usize,
    peer: SocketAddr,
    connecting: Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>,
    attempt: Attempt,
}

impl<'a> Attempts<'a> {
    /// Returns the attempts for `addresses`. No attempt is started yet.
    pub(crate) fn new(
        addresses: Vec<SocketAddr>,
        delay: Duration,
        local: Option<IpAddr>,
        setup: &'a Setup,
    ) -> Self {
        let (race, options) = (Race::new(addresses, delay), TcpOptions::default());
        Self { race, in_flight: Vec::new(), failures: Vec::new(), timer: None, local, options, setup }
    }

    /// Sets the options of the sockets.
    pub(super) fn with(mut self, options: TcpOptions) -> Self {
        self.options = options;
        self
    }

    /// Counts addresses that the address filter refuses as failed attempts.
    pub(super) fn without(mut self, refused: Vec<SocketAddr>) -> Self {
        let error = || io::Error::new(io::ErrorKind::PermissionDenied, Refused);
        self.failures.extend(refused.into_iter().map(|address| (address, error())));
        self
    }

    /// Returns the first connection, or `None` once every attempt has failed.
    ///
    /// Cancel safe: the attempts continue when the method is called again.
    pub(crate) async fn winner(&mut self) -> Option<Won> {
        let won = poll_fn(|cx| self.poll(cx)).await;
        self.in_flight.clear();
        won
    }

    /// Whether an attempt was started for every address.
    pub(crate) fn has_tried_all(&self) -> bool {
        self.race.has_started_all()
    }

    /// Returns the failures so far as one error.
    pub(crate) fn into_error(self) -> ConnectError {
        ConnectError { failures: self.failures, named: None }
    }

    /// Polls and starts attempts. Returns ready when an attempt has connected or all attempts have failed.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Won>> {
        loop {
            if let Some(won) = self.poll_in_flight(cx) {
                return Poll::Ready(Some(won));
            }
            match self.race.step(time::now()) {
                Step::Start(index, peer) => self.start(index, peer),
                Step::WaitUntil(then) => {
                    if self.poll_timer(then, cx).is_pending() {
                        return Poll::Pending;
                    }
                }
                Step::Wait => return Poll::Pending,
                Step::Exhausted => return Poll::Ready(None),
            }
        }
    }

    /// Starts an attempt.
    fn start(&mut self, index: usize, peer: SocketAddr) {
        let (local, options) = (self.local, self.options);
        let connecting = Box::pin(async move { open(peer, local, options)?.connect(peer).await });
        let attempt = self.setup.attempt(peer, index + 1);
        self.in_flight.push(InFlight { index, peer, connecting, attempt });
    }

    /// Polls every attempt. Returns the first attempt that has connected.
    fn poll_in_flight(&mut self, cx: &mut Context<'_>) -> Option<Won> {
        let mut at = 0;
        while let Some(one) = self.in_flight.get_mut(at) {
            match one.connecting.as_mut().poll(cx) {
                Poll::Pending => at += 1,
                Poll::Ready(Ok(stream)) => {
                    let one = self.in_flight.swap_remove(at);
                    let took = time::now().saturating_duration_since(one.attempt.started());
                    one.attempt.won();
                    return Some(Won { tcp: stream, peer: one.peer, took });
                }
                Poll::Ready(Err(error)) => {
                    let one = self.in_flight.swap_remove(at);
                    one.attempt.failed();
                    self.race.failed(one.index);
                    self.failures.push((one.peer, error));
                }
            }
        }
        None
    }

    /// Polls the timer. Returns ready at the time `then`.
    fn poll_timer(&mut self, then: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(time::sleep_until(then)));
        if timer.deadline() != then.into() {
            timer.as_mut().reset(then.into());
        }
        timer.as_mut().poll(cx)
    }
}

/// Failure to connect to any address, with the error of each attempt.
#[derive(Debug)]
pub(crate) struct ConnectError {
    pub(crate) failures: Vec<(SocketAddr, io::Error)>,
    /// Address that the URL names, if the URL names an address. The text leaves this address out, because the text of
    /// the request's error begins with the address.
    named: Option<SocketAddr>,
}

impl ConnectError {
    /// Leaves the address of the destination out of the text, if the destination is an address.
    pub(super) fn without_address_of(mut self, to: &Destination) -> Self {
        self.named = to.host().parse().ok().map(|host: IpAddr| SocketAddr::new(host, to.port()));
        self
    }

    /// Returns which other dials would fail in the same way. An address that this machine cannot reach says nothing
    /// about the host, unless another address of the host was reached.
    pub(super) fn scope(&self) -> Scope {
        let mut shortages = self.failures.iter().map(|(_, error)| shortage(error));
        let is_exhausted = shortages.clone().any(|shortage| shortage == Some(Shortage::Resource));
        match is_exhausted || shortages.all(|shortage| shortage.is_some()) {
            true if !self.failures.is_empty() => Scope::Shortage,
            _ => Scope::Host,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (peer, error)) in self.failures.iter().take(MAX_SHOWN).enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            if self.named == Some(*peer) {
                write!(f, "{comma}{}", message_of(error))?;
            } else {
                write!(f, "{comma}{peer}: {}", message_of(error))?;
            }
        }
        match self.failures.len() {
            0 => f.write_str("no address answered"),
            shown if shown <= MAX_SHOWN => Ok(()),
            all => write!(f, ", and {} more", all - MAX_SHOWN),
        }
    }
}

impl StdError for ConnectError {}

/// Returns "connection refused" instead of "Connection refused (os error 111)".
fn message_of(error: &io::Error) -> String {
    match (error.raw_os_error(), error.kind().to_string()) {
        (Some(_), kind) if kind != "uncategorized error" && kind != "other error" => kind,
        _ => error.to_string(),
    }
}

/// Opens a socket that is ready to connect to `peer`.
fn open(peer: SocketAddr, local: Option<IpAddr>, options: TcpOptions) -> io::Result<TcpSocket> {
    let socket = if peer.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    options.set(&socket);
    if let Some(local) = local {
        if local.is_ipv4() != peer.is_ipv4() {
            let text = format!("the local address {local} is not of this address family");
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, text));
        }
        socket.bind(SocketAddr::new(local, 0))?;
    }
    Ok(socket)
}

/// Maximum number of addresses that an error names.
const MAX_SHOWN: usize = 6;

#[cfg(test)]
mod tests {
    use socket2::SockRef;

    use super::*;

    /// An attempt delay that no test waits for.
    const HOUR: Duration = Duration::from_secs(3_600);

    fn setup() -> Setup {
        Setup::new(1, "http", "test", 80, time::now())
    }

    /// Returns `n` addresses where nothing listens.
    fn refusing(n: usize) -> Vec<SocketAddr> {
        let listeners: Vec<_> = (0..n).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        listeners.iter().map(|listener| listener.local_addr().unwrap()).collect()
    }

    #[tokio::test]
    async fn rule_37_a_refusal_moves_on_at_once_and_options_are_set() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut addresses = refusing(2);
        addresses.push(listener.local_addr().unwrap());
        let setup = setup();
        let mut attempts = Attempts::new(addresses.clone(), HOUR, None, &setup);
        let Won { tcp: stream, peer, .. } = attempts.winner().await.unwrap();
        assert_eq!((peer, stream.peer_addr().unwrap()), (addresses[2], addresses[2]));
        assert!(stream.nodelay().unwrap() && SockRef::from(&stream).keepalive().unwrap());
        #[cfg(target_os = "linux")]
        {
            let socket = SockRef::from(&stream);
            let quarter = Duration::from_secs(15);
            assert_eq!(
                (socket.tcp_keepalive_time().unwrap(), socket.tcp_keepalive_interval().unwrap()),
                (quarter, quarter)
            );
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
        }
        assert!(attempts.has_tried_all());
        assert_eq!(attempts.into_error().failures.len(), 2);
    }

    #[tokio::test]
    async fn options_of_the_caller_replace_the_defaults() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let setup = setup();
        let seconds = |n| Some(Duration::from_secs(n));
        let mut options = TcpOptions { nodelay: false, keepalive: None, ..TcpOptions::default() };
        let open =
            |options| Attempts::new(vec![listener.local_addr().unwrap()], HOUR, None, &setup).with(options);
        let stream = open(options).winner().await.unwrap().tcp;
        assert!(!stream.nodelay().unwrap() && !SockRef::from(&stream).keepalive().unwrap());
        options = TcpOptions { keepalive: seconds(7), keepalive_interval: seconds(3), ..options };
        options.keepalive_retries = Some(2);
        #[cfg(target_os = "linux")]
        {
            options.user_timeout = seconds(9);
        }
        let stream = open(options).winner().await.unwrap().tcp;
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        #[cfg(target_os = "linux")]
        {
            assert_eq!(socket.tcp_keepalive_time().ok(), seconds(7));
            assert_eq!(socket.tcp_keepalive_interval().ok(), seconds(3));
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), 2);
            assert_eq!(socket.tcp_user_timeout().unwrap(), seconds(9));
        }
    }

    /// The first address answers no SYN, because the listener's accept queue is full.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_others_end_when_one_has_won() {
        let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        silent.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        silent.listen(0).unwrap();
        let silent_at = silent.local_addr().unwrap().as_socket().unwrap();
        let _queued = std::net::TcpStream::connect(silent_at).unwrap();
        let good = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let setup = setup();
        let addresses = vec![silent_at, good.local_addr().unwrap()];
        let mut attempts = Attempts::new(addresses.clone(), Duration::from_millis(1), None, &setup);
        let Won { peer, .. } = attempts.winner().await.unwrap();
        assert_eq!(peer, addresses[1], "R-8305-5-2");
        assert!(
            attempts.has_tried_all() && attempts.failures.is_empty(),
            "R-8305-5-2: the first attempt was still under way"
        );
        assert!(attempts.in_flight.is_empty(), "R-8305-5-2: the socket of the first attempt is closed");
    }

    #[tokio::test]
    async fn every_refusal_is_listed_up_to_six() {
        let addresses = refusing(8);
        let setup = setup();
        let mut attempts = Attempts::new(addresses.clone(), HOUR, None, &setup);
        assert!(attempts.winner().await.is_none());
        let shown: Vec<_> = addresses[..6].iter().map(|a| format!("{a}: connection refused")).collect();
        let text = format!("{}, and 2 more", shown.join(", "));
        assert_eq!(attempts.into_error().to_string(), text, "R-8305-5-3");
    }

    #[tokio::test]
    async fn the_local_address_is_bound_or_the_attempt_fails() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = listener.local_addr().unwrap();
        let setup = setup();
        let mut attempts = Attempts::new(vec![peer], HOUR, Some([127, 0, 0, 1].into()), &setup);
        assert!(attempts.winner().await.unwrap().tcp.local_addr().unwrap().ip().is_loopback());

        let mut attempts = Attempts::new(vec![peer], HOUR, Some("::1".parse().unwrap()), &setup);
        assert!(attempts.winner().await.is_none());
        let text = format!("{peer}: the local address ::1 is not of this address family");
        assert_eq!(attempts.into_error().to_string(), text);
    }
}
