//! The TCP packets of a network namespace, read from a packet socket.

use std::io::{self, Read};

use socket2::{Domain, Protocol, Socket, Type};

use self::packet::{Flags, Segment};

#[path = "../../examples/support/packet.rs"]
mod packet;

/// One TCP packet over IPv4.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) from: u16,
    pub(crate) to: u16,
    pub(crate) has_syn: bool,
    pub(crate) has_ack: bool,
    flags: Flags,
    /// Number of bytes of data.
    pub(crate) data: usize,
}

impl Packet {
    fn of(segment: &Segment) -> Self {
        let Segment { source_port, destination_port, flags, .. } = *segment;
        Self {
            from: source_port,
            to: destination_port,
            has_syn: flags.has(Flags::SYN),
            has_ack: flags.has(Flags::ACK),
            flags,
            data: segment.content.len(),
        }
    }
}

/// Writes the flags and the number of bytes, such as `SYN,ACK 12`.
impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.flags, self.data)
    }
}

/// The packets that arrive in the namespace from the start on. Loopback delivers a packet before the call that sends
/// the packet returns.
pub(crate) struct Capture(Socket);

impl Capture {
    pub(crate) fn start() -> Self {
        // A socket for one protocol sees each packet once, when it arrives.
        const IPV4: u16 = 0x0800;
        let protocol = Protocol::from(i32::from(IPV4.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol)).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self(socket)
    }

    /// Returns the packets since the last call.
    pub(crate) fn packets(&mut self) -> Vec<Packet> {
        let (mut packets, mut room) = (Vec::new(), vec![0; 128 * 1024]);
        loop {
            match self.0.read(&mut room) {
                Ok(read) => packets.extend(Segment::parse(&room[..read]).as_ref().map(Packet::of)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return packets,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Returns the packets of the first connection that was begun since the last call. The end of an earlier connection
    /// does not count.
    pub(crate) fn first_connection(&mut self) -> Vec<Packet> {
        let mut packets = self.packets();
        let syn = *packets.iter().find(|packet| packet.has_syn && !packet.has_ack).unwrap();
        packets.retain(|packet| [(syn.from, syn.to), (syn.to, syn.from)].contains(&(packet.from, packet.to)));
        packets
    }

    /// Returns the packets that the client of the first connection has sent before the server's first byte of data.
    pub(crate) fn opening(&mut self) -> Vec<Packet> {
        let packets = self.first_connection();
        let server = packets.first().unwrap().to;
        let before = packets.iter().take_while(|packet| packet.from != server || packet.data == 0);
        before.filter(|packet| packet.to == server).copied().collect()
    }
}
