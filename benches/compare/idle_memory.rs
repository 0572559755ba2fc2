//! This bench measures the memory of an idle connection, for handclasp and for other clients with a pool.
//!
//! Run this bench by `cargo bench --manifest-path benches/compare/Cargo.toml --bench idle_memory [--
//! CONNECTIONS]`. The bench takes some minutes. Each measurement runs in a process of its own, and its server is
//! another process. The client makes 10,000 connections, or fewer if the limit of open files is lower. Each
//! connection is made for one response, in one of two ways:
//!
//! - *at once*: to one host. All responses have begun before the first one is read. The memory of the responses
//!   lies between the memory of the connections. At the end the memory of the responses is free, but counts as
//!   resident, because the allocator cannot return such small pieces to the system.
//! - *in turn*: to one host each, one response after another. This way leaves no small pieces of free memory, but
//!   the memory of the hosts counts too.
//!
//! At the end the server still counts all connections, and all are idle. *Heap* is the number of allocated bytes
//! at that moment minus the number with one connection. *Resident* is the growth of the process's resident memory.

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
                    // Each run has an address of its own, because the ports of an earlier run are still blocked on
                    // its address.
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

/// A measurement: the way in which connections are made, the server, and the size of the bodies.
struct Cell<'a> {
    is_at_once: bool,
    scheme: &'a str,
    address: SocketAddr,
    size: usize,
    connections: usize,
    control: SocketAddr,
}

impl Cell<'_> {
    /// Returns the bytes per idle connection: on the heap, and resident.
    async fn measure(&self, kind: Kind) -> Result<[i64; 2], BoxError> {
        let mut control = Control::connect(self.control)?;
        let client = Client::new(kind, &Settings::new(&std::env::var(ROOT)?, self.address.ip()))?;
        // The client and the first connection allocate everything that is needed only once.
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
        self.assert_open(&mut control, "the client has not kept all connections")?;
        if let Client::Handclasp(client) = &client {
            let total = client.pool().stats().total;
            assert_eq!((total.idle, total.active), (self.connections, 0), "{total}");
        }
        client.get(&self.uri(0)?).await?.read(self.size).await?;
        self.assert_open(&mut control, "the client has not used a kept connection")?;
        let others = self.connections as i64 - 1;
        Ok([0, 1].map(|which| (after[which] - before[which]) / others))
    }

    /// Returns the URI for a connection. All connections that are made at once have one host. Each connection that
    /// is made in turn has a host of its own.
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

/// Waits until the tasks of a client have finished their work.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

/// Returns the resident memory of this process.
fn resident() -> io::Result<i64> {
    // The file `smaps_rollup` has the exact number of kB, but `statm` has an inexact number of pages.
    let text = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<i64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::ErrorKind::InvalidData.into())
}
