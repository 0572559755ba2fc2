//! An example that captures its own requests, and prints their packets as textbooks draw them: first for requests on
//! new connections, then for requests on one kept connection, and then for requests that the third packet of the handshake
//! carries.
//!
//! Run the example by `cargo run --release --example handshake_on_the_wire -- [OPTIONS]`. `--help` lists the options. The
//! example needs Linux. The example makes a network namespace and a link with a round-trip time. Where this is not
//! allowed, the capability CAP_NET_RAW is enough, and the packets stay on the loopback device.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use handclasp::{BoxError, Client, ClientBuilder};

use self::capture::{Arrival, Capture};
use self::link::{HERE, Link, NEEDS, THERE};
use self::packet::{Flags, Segment};
use self::terminal::{at_least_one, plural, say};
use self::time::{round_time, time};

#[path = "support/capture.rs"]
mod capture;
#[path = "../benches/support/link.rs"]
mod link;
#[path = "support/packet.rs"]
mod packet;
#[path = "support/server.rs"]
mod server;
#[path = "support/terminal.rs"]
mod terminal;
#[path = "support/time.rs"]
mod time;

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

fn main() -> ExitCode {
    terminal::status(run())
}

fn run() -> Result<(), BoxError> {
    let arguments = Arguments::read()?;
    if arguments.wants_help {
        terminal::write(format_args!("{HELP}"));
        return Ok(());
    }
    let link = Link::enter();
    let address = if link.is_ok() { HERE } else { Ipv4Addr::LOCALHOST };
    let server = server::Server::start_at(address, None)?;
    let port = server.address().port();
    let capture = match (Capture::start(port), &link) {
        (Ok(capture), _) => capture,
        (Err(error), Err(reason)) => {
            let needs = "this example needs a network namespace of its own, or CAP_NET_RAW";
            return Err(format!(
                "{needs}:\n- {reason}:\n  it needs {NEEDS}\n- a packet socket cannot be opened: {error}"
            )
            .into());
        }
        (Err(error), Ok(_)) => return Err(error.into()),
    };
    let round_trip = match &link {
        Ok(link) => {
            link.set_round_trip(arguments.round_trip);
            say!("Packets cross a link with a round-trip time of {}.", round_time(arguments.round_trip));
            arguments.round_trip
        }
        Err(_) => {
            say!("Packets stay on the loopback device, because no namespace can be made here.");
            Duration::ZERO
        }
    };
    say!("Each time is when the packet arrived, after the first request began.");
    let there = SocketAddr::new(if link.is_ok() { THERE } else { address }.into(), port);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut summary = Vec::new();
    for (part, number) in PARTS.iter().zip(1..) {
        say!("\n{number}. {}, {}\n", plural(arguments.requests, "request"), part.title);
        let client = (part.settings)(Client::builder()).build()?;
        let begun = Instant::now();
        runtime.block_on(send(&client, there, arguments.requests))?;
        let took = begun.elapsed();
        client.pool().close_idle();
        let is_complete = |arrivals: &[Arrival]| is_complete(arrivals, arguments.requests);
        let arrivals = capture.until_quiet(3 * round_trip + QUIET, is_complete);
        if !is_complete(&arrivals) {
            return Err("some packets were not captured, because the machine is busy: try again".into());
        }
        let exchange = Exchange { port, begun, arrivals };
        exchange.print();
        let counted = exchange.count()?;
        say!("\nchecked: {counted}");
        summary.push((part.name, exchange.arrivals.len(), counted, took));
    }
    say!("\n                     connections  packets  with content  round trips      time");
    for (name, packets, counted, took) in summary {
        let Counted { connections, with_content, round_trips } = counted;
        say!(
            "{name:<19}  {connections:>11}  {packets:>7}  {with_content:>12}  {round_trips:>11}  {:>8}",
            time(took)
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

/// Whether these are all packets of this number of requests: each request has its response, and both sides have closed
/// each connection.
fn is_complete(arrivals: &[Arrival], requests: usize) -> bool {
    let count = |is_of: fn(&Segment) -> bool| arrivals.iter().filter(|it| is_of(&it.segment)).count();
    let opened = count(|it| it.flags.has(Flags::SYN | Flags::ACK));
    let closed = count(|it| it.flags.has(Flags::FIN));
    count(|it| it.content.starts_with(b"HTTP/")) >= requests && opened > 0 && closed >= 2 * opened
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
        say!("   time, ms  client             server     seq     ack  length");
        for (client, nth) in self.clients().into_iter().zip(0..) {
            if nth > 0 {
                say!();
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
        say!("{}", line.trim_end());
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

/// Returns the words of the first line for which there is room.
fn first_line(content: &[u8]) -> String {
    let line = content.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line: String =
        line.iter().map(|byte| if byte.is_ascii_graphic() { *byte as char } else { ' ' }).collect();
    match line.get(..=ROOM).and_then(|start| start.rfind(' ')) {
        Some(end) => line[..end].to_owned(),
        None => line.chars().take(ROOM).collect(),
    }
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

/// Time without packets after which an exchange is over, in addition to round trips.
const QUIET: Duration = Duration::from_millis(100);
/// Columns for the content of a packet.
const ROOM: usize = 15;

const HELP: &str = "\
handshake_on_the_wire [OPTIONS]

Captures the packets of a few requests to a server of this example, and prints
them: on new connections, on one kept connection, and on new connections whose
third packet carries the request.

  -n, --requests N   number of requests of each part (default 3)
      --rtt MS       round-trip time of the link to the server (default 20)
  -h, --help         prints this text

The example needs Linux. It makes a network namespace and a link, for which root
or a user namespace is enough. Otherwise it captures the packets of the loopback
device, which needs the capability CAP_NET_RAW.
";
