//! TCP connection attempts, started in the order and at the times that the race decides.
//!
//! The attempts spawn no task: all attempts and the lookup of their addresses run inside the future that polls them, and
//! dropping this future closes every socket. Addresses are tried while the lookup still runs.
//! This file knows nothing of names or of TLS. Invariants: when an attempt has won or the attempts are dropped, no socket
//! of another attempt stays open. Each attempt that ends without a connection is in the error.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Sleep;

use super::destination::Destination;
use super::early::FirstBytes;
use super::failures::{ConnectError, Failed, Why};
use super::fast_open;
use super::filter::AddressFilter;
use super::history::{History, Standing, attempt_delay};
use super::options::TcpOptions;
use super::order::{Rank, Source, depends_on_sources};
use super::race::{Entrant, Race, Step};
use super::shortage::{Shortage, shortage};
use super::spread::{Seat, Spread};
use super::strict::Untaken;
use crate::resolver::{Addresses, ResolveError};
use crate::time;
use crate::trace::{Attempt, Setup, SetupPhase, int};

/// What the attempts of a dial depend on, apart from the addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conditions<'a> {
    pub(crate) to: &'a Destination,
    pub(crate) setup: &'a Setup,
    pub(crate) history: &'a Mutex<History>,
    /// The connections of each address, if the client spreads its connections.
    pub(crate) spread: Option<&'a Mutex<Spread>>,
    /// Addresses that may be tried. With `None`, all.
    pub(crate) filter: Option<&'a AddressFilter>,
    /// Time between the starts of two attempts, for an address without a history.
    pub(crate) attempt_delay: Duration,
    /// Time that all attempts together may take. With `None`, there is no limit.
    pub(crate) timeout: Option<Duration>,
    /// Local address that sockets are bound to.
    pub(crate) local: Option<IpAddr>,
    pub(crate) options: TcpOptions,
    /// Bytes that the first attempt may send with its SYN, and that may be repeated.
    pub(crate) first: Option<&'a FirstBytes>,
}

/// A lookup that is under way.
pub(crate) struct Lookup<'a> {
    pub(crate) answers: Addresses<'a>,
    /// Time at which the lookup ends with what was answered until then.
    pub(crate) deadline: Instant,
    /// Time for which IPv4 addresses that came first wait for IPv6 addresses.
    pub(crate) resolution_delay: Duration,
    /// Whether the addresses come in the order in which they are to be tried.
    pub(crate) is_ordered: bool,
    /// The dns phase. It ends when the first attempt starts.
    pub(crate) phase: SetupPhase<'a>,
}

/// Reason why a lookup found no address.
#[derive(Debug)]
pub(crate) enum Unresolved {
    /// The lookup failed.
    Failed(ResolveError),
    /// The lookup did not end in time.
    TimedOut,
}

/// The connection attempts of one dial.
pub(crate) struct Attempts<'a> {
    conditions: Conditions<'a>,
    race: Race,
    /// The lookup, until it ends.
    lookup: Option<(Addresses<'a>, Instant)>,
    /// Reason why the lookup found no address.
    unresolved: Option<Unresolved>,
    /// Whether the addresses came in the order in which they are to be tried.
    is_ordered: bool,
    /// Addresses without an attempt, in the order in which they came.
    addresses: Vec<SocketAddr>,
    /// All addresses that were found, if the client spreads its connections.
    answer: Vec<SocketAddr>,
    /// The source of each of `addresses`. Shorter than `addresses` as long as no source was needed.
    sources: Vec<Source>,
    in_flight: Vec<InFlight>,
    /// The attempts that failed, in the order in which they failed.
    failures: Vec<Failed>,
    /// Wakes the task when the next attempt may start, or when the lookup ends.
    timer: Option<Pin<Box<Sleep>>>,
    /// The dns phase until the first attempt starts, and then the tcp phase.
    phase: Option<SetupPhase<'a>>,
    /// Time at which the timeout of the attempts passes. The timeout counts from the start of the first attempt.
    end: Option<Instant>,
    /// Whether the timeout of the attempts has passed.
    is_late: bool,
}

/// The connection of the attempt that won.
#[derive(Debug)]
pub(crate) struct Won {
    pub(crate) tcp: TcpStream,
    pub(crate) peer: SocketAddr,
    /// Number of the bytes of [`Conditions::first`] that were sent.
    pub(crate) sent: usize,
    /// Time that this attempt took, without the attempts before it.
    pub(crate) took: Duration,
    /// The seat of the connection, if the client spreads its connections.
    pub(crate) seat: Option<Seat>,
}

/// An attempt, which returns the connection and the number of bytes that were sent with its SYN.
type Connecting = Pin<Box<dyn Future<Output = io::Result<(TcpStream, usize)>> + Send>>;

