//! How many round trips a request takes over a link of 50 ms, until its response is read.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use handclasp::Timings;

use super::*;
use crate::capture::Capture;

const TRIP: Duration = Duration::from_millis(50);

/// Requests of each kind.
const REQUESTS: usize = 9;

/// Function that returns the settings of a kind of request.
type Made<'a> = Box<dyn Fn() -> ClientBuilder + 'a>;

/// A proxy that makes tunnels to one server, whatever the client asks for.
struct Relay(SocketAddr);

impl Relay {
    fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind((HERE, 0)).unwrap();
        let relay = Self(SocketAddr::new(THERE, listener.local_addr().unwrap().port()));
        thread::spawn(move || {
            for client in listener.incoming() {
                thread::spawn(move || {
                    // A client that goes away ends the tunnel.
                    let _ = tunnel(client?, to);
                    io::Result::Ok(())
                });
            }
        });
        relay
    }
}

fn tunnel(mut client: TcpStream, to: SocketAddr) -> io::Result<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let mut server = TcpStream::connect(to)?;
    for socket in [&client, &server] {
        socket.set_nodelay(true)?;
    }
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || io::copy(&mut from_client, &mut to_server));
    io::copy(&mut server, &mut client)?;
    Ok(())
}

/// Times and packets of the requests of one kind.
struct Taken {
    /// Median of the times.
    median: Duration,
    /// The medians of the phases: TCP, proxy, TLS, wait.
    phases: [Duration; 4],
    /// Number of packets that the client of the last request sent before the server's first data.
    packets: usize,
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Sends requests one after another, each on a new connection if `is_cold` is true.
async fn measure(builder: &dyn Fn() -> ClientBuilder, url: &str, is_cold: bool) -> Taken {
    let (mut times, mut timings, mut packets) = (Vec::new(), Vec::new(), 0);
    let client = builder().build().unwrap();
    for at in 0..=REQUESTS {
        if is_cold {
            client.pool().close_idle();
        }
        let mut capture = Capture::start();
        let begun = Instant::now();
        let response = client.get(url).send().await.unwrap();
        let head = *response.timings();
        response.bytes().await.unwrap();
        // The first request makes a warm connection, or gets the cookie of Fast Open.
        if at > 0 {
            times.push(begun.elapsed());
            timings.push(head);
        }
        packets = if is_cold { capture.opening().len() } else { 1 };
    }
    let phase = |of: fn(&Timings) -> Option<Duration>| {
        median(timings.iter().map(|timings| of(timings).unwrap_or_default()).collect())
    };
    let phases = [
        phase(|timings| timings.connect),
        phase(|timings| timings.proxy),
        phase(|timings| timings.tls),
        phase(|timings| Some(timings.wait)),
    ];
    Taken { median: median(times), phases, packets }
}

/// Whether a phase took a whole number of round trips, within 5 % of one.
fn is_whole(phase: Duration) -> bool {
    let trips = phase.as_secs_f64() / TRIP.as_secs_f64();
    (trips - trips.round()).abs() <= 0.05
}

/// Each kind of request takes its number of round trips, within 5 %, and each of its phases takes whole round trips.
#[test]
fn a_request_takes_its_round_trips() {
    if !is_inside("figures::a_request_takes_its_round_trips") {
        return;
    }
    // Every server takes data in a SYN, and only a client that asks for it sends some.
    fs::write("/proc/sys/net/ipv4/tcp_fastopen", "1027").unwrap();
    let _link = Link::start(50, 0);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (plain, secure) = (Server::start_at(HERE, echo), Server::start_tls_at(HERE, echo));
    let port = secure.address().port();
    let (http, https) = (url(&plain, 0), format!("https://localhost:{port}/0"));
    let direct = || {
        let root = Certificate::from_pem(secure.authority()).unwrap();
        builder().add_root_certificate(root).resolve("localhost", SocketAddr::new(THERE, port))
    };
    let relays = [Relay::start(plain.address()), Relay::start(secure.address())];
    let by = |at: usize| {
        let proxy = handclasp::Proxy::all(format!("http://{}", relays[at].0)).unwrap();
        direct().proxy(proxy.tunnel(true))
    };
    let mut kinds: Vec<(&str, &str, Made<'_>, bool, u32)> = vec![
        ("http, warm", &http, Box::new(direct), false, 1),
        ("https, warm", &https, Box::new(direct), false, 1),
        ("http", &http, Box::new(direct), true, 2),
        ("http, request_on_ack", &http, Box::new(|| direct().request_on_ack(true)), true, 2),
        ("https", &https, Box::new(|| direct().tls_version_max(handclasp::tls::Version::TLS_1_3)), true, 3),
        ("https, request_on_ack", &https, Box::new(|| direct().request_on_ack(true)), true, 3),
    ];
    kinds.extend([
        ("http, CONNECT", &*http, Box::new(|| by(0)) as Made<'_>, true, 3),
        ("https, CONNECT", &https, Box::new(|| by(1)), true, 4),
    ]);
    // Without X25519MLKEM768, the first message of TLS fits into one packet.
    #[cfg(feature = "fast-open")]
    let short_hello = || {
        let provider = rustls::crypto::ring::default_provider();
        direct().tls_backend(handclasp::rustls_0_23::crypto_provider(provider)).tcp_fast_open(true)
    };
    #[cfg(feature = "fast-open")]
    kinds.extend([
        ("http, Fast Open", &*http, Box::new(|| direct().tcp_fast_open(true)) as Made<'_>, true, 1),
        ("https, Fast Open", &https, Box::new(short_hello), true, 2),
    ]);
    println!(
        "| request over 50 ms | round trips | median | TCP | proxy | TLS | wait | packets of the client before the first data of the server |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut wrong = Vec::new();
    for (what, url, builder, is_cold, trips) in &kinds {
        let Taken { median, phases, packets } = runtime.block_on(measure(builder, url, *is_cold));
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let [tcp, proxy, tls, wait] = phases.map(ms);
        println!(
            "| {what} | {trips} | {:.1} ms | {tcp:.1} | {proxy:.1} | {tls:.1} | {wait:.1} | {packets} |",
            ms(median)
        );
        let ideal = TRIP * *trips;
        let is_right = (ideal * 19 / 20..=ideal * 21 / 20).contains(&median);
        if !is_right || !phases.into_iter().all(is_whole) {
            wrong.push((what, trips, median, phases));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
