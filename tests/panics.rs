//! Panics in code of the caller: transports, wakers, hooks. A panic may end the request that it belongs to, but it
//! affects no other request: every slot is freed, and every waiter is served.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use handclasp::{Client, ClientBuilder, DropReason, HostStats, Look, Transport};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Builder;

use self::support::layer::{Layer, Layered};
use self::support::lines::{Lines, send};
use self::support::plain::Plain;

/// Function of the transport that panics while the switches are armed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Misdeed {
    Close,
    Drop,
    CloseAndDrop,
}

const MISDEEDS: [Misdeed; 3] = [Misdeed::Close, Misdeed::Drop, Misdeed::CloseAndDrop];

/// Behaviour of a client's connections, which a test changes while they live.
struct Switches {
    misdeed: Misdeed,
    is_armed: AtomicBool,
    /// Result of the next look. With `None` the look returns what it finds.
    finds: Mutex<Option<Look>>,
    /// Number of looks that are still to panic.
    blinks: AtomicUsize,
    /// Whether the next read fails.
    breaks: AtomicBool,
    closes: AtomicUsize,
    live: AtomicUsize,
}

struct Touchy {
    tcp: TcpStream,
    switches: Arc<Switches>,
}

impl Touchy {
    #[track_caller]
    fn act(&self, misdeeds: [Misdeed; 2]) {
        let is_due = misdeeds.contains(&self.switches.misdeed);
        assert!(!is_due || !self.switches.is_armed.load(Ordering::SeqCst), "the test makes this call panic");
    }
}

impl Layer for Touchy {
    type Below = TcpStream;

    fn below(&mut self) -> &mut TcpStream {
        &mut self.tcp
    }

    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.switches.breaks.swap(false, Ordering::SeqCst) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }

    fn look(&mut self) -> Look {
        let less = |blinks: usize| blinks.checked_sub(1);
        let blinked = self.switches.blinks.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        assert!(blinked.is_err(), "the test makes this call panic");
        let found = self.switches.finds.lock().unwrap().take();
        found.unwrap_or_else(|| self.tcp.look())
    }

    fn close(&mut self) {
        self.switches.closes.fetch_add(1, Ordering::SeqCst);
        self.tcp.close();
        self.act([Misdeed::Close, Misdeed::CloseAndDrop]);
    }
}

impl Drop for Touchy {
    fn drop(&mut self) {
        self.switches.live.fetch_sub(1, Ordering::SeqCst);
        self.act([Misdeed::Drop, Misdeed::CloseAndDrop]);
    }
}

/// A client of two servers, the hosts `x.test` and `y.test`. The connections of the client panic when the test says
/// so.
struct Bench {
    client: Client,
    servers: [Plain; 2],
    switches: Arc<Switches>,
    what: String,
}

