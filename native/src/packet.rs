//! Where the parts of an inner frame are, found with every bound checked.
//!
//! The rules are those of `vxnet/wire/ethernet.py`, `ip.py` and `transport.py`, which are the
//! specification; offsets count from the frame's first octet.

/// Octets of an Ethernet header without tags.
pub const ETHERNET: usize = 14;
/// Octets of one 802.1Q tag.
pub const TAG: usize = 4;
/// Octets of an IPv4 header without options.
pub const IPV4: usize = 20;
/// Octets of an IPv6 header without extension headers.
pub const IPV6: usize = 40;
/// Octets of a TCP header without options.
pub const TCP: usize = 20;
/// Octets of a UDP header.
pub const UDP: usize = 8;

/// Ethertypes the datapath looks at.
pub mod ethertype {
    /// RFC 894.
    pub const IPV4: u16 = 0x0800;
    /// RFC 826.
    pub const ARP: u16 = 0x0806;
    /// 802.1Q.
    pub const VLAN: u16 = 0x8100;
    /// RFC 2464.
    pub const IPV6: u16 = 0x86dd;
    /// 802.1ad.
    pub const QINQ: u16 = 0x88a8;
}

/// Where the checksum is in a TCP header (RFC 9293 §3.1).
pub const TCP_CHECKSUM: usize = 16;
/// Where it is in a UDP header (RFC 768).
pub const UDP_CHECKSUM: usize = 6;

/// IP protocol numbers the datapath looks at.
pub mod protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// RFC 792.
    pub const ICMP: u8 = 1;
    /// Group membership of IPv4.
    pub const IGMP: u8 = 2;
    /// RFC 9293.
    pub const TCP: u8 = 6;
    /// RFC 768.
    pub const UDP: u8 = 17;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// IPsec authentication header.
    pub const AUTHENTICATION: u8 = 51;
    /// ICMP for IPv6, neighbour discovery and MLD among it.
    pub const ICMPV6: u8 = 58;
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// TCP's control bits.
pub mod tcp_flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement field counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
    /// Congestion was experienced (RFC 3168).
    pub const ECE: u8 = 0x40;
    /// The congestion window was reduced (RFC 3168).
    pub const CWR: u8 = 0x80;
}

const TAGS_MAX: usize = 4;
const EXTENSIONS_MAX: usize = 8;

/// The headers contradict the frame's length, or each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A MAC address.
pub type Mac = [u8; 6];

/// The two octets at `at`, in network order.
pub fn be16(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?))
}

/// The four octets at `at`, in network order.
pub fn be32(frame: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*frame.get(at..)?.first_chunk()?))
}

