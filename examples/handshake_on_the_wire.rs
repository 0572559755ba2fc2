//! An example that captures its own requests, and prints their packets as textbooks draw them: first for requests on
//! new connections, then for requests on one kept connection, and then for requests that the third packet of the handshake
//! carries.
//!
//! Run the example by `cargo run --release --example handshake_on_the_wire -- [OPTIONS]`. `--help` lists the options. The
//! example needs Linux. The example makes a network namespace and a link with a round-trip time. Where this is not
//! allowed, the capability CAP_NET_RAW is enough, and the packets stay on the loopback device.

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use handclasp::{Client, ClientBuilder};

use self::capture::{Arrival, Capture};
use self::link::{HERE, Link, NEEDS, THERE};
use self::packet::{Flags, Segment};

#[path = "support/capture.rs"]
mod capture;
#[path = "../benches/support/link.rs"]
mod link;
#[path = "support/packet.rs"]
mod packet;
#[path = "support/server.rs"]
mod server;

/// Requests that are sent, captured and counted.
struct Part {
    title: &'static str,
    /// Name of the part in the summary.
    name: &'static str,
    settings: fn(ClientBuilder) -> ClientBuilder,
}

const PARTS: &[Part] = &[
    Part {
        title: "each on a new connection",
        name: "new connections",
        settings: |builder| builder.max_idle_per_host(0),
    },
    Part { title: "all on one kept connection", name: "one kept connection", settings: |builder| builder },
    Part {
        title: "each on a new connection, whose third packet carries the request",
        name: "request on ACK",
        settings: |builder| builder.max_idle_per_host(0).request_on_ack(true),
    },
];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::read()?;
    if arguments.wants_help {
        print!("{HELP}");
        return Ok(());
    }
    let link = Link::enter();
    let address = if link.is_ok() { HERE } else { Ipv4Addr::LOCALHOST };
    let server = server::Server::start_at(address, None)?;
    let port = server.address().port();
    let capture = match (Capture::start(port), &link) {
        (Ok(capture), _) => capture,
        (Err(error), Err(reason)) => {
            println!("This example needs a network namespace of its own, or CAP_NET_RAW.");
            println!("- {reason}:\n  it needs {NEEDS}.");
            println!("- A packet socket cannot be opened: {error}.");
            return Ok(());
        }
        (Err(error), Ok(_)) => return Err(error.into()),
    };
    let round_trip = match &link {
        Ok(link) => {
            link.set_round_trip(arguments.round_trip);
            println!("Packets cross a link with a round-trip time of {:?}.", arguments.round_trip);
            arguments.round_trip
        }
        Err(_) => {
            println!("Packets stay on the loopback device, because no namespace can be made here.");
            Duration::ZERO
        }
    };
    println!("Each time is when the packet arrived, after the first request began.");
    let there = SocketAddr::new(if link.is_ok() { THERE } else { address }.into(), port);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut summary = Vec::new();
    for (part, number) in PARTS.iter().zip(1..) {
        println!("\n{number}. {}, {}\n", plural(arguments.requests, "request"), part.title);
        let client = (part.settings)(Client::builder()).build()?;
        let begun = Instant::now();
        runtime.block_on(send(&client, there, arguments.requests))?;
        let took = begun.elapsed();
        client.pool().close_idle();
        let arrivals = capture.until_quiet(3 * round_trip + QUIET);
        let exchange = Exchange { port, begun, arrivals };
        exchange.print();
        let counted = exchange.count()?;
        println!("\nchecked: {counted}");
        summary.push((part.name, exchange.arrivals.len(), counted, took));
    }
    println!("\n                     connections  packets  with content  round trips       time");
    for (name, packets, counted, took) in summary {
        let Counted { connections, with_content, round_trips } = counted;
        println!(
            "{name:<19}  {connections:>11}  {packets:>7}  {with_content:>12}  {round_trips:>11}  {:>6.1} ms",
            took.as_secs_f64() * 1e3
        );
    }
    Ok(())
}

async fn send(client: &Client, server: SocketAddr, requests: usize) -> handclasp::Result<()> {
    for _ in 0..requests {
        client.get(format!("http://{server}/hello")).send().await?.bytes().await?;
    }
    Ok(())
}

/// The packets of a part, in order of their arrival.
struct Exchange {
    port: u16,
    begun: Instant,
    arrivals: Vec<Arrival>,
}

/// First sequence numbers of the two sides of a connection.
#[derive(Default)]
struct Origin {
    client: u32,
    server: u32,
}

struct Counted {
    connections: usize,
    with_content: usize,
    round_trips: usize,
}

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let connections = plural(self.connections, "connection");
        write!(f, "{connections}, opened by SYN, SYN,ACK and ACK, and each ack is seq + 1")
    }
}

impl Exchange {
    /// Returns the ports of the client, in order of their first SYN.
    fn clients(&self) -> Vec<u16> {
        let mut clients = Vec::new();
        for Arrival { segment, .. } in &self.arrivals {
            let is_first = segment.destination_port == self.port && segment.flags.has(Flags::SYN);
            if is_first && !clients.contains(&segment.source_port) {
                clients.push(segment.source_port);
            }
        }
        clients
    }