impl Bench {
    fn new(misdeed: Misdeed, what: &str, set: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Self {
        let switches = Arc::new(Switches {
            misdeed,
            is_armed: AtomicBool::new(false),
            finds: Mutex::default(),
            blinks: AtomicUsize::new(0),
            breaks: AtomicBool::new(false),
            closes: AtomicUsize::new(0),
            live: AtomicUsize::new(0),
        });
        let servers = [Plain::start(), Plain::start()];
        let (addresses, theirs) = (servers.each_ref().map(|server| server.address), switches.clone());
        let builder = Client::builder().connector(move |to| {
            let address = addresses[usize::from(to.host() == "y.test")];
            let switches = theirs.clone();
            async move {
                let tcp = TcpStream::connect(address).await?;
                switches.live.fetch_add(1, Ordering::SeqCst);
                Ok(Layered::boxed(Touchy { tcp, switches }))
            }
        });
        let client = set(builder).build().unwrap();
        Self { client, servers, switches, what: format!("{misdeed:?}, {what}") }
    }

    fn arm(&self) {
        self.switches.is_armed.store(true, Ordering::SeqCst);
    }

    fn total(&self) -> HostStats {
        self.client.pool().stats().total
    }

    /// Sends a request in a task of its own, because the request may panic. Returns the task's handle.
    fn get(&self, url: &'static str) -> tokio::task::JoinHandle<bool> {
        let client = self.client.clone();
        tokio::spawn(async move {
            let response = within(client.get(url).send()).await.unwrap();
            within(response.bytes()).await.is_ok()
        })
    }

    /// Fails unless each host serves two requests at a time. Then closes all connections, and fails if a request, a
    /// connection or a socket is left.
    async fn assert_sound(&self) {
        let what = &self.what;
        self.switches.is_armed.store(false, Ordering::SeqCst);
        for url in ["http://x.test/", "http://y.test/"] {
            let pair = [self.get(url), self.get(url)];
            for request in pair {
                assert!(request.await.unwrap(), "{what}: {}", self.total());
            }
        }
        self.until("nothing is under way", |total| (total.active, total.dialing, total.waiting) == (0, 0, 0))
            .await;
        self.client.pool().close_idle();
        self.until("all connections are closed", |total| (total.idle, total.active) == (0, 0)).await;
        let total = self.total();
        assert_eq!(total.opened, total.closed_total(), "{what}: {total}");
        assert_eq!(self.switches.live.load(Ordering::SeqCst), 0, "{what}: transports");
        let begun = Instant::now();
        while self.servers.iter().any(|server| server.open() > 0) {
            assert!(begun.elapsed() < Duration::from_secs(20), "{what}: sockets are left");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn until(&self, until: &str, is_so: impl Fn(&HostStats) -> bool) {
        let begun = Instant::now();
        while !is_so(&self.total()) {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{}: until {until}: {}",
                self.what,
                self.total()
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("the work ends within 20 s")
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// A close panics because a read of the response fails, or because the caller drops a response that is half read.
#[test]
fn a_connection_whose_close_panics_frees_its_slot() {
    for misdeed in MISDEEDS {
        for breaks in [false, true] {
            block_on(async {
                let bench = Bench::new(misdeed, "its own", |client| client.max_connections(1));
                let response = bench.client.get("http://x.test/bytes/10000000").send().await.unwrap();
                let waiter = bench.get("http://x.test/");
                bench.until("the request waits", |total| total.waiting == 1).await;
                bench.arm();
                let ended = if breaks {
                    bench.switches.breaks.store(true, Ordering::SeqCst);
                    tokio::spawn(response.bytes()).await.map(|read| assert!(read.is_err()))
                } else {
                    tokio::spawn(async move { drop(response) }).await
                };
                assert!(ended.unwrap_err().is_panic(), "the panic reaches the holder of the response");
                bench.switches.is_armed.store(false, Ordering::SeqCst);
                assert!(waiter.await.unwrap(), "{misdeed:?}");
                bench.assert_sound().await;
            });
        }
    }
}

/// A request replaces an idle connection, because the look finds it closed or because its next read fails.
/// The close of the replaced connection panics.
#[test]
fn a_connection_that_is_replaced_frees_its_slot_though_its_close_panics() {
    for misdeed in MISDEEDS {
        for dies_later in [false, true] {
            block_on(async {
                let bench = Bench::new(misdeed, "replaced", |client| client.max_connections(1));
                assert!(bench.get("http://x.test/").await.unwrap());
                bench.arm();
                if dies_later {
                    bench.switches.breaks.store(true, Ordering::SeqCst);
                } else {
                    *bench.switches.finds.lock().unwrap() = Some(Look::Closed);
                }
                let first = bench.get("http://x.test/").await;
                assert!(first.unwrap_err().is_panic(), "the request that the panic belongs to ends");
                bench.assert_sound().await;
            });
        }
    }
}

/// The look at an idle connection panics in the request that looks, and the close of the connection panics too.
#[test]
fn a_connection_whose_look_panics_frees_its_slot() {
    for misdeed in MISDEEDS {
        block_on(async {
            let bench = Bench::new(misdeed, "looked at", |client| client.max_connections(1));
            assert!(bench.get("http://x.test/").await.unwrap());
            bench.arm();
            bench.switches.blinks.store(1, Ordering::SeqCst);
            assert!(bench.get("http://x.test/").await.unwrap_err().is_panic());
            bench.assert_sound().await;
        });
    }
}

/// The pool closes idle connections of one host to free slots for another host. The panic of such a close does not
/// affect the requests to the other host.
#[test]
fn what_the_pool_closes_for_another_host_costs_that_one_nothing() {
    for misdeed in MISDEEDS {
        block_on(async {
            let bench = Bench::new(misdeed, "evicted", |client| client.max_connections(3));
            within(bench.client.warm("http://x.test/", 3)).await.unwrap();
            bench.arm();
            let three = [(); 3].map(|()| bench.get("http://y.test/slow/20"));
            for request in three {
                assert!(request.await.unwrap(), "{misdeed:?}");
            }
            let total = bench.total();
            assert_eq!((total.closed(DropReason::Evicted), total.opened), (3, 6), "{total}");
            bench.assert_sound().await;
        });
    }
}

#[test]
fn all_idle_connections_are_closed_though_each_close_panics() {
    for misdeed in MISDEEDS {
        for how in ["close_idle", "on_network_change", "client", "shutdown"] {
            block_on(async {
                let bench = Bench::new(misdeed, how, |client| client.max_idle_per_host(200));
                within(bench.client.warm("http://x.test/", 100)).await.unwrap();
                bench.arm();
                let switches = bench.switches.clone();
                match how {
                    "close_idle" => bench.client.pool().close_idle(),
                    "on_network_change" => bench.client.pool().on_network_change(),
                    "client" => drop(bench.client),
                    _ => within(bench.client.pool().shutdown(Duration::ZERO)).await,
                }
                let counts = [&switches.closes, &switches.live].map(|count| count.load(Ordering::SeqCst));
                assert_eq!(counts, [100, 0], "{misdeed:?}, {how}");
            });
        }
    }
}

/// A shutdown closes connections in use while each close panics. Five connections belong to responses that the caller
/// has not read, and five belong to requests that wait for a response.
#[test]
fn a_shutdown_comes_to_its_end_though_each_close_panics() {
    for misdeed in MISDEEDS {
        block_on(async {
            let bench = Bench::new(misdeed, "shutdown", |client| client);
            let mut held = Vec::new();
            for _ in 0..5 {
                held.push(bench.client.get("http://x.test/bytes/10000000").send().await.unwrap());
            }
            let waiting = [(); 5].map(|()| bench.get("http://y.test/slow/60000"));
            bench.until("ten requests are under way", |total| total.active == 10).await;
            bench.arm();
            within(bench.client.pool().shutdown(Duration::ZERO)).await;
            let total = bench.total();
            assert_eq!((total.active, total.closed_total(), total.waiting), (0, 10, 0), "{total}");
            assert_eq!(bench.switches.live.load(Ordering::SeqCst), 0);
            for response in held {
                assert_eq!(response.bytes().await.unwrap_err().kind(), handclasp::ErrorKind::Shutdown);
            }
            for request in waiting {
                assert!(request.await.is_err(), "the sending of the request fails");
            }
        });
    }
}

/// The task of the reaper survives the panic of each close, and closes connections that expire later.
#[test]
fn the_reaper_goes_on_though_each_close_panics() {
    for misdeed in MISDEEDS {
        block_on(async {
            let bench =
                Bench::new(misdeed, "reaped", |client| client.idle_timeout(Duration::from_millis(200)));
            for _ in 0..2 {
                within(bench.client.warm("http://x.test/", 5)).await.unwrap();
                within(bench.client.warm("http://y.test/", 5)).await.unwrap();
                bench.arm();
                bench.until("the idle connections expire", |total| total.idle == 0).await;
                bench.switches.is_armed.store(false, Ordering::SeqCst);
            }
            let total = bench.total();
            assert_eq!(
                total.closed(DropReason::IdleTimeout),
                20,
                "no connection was closed as RuntimeGone: {total}"
            );
            bench.assert_sound().await;
        });
    }
}

/// The sweep looks at five connections. One look panics, and the other four connections stay idle.
#[test]
fn a_look_that_panics_in_the_sweep_costs_one_connection() {
    block_on(async {
        let bench = Bench::new(Misdeed::Close, "swept", |client| client);
        within(bench.client.warm("http://x.test/", 5)).await.unwrap();
        bench.switches.blinks.store(1, Ordering::SeqCst);
        bench.arm();
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(6)).await;
        let begun = Instant::now();
        while bench.total().idle == 5 {
            assert!(begun.elapsed() < Duration::from_secs(20), "{}", bench.total());
            tokio::task::yield_now().await;
        }
        tokio::time::resume();
        let total = bench.total();
        assert_eq!((total.idle, total.closed(DropReason::Failed)), (4, 1), "{total}");
        bench.assert_sound().await;
    });
}

/// A waker that panics when it wakes its task, or when its last copy is dropped.
struct Wild {
    wakes: bool,
    is_armed: AtomicBool,
}

impl Wild {
    fn waker(wakes: bool) -> (Waker, std::sync::Weak<Self>) {
        let wild = Arc::new(Self { wakes, is_armed: AtomicBool::new(true) });
        let weak = Arc::downgrade(&wild);
        (wild.into(), weak)
    }

    fn fire(&self) {
        if self.is_armed.swap(false, Ordering::SeqCst) && !std::thread::panicking() {
            panic!("the test makes this call panic");
        }
    }
}

impl Wake for Wild {
    fn wake(self: Arc<Self>) {
        if self.wakes {
            self.fire();
        }
    }
}

impl Drop for Wild {
    fn drop(&mut self) {
        if !self.wakes {
            self.fire();
        }
    }
}

/// Polls with a new waker, and drops the waker, so that only copies in the pool are left. Returns the result of the
/// poll, and a weak reference to the waker.
fn poll_wild<F: Future>(work: Pin<&mut F>, wakes: bool) -> (Poll<F::Output>, std::sync::Weak<Wild>) {
    let (waker, wild) = Wild::waker(wakes);
    let polled = work.poll(&mut Context::from_waker(&waker));
    // If the pool holds no copy, this drop is the last one and may panic.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(waker)));
    (polled, wild)
}

#[test]
fn a_waiter_whose_waker_panics_holds_nobody_up() {
    for wakes in [true, false] {
        block_on(async {
            let bench = Bench::new(Misdeed::Close, "a wild waiter", |client| client.max_connections(1));
            let first = bench.client.get("http://x.test/bytes/10000000").send().await.unwrap();
            let mut wild = Box::pin(bench.client.get("http://x.test/").send());
            assert!(poll_wild(wild.as_mut(), wakes).0.is_pending());
            let others = [(); 3].map(|()| bench.get("http://x.test/"));
            let elsewhere = bench.get("http://y.test/");
            bench.until("the requests wait", |total| total.waiting == 5).await;
            assert!(first.bytes().await.is_ok());
            for request in others {
                assert!(request.await.unwrap());
            }
            assert!(elsewhere.await.unwrap());
            // The request is served when it is polled again. By that time its waker is gone. The request ends with a
            // panic only if the drop of its own waker causes the panic.
            let outcome =
                tokio::spawn(async move { within(wild).await.unwrap().bytes().await.is_ok() }).await;
            assert!(if wakes { outcome.unwrap() } else { outcome.unwrap_err().is_panic() });
            bench.assert_sound().await;
        });
    }
}

#[test]
fn a_waiter_that_leaves_leaves_the_queue_though_its_waker_panics() {
    block_on(async {
        let bench =
            Bench::new(Misdeed::Close, "the request leaves the queue", |client| client.max_connections(1));
        let first = bench.client.get("http://x.test/bytes/10000000").send().await.unwrap();
        for _ in 0..3 {
            let mut wild = Box::pin(bench.client.get("http://x.test/").send());
            assert!(poll_wild(wild.as_mut(), false).0.is_pending());
            assert_eq!(bench.total().waiting, 1);
            let _ = catch_unwind(AssertUnwindSafe(|| drop(wild)));
            assert_eq!(bench.total().waiting, 0);
        }
        assert!(first.bytes().await.is_ok());
        bench.assert_sound().await;
    });
}

/// The request is polled with one waker after another, and each poll drops the waker of the poll before. The drop
/// panics.
#[test]
fn a_connection_whose_reader_panics_frees_its_slot() {
    block_on(async {
        let bench = Bench::new(Misdeed::Close, "read from", |client| client.max_connections(1));
        let mut wild = Box::pin(bench.client.get("http://x.test/slow/200").send());
        let mut gone = Vec::new();
        for _ in 0..20 {
            let polled = catch_unwind(AssertUnwindSafe(|| poll_wild(wild.as_mut(), false)));
            let Ok((polled, waker)) = polled else { break };
            assert!(polled.is_pending());
            gone.push(waker);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let _ = catch_unwind(AssertUnwindSafe(|| drop(wild)));
        let panicked = gone.iter().filter(|waker| waker.upgrade().is_none()).count();
        assert!(panicked > 0, "wakers were dropped");
        bench.until("the slot is free", |total| (total.active, total.waiting) == (0, 0)).await;
        bench.assert_sound().await;
    });
}

#[test]
fn a_shutdown_cuts_all_though_the_wakers_panic() {
    for wakes in [true, false] {
        block_on(async {
            let bench = Bench::new(Misdeed::Close, "cut", |client| client);
            let mut readers: Vec<_> =
                (0..5).map(|_| Box::pin(bench.client.get("http://x.test/slow/60000").send())).collect();
            let begun = Instant::now();
            while bench.total().active < 5 {
                assert!(begun.elapsed() < Duration::from_secs(20), "{}", bench.total());
                for reader in &mut readers {
                    assert!(reader.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            for reader in &mut readers {
                assert!(poll_wild(reader.as_mut(), wakes).0.is_pending());
            }
            within(bench.client.pool().shutdown(Duration::ZERO)).await;
            let total = bench.total();
            assert_eq!((total.active, total.dialing, total.waiting), (0, 0, 0), "{total}");
            assert_eq!(bench.switches.live.load(Ordering::SeqCst), 0);
            for reader in readers {
                assert_eq!(within(reader).await.unwrap_err().kind(), handclasp::ErrorKind::Shutdown);
            }
        });
    }
}

/// A panic in the waker of a subscriber to the pool's events affects no request.
#[test]
fn a_listener_whose_waker_panics_costs_no_request_anything() {
    for wakes in [true, false] {
        block_on(async {
            let bench = Bench::new(Misdeed::Close, "listened to", |client| client.max_connections(1));
            let mut events = bench.client.pool().subscribe();
            for _ in 0..20 {
                while events.try_recv().is_some() {}
                let mut heard = pin!(events.recv());
                assert!(poll_wild(heard.as_mut(), wakes).0.is_pending());
                // The subscriber is not polled while the requests run.
                assert!(bench.get("http://x.test/").await.unwrap());
                assert!(bench.get("http://y.test/").await.unwrap());
                assert!(within(heard).await.is_some());
            }
            bench.assert_sound().await;
        });
    }
}

/// Dials fail, and each waiter gets an error, although the waker of the first waiter panics.
#[test]
fn a_failure_reaches_all_though_a_waker_panics() {
    block_on(async {
        let (dials, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Notify::new()));
        let (counted, gone) = (dials.clone(), go.clone());
        let client = Client::builder().max_connections_per_host(1).connector(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            let go = gone.clone();
            async move {
                go.notified().await;
                Err::<TcpStream, _>(io::Error::from(io::ErrorKind::ConnectionRefused).into())
            }
        });
        let client = client.build().unwrap();
        let mut wild = Box::pin(client.get("http://x.test/").send());
        assert!(poll_wild(wild.as_mut(), true).0.is_pending());
        let others: Vec<_> = (0..5).map(|_| tokio::spawn(client.get("http://x.test/").send())).collect();
        let begun = Instant::now();
        while client.pool().stats().total.waiting < 6 {
            assert!(begun.elapsed() < Duration::from_secs(20));
            tokio::task::yield_now().await;
        }
        for request in others {
            // A dial may fail one waiter only, so dials fail one after another until this request has ended.
            let told = async {
                while !request.is_finished() {
                    go.notify_one();
                    tokio::task::yield_now().await;
                }
                request.await.unwrap()
            };
            assert!(within(told).await.is_err());
        }
        assert!(within(wild).await.is_err());
        let begun = Instant::now();
        loop {
            let total = client.pool().stats().total;
            if (total.active, total.dialing, total.waiting) == (0, 0, 0) {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{total}");
            go.notify_one();
            tokio::task::yield_now().await;
        }
    });
}

/// Threads on which the panic hook was called, one entry for each call.
static PANICKED: Mutex<Vec<ThreadId>> = Mutex::new(Vec::new());

/// Returns how often the panic hook is called on this thread during `run`. The test counts the calls because, with
/// `panic = "abort"`, the first call would end the process.
fn count_panics(run: impl FnOnce()) -> usize {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICKED.lock().unwrap().push(std::thread::current().id());
            before(info);
        }));
    });
    let this = std::thread::current().id();
    let count = || PANICKED.lock().unwrap().iter().filter(|thread| **thread == this).count();
    let before = count();
    run();
    count() - before
}

/// A response is dropped while a few bytes of its content are still to come. The drop happens outside every runtime, on
/// a runtime without timers, or after the response's own runtime has ended. If its own runtime still runs, that runtime reads
/// the missing bytes, so that the connection can be reused.
#[test]
fn a_response_that_is_dropped_outside_of_its_runtime_panics_nowhere() {
    for place in ["outside of runtimes", "without timers", "after its runtime"] {
        let lines = Lines::default();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let client = lines.client();
        let (response, line) = runtime.block_on(async {
            let sending = send(client.get("http://h/"));
            let line = lines.written(0, "\r\n\r\n").await;
            line.say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst");
            (sending.await.unwrap().unwrap(), line)
        });
        let total = || client.pool().stats().total;
        let panics = match place {
            "outside of runtimes" => count_panics(|| drop(response)),
            "without timers" => {
                let bare = Builder::new_current_thread().build().unwrap();
                count_panics(|| bare.block_on(async { drop(response) }))
            }
            _ => {
                drop(runtime);
                let panics = count_panics(|| drop(response));
                assert_eq!((panics, total().active, total().idle), (0, 0, 0), "{place}");
                continue;
            }
        };
        assert_eq!((panics, total().active), (0, 1), "{place}: the rest of the content is being read");
        line.say(" rest");
        runtime.block_on(async {
            while total().active > 0 {
                tokio::task::yield_now().await;
            }
        });
        assert_eq!((total().idle, total().closed_total()), (1, 0), "{place}: {}", total());
    }
}