/// Put two octets at `at`, which the caller has checked to be inside.
pub fn put16(frame: &mut [u8], at: usize, value: u16) {
    frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// Put four octets at `at`, which the caller has checked to be inside.
pub fn put32(frame: &mut [u8], at: usize, value: u32) {
    frame[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

/// Destination, source and the ethertype right behind them; `None` for a shorter frame.
pub fn addresses(frame: &[u8]) -> Option<(Mac, Mac, u16)> {
    let header: &[u8; ETHERNET] = frame.first_chunk()?;
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, high, low] = *header;
    Some(([d0, d1, d2, d3, d4, d5], [s0, s1, s2, s3, s4, s5], u16::from_be_bytes([high, low])))
}

/// Whether an ethertype announces four more octets of tag before the true one.
pub fn is_vlan(ethertype: u16) -> bool {
    matches!(ethertype, ethertype::VLAN | ethertype::QINQ)
}

/// The ethertype behind all tags, and the offset of what it describes.
pub fn payload(frame: &[u8]) -> Result<(u16, usize), Malformed> {
    let mut at = ETHERNET - 2;
    for _ in 0..=TAGS_MAX {
        let ethertype = be16(frame, at).ok_or(Malformed)?;
        if !is_vlan(ethertype) {
            return Ok((ethertype, at + 2));
        }
        at += TAG;
    }
    Err(Malformed)
}

/// Where the parts of a frame's IP packet are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Whether it is IPv6, else IPv4.
    pub is_v6: bool,
    /// The IP header.
    pub network: usize,
    /// What follows the IP header with its options or extension headers.
    pub transport: usize,
    /// Past the packet's last octet; the frame may be longer (padding).
    pub end: usize,
    /// Of what is at `transport`.
    pub protocol: u8,
    /// A part of a packet: only the first has a transport header.
    pub is_fragment: bool,
    /// It has IPv4 options or IPv6 extension headers.
    pub is_extended: bool,
}

impl Packet {
    /// Find the IP packet of a frame, behind any tags; `None` where it carries none.
    pub fn locate(frame: &[u8]) -> Result<Option<Self>, Malformed> {
        match payload(frame)? {
            (ethertype::IPV4, at) => Self::locate_v4(frame, at).map(Some),
            (ethertype::IPV6, at) => Self::locate_v6(frame, at).map(Some),
            _ => Ok(None),
        }
    }

    fn locate_v4(frame: &[u8], at: usize) -> Result<Self, Malformed> {
        let packet = frame.get(at..).ok_or(Malformed)?;
        let ip: &[u8; IPV4] = packet.first_chunk().ok_or(Malformed)?;
        let header = usize::from(ip[0] & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
        if ip[0] >> 4 != 4 || header < IPV4 || total < header || total > packet.len() {
            return Err(Malformed);
        }
        Ok(Self {
            is_v6: false,
            network: at,
            transport: at + header,
            end: at + total,
            protocol: ip[9],
            // More fragments, or not the first.
            is_fragment: u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff != 0,
            is_extended: header > IPV4,
        })
    }

    fn locate_v6(frame: &[u8], at: usize) -> Result<Self, Malformed> {
        let ip: &[u8; IPV6] = frame.get(at..).and_then(<[u8]>::first_chunk).ok_or(Malformed)?;
        let first = at + IPV6;
        let end = first + usize::from(u16::from_be_bytes([ip[4], ip[5]]));
        if ip[0] >> 4 != 6 || end > frame.len() {
            return Err(Malformed);
        }
        let mut packet = Self {
            is_v6: true,
            network: at,
            transport: first,
            end,
            protocol: ip[6],
            is_fragment: false,
            is_extended: false,
        };
        packet.walk_extensions(&frame[..end])?;
        packet.is_extended = packet.transport > first;
        Ok(packet)
    }

    // RFC 8200 §4.1: each extension header but the fragment's says its own length.
    fn walk_extensions(&mut self, frame: &[u8]) -> Result<(), Malformed> {
        for _ in 0..=EXTENSIONS_MAX {
            let octets = match self.protocol {
                protocol::HOP_BY_HOP
                | protocol::ROUTING
                | protocol::FRAGMENT
                | protocol::AUTHENTICATION
                | protocol::DESTINATION_OPTIONS => frame
                    .get(self.transport..)
                    .and_then(<[u8]>::first_chunk::<8>)
                    .ok_or(Malformed)?,
                _ if self.transport > frame.len() => return Err(Malformed),
                _ => return Ok(()),
            };
            let length = usize::from(octets[1]);
            match self.protocol {
                protocol::FRAGMENT => {
                    let fragment = u16::from_be_bytes([octets[2], octets[3]]);
                    self.transport += 8;
                    // An "atomic" fragment (offset 0, no more to come) is a whole packet (RFC 6946).
                    self.is_fragment |= fragment & 0xfff9 != 0;
                    if fragment & 0xfff8 != 0 {
                        // What comes now is the middle of something, not a header.
                        self.protocol = octets[0];
                        return Ok(());
                    }
                }
                protocol::AUTHENTICATION => self.transport += (length + 2) * 4,
                _ => self.transport += (length + 1) * 8,
            }
            self.protocol = octets[0];
        }
        Err(Malformed)
    }

    /// Source and destination address, side by side as the header has them.
    pub fn addresses<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        let (at, size) = if self.is_v6 { (self.network + 8, 32) } else { (self.network + 12, 8) };
        &frame[at..at + size]
    }

    /// The ports of a whole TCP or UDP packet; nothing of any other.
    fn ports<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        let has_ports = matches!(self.protocol, protocol::TCP | protocol::UDP) && !self.is_fragment;
        let octets = if has_ports { 4.min(frame.len() - self.transport) } else { 0 };
        &frame[self.transport..self.transport + octets]
    }

    /// Whether it is TCP or UDP and has all of the header; of fragments ask the first only.
    pub fn has_ports(&self) -> bool {
        let least = match self.protocol {
            protocol::TCP => TCP,
            protocol::UDP => UDP,
            _ => return false,
        };
        self.end - self.transport >= least
    }

    /// Octets of the TCP header, options included.
    pub fn tcp_header(&self, frame: &[u8]) -> Result<usize, Malformed> {
        let segment = frame.get(self.transport..self.end).ok_or(Malformed)?;
        let header = usize::from(segment.get(12).ok_or(Malformed)? >> 4) * 4;
        if (TCP..=segment.len()).contains(&header) { Ok(header) } else { Err(Malformed) }
    }
}

