//! Waiting until what a server did has arrived at the client's sockets, without a runtime hearing of it.
//!
//! The kernel is asked, not the sockets, and threads are blocked: for tests of what a client knows past its reactor.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::PATIENCE;

/// Blocks until the kernel has given the client's socket something to say.
pub fn wait_for_delivery(local: SocketAddr, remote: SocketAddr) {
    wait_until(|| silent(remote).is_none_or(|silent| !silent.contains(&local.port())));
}

/// The same for all connections to a server.
pub fn wait_for_all(remote: SocketAddr) {
    wait_until(|| silent(remote).is_none_or(|silent| silent.is_empty()));
}

fn wait_until(is_delivered: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_delivered() {
        assert!(begun.elapsed() < PATIENCE, "nothing arrived at the client");
        thread::sleep(Duration::from_micros(50));
    }
}

/// The ports of the client's sockets that are established and have nothing to read. `None`: there is no telling, but
/// loopback is quick.
fn silent(remote: SocketAddr) -> Option<Vec<u16>> {
    let ports = read_table(remote);
    if ports.is_none() {
        thread::sleep(Duration::from_millis(5));
    }
    ports
}

#[cfg(target_os = "linux")]
fn read_table(remote: SocketAddr) -> Option<Vec<u16>> {
    use std::io::Read;

    let mut table = String::new();
    let file = std::fs::File::open("/proc/self/net/tcp").ok()?;
    file.take(LARGEST_TABLE).read_to_string(&mut table).ok()?;
    if table.len() as u64 == LARGEST_TABLE {
        return None;
    }
    let remote = format!("0100007F:{:04X}", remote.port());
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let silent =
        rows.filter(|row| row[2] == remote && row[3] == ESTABLISHED && row[4].ends_with(":00000000"));
    Some(silent.map(|row| u16::from_str_radix(row[1].rsplit(':').next().unwrap(), 16).unwrap()).collect())
}

#[cfg(target_os = "linux")]
const ESTABLISHED: &str = "01";

/// The sockets of other tests that wait out their end stand in the table too: it is not worth reading all of it.
#[cfg(target_os = "linux")]
const LARGEST_TABLE: u64 = 128 * 1024;

#[cfg(not(target_os = "linux"))]
fn read_table(_: SocketAddr) -> Option<Vec<u16>> {
    None
}
