//! What an idle connection costs in memory: handclasp beside other clients with a pool.
//!
//! `cargo bench --manifest-path benches/compare/Cargo.toml --bench idle_memory [-- CONNECTIONS]`, for some minutes. Each
//! measurement is a process of its own, with a server of its own, which is another process. The client makes 10,000
//! connections (or what the limit of open files allows), each for a response, in one of two ways:
//!
//! - *at once*: to one host. All responses have begun before the first is read. Between the connections' memory was that
//!   of the responses, which is free again, but in pieces that the system does not get back: it is in the resident memory.
//! - *in turn*: to as many hosts, one response after another. There are no such holes, but what is kept of a host counts.
//!
//! At last the server still counts all connections, and all are idle. Heap is what is allocated then, less what was with
//! one connection; resident is the growth of the memory that the process has from the system.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use http::Uri;
use support::clients::{Client, Kind, Settings};
use support::measure::Report;
use support::server::{Control, DOMAIN, ROOT, Server};
use support::{Arguments, BoxError, heap};

#[global_allocator]
static ALLOCATOR: heap::Counting = heap::Counting;

fn main() -> Result<ExitCode, BoxError> {
    heap::count(true);
    let arguments = Arguments::read()?;
    let files = rlimit::Resource::NOFILE.get_soft()?;
    let words: Vec<&str> = arguments.words.iter().map(String::as_str).collect();
    if let ["cell", client, way, scheme, address, size, connections, control] = words[..] {
        let cell = Cell {
            is_at_once: way == "at_once",
            scheme,
            address: address.parse()?,
            size: size.parse()?,
            connections: connections.parse()?,
            control: control.parse()?,
        };
        let client = Kind::named(client)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let [heap, resident] = runtime.block_on(cell.measure(client))?;
        println!("{heap} {resident}");
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = words.iter().find_map(|word| word.parse().ok());
    let wanted = wanted.unwrap_or(if arguments.is_quick { 50 } else { 10_000 });
    let connections = wanted.min(usize::try_from(files)?.saturating_sub(100));
    if connections < wanted {
        println!("(The limit of open files, {files}, allows {connections} connections, not {wanted}.)\n");
    }
    compare(connections)
}

/// Prints the table.
fn compare(connections: usize) -> Result<ExitCode, BoxError> {
    println!("### Memory per idle connection, {connections} of them, in bytes\n");
    println!("| client | kind | made | after a body of | heap | resident | budget | heap | resident |");
    println!("|---|---|---|---:|---:|---:|---:|---|---|");
    let mut report = Report::new("idle_memory");
    let mut address = Ipv4Addr::new(127, 0, 0, 2);
    for (kind, scheme, budget) in [("plain", "http", 1536), ("TLS", "https", 8192)] {
        for (made, way) in [("at once", "at_once"), ("in turn", "in_turn")] {
            for size in [13, 1 << 20] {
                for client in Client::KINDS {
                    let [heap, resident] = in_a_process(client, way, scheme, address, size, connections)?;
                    // So that no port of this run is missing in the next.
                    address = Ipv4Addr::from(u32::from(address) + 1);
                    let verdict = |bytes| if bytes <= budget { "met" } else { "MISSED" };
                    let judged = match client {
                        Kind::Handclasp => format!("{budget} | {} | {}", verdict(heap), verdict(resident)),
                        _ => "| |".to_owned(),
                    };
                    let name = client.name();
                    println!("| {name} | {kind} | {made} | {size} | {heap} | {resident} | {judged} |");
                    let cell = format!("{scheme}/{way}/after-{size}");
                    report.result(&format!("heap/{cell}"), name, heap as f64, "bytes");
                    report.result(&format!("resident/{cell}"), name, resident as f64, "bytes");
                }
            }
        }
    }
    report.end();
    Ok(ExitCode::SUCCESS)
}

fn in_a_process(
    client: Kind,
    way: &str,
    scheme: &str,
    address: Ipv4Addr,
    size: usize,
    connections: usize,
) -> Result<[i64; 2], BoxError> {
    let server = Server::start(address, scheme == "https", 2)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["cell", client.name(), way, scheme, &server.address.to_string(), &size.to_string()]);
    command.args([connections.to_string(), server.control.to_string()]);
    let output = command.env(ROOT, &server.root).stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8(output.stdout)?;
    let (heap, resident) = text.trim().split_once(' ').ok_or("the measurement failed")?;
    Ok([heap.parse()?, resident.parse()?])
}

/// One measurement.
struct Cell<'a> {
    is_at_once: bool,
    scheme: &'a str,
    address: SocketAddr,
    size: usize,
    connections: usize,
    control: SocketAddr,
}

impl Cell<'_> {
    /// Bytes per idle connection: on the heap, and resident.
    async fn measure(&self, kind: Kind) -> Result<[i64; 2], BoxError> {
        let mut control = Control::connect(self.control)?;
        let client = Client::new(kind, &Settings::new(&std::env::var(ROOT)?, self.address.ip()))?;
        // The client, and the first connection with everything that comes once.
        client.get(&self.uri(0)?).await?.read(self.size).await?;
        settle().await;
        let before = [heap::live(), resident()?];
        if self.is_at_once {
            let held: Uri = format!("{}/held", self.uri(0)?).parse()?;
            let mut responses = Vec::with_capacity(self.connections);
            for _ in 0..self.connections {
                responses.push(client.get(&held).await?);
            }
            for response in responses {
                control.go_on()?;
                response.read(self.size).await?;
            }
        } else {
            for host in 1..self.connections {
                client.get(&self.uri(host)?).await?.read(self.size).await?;
            }
        }
        settle().await;
        let after = [heap::live(), resident()?];
        self.assert_open(&mut control, "all are kept")?;
        if let Client::Handclasp(client) = &client {
            let total = client.pool().stats().total;
            assert_eq!((total.idle, total.active), (self.connections, 0), "{total}");
        }
        client.get(&self.uri(0)?).await?.read(self.size).await?;
        self.assert_open(&mut control, "and of use")?;
        let others = self.connections as i64 - 1;
        Ok([0, 1].map(|which| (after[which] - before[which]) / others))
    }

    /// At once, there is one host; in turn, each has a name.
    fn uri(&self, host: usize) -> Result<Uri, BoxError> {
        let Self { scheme, address, size, .. } = self;
        let uri = match self.is_at_once {
            true => format!("{scheme}://{address}/{size}"),
            false => format!("{scheme}://host-{host:06}.{DOMAIN}:{}/{size}", address.port()),
        };
        Ok(uri.parse()?)
    }

    fn assert_open(&self, control: &mut Control, what: &str) -> Result<(), BoxError> {
        let open = control.open_connections()?;
        if open == self.connections as u64 { Ok(()) } else { Err(format!("{what}: {open} are open").into()) }
    }
}

/// Until tasks that run beside a client have done what they had to do.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

/// The memory that this process has from the system.
fn resident() -> io::Result<i64> {
    // In pages in `statm`; here in kB, and exact.
    let text = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<i64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::ErrorKind::InvalidData.into())
}