/// 32 bits: equal for all frames of a flow, evenly spread over flows; the same number as
/// `vxnet.wire.flow.flow_hash` gives, so that both datapaths leave from the same source port.
pub fn flow_hash(frame: &[u8], packet: Option<&Packet>) -> u32 {
    let (seed, addresses, ports) = match packet {
        Some(packet) => (u32::from(packet.protocol), packet.addresses(frame), packet.ports(frame)),
        None => (0, &frame[..frame.len().min(12)], &[][..]),
    };
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(addresses);
    hasher.update(ports);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tcp4() -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        frame.extend([0x45, 0, 0, 44, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0, 80, 1, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
        frame.extend(*b"abcd");
        frame
    }

    #[test]
    fn a_tcp_segment_is_found() {
        let frame = tcp4();
        let packet = Packet::locate(&frame).unwrap().unwrap();
        assert_eq!((packet.network, packet.transport, packet.end), (14, 34, 58));
        assert_eq!(packet.tcp_header(&frame), Ok(20));
        assert!(!packet.is_fragment && !packet.is_extended);
    }

    #[test]
    fn a_length_beyond_the_frame_is_malformed() {
        let mut frame = tcp4();
        frame[17] = 45;
        assert_eq!(Packet::locate(&frame), Err(Malformed));
    }

    #[test]
    fn the_flow_is_hashed_as_zlib_would() {
        let frame = tcp4();
        let packet = Packet::locate(&frame).unwrap();
        // zlib.crc32(frame[26:38], 6)
        let mut hasher = crc32fast::Hasher::new_with_initial(6);
        hasher.update(&frame[26..38]);
        assert_eq!(flow_hash(&frame, packet.as_ref()), hasher.finalize());
    }

    proptest! {
        #[test]
        fn any_octets_are_found_inside_or_refused(
            mut frame in proptest::collection::vec(any::<u8>(), 0..200),
            kind in 0usize..3,
        ) {
            if frame.len() > 14 && kind > 0 {
                frame[12..14].copy_from_slice(&[[8u8, 0], [0x86, 0xdd]][kind - 1]);
                frame[14] = [0x45, 0x60][kind - 1];
            }
            if let Ok(packet) = Packet::locate(&frame) {
                if let Some(packet) = packet {
                    prop_assert!(packet.transport <= packet.end && packet.end <= frame.len());
                    let _ = packet.tcp_header(&frame);
                }
                let _ = flow_hash(&frame, packet.as_ref());
            }
        }
    }
}
