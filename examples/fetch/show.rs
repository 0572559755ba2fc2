//! Texts that describe a request and the pool.

use std::fmt::{Display, Write as _};
use std::io::Write as _;
use std::time::Duration;

use handclasp::{ConnectionInfo, DropReason, HostStats, PoolStats, Timings};
use http::StatusCode;

/// Prints a line on stderr. A failed write is ignored, because there is no other place to report it.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

pub(crate) fn complain(text: impl Display) {
    note(format_args!("fetch: {text}"));
}

/// Returns one line about one request.
pub(crate) fn request(
    status: StatusCode,
    received: u64,
    timings: &Timings,
    connection: &ConnectionInfo,
) -> String {
    let mut line = format!(
        "{} {:>9} {:>9}  |{}|  conn {:<2} #{:<3} {:<6} ",
        status.as_u16(),
        size(received),
        time(timings.total),
        bar(timings),
        connection.id(),
        connection.ordinal(),
        if connection.is_reused() { "reused" } else { "new" },
    );
    for (_, name, took) in phases(timings) {
        // The result is ignored because writing into a String does not fail.
        let _ = write!(line, " {name} {}", time(took));
    }
    line
}

/// Returns the phases that took at least a microsecond, in order: letter, name, duration.
fn phases(t: &Timings) -> impl Iterator<Item = (char, &'static str, Duration)> {
    let all = [
        ('p', "earlier", Some(t.previous)),
        ('q', "queue", Some(t.queued)),
        ('d', "dns", t.dns),
        ('c', "connect", t.connect),
        ('x', "proxy", t.proxy),
        ('t', "tls", t.tls),
        ('s', "send", Some(t.send)),
        ('w', "wait", Some(t.wait)),
        ('r', "receive", t.receive),
    ];
    let timed = all.into_iter().filter_map(|(letter, name, took)| Some((letter, name, took?)));
    timed.filter(|(.., took)| took.as_micros() > 0)
}

/// Returns the phases as a bar. Each cell stands for a part of the total time, and shows the letter of the phase that was under
/// way in the middle of this part.
fn bar(timings: &Timings) -> String {
    let cell = timings.total.as_secs_f64() / WIDTH as f64;
    let mut bar = String::with_capacity(WIDTH);
    let mut until = 0.0;
    let mut cells = 0;
    for (letter, _, took) in phases(timings) {
        until += took.as_secs_f64();
        while cells < WIDTH && (cells as f64 + 0.5) * cell < until {
            bar.push(letter);
            cells += 1;
        }
    }
    bar.extend(std::iter::repeat_n(' ', WIDTH - cells));
    bar
}

/// Returns the ledger of each host, and the total if there are several hosts.
pub(crate) fn ledger(stats: &PoolStats) -> String {
    let width = stats.hosts.iter().map(|host| host.origin.len()).max().unwrap_or_default().max(TOTAL.len());
    let mut text = format!("{:<width$}  opened  requests  reused  handshakes saved  time saved", "origin");
    for host in &stats.hosts {
        text += &entry(&host.origin, host, width);
    }
    if stats.hosts.len() != 1 {
        text += &entry(TOTAL, &stats.total, width);
    }
    text
}

fn entry(name: &str, host: &HostStats, width: usize) -> String {
    let mut text = format!(
        "\n{name:<width$}  {:>6}  {:>8}  {:>6}  {:>16}  {:>10}",
        host.opened,
        host.requests,
        host.reused,
        host.handshakes_saved,
        time(host.time_saved)
    );
    if host.failed_dials > 0 {
        let _ = write!(text, "  failed dials: {}", host.failed_dials);
    }
    for reason in DropReason::ALL.iter().copied().filter(|reason| host.closed(*reason) > 0) {
        let _ = write!(text, "  closed, {reason}: {}", host.closed(reason));
    }
    text
}

pub(crate) fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

fn time(duration: Duration) -> String {
    match duration.as_micros() {
        0..1_000 => format!("{}µs", duration.as_micros()),
        1_000..1_000_000 => format!("{:.1}ms", duration.as_secs_f64() * 1e3),
        _ => format!("{:.2}s", duration.as_secs_f64()),
    }
}

const WIDTH: usize = 24;
const TOTAL: &str = "total";