/// An attempt that has neither connected nor failed.
struct InFlight {
    number: usize,
    peer: SocketAddr,
    connecting: Connecting,
    attempt: Attempt,
    seat: Option<Seat>,
}

impl<'a> Attempts<'a> {
    /// Returns the attempts for `addresses`, which are tried in this order, except that addresses that failed lately come
    /// last and the families take turns. No attempt is started yet.
    pub(crate) fn to(addresses: Vec<SocketAddr>, conditions: Conditions<'a>) -> Self {
        let mut attempts = Self::new(Duration::ZERO, conditions);
        attempts.admit(addresses);
        attempts.complete(true);
        attempts.enter(time::now());
        attempts
    }

    /// Returns the attempts for the addresses that `lookup` finds. No attempt is started yet.
    pub(crate) fn look_up(lookup: Lookup<'a>, conditions: Conditions<'a>) -> Self {
        let Lookup { answers, deadline, resolution_delay, is_ordered, phase } = lookup;
        let (lookup, phase) = (Some((answers, deadline)), Some(phase));
        Self { lookup, is_ordered, phase, ..Self::new(resolution_delay, conditions) }
    }

    fn new(resolution_delay: Duration, conditions: Conditions<'a>) -> Self {
        Self {
            conditions,
            race: Race::new(resolution_delay),
            lookup: None,
            unresolved: None,
            is_ordered: true,
            addresses: Vec::new(),
            answer: Vec::new(),
            sources: Vec::new(),
            in_flight: Vec::new(),
            failures: Vec::new(),
            timer: None,
            phase: None,
            end: None,
            is_late: false,
        }
    }

    /// Returns the first connection, or `None` once the lookup has ended and every attempt has failed, or once the
    /// timeout of the attempts has passed.
    ///
    /// Cancel safe: the attempts continue when the method is called again.
    pub(crate) async fn winner(&mut self) -> Option<Won> {
        let won = poll_fn(|cx| self.poll(cx)).await;
        if won.is_some() {
            self.in_flight.drain(..).for_each(|one| one.attempt.lost());
        }
        self.lookup = None;
        won
    }

