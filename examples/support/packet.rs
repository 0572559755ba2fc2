//! The headers of TCP segments in IPv4 packets (RFC 9293 section 3.1, RFC 791 section 3.1). Bytes go in, and values
//! come out.
#![allow(dead_code, reason = "each program uses a part of this module")]

use std::fmt;

/// A TCP segment, as its packet says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) sequence: u32,
    pub(crate) acknowledgment: u32,
    pub(crate) flags: Flags,
    /// Content of the segment.
    pub(crate) content: Vec<u8>,
}

/// The flags of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flags(u8);

impl Flags {
    pub(crate) const FIN: Self = Self(0x01);
    pub(crate) const SYN: Self = Self(0x02);
    pub(crate) const RST: Self = Self(0x04);
    pub(crate) const PSH: Self = Self(0x08);
    pub(crate) const ACK: Self = Self(0x10);

    /// Whether all of these flags are set.
    pub(crate) fn has(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

impl std::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Flags {
    /// Writes the flags in the order of textbooks: `SYN,ACK`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::SYN, "SYN"),
            (Self::FIN, "FIN"),
            (Self::RST, "RST"),
            (Self::PSH, "PSH"),
            (Self::ACK, "ACK"),
        ];
        let set: Vec<&str> =
            names.iter().filter(|(flag, _)| self.has(*flag)).map(|(_, name)| *name).collect();
        f.pad(&set.join(","))
    }
}

impl Segment {
    /// Returns the segment in an IPv4 packet. Returns `None` if the packet is cut short, is a later fragment, or has no
    /// TCP segment.
    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        let (version, header) = (packet.first()? >> 4, usize::from(packet.first()? & 15) * 4);
        let total = usize::from(u16_at(packet, 2)?);
        let fragment = u16_at(packet, 6)? & 0x1fff;
        let is_tcp = version == 4 && header >= 20 && *packet.get(9)? == TCP && fragment == 0;
        // Bytes after the total length are padding of the link.
        let segment = packet.get(..total)?.get(header..).filter(|_| is_tcp)?;
        let offset = usize::from(segment.get(12)? >> 4) * 4;
        let content = segment.get(offset..).filter(|_| offset >= 20)?;
        Some(Self {
            source_port: u16_at(segment, 0)?,
            destination_port: u16_at(segment, 2)?,
            sequence: u32_at(segment, 4)?,
            acknowledgment: u32_at(segment, 8)?,
            flags: Flags(*segment.get(13)?),
            content: content.to_vec(),
        })
    }

    /// Returns the sequence number after this segment. SYN and FIN each count as one byte.
    pub(crate) fn next_sequence(&self) -> u32 {
        let flags = [Flags::SYN, Flags::FIN].into_iter().filter(|flag| self.flags.has(*flag)).count();
        self.sequence.wrapping_add((self.content.len() + flags) as u32)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Number of TCP in the IPv4 header.
const TCP: u8 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns an IPv4 packet without IP options, whose TCP header has `words` words of options.
    fn packet(flags: u8, words: u8, content: &[u8]) -> Vec<u8> {
        let length = 40 + usize::from(words) * 4 + content.len();
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, TCP, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2];
        packet[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        packet.extend([0x9c, 0x40, 0, 80]);
        packet.extend(0xffff_fffe_u32.to_be_bytes());
        packet.extend(7_u32.to_be_bytes());
        packet.extend([(5 + words) << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        packet.resize(length - content.len(), 1);
        packet.extend(content);
        packet
    }

    #[test]
    fn a_segment_is_read_from_its_packet() {
        let segment = Segment::parse(&packet(0x18, 3, b"GET / HTTP/1.1\r\n")).unwrap();
        assert_eq!((segment.source_port, segment.destination_port), (40_000, 80));
        assert_eq!((segment.sequence, segment.acknowledgment), (0xffff_fffe, 7));
        assert_eq!(segment.flags, Flags::PSH | Flags::ACK);
        assert_eq!(segment.content, b"GET / HTTP/1.1\r\n", "options are not content");
        assert_eq!(segment.next_sequence(), 14, "sequence numbers begin again at zero");
    }

    #[test]
    fn syn_and_fin_count_as_one_byte() {
        for (flags, text) in [(0x02, "SYN"), (0x12, "SYN,ACK"), (0x11, "FIN,ACK")] {
            let segment = Segment::parse(&packet(flags, 0, b"")).unwrap();
            assert_eq!(segment.flags.to_string(), text);
            assert_eq!(segment.next_sequence(), 0xffff_ffff);
        }
        assert_eq!(Segment::parse(&packet(0x19, 0, b"ab")).unwrap().next_sequence(), 1);
    }

    #[test]
    fn the_padding_of_a_link_is_no_content() {
        let mut padded = packet(0x10, 0, b"");
        padded.extend([0; 6]);
        assert_eq!(Segment::parse(&padded).unwrap().content, b"");
    }

    #[test]
    fn ip_options_are_skipped() {
        let mut long = packet(0x10, 0, b"ab");
        long[0] = 0x46;
        long[3] += 4;
        long.splice(20..20, [1, 1, 1, 1]);
        assert_eq!(Segment::parse(&long).unwrap().content, b"ab");
    }

    #[test]
    fn what_is_no_whole_segment_is_none() {
        let whole = packet(0x10, 2, b"");
        for length in 0..whole.len() {
            assert_eq!(Segment::parse(&whole[..length]), None, "cut to {length} bytes");
        }
        let with = |at: usize, value: u8| {
            let mut packet = whole.clone();
            packet[at] = value;
            Segment::parse(&packet)
        };
        assert_eq!(with(0, 0x65), None, "IPv6");
        assert_eq!(with(0, 0x44), None, "an IP header that is too short");
        assert_eq!(with(0, 0x4f), None, "an IP header that is longer than the packet");
        assert_eq!(with(3, 47), None, "a total length without the TCP options");
        assert_eq!(with(7, 1), None, "a later fragment");
        assert_eq!(with(9, 17), None, "UDP");
        assert_eq!(with(32, 0x40), None, "a TCP header that is too short");
        assert_eq!(with(32, 0xf0), None, "a TCP header that is longer than the packet");
    }
}
