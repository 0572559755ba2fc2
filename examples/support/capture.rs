//! Captures the TCP segments of a port as they arrive at this machine, by a packet socket of Linux.

use std::io;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use super::packet::Segment;

/// A segment, and the time at which it arrived.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) time: Instant,
    pub(crate) segment: Segment,
}

/// A capture. The capture ends with the program, or with the first segment after this value is dropped.
pub(crate) struct Capture(Receiver<Arrival>);

impl Capture {
    /// Starts to capture the segments that come from `port` or go to `port`.
    ///
    /// # Errors
    ///
    /// Fails with `PermissionDenied` without the capability CAP_NET_RAW, and with `Unsupported` on other systems than
    /// Linux.
    #[cfg(target_os = "linux")]
    pub(crate) fn start(port: u16) -> io::Result<Self> {
        use std::io::Read;

        use socket2::{Domain, Protocol, Socket, Type};

        // A socket for IPv4 sees each packet once, when the packet arrives. A socket for all protocols also sees each
        // packet when it leaves. The kernel wants the number of the protocol in network order.
        let ipv4 = Protocol::from(i32::from(ETH_P_IP.to_be()));
        let mut socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(ipv4))?;
        let (sender, receiver) = mpsc::channel();
        let mut buffer = vec![0; 65536];
        let capture = move || {
            while let Ok(length) = socket.read(&mut buffer) {
                let time = Instant::now();
                let segment = Segment::parse(&buffer[..length]);
                let segment = segment.filter(|it| it.source_port == port || it.destination_port == port);
                let arrival = segment.map(|segment| Arrival { time, segment });
                if arrival.is_some_and(|arrival| sender.send(arrival).is_err()) {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("capture".into()).spawn(capture)?;
        Ok(Self(receiver))
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn start(_: u16) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "packet sockets need Linux"))
    }

    /// Returns the segments that have arrived since the last call, once they are complete and none has arrived for the
    /// time `quiet`. The function waits longer for segments that are not complete, up to a bound, because the thread that
    /// captures may be late on a busy machine.
    pub(crate) fn until_quiet(
        &self,
        quiet: Duration,
        is_complete: impl Fn(&[Arrival]) -> bool,
    ) -> Vec<Arrival> {
        let (mut arrivals, mut waits) = (Vec::new(), 0);
        loop {
            match self.0.recv_timeout(quiet) {
                Ok(arrival) => arrivals.push(arrival),
                Err(_) if waits == MOST_WAITS || is_complete(&arrivals) => return arrivals,
                Err(_) => waits += 1,
            }
        }
    }
}

/// Number of times that a capture waits for segments that are not complete.
const MOST_WAITS: u32 = 30;

/// Number of IPv4 in frames.
const ETH_P_IP: u16 = 0x0800;