    /// Returns the phase that is running, for its end.
    pub(crate) fn take_phase(&mut self) -> Option<SetupPhase<'a>> {
        self.phase.take()
    }

    /// Whether the timeout of the attempts has passed.
    pub(crate) fn is_late(&self) -> bool {
        self.is_late
    }

    /// Whether the lookup has ended and an attempt was started for every address.
    pub(crate) fn has_tried_all(&self) -> bool {
        self.race.has_started_all()
    }

    /// Returns the reason why there was no address to try, or `None` if there was one.
    pub(crate) fn take_unresolved(&mut self) -> Option<Unresolved> {
        let is_waiting = self.lookup.is_some() && self.has_no_address();
        self.unresolved.take().or_else(|| is_waiting.then_some(Unresolved::TimedOut))
    }

    /// Ends all attempts, and returns the failures as one error. The attempts that were under way are in the error.
    pub(crate) fn into_error(mut self) -> ConnectError {
        let now = time::now();
        for one in std::mem::take(&mut self.in_flight) {
            self.history().failed(one.peer, one.attempt.started(), now);
            self.failures.push(Failed { peer: one.peer, why: Why::NoAnswer });
        }
        ConnectError::new(self.failures)
    }

    /// Polls the lookup, and polls and starts attempts. Returns ready when an attempt has connected, when the lookup
    /// has ended and all attempts have failed, or when the timeout of the attempts has passed.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Won>> {
        loop {
            self.poll_lookup(cx);
            if let Some(won) = self.poll_in_flight(cx) {
                return Poll::Ready(Some(won));
            }
            if self.end.is_some_and(|end| time::now() >= end) {
                self.is_late = true;
                return Poll::Ready(None);
            }
            let lookup_ends = self.lookup.as_ref().map(|(_, deadline)| *deadline);
            let wake = match self.race.step(time::now()) {
                Step::Start(number, peer) => {
                    self.start(number, peer);
                    continue;
                }
                Step::GiveWay(number) => {
                    self.give_way(number);
                    continue;
                }
                Step::Exhausted => return Poll::Ready(None),
                Step::WaitUntil(then) => Some(lookup_ends.map_or(then, |end| end.min(then))),
                Step::Wait => lookup_ends,
            };
            match wake.into_iter().chain(self.end).min() {
                Some(then) if self.poll_timer(then, cx).is_ready() => {}
                _ => return Poll::Pending,
            }
        }
    }

    /// Takes the addresses that the lookup has found, and notes the end of the lookup.
    fn poll_lookup(&mut self, cx: &mut Context<'_>) {
        let mut is_new = false;
        while let Some((answers, deadline)) = &mut self.lookup {
            let mut is_whole = false;
            let reason = match answers.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(found))) => {
                    self.admit(found);
                    is_new = true;
                    continue;
                }
                Poll::Ready(Some(Err(error))) => Some(Unresolved::Failed(error)),
                Poll::Ready(None) => {
                    is_whole = true;
                    None
                }
                Poll::Pending if time::now() < *deadline => break,
                Poll::Pending => Some(Unresolved::TimedOut),
            };
            self.lookup = None;
            self.complete(is_whole);
            self.unresolved = reason.filter(|_| self.has_no_address());
        }
        if is_new {
            self.enter(time::now());
        }
    }

    /// Notes that the lookup has ended. `is_whole` tells whether the lookup found all addresses of the host.
    fn complete(&mut self, is_whole: bool) {
        self.race.complete();
        // An answer of an earlier network says nothing about the addresses in this one.
        let begun = self.conditions.setup.started();
        if self.conditions.spread.is_none() || !is_whole || self.history().is_of_earlier_network(begun) {
            return;
        }
        if let Some(mut spread) = self.spread() {
            spread.answered(self.conditions.to, &self.answer);
        }
    }

    /// Takes addresses that may be tried. Every address that the attempts try comes through here.
    fn admit(&mut self, mut found: Vec<SocketAddr>) {
        if self.conditions.spread.is_some() {
            self.answer.extend_from_slice(&found);
        }
        if let Some(filter) = self.conditions.filter {
            let refused = filter.remove_refused(self.conditions.to, &mut found);
            self.failures.extend(refused.into_iter().map(|peer| Failed { peer, why: Why::Refused }));
        }
        if self.addresses.is_empty() && found.len() == 1 {
            self.addresses = found;
            return;
        }
        for address in found {
            if !self.addresses.contains(&address) {
                self.addresses.push(address);
            }
        }
    }

    /// Gives the addresses without an attempt to the race, in order of preference.
    fn enter(&mut self, now: Instant) {
        let usual = self.conditions.attempt_delay;
        // For one address, neither its order nor the delay after it matters.
        if let ([address], None) = (&*self.addresses, &self.lookup) {
            let entrant = Entrant { address: *address, class: 0, delay: usual };
            return self.race.enter(vec![entrant], now);
        }
        if !self.is_ordered && depends_on_sources(&self.addresses) {
            let probed = self.sources.len();
            let unprobed = self.addresses.iter().skip(probed).take(MAX_PROBES.saturating_sub(probed));
            let Conditions { local, options, .. } = self.conditions;
            self.sources.extend(unprobed.map(|peer| source_of(*peer, local, &options)));
        }
        let (history, spread) = (self.history(), self.spread());
        let ranked = self.addresses.iter().enumerate().map(|(at, &address)| {
            let Standing { failures, round_trip } = history.standing(address, now);
            let source = self.sources.get(at).copied().unwrap_or(Source::Unknown);
            let rank = match self.is_ordered {
                true => Rank::in_given_order(failures),
                false => Rank::new(address.ip(), source, failures, round_trip),
            };
            let delay = attempt_delay(usual, round_trip);
            let load = spread.as_ref().map_or(0, |spread| spread.load(self.conditions.to, address));
            (rank, Entrant { address, class: rank.class(load), delay })
        });
        let mut ranked: Vec<_> = ranked.collect();
        drop((history, spread));
        ranked.sort_by_key(|(rank, entrant)| (entrant.class, *rank));
        self.race.enter(ranked.into_iter().map(|(_, entrant)| entrant).collect(), now);
    }

    /// Starts an attempt. The first attempt ends the dns phase and begins the tcp phase.
    fn start(&mut self, number: usize, peer: SocketAddr) {
        if number == 0 {
            if let Some(dns) = self.phase.take() {
                dns.span().record("addresses", int(self.addresses.len()));
                dns.end();
            }
            self.phase = Some(self.conditions.setup.tcp());
            self.end = self.conditions.timeout.map(|timeout| time::after(time::now(), timeout));
        }
        if let Some(at) = self.addresses.iter().position(|address| *address == peer) {
            self.addresses.remove(at);
            if at < self.sources.len() {
                self.sources.remove(at);
            }
        }
        let Conditions { local, options, setup, first, .. } = self.conditions;
        // Only the first address gets the bytes with the SYN.
        let first = first.filter(|_| number == 0).cloned();
        let connecting = Box::pin(async move {
            let socket = open(peer, local, options)?;
            match first {
                Some(first) => fast_open::connect(socket, peer, &first.0).await,
                None => Ok((socket.connect(peer).await?, 0)),
            }
        });
        let attempt = setup.attempt(peer, number + 1);
        let seat = self.spread().map(|mut spread| spread.take(self.conditions.to, peer));
        self.in_flight.push(InFlight { number, peer, connecting, attempt, seat });
    }

    /// Ends an attempt in favor of an address that was not tried yet.
    fn give_way(&mut self, number: usize) {
        if let Some(at) = self.in_flight.iter().position(|one| one.number == number) {
            let one = self.in_flight.swap_remove(at);
            self.history().failed(one.peer, one.attempt.started(), time::now());
            one.attempt.lost();
            self.failures.push(Failed { peer: one.peer, why: Why::GaveWay });
        }
    }

    /// Polls every attempt. Returns the first attempt that has connected.
    fn poll_in_flight(&mut self, cx: &mut Context<'_>) -> Option<Won> {
        let mut at = 0;
        while let Some(one) = self.in_flight.get_mut(at) {
            match one.connecting.as_mut().poll(cx) {
                Poll::Pending => at += 1,
                Poll::Ready(Ok((tcp, sent))) => {
                    let one = self.in_flight.swap_remove(at);
                    let now = time::now();
                    let took = now.saturating_duration_since(one.attempt.started());
                    self.note_winner(one.peer, took, now);
                    one.attempt.won();
                    return Some(Won { tcp, peer: one.peer, sent, took, seat: one.seat });
                }
                Poll::Ready(Err(error)) => {
                    let one = self.in_flight.swap_remove(at);
                    // A failure of this process says nothing about the address.
                    if shortage(&error).is_none() && Untaken::of(&error).is_none() {
                        self.history().failed(one.peer, one.attempt.started(), time::now());
                    }
                    one.attempt.failed(error.kind());
                    self.race.failed(one.number);
                    self.failures.push(Failed { peer: one.peer, why: Why::Error(error) });
                }
            }
        }
        None
    }

    /// Notes the winner in the history, and the attempts that the winner has overtaken. An attempt is overtaken if it had
    /// much more time than the winner needed. It counts as failed, so that the next dial does not begin with it.
    fn note_winner(&self, peer: SocketAddr, took: Duration, now: Instant) {
        let mut history = self.history();
        history.succeeded(peer, took, now);
        let enough = took.saturating_mul(2).max(OVERTAKEN);
        for one in &self.in_flight {
            if now.saturating_duration_since(one.attempt.started()) >= enough {
                history.failed(one.peer, one.attempt.started(), now);
            }
        }
    }

    /// Polls the timer. Returns ready at the time `then`.
    fn poll_timer(&mut self, then: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(time::sleep_until(then)));
        if timer.deadline() != then.into() {
            timer.as_mut().reset(then.into());
        }
        timer.as_mut().poll(cx)
    }

    /// Whether no address was found so far.
    fn has_no_address(&self) -> bool {
        self.addresses.is_empty() && self.in_flight.is_empty() && self.failures.is_empty()
    }

    fn spread(&self) -> Option<MutexGuard<'a, Spread>> {
        self.conditions.spread.map(|spread| spread.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn history(&self) -> MutexGuard<'a, History> {
        self.conditions.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a socket that is ready to connect to `peer`.
pub(crate) fn open(peer: SocketAddr, local: Option<IpAddr>, options: TcpOptions) -> io::Result<TcpSocket> {
    let socket = if peer.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    options.set(&socket)?;
    if let Some(local) = local {
        if local.is_ipv4() != peer.is_ipv4() {
            let text = format!("the local address {local} is not of this address family");
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, text));
        }
        socket.bind(SocketAddr::new(local, 0))?;
    }
    Ok(socket)
}

/// Returns the source address from which the system would reach `peer`. Connecting a UDP socket sends nothing.
fn source_of(peer: SocketAddr, local: Option<IpAddr>, options: &TcpOptions) -> Source {
    if let Some(local) = local.filter(|local| local.is_ipv4() == peer.is_ipv4()) {
        return Source::Address(local);
    }
    let probe = || {
        let socket = Socket::new(Domain::for_address(peer), Type::DGRAM, None)?;
        options.strict.choose_network(&socket)?;
        socket.connect(&peer.into())?;
        socket.local_addr()
    };
    match probe() {
        Ok(source) => source.as_socket().map_or(Source::Unknown, |source| Source::Address(source.ip())),
        Err(error) if shortage(&error) == Some(Shortage::Resource) => Source::Unknown,
        Err(_) => Source::Unreachable,
    }
}

/// Maximum number of addresses of a dial whose sources are looked up.
const MAX_PROBES: usize = 16;

/// Least time without an answer after which an attempt counts as overtaken.
const OVERTAKEN: Duration = Duration::from_millis(100);

#[cfg(test)]
#[path = "tcp_tests.rs"]
mod tests;
