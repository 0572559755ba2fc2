//! [`Timings`]: the lengths of the phases of one request, as a caller reads them.
//!
//! The values are cut from the milestones that `record/timeline.rs` keeps. Invariant: the phases sum to the total, and
//! a phase that did not happen is absent instead of zero.

use std::fmt;
use std::time::Duration;

/// The lengths of the phases of one request.
///
/// The milestones of the request cut its time into phases, so that the phases sum to `total`:
/// `previous + queued + dns + connect + proxy + tls + send + wait + receive`.
///
/// If the request waited for a new connection, `dns`, `connect`, `proxy` and `tls` say how long each part of the dial
/// took, clipped to the time for which this request waited. On a reused connection these fields are `None`.
///
/// The page on [phases](crate::manual::phases) has a picture, and the spans with the same times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// Time spent waiting for a connection, apart from the phases of a dial. The time is zero if an idle connection was
    /// found.
    pub queued: Duration,
    /// Time for which the host name was resolved.
    pub dns: Option<Duration>,
    /// Time from the first SYN until a TCP connection was up, over all addresses that were tried.
    pub connect: Option<Duration>,
    /// Time for which a proxy was asked for the connection.
    pub proxy: Option<Duration>,
    /// Time of the TLS handshake.
    pub tls: Option<Duration>,
    /// Time from the assignment of the connection until the last byte of the request was written, or until the response
    /// head was complete if the head was complete earlier.
    pub send: Duration,
    /// Time from the end of `send` until the response head was complete. This is mostly the server's time.
    pub wait: Duration,
    /// Time from the response head to the end of the content. `None` until the content has ended.
    pub receive: Option<Duration>,
    /// Time of earlier attempts of this request, and of the redirects before it. If the server speaks HTTP/1.0, the time
    /// for which the content was read into memory counts too, because such a server needs the length beforehand.
    pub previous: Duration,
    /// Time from the call until the latest milestone.
    pub total: Duration,
}

impl fmt::Display for Timings {
    /// Writes the total and each phase that took time: `12.3ms: queued 10.0µs, DNS 1.2ms, TCP 2.0ms, wait 9.1ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1?}", self.total)?;
        let took = |time: Duration| Some(time).filter(|time| !time.is_zero());
        let phases = [
            ("earlier attempts", took(self.previous)),
            ("queued", took(self.queued)),
            ("DNS", self.dns),
            ("TCP", self.connect),
            ("proxy", self.proxy),
            ("TLS", self.tls),
            ("send", took(self.send)),
            ("wait", took(self.wait)),
            ("receive", self.receive),
        ];
        let phases = phases.into_iter().filter_map(|(name, took)| Some((name, took?)));
        phases.enumerate().try_for_each(|(nth, (name, took))| {
            write!(f, "{}{name} {took:.1?}", if nth == 0 { ": " } else { ", " })
        })
    }
}

/// A duration as a person would write it. `Display` leaves out digits that say nothing, such as nanoseconds of a second.
pub(crate) struct Rounded(pub(crate) Duration);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let unit: u128 = match nanos {
            0..1_000_000 => 1_000,
            1_000_000..100_000_000 => 10_000,
            _ => 1_000_000,
        };
        let rounded = u64::try_from(nanos.div_ceil(unit) * unit).map_or(self.0, Duration::from_nanos);
        write!(f, "{rounded:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rounded_duration_has_no_nanoseconds() {
        for (nanos, shown) in [
            (0, "0ns"),
            (1, "1µs"),
            (999_999, "1ms"),
            (1_500_000, "1.5ms"),
            (12_345_678, "12.35ms"),
            (123_456_789, "124ms"),
            (300_000_000, "300ms"),
            (1_234_567_890, "1.235s"),
            (60_000_000_000, "60s"),
        ] {
            assert_eq!(Rounded(Duration::from_nanos(nanos)).to_string(), shown);
        }
        assert_eq!(Rounded(Duration::MAX).to_string(), format!("{:?}", Duration::MAX));
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn timings_read_as_a_person_would_write_them() {
        let timings =
            Timings { queued: MS, send: MS / 10, wait: 9 * MS, total: 12 * MS, ..Timings::default() };
        assert_eq!(timings.to_string(), "12.0ms: queued 1.0ms, send 100.0µs, wait 9.0ms");
        let timings = Timings {
            dns: Some(MS),
            connect: Some(2 * MS),
            tls: Some(Duration::ZERO),
            receive: Some(3 * MS),
            previous: 5 * MS,
            total: 11 * MS,
            ..Timings::default()
        };
        let text = "11.0ms: earlier attempts 5.0ms, DNS 1.0ms, TCP 2.0ms, TLS 0.0ns, receive 3.0ms";
        assert_eq!(timings.to_string(), text);
        assert_eq!(Timings::default().to_string(), "0.0ns");
    }
}
