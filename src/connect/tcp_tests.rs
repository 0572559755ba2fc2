//! Attempts over loopback sockets. A listener with a full accept queue is a black hole: it answers no SYN.

use futures_core::Stream;
use socket2::SockRef;

use super::*;
use crate::resolver::{Family, ResolveErrorKind};

/// A time between two attempts that is longer than any test takes.
const HOUR: Duration = Duration::from_secs(3_600);

/// What a dial keeps outside its attempts.
struct Bench {
    to: Destination,
    setup: Setup,
    history: Mutex<History>,
}

impl Bench {
    fn new() -> Self {
        let setup = Setup::new(1, "http", "test", 80, time::now());
        Self { to: Destination::new(false, "test", 80), setup, history: Mutex::default() }
    }

    fn conditions(&self, attempt_delay: Duration) -> Conditions<'_> {
        let (to, setup, history) = (&self.to, &self.setup, &self.history);
        let options = TcpOptions::default();
        Conditions {
            to,
            setup,
            history,
            spread: None,
            filter: None,
            attempt_delay,
            timeout: None,
            local: None,
            options,
            first: None,
        }
    }

    fn to(&self, addresses: &[SocketAddr], attempt_delay: Duration) -> Attempts<'_> {
        Attempts::to(addresses.to_vec(), self.conditions(attempt_delay))
    }
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
    let bench = Bench::new();
    let mut attempts = bench.to(&addresses, HOUR);
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
    assert_eq!(attempts.into_error().failures().len(), 2);
}

#[tokio::test]
async fn options_of_the_caller_replace_the_defaults() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bench = Bench::new();
    let seconds = |n| Some(Duration::from_secs(n));
    let mut options = TcpOptions { nodelay: false, keepalive: None, ..TcpOptions::default() };
    let open = |options| {
        let conditions = Conditions { options, ..bench.conditions(HOUR) };
        Attempts::to(vec![listener.local_addr().unwrap()], conditions)
    };
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

/// An address that answers no SYN, because the listener's accept queue is full.
#[cfg(target_os = "linux")]
struct BlackHole {
    at: SocketAddr,
    _listener: Socket,
    _queued: std::net::TcpStream,
}

#[cfg(target_os = "linux")]
impl BlackHole {
    fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let at = listener.local_addr().unwrap().as_socket().unwrap();
        let queued = std::net::TcpStream::connect(at).unwrap();
        Self { at, _listener: listener, _queued: queued }
    }
}

