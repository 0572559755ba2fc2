//! The options of TCP sockets, and how they are set.
//!
//! This file knows no addresses. Invariants: if the system refuses an option of this file, the dial goes on, because
//! the connection also works without the option. If the system refuses an option of `strict.rs`, the dial ends. A value
//! that is too small or too large for the system is replaced by the nearest value that the system accepts.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpSocket;

use super::held_ack;
use super::strict::Strict;

/// Options of the TCP sockets of one client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TcpOptions {
    /// Whether small writes leave at once.
    pub(crate) nodelay: bool,
    /// Whether the first write carries the acknowledgment of the server's SYN.
    pub(crate) request_on_ack: bool,
    /// Silence after which the system sends the first probe, or `None` for no probes.
    pub(crate) keepalive: Option<Duration>,
    /// Time between two probes.
    pub(crate) keepalive_interval: Option<Duration>,
    /// Number of probes without an answer after which the connection is lost.
    pub(crate) keepalive_retries: Option<u32>,
    /// Time after which bytes without an acknowledgment end the connection.
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    pub(crate) user_timeout: Option<Duration>,
    /// Size of the system's buffer for bytes that are to be sent.
    pub(crate) send_buffer: Option<u32>,
    /// Size of the system's buffer for bytes that were received.
    pub(crate) recv_buffer: Option<u32>,
    /// Number of unsent bytes in the system's buffer below which the socket accepts further bytes.
    #[cfg(any(target_os = "android", target_os = "linux"))]
    pub(crate) notsent_lowat: Option<u32>,
    /// Options that end a dial if the system refuses them.
    pub(crate) strict: Strict,
}

impl Default for TcpOptions {
    /// With these options, the system notices a peer that vanished after about 75 s, and NAT tables keep the connection. Go
    /// probes every 15 s as well. Nagle's algorithm is off, because a head and its body are written by one call and later
    /// writes must not wait.
    fn default() -> Self {
        Self {
            nodelay: true,
            request_on_ack: false,
            keepalive: Some(Duration::from_secs(15)),
            keepalive_interval: Some(Duration::from_secs(15)),
            keepalive_retries: Some(4),
            #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
            user_timeout: None,
            send_buffer: None,
            recv_buffer: None,
            #[cfg(any(target_os = "android", target_os = "linux"))]
            notsent_lowat: None,
            strict: Strict::default(),
        }
    }
}

impl TcpOptions {
    /// Sets the options of a socket that is not connected.
    ///
    /// # Errors
    ///
    /// If the system refuses one of the strict options.
    pub(super) fn set(&self, socket: &TcpSocket) -> io::Result<()> {
        self.strict.set(&SockRef::from(socket))?;
        // Further errors are ignored, because the dial needs none of these options.
        let _ = socket.set_nodelay(self.nodelay);
        if self.request_on_ack {
            held_ack::hold(socket);
        }
        if let Some(keepalive) = self.tcp_keepalive() {
            let _ = SockRef::from(socket).set_tcp_keepalive(&keepalive);
        }
        #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
        if let Some(timeout) = self.user_timeout.filter(|timeout| !timeout.is_zero()) {
            let millis = timeout.as_nanos().div_ceil(NANOS_PER_MILLI).min(MOST_MILLIS.into());
            let timeout = Duration::from_millis(u64::try_from(millis).unwrap_or(MOST_MILLIS));
            let _ = SockRef::from(socket).set_tcp_user_timeout(Some(timeout));
        }
        if let Some(size) = self.send_buffer {
            let _ = SockRef::from(socket).set_send_buffer_size(buffer_size(size));
        }
        if let Some(size) = self.recv_buffer {
            let _ = SockRef::from(socket).set_recv_buffer_size(buffer_size(size));
        }
        #[cfg(any(target_os = "android", target_os = "linux"))]
        if let Some(bytes) = self.notsent_lowat {
            let _ = SockRef::from(socket).set_tcp_notsent_lowat(bytes);
        }
        Ok(())
    }

    fn tcp_keepalive(&self) -> Option<TcpKeepalive> {
        let keepalive = TcpKeepalive::new().with_time(whole_seconds(self.keepalive?));
        #[cfg(any(
            target_os = "android",
            target_os = "freebsd",
            target_os = "ios",
            target_os = "linux",
            target_os = "macos",
            target_os = "netbsd",
            target_os = "windows",
        ))]
        let keepalive = {
            /// Largest number of probes that Linux takes.
            const MOST_RETRIES: u32 = 127;
            let keepalive = match self.keepalive_interval {
                Some(interval) => keepalive.with_interval(whole_seconds(interval)),
                None => keepalive,
            };
            match self.keepalive_retries {
                Some(retries) => keepalive.with_retries(retries.clamp(1, MOST_RETRIES)),
                None => keepalive,
            }
        };
        Some(keepalive)
    }
}

