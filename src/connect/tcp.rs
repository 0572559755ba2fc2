//! The race's legs: TCP attempts on tokio, as the race says.
//!
//! Knows nothing of names or of TLS. Everything runs inside the one future that polls it, nothing is spawned: to
//! drop that future closes every attempt's socket. Invariant: when a race is won or dropped, no other socket of it
//! stays open.

use std::error::Error as StdError;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Sleep;

use super::Scope;
use super::race::{Race, Step};
use super::shortage::{Shortage, shortage};
use crate::time;
use crate::trace::{Attempt, Setup};

/// A race that runs.
pub(crate) struct Run<'a> {
    race: Race,
    running: Vec<Leg>,
    failed: Vec<(SocketAddr, io::Error)>,
    timer: Option<Pin<Box<Sleep>>>,
    local: Option<IpAddr>,
    setup: &'a Setup,
}

/// One attempt.
struct Leg {
    index: usize,
    peer: SocketAddr,
    connecting: Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>,
    attempt: Attempt,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        addresses: Vec<SocketAddr>,
        delay: Duration,
        local: Option<IpAddr>,
        setup: &'a Setup,
    ) -> Self {
        let race = Race::new(addresses, delay);
        Self { race, running: Vec::new(), failed: Vec::new(), timer: None, local, setup }
    }

    /// The first connection, or `None` once every attempt has failed. May be dropped and called again.
    pub(crate) async fn winner(&mut self) -> Option<(TcpStream, SocketAddr)> {
        let won = poll_fn(|cx| self.poll(cx)).await;
        self.running.clear();
        won
    }

    /// Whether every address was tried.
    pub(crate) fn has_tried_all(&self) -> bool {
        self.race.has_started_all()
    }

    /// What failed so far.
    pub(crate) fn into_error(self) -> ConnectError {
        ConnectError { attempts: self.failed }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<(TcpStream, SocketAddr)>> {
        loop {
            if let Some(won) = self.poll_legs(cx) {
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

    fn start(&mut self, index: usize, peer: SocketAddr) {
        let local = self.local;
        let connecting = Box::pin(async move { open(peer, local)?.connect(peer).await });
        let attempt = self.setup.attempt(peer, index + 1);
        self.running.push(Leg { index, peer, connecting, attempt });
    }

    fn poll_legs(&mut self, cx: &mut Context<'_>) -> Option<(TcpStream, SocketAddr)> {
        let mut at = 0;
        while let Some(leg) = self.running.get_mut(at) {
            match leg.connecting.as_mut().poll(cx) {
                Poll::Pending => at += 1,
                Poll::Ready(Ok(stream)) => {
                    let leg = self.running.swap_remove(at);
                    leg.attempt.won();
                    return Some((stream, leg.peer));
                }
                Poll::Ready(Err(error)) => {
                    let leg = self.running.swap_remove(at);
                    leg.attempt.failed();
                    self.race.failed(leg.index);
                    self.failed.push((leg.peer, error));
                }
            }
        }
        None
    }

    fn poll_timer(&mut self, then: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(time::sleep_until(then)));
        if timer.deadline() != then.into() {
            timer.as_mut().reset(then.into());
        }
        timer.as_mut().poll(cx)
    }
}

/// No address could be connected to: what each said.
#[derive(Debug)]
pub(crate) struct ConnectError {
    pub(crate) attempts: Vec<(SocketAddr, io::Error)>,
}

impl ConnectError {
    /// Returns whom the failure concerns. An address that cannot be reached from here says nothing of the host, unless another
    /// address of the host was reached.
    pub(super) fn scope(&self) -> Scope {
        let mut shortages = self.attempts.iter().map(|(_, error)| shortage(error));
        let is_exhausted = shortages.clone().any(|shortage| shortage == Some(Shortage::Resource));
        match is_exhausted || shortages.all(|shortage| shortage.is_some()) {
            true if !self.attempts.is_empty() => Scope::Shortage,
            _ => Scope::Host,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (peer, error)) in self.attempts.iter().take(MAX_TOLD).enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{peer}: {}", words(error))?;
        }
        match self.attempts.len() {
            0 => f.write_str("no address answered"),
            told if told <= MAX_TOLD => Ok(()),
            all => write!(f, ", and {} more", all - MAX_TOLD),
        }
    }
}

impl StdError for ConnectError {}

/// "connection refused" rather than "Connection refused (os error 111)".
pub(super) fn words(error: &io::Error) -> String {
    match (error.raw_os_error(), error.kind().to_string()) {
        (Some(_), kind) if kind != "uncategorized error" && kind != "other error" => kind,
        _ => error.to_string(),
    }
}

/// A socket that is ready to connect to `peer`.
fn open(peer: SocketAddr, local: Option<IpAddr>) -> io::Result<TcpSocket> {
    let socket = if peer.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A head and its body go out as one write: there is nothing for Nagle's algorithm to collect. Neither option is
    // worth failing for where a platform refuses it.
    let _ = socket.set_nodelay(true);
    let _ = SockRef::from(&socket).set_tcp_keepalive(&keep_alive());
    if let Some(local) = local {
        if local.is_ipv4() != peer.is_ipv4() {
            let text = format!("the local address {local} is of the other family");
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, text));
        }
        socket.bind(SocketAddr::new(local, 0))?;
    }
    Ok(socket)
}

