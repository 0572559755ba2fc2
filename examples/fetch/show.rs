//! Texts that describe a request and the pool.

use std::fmt::{Display, Write as _};
use std::io::Write as _;
use std::time::Duration;

use handclasp::{DropReason, HostStats, PoolStats, Timings};

#[path = "../support/time.rs"]
mod time;

pub(crate) use self::time::time;

/// Prints a line on stderr. A failed write is ignored, because there is no other place to report it.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

pub(crate) fn complain(text: impl Display) {
    note(format_args!("fetch: {text}"));
}

/// Returns the URL without user and password, or `URL n` for a text that is not clearly a URL. Such a text may be a part of a
/// header field that the shell has split.
pub(crate) fn name(url: &str, number: usize) -> String {
    let is_http = |scheme: &str| ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    let parts =
        url.split_once("://").filter(|(scheme, _)| is_http(scheme) && !url.contains(char::is_control));
    let Some((scheme, rest)) = parts else {
        return format!("URL {}", number + 1);
    };
    let rest = rest.trim_start_matches(['/', '\\']);
    let (authority, path) = rest.split_at(rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// Returns the phases that took at least a microsecond, in order: letter, name, duration.
pub(crate) fn phases(t: &Timings) -> impl Iterator<Item = (char, &'static str, Duration)> {
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

/// Returns the ledger of each host, and the total if there are several hosts. An origin that does not fit into the width
/// is printed on a line of its own.
pub(crate) fn ledger(stats: &PoolStats, width: usize) -> String {
    let longest = stats.hosts.iter().map(|host| host.origin.len()).max().unwrap_or_default();
    let is_wide = longest + NUMBERS.len() > width;
    let column = if is_wide { TOTAL.len() + 1 } else { longest.max(ORIGIN.len()) };
    let mut text = format!("{ORIGIN:<column$}{NUMBERS}");
    for host in &stats.hosts {
        let _ = match is_wide {
            true => write!(text, "\n{}\n{:column$}", host.origin, ""),
            false => write!(text, "\n{:<column$}", host.origin),
        };
        text += &entry(host);
    }
    if stats.hosts.len() != 1 {
        let _ = write!(text, "\n{TOTAL:<column$}");
        text += &entry(&stats.total);
    }
    text
}

fn entry(host: &HostStats) -> String {
    let mut text = format!(
        "  {:>6}  {:>8}  {:>6}  {:>16}  {:>10}",
        host.opened,
        host.requests,
        host.reused,
        host.handshakes_saved,
        time(host.time_saved)
    );
    // The result is ignored because writing into a String does not fail.
    if host.failed_dials > 0 {
        let _ = write!(text, "\n  failed dials: {}", host.failed_dials);
    }
    for reason in DropReason::ALL.iter().copied().filter(|reason| host.closed(*reason) > 0) {
        let _ = write!(text, "\n  closed, {reason}: {}", host.closed(reason));
    }
    text
}

/// Returns a size in at most 10 columns.
pub(crate) fn size(bytes: u64) -> String {
    let text = indicatif::HumanBytes(bytes).to_string();
    match text.split_once('.') {
        // From 1000 to 1023 of a unit, there is no column for a fraction.
        Some((whole, rest)) if whole.len() > 3 => {
            whole.to_owned() + rest.trim_start_matches(|char: char| char.is_ascii_digit())
        }
        _ => text,
    }
}

const NUMBERS: &str = "  opened  requests  reused  handshakes saved  time saved";
const ORIGIN: &str = "origin";
const TOTAL: &str = "total";