    /// Returns the packets of a connection, in order of their arrival.
    fn of(&self, client: u16) -> impl Iterator<Item = &Arrival> {
        let is_of = move |arrival: &&Arrival| {
            let Segment { source_port, destination_port, .. } = arrival.segment;
            source_port == client || destination_port == client
        };
        self.arrivals.iter().filter(is_of)
    }

    /// Prints a line for each packet of each connection, with an arrow to the side at which the packet arrived.
    fn print(&self) {
        println!("   time, ms  client             server     seq     ack  length");
        for (client, nth) in self.clients().into_iter().zip(0..) {
            if nth > 0 {
                println!();
            }
            let mut origin = Origin::default();
            for arrival in self.of(client) {
                self.print_packet(arrival, &mut origin);
            }
        }
    }

    fn print_packet(&self, arrival: &Arrival, origin: &mut Origin) {
        let Arrival { time, segment } = arrival;
        let is_ours = segment.destination_port == self.port;
        if segment.flags.has(Flags::SYN) {
            *if is_ours { &mut origin.client } else { &mut origin.server } = segment.sequence;
        }
        let (own, other) =
            if is_ours { (origin.client, origin.server) } else { (origin.server, origin.client) };
        let acknowledged = if segment.flags.has(Flags::ACK) {
            segment.acknowledgment.wrapping_sub(other).to_string()
        } else {
            "-".into()
        };
        let arrow = if is_ours {
            format!("{:<8} ──────────▶         ", segment.flags)
        } else {
            format!("         ◀────────── {:<8}", segment.flags)
        };
        let line = format!(
            "{:>11.1}  {arrow} {:>4} {acknowledged:>7} {:>7}  {}",
            time.duration_since(self.begun).as_secs_f64() * 1e3,
            segment.sequence.wrapping_sub(own),
            segment.content.len(),
            first_line(&segment.content),
        );
        println!("{}", line.trim_end());
    }

    /// Checks each handshake, and counts connections, packets and round trips.
    ///
    /// # Errors
    ///
    /// Fails if a handshake is not SYN, SYN,ACK, ACK, or if one of its acknowledgments is not the sequence number
    /// before it plus one.
    fn count(&self) -> Result<Counted, String> {
        let (mut with_content, mut round_trips) = (0, 0);
        for Arrival { segment, .. } in &self.arrivals {
            let is_ours = segment.destination_port == self.port;
            with_content += usize::from(!segment.content.is_empty());
            // An answer to SYN ends one round trip, and each response ends one.
            let is_answer = segment.content.starts_with(b"HTTP/") || segment.flags.has(Flags::SYN);
            round_trips += usize::from(!is_ours && is_answer);
        }
        let clients = self.clients();
        clients.iter().try_for_each(|client| self.check(*client))?;
        Ok(Counted { connections: clients.len(), with_content, round_trips })
    }

    fn check(&self, client: u16) -> Result<(), String> {
        let segments = || self.of(client).map(|arrival| &arrival.segment);
        let ours = || segments().filter(move |segment| segment.source_port == client);
        let syn = ours().find(|segment| segment.flags.has(Flags::SYN)).ok_or("no SYN was captured")?;
        let answer =
            segments().find(|segment| segment.destination_port == client).ok_or("no SYN,ACK was captured")?;
        let ack = ours().find(|segment| segment.flags.has(Flags::ACK)).ok_or("no ACK was captured")?;
        if !answer.flags.has(Flags::SYN | Flags::ACK) || answer.acknowledgment != syn.next_sequence() {
            return Err(format!("the answer to SYN was {answer:?}"));
        }
        if ack.acknowledgment != answer.next_sequence() || ack.sequence != syn.next_sequence() {
            return Err(format!("the answer to SYN,ACK was {ack:?}"));
        }
        Ok(())
    }
}

fn plural(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Returns the first line of the content, as far as there is room for it.
fn first_line(content: &[u8]) -> String {
    let line = content.split(|byte| *byte == b'\r').next().unwrap_or_default();
    line.iter().take(15).map(|byte| if byte.is_ascii_graphic() { *byte as char } else { ' ' }).collect()
}

struct Arguments {
    requests: usize,
    round_trip: Duration,
    wants_help: bool,
}

impl Arguments {
    fn read() -> Result<Self, lexopt::Error> {
        use lexopt::prelude::{Long, Short, ValueExt};

        let mut read = Self { requests: 3, round_trip: Duration::from_millis(20), wants_help: false };
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Short('n') | Long("requests") => read.requests = parser.value()?.parse_with(at_least_one)?,
                Long("rtt") => read.round_trip = Duration::from_millis(parser.value()?.parse()?),
                Short('h') | Long("help") => read.wants_help = true,
                other => return Err(other.unexpected()),
            }
        }
        Ok(read)
    }
}

fn at_least_one(text: &str) -> Result<usize, io::Error> {
    match text.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err(io::Error::other("the number of requests is at least 1")),
    }
}

const HELP: &str = "\
handshake_on_the_wire [OPTIONS]

Prints the packets of a few requests: first on new connections, then on one kept
connection, and then on new connections whose third packet carries the request.
Needs Linux, and a network namespace of its own or CAP_NET_RAW.

  -n, --requests N  number of requests of each kind (default 3)
      --rtt MS      round-trip time of the link, in milliseconds (default 20)
";

/// Time without packets after which an exchange is over, in addition to round trips.
const QUIET: Duration = Duration::from_millis(100);