/// Returns a buffer size that fits into the integer type of the system.
fn buffer_size(bytes: u32) -> usize {
    bytes.min(i32::MAX as u32) as usize
}

/// Returns the time in whole seconds, rounded up, because the system takes no fractions. A time of 0 would be refused.
fn whole_seconds(time: Duration) -> Duration {
    let seconds = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
    Duration::from_secs(seconds.clamp(1, MOST_SECONDS))
}

/// Largest number of seconds that Linux takes for the times of probes.
const MOST_SECONDS: u64 = 32_767;
/// Largest number of milliseconds that Linux takes for the user timeout.
#[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
const MOST_MILLIS: u64 = i32::MAX as u64;
#[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
const NANOS_PER_MILLI: u128 = 1_000_000;

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    /// Returns the time, the interval, the number of probes, and the user timeout of a socket with these options.
    fn set(options: &TcpOptions) -> (Duration, Duration, u32, Option<Duration>) {
        let socket = TcpSocket::new_v4().unwrap();
        options.set(&socket).unwrap();
        let set = SockRef::from(&socket);
        assert!(set.keepalive().unwrap());
        let (time, interval) = (set.tcp_keepalive_time().unwrap(), set.tcp_keepalive_interval().unwrap());
        (time, interval, set.tcp_keepalive_retries().unwrap(), set.tcp_user_timeout().unwrap())
    }

    #[test]
    fn values_that_the_system_does_not_take_are_replaced_by_the_nearest_ones() {
        let (least, most) = (Duration::from_secs(1), Duration::from_secs(32_767));
        for (time, retries, expected_time, expected_retries) in [
            (Duration::ZERO, 0, least, 1),
            (Duration::from_nanos(1), 1, least, 1),
            (Duration::from_millis(1_500), 4, Duration::from_secs(2), 4),
            (Duration::from_secs(40_000), 200, most, 127),
            (Duration::MAX, u32::MAX, most, 127),
        ] {
            let options = TcpOptions {
                keepalive: Some(time),
                keepalive_interval: Some(time),
                keepalive_retries: Some(retries),
                ..TcpOptions::default()
            };
            assert_eq!(set(&options), (expected_time, expected_time, expected_retries, None), "{time:?}");
        }
        let most = Duration::from_millis(i32::MAX as u64);
        for (timeout, expected) in [
            (Duration::ZERO, None),
            (Duration::from_nanos(1), Some(Duration::from_millis(1))),
            (Duration::from_micros(1_500), Some(Duration::from_millis(2))),
            (Duration::MAX, Some(most)),
        ] {
            let options = TcpOptions { user_timeout: Some(timeout), ..TcpOptions::default() };
            assert_eq!(set(&options).3, expected, "{timeout:?}");
        }
    }
    /// Linux doubles the sizes, and raises and limits them.
    #[test]
    fn sizes_of_buffers_are_set_within_the_limits_of_the_system() {
        let sizes = |options: TcpOptions| {
            let socket = TcpSocket::new_v4().unwrap();
            options.set(&socket).unwrap();
            let set = SockRef::from(&socket);
            let sizes = (set.send_buffer_size().unwrap(), set.recv_buffer_size().unwrap());
            (sizes.0, sizes.1, set.tcp_notsent_lowat().unwrap())
        };
        let of = |send_buffer, recv_buffer, notsent_lowat| {
            sizes(TcpOptions { send_buffer, recv_buffer, notsent_lowat, ..TcpOptions::default() })
        };
        let usual = of(None, None, None);
        assert_eq!(of(Some(20_000), Some(30_000), Some(16_384)), (40_000, 60_000, 16_384));
        assert_eq!(of(Some(20_000), None, None), (40_000, usual.1, usual.2));
        let (least, most) = (of(Some(0), Some(0), None), of(Some(u32::MAX), Some(u32::MAX), None));
        assert!(0 < least.0 && least.0 < 20_000 && least.0 < most.0, "{least:?} {most:?}");
        assert!(0 < least.1 && least.1 < 20_000 && least.1 < most.1, "{least:?} {most:?}");
    }
}