/// A peer that went away without a word is noticed after about 75 s, and NAT tables are kept fresh: 15 s is what Go
/// probes with.
fn keep_alive() -> TcpKeepalive {
    let keep_alive = TcpKeepalive::new().with_time(Duration::from_secs(15));
    #[cfg(any(
        target_os = "android",
        target_os = "freebsd",
        target_os = "ios",
        target_os = "linux",
        target_os = "macos",
        target_os = "netbsd",
        target_os = "windows",
    ))]
    let keep_alive = keep_alive.with_interval(Duration::from_secs(15)).with_retries(4);
    keep_alive
}

/// How many addresses an error names.
const MAX_TOLD: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    /// Long enough to show that nobody waited for it.
    const HOUR: Duration = Duration::from_secs(3_600);

    fn setup() -> Setup {
        Setup::new(1, "http", "test", 80, time::now())
    }

    /// Addresses where nobody listens (any more).
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
        let mut run = Run::new(addresses.clone(), HOUR, None, &setup);
        let (stream, peer) = run.winner().await.unwrap();
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
        assert!(run.has_tried_all());
        assert_eq!(run.into_error().attempts.len(), 2);
    }

    /// One that answers no SYN, because the queue of those it has not accepted is full.
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
        let mut run = Run::new(addresses.clone(), Duration::from_millis(1), None, &setup);
        let (_, peer) = run.winner().await.unwrap();
        assert_eq!(peer, addresses[1], "R-8305-5-2");
        assert!(run.has_tried_all() && run.failed.is_empty(), "R-8305-5-2: the first was still being tried");
        assert!(run.running.is_empty(), "R-8305-5-2: its socket is closed");
    }

    #[tokio::test]
    async fn every_refusal_is_told_up_to_six() {
        let addresses = refusing(8);
        let setup = setup();
        let mut run = Run::new(addresses.clone(), HOUR, None, &setup);
        assert!(run.winner().await.is_none());
        let told: Vec<_> = addresses[..6].iter().map(|a| format!("{a}: connection refused")).collect();
        let text = format!("{}, and 2 more", told.join(", "));
        assert_eq!(run.into_error().to_string(), text, "R-8305-5-3");
    }

    #[tokio::test]
    async fn the_local_address_is_bound_or_the_reason_told() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = listener.local_addr().unwrap();
        let setup = setup();
        let mut run = Run::new(vec![peer], HOUR, Some([127, 0, 0, 1].into()), &setup);
        assert!(run.winner().await.unwrap().0.local_addr().unwrap().ip().is_loopback());

        let mut run = Run::new(vec![peer], HOUR, Some("::1".parse().unwrap()), &setup);
        assert!(run.winner().await.is_none());
        let text = format!("{peer}: the local address ::1 is of the other family");
        assert_eq!(run.into_error().to_string(), text);
    }
}