/// A-71 of the list of attacks.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_others_end_when_one_has_won() {
    let (silent, good) = (BlackHole::new(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let bench = Bench::new();
    let addresses = [silent.at, good.local_addr().unwrap()];
    let mut attempts = bench.to(&addresses, Duration::from_millis(1));
    let Won { peer, .. } = attempts.winner().await.unwrap();
    assert_eq!(peer, addresses[1], "R-8305-5-2");
    assert!(
        attempts.has_tried_all() && attempts.failures.is_empty(),
        "R-8305-5-2: the first attempt was still under way"
    );
    assert!(attempts.in_flight.is_empty(), "R-8305-5-2: the socket of the first attempt is closed");
}

/// Polls the attempts, of which none connects, until `is_so`.
async fn until(attempts: &mut Attempts<'_>, is_so: impl Fn(&Attempts<'_>) -> bool) {
    poll_fn(|cx| {
        assert!(attempts.poll(cx).is_pending());
        if is_so(attempts) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Six addresses that answer no SYN do not block the seventh.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn at_the_cap_the_oldest_gives_way() {
    let silent: Vec<_> = (0..6).map(|_| BlackHole::new()).collect();
    let good = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut addresses: Vec<_> = silent.iter().map(|hole| hole.at).collect();
    addresses.push(good.local_addr().unwrap());
    let (bench, delay) = (Bench::new(), Duration::from_millis(1));

    let mut attempts = bench.to(&addresses, delay);
    assert_eq!(attempts.winner().await.unwrap().peer, addresses[6], "A-13");
    assert!(attempts.has_tried_all() && attempts.in_flight.is_empty(), "every loser is closed");
    let text = format!("{}: no answer, gave way to another address", addresses[0]);
    assert_eq!(attempts.into_error().to_string(), text, "A-13");

    let mut attempts = bench.to(&addresses, delay);
    assert_eq!(attempts.winner().await.unwrap().peer, addresses[6], "A-13");
    assert!(!attempts.has_tried_all(), "the address that gave way comes last the next time");
    assert!(attempts.into_error().failures().is_empty());
}

/// Attempts that run when the dial ends are in its error, and come last in the next dial.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn attempts_without_an_answer_are_in_the_error() {
    let (silent, bench) = (BlackHole::new(), Bench::new());
    let addresses = [silent.at, refusing(1)[0]];
    let mut attempts = bench.to(&addresses, Duration::from_millis(1));
    until(&mut attempts, |attempts| attempts.failures.len() == 1).await;
    let text = format!("{}: connection refused, {}: no answer", addresses[1], addresses[0]);
    assert_eq!(attempts.into_error().to_string(), text, "R-8305-5-3");
    let standing = |at| bench.history.lock().unwrap().standing(at, time::now()).failures;
    assert_eq!(addresses.map(standing), [1, 1]);
}

#[tokio::test]
async fn an_address_that_failed_comes_last_the_next_time() {
    let good = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addresses = [refusing(1)[0], good.local_addr().unwrap()];
    let bench = Bench::new();
    for failures in [1, 0, 0] {
        let mut attempts = bench.to(&addresses, HOUR);
        assert_eq!(attempts.winner().await.unwrap().peer, addresses[1]);
        assert_eq!(attempts.into_error().failures().len(), failures);
    }
    bench.history.lock().unwrap().clear(time::now());
    let mut attempts = bench.to(&addresses, HOUR);
    assert!(attempts.winner().await.is_some());
    assert_eq!(attempts.into_error().failures().len(), 1, "nothing is known of the new network");
}

/// A lookup whose batches the test sends.
struct Batches(tokio::sync::mpsc::UnboundedReceiver<Result<Vec<SocketAddr>, ResolveError>>);

type Sender = tokio::sync::mpsc::UnboundedSender<Result<Vec<SocketAddr>, ResolveError>>;

impl Stream for Batches {
    type Item = Result<Vec<SocketAddr>, ResolveError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

/// Returns attempts whose lookup has this much time, and the sender of the answers. The answers are in order of preference.
fn looked_up(bench: &Bench, time: Duration) -> (Attempts<'_>, Sender) {
    attempts_for(bench, time, true)
}

fn attempts_for(bench: &Bench, time: Duration, is_ordered: bool) -> (Attempts<'_>, Sender) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let lookup = Lookup {
        answers: Box::pin(Batches(receiver)),
        deadline: time::now() + time,
        resolution_delay: Duration::from_millis(50),
        is_ordered,
        phase: bench.setup.dns("a.test"),
    };
    (Attempts::look_up(lookup, bench.conditions(Duration::from_millis(1))), sender)
}

#[tokio::test]
async fn ipv4_is_tried_after_a_moment_while_the_lookup_goes_on() {
    let good = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bench = Bench::new();
    let (mut attempts, sender) = looked_up(&bench, HOUR);
    until(&mut attempts, |_| true).await;
    sender.send(Ok(vec![good.local_addr().unwrap()])).unwrap();
    let answered = time::now();
    let won = attempts.winner().await.unwrap();
    assert_eq!(won.peer, good.local_addr().unwrap(), "R-8305-3-1");
    assert!(time::now() - answered >= Duration::from_millis(50), "R-8305-3-2");
    assert!(sender.is_closed(), "the lookup ends with the race");
    attempts.take_phase().unwrap().end();
    let (dns, tcp) = (bench.setup.milestones().dns.unwrap(), bench.setup.milestones().tcp.unwrap());
    assert!(dns.end.unwrap() >= answered, "the moment belongs to dns");
    assert!(dns.end.unwrap() <= tcp.start && tcp.start <= tcp.end.unwrap(), "dns ends when tcp begins");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn answers_join_a_race_under_way() {
    let (silent, good) = (BlackHole::new(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let bench = Bench::new();
    let (mut attempts, sender) = looked_up(&bench, HOUR);
    sender.send(Ok(vec![silent.at])).unwrap();
    until(&mut attempts, |attempts| attempts.in_flight.len() == 1).await;
    assert!(bench.setup.milestones().tcp.is_some() && !attempts.has_tried_all());
    sender.send(Ok(vec![good.local_addr().unwrap()])).unwrap();
    assert_eq!(attempts.winner().await.unwrap().peer, good.local_addr().unwrap(), "R-8305-6-1");
}

#[tokio::test]
async fn a_lookup_that_fails_later_leaves_what_was_answered() {
    let bench = Bench::new();
    for (name, has_address) in [("ends", true), ("fails", false), ("is late", true), ("never answers", false)]
    {
        let is_late = !["ends", "fails"].contains(&name);
        let (mut attempts, sender) = looked_up(&bench, if is_late { Duration::from_millis(1) } else { HOUR });
        let refused = refusing(1)[0];
        if has_address {
            sender.send(Ok(vec![refused])).unwrap();
        }
        if name == "fails" {
            let kind = ResolveErrorKind::NotFound(Family::Both);
            sender.send(Err(ResolveError { name: "a.test".to_owned(), kind })).unwrap();
        }
        let kept = is_late.then_some(sender);
        assert!(attempts.winner().await.is_none(), "{name}");
        match attempts.take_unresolved() {
            Some(Unresolved::Failed(error)) => assert_eq!((name, &*error.name), ("fails", "a.test")),
            Some(Unresolved::TimedOut) => assert_eq!(name, "never answers"),
            None => {
                assert!(has_address, "{name}");
                assert_eq!(attempts.into_error().to_string(), format!("{refused}: connection refused"));
            }
        }
        assert!(kept.is_none_or(|sender| sender.is_closed()), "the lookup is dropped at its deadline");
    }
}

/// With the spread, an answer tells which addresses the host has no longer. An answer of the earlier network tells nothing.
#[tokio::test]
async fn the_answer_of_an_earlier_network_ends_no_connection() {
    let (spread, good) = (Mutex::new(Spread::default()), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let (bench, gone) = (Bench::new(), refusing(1)[0]);
    let seat = spread.lock().unwrap().take(&bench.to, gone);
    for has_left in [false, true] {
        let started = bench.setup.started();
        let changed = if has_left { started } else { started + Duration::from_millis(1) };
        bench.history.lock().unwrap().clear(changed);
        let (mut attempts, sender) = looked_up(&bench, HOUR);
        attempts.conditions.spread = Some(&spread);
        sender.send(Ok(vec![good.local_addr().unwrap()])).unwrap();
        drop(sender);
        assert!(attempts.winner().await.is_some());
        assert_eq!(seat.has_left(), has_left);
    }
}

/// Answers of name servers are ordered by RFC 6724, so that IPv6 comes first if there is IPv6, and last if there is none.
/// Other answers keep their order.
#[tokio::test]
async fn answers_without_an_order_are_ordered() {
    let good = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = good.local_addr().unwrap();
    let refused = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, at.port()));
    let has_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    for (is_ordered, expected) in [(false, usize::from(has_ipv6)), (true, 0)] {
        let bench = Bench::new();
        let (mut attempts, sender) = attempts_for(&bench, HOUR, is_ordered);
        sender.send(Ok(vec![at, refused])).unwrap();
        drop(sender);
        assert_eq!(attempts.winner().await.unwrap().peer, at);
        assert_eq!(attempts.into_error().failures().len(), expected, "R-6724-6-1: {is_ordered}");
    }
}

/// No source is looked up if it cannot change the order, and only a bounded number of them.
#[tokio::test]
async fn sources_are_looked_up_only_where_they_matter() {
    let [one, two] = [1, 2].map(|last| SocketAddr::from(([127, 0, 0, last], 9)));
    let six = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 9));
    let networks: Vec<_> =
        (0..20).map(|n| SocketAddr::from(([0x2001, 0xdb8, n, 0, 0, 0, 0, 1], 9))).collect();
    for (is_ordered, addresses, probes) in [
        (false, &[one][..], 0),
        (false, &[one, two], 0),
        (false, &[one, six], 2),
        (true, &[one, six], 0),
        (false, &[six], 0),
        (false, &networks, 16),
    ] {
        let bench = Bench::new();
        let (mut attempts, _sender) = attempts_for(&bench, HOUR, is_ordered);
        attempts.admit(addresses.to_vec());
        attempts.enter(time::now());
        assert_eq!(attempts.sources.len(), probes, "{is_ordered}, {addresses:?}");
        let known = Attempts::to(addresses.to_vec(), bench.conditions(HOUR));
        assert!(known.sources.is_empty(), "{addresses:?}");
        // Each source leaves with its address.
        for (number, address) in addresses.iter().enumerate().rev() {
            attempts.start(number, *address);
            assert_eq!(attempts.addresses.len(), number);
            assert_eq!(attempts.sources.len(), probes.min(number));
        }
    }
}

#[test]
fn the_source_of_an_address_is_found_without_a_packet() {
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    let own = |text: &str| Source::Address(text.parse().unwrap());
    let options = &TcpOptions::default();
    // Nothing listens at these addresses. A packet to the first one would be answered by an error.
    for _ in 0..2 {
        assert_eq!(source_of(at("127.0.0.1:9"), None, options), own("127.0.0.1"));
    }
    // No socket may be connected to the broadcast address without asking.
    assert_eq!(source_of(at("255.255.255.255:9"), None, options), Source::Unreachable, "R-6724-6-2");
    let local = "192.0.2.7".parse().unwrap();
    assert_eq!(
        source_of(at("203.0.113.1:9"), Some(local), options),
        own("192.0.2.7"),
        "the socket will be bound to it"
    );
}

#[tokio::test]
async fn every_refusal_is_listed_up_to_six() {
    let addresses = refusing(8);
    let bench = Bench::new();
    let mut attempts = bench.to(&addresses, HOUR);
    assert!(attempts.winner().await.is_none());
    let shown: Vec<_> = addresses[..6].iter().map(|a| format!("{a}: connection refused")).collect();
    let text = format!("{}, and 2 more", shown.join(", "));
    assert_eq!(attempts.into_error().to_string(), text, "R-8305-5-3");
}

#[tokio::test]
async fn the_local_address_is_bound_or_the_attempt_fails() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = listener.local_addr().unwrap();
    let bench = Bench::new();
    let bound = |local: &str| {
        let conditions = Conditions { local: local.parse().ok(), ..bench.conditions(HOUR) };
        Attempts::to(vec![peer], conditions)
    };
    let mut attempts = bound("127.0.0.1");
    assert!(attempts.winner().await.unwrap().tcp.local_addr().unwrap().ip().is_loopback());

    let mut attempts = bound("::1");
    assert!(attempts.winner().await.is_none());
    let standing = bench.history.lock().unwrap().standing(peer, time::now());
    assert_eq!(standing.failures, 0, "a failure of this process says nothing about the address");
    let text = format!("{peer}: the local address ::1 is not of this address family");
    assert_eq!(attempts.into_error().to_string(), text);
}
