//! The TCP packets of a network namespace, read from a packet socket.

use std::io::{self, Read};

use socket2::{Domain, Protocol, Socket, Type};

/// One TCP packet over IPv4.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) from: u16,
    pub(crate) to: u16,
    pub(crate) has_syn: bool,
    pub(crate) has_ack: bool,
    /// Whether the packet closes the connection or resets it.
    is_end: bool,
    /// Number of bytes of data.
    pub(crate) data: usize,
}

/// Writes the flags and the number of bytes, such as `SYN+ACK 12`.
impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let flags = [(self.has_syn, "SYN"), (self.is_end, "END"), (self.has_ack, "ACK")];
        let flags: Vec<_> = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| *flag).collect();
        write!(f, "{} {}", flags.join("+"), self.data)
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
                Ok(read) => packets.extend(parse(&room[..read])),
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

fn parse(packet: &[u8]) -> Option<Packet> {
    const TCP: u8 = 6;
    let ip = usize::from(packet.first()? & 15) * 4;
    if *packet.get(9)? != TCP {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    let tcp = packet.get(ip..)?;
    let port = |at: usize| Some(u16::from_be_bytes([*tcp.get(at)?, *tcp.get(at + 1)?]));
    let flags = *tcp.get(13)?;
    Some(Packet {
        from: port(0)?,
        to: port(2)?,
        has_syn: flags & 0x02 != 0,
        has_ack: flags & 0x10 != 0,
        is_end: flags & 0x05 != 0,
        data: length - ip - usize::from(*tcp.get(12)? >> 4) * 4,
    })
}
