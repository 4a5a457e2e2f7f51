//! The VXLAN header (RFC 7348 §5) and what a tunnel does to ECN (RFC 6040).

use crate::checksum;
use crate::packet::{self, Packet, ethertype, protocol};
use crate::vnet;

/// Octets of the header.
pub const BYTES: usize = 8;

const I_FLAG: u32 = 0x0800_0000;
const REMOTE_FLAG: u32 = 0x0020_0000;
const LOW: u32 = 0x0000_00ff;
const REMOTE_UDP: u32 = 0x80;
const REMOTE_START: u32 = 0x7f; // halved

/// What is wrong with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Fewer than 8 + 14 octets.
    Short,
    /// The I flag is 0.
    NoVniFlag,
}

/// Remote checksum offload (draft-herbert-vxlan-rco): the inner transport checksum is left to whoever
/// receives the frame, and its field holds the sum of the pseudo header. Offsets count from the
/// frame's first octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Where what the checksum covers begins.
    pub start: usize,
    /// Where the checksum goes.
    pub at: usize,
}

impl Remote {
    /// For the transport header of this packet; `None` where the VXLAN header could not say it.
    pub fn of(packet: &Packet) -> Option<Self> {
        let field = match packet.protocol {
            protocol::TCP => packet::TCP_CHECKSUM,
            protocol::UDP => packet::UDP_CHECKSUM,
            _ => return None,
        };
        let start = packet.transport;
        let can_be_said = start.is_multiple_of(2) && start / 2 <= REMOTE_START as usize;
        (can_be_said && !packet.is_fragment).then_some(Self { start, at: start + field })
    }

    /// The same as the header of an ordinary frame says it.
    pub fn vnet(self) -> vnet::Header {
        vnet::Header {
            needs_checksum: true,
            gso: vnet::Gso::None,
            gso_size: 0,
            checksum_start: self.start as u16,
            checksum_offset: (self.at - self.start) as u16,
        }
    }
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The network.
    pub vni: u32,
    /// Whether any bit was set that has no meaning here.
    pub reserved: bool,
    /// What is left to us, if the sender may leave it.
    pub remote: Option<Remote>,
}

/// The header of a network: `08 00 00 00 VV VV VV 00`, or `08 20 00 00 VV VV VV RR`.
pub fn build(vni: u32, remote: Option<Remote>) -> [u8; BYTES] {
    let (flag, low) = remote.map_or((0, 0), |Remote { start, at }| {
        let is_udp = at - start == packet::UDP_CHECKSUM;
        (REMOTE_FLAG, (start as u32 / 2) & REMOTE_START | if is_udp { REMOTE_UDP } else { 0 })
    });
    (u64::from(I_FLAG | flag) << 32 | u64::from(vni << 8 | low)).to_be_bytes()
}

/// What the header of a datagram says. The inner frame starts 8 octets on.
pub fn parse(datagram: &[u8]) -> Result<Header, Fault> {
    if datagram.len() < BYTES + packet::ETHERNET {
        return Err(Fault::Short);
    }
    let (Some(flags), Some(tail)) = (packet::be32(datagram, 0), packet::be32(datagram, 4)) else {
        return Err(Fault::Short);
    };
    // RFC 7348 §5: reserved bits are ignored on receipt, so only the I flag counts.
    if flags & I_FLAG == 0 {
        return Err(Fault::NoVniFlag);
    }
    let remote = (flags & REMOTE_FLAG != 0).then(|| {
        let start = (tail & REMOTE_START) as usize * 2;
        let field =
            if tail & REMOTE_UDP != 0 { packet::UDP_CHECKSUM } else { packet::TCP_CHECKSUM };
        Remote { start, at: start + field }
    });
    let known = I_FLAG | if remote.is_some() { REMOTE_FLAG } else { 0 };
    let reserved = flags & !known != 0 || remote.is_none() && tail & LOW != 0;
    Ok(Header { vni: tail >> 8, reserved, remote })
}

/// The two ECN bits of a traffic class.
pub mod ecn {
    /// The transport does not understand ECN.
    pub const NOT_ECT: u8 = 0;
    /// ECN-capable, codepoint 1.
    pub const ECT_1: u8 = 1;
    /// ECN-capable, codepoint 0.
    pub const ECT_0: u8 = 2;
    /// Congestion was experienced.
    pub const CE: u8 = 3;
}

/// The frame must be dropped: it met congestion and could not be told (RFC 6040 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Congested;

/// The traffic class of the packet within a frame, for the outer header (RFC 6040 §4.1, RFC 2983);
/// 0 for what is not IP.
pub fn outer_class(frame: &[u8]) -> u8 {
    if frame.len() < packet::ETHERNET + packet::IPV4 {
        return 0;
    }
    match packet::payload(frame) {
        Ok((kind, at)) if at + 2 <= frame.len() => match kind {
            ethertype::IPV4 => frame[at + 1],
            ethertype::IPV6 => frame[at] << 4 | frame[at + 1] >> 4,
            _ => 0,
        },
        _ => 0,
    }
}

/// Bring the outer header's ECN into the packet within a frame, and its checksum in order.
pub fn decapsulate_ecn(frame: &mut [u8], outer: u8) -> Result<(), Congested> {
    let Ok((kind, at)) = packet::payload(frame) else { return Ok(()) };
    let shift = match kind {
        ethertype::IPV4 => 0,
        ethertype::IPV6 => 4, // behind the version; no checksum covers it
        _ => return Ok(()),
    };
    if at + packet::IPV4 > frame.len() {
        return Ok(());
    }
    let inner = frame[at + 1] >> shift & 3;
    let passed_on = match (inner, outer & 3) {
        (ecn::NOT_ECT, ecn::CE) => return Err(Congested),
        (ecn::NOT_ECT | ecn::CE, _) => inner,
        (_, ecn::CE) => ecn::CE,
        (ecn::ECT_0, ecn::ECT_1) => ecn::ECT_1,
        _ => inner,
    };
    if passed_on != inner {
        let before = packet::be16(frame, at).unwrap_or_default();
        frame[at + 1] = frame[at + 1] & !(3 << shift) | passed_on << shift;
        if kind == ethertype::IPV4 {
            let after = packet::be16(frame, at).unwrap_or_default();
            let field = packet::be16(frame, at + 10).unwrap_or_default();
            packet::put16(frame, at + 10, checksum::update(field, before, after));
        }
    }
    Ok(())
}

/// Write the checksum of an IPv4 header, which is given with its options.
pub fn write_ipv4_checksum(header: &mut [u8]) {
    header[10..12].fill(0);
    let checksum = (!checksum::sum(header)).to_ne_bytes();
    header[10..12].copy_from_slice(&checksum);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_back() {
        let mut datagram = build(0x00ab_cdef, None).to_vec();
        let says = |reserved| Ok(Header { vni: 0x00ab_cdef, reserved, remote: None });
        assert_eq!(datagram, [8, 0, 0, 0, 0xab, 0xcd, 0xef, 0]);
        assert_eq!(parse(&datagram), Err(Fault::Short));
        datagram.resize(22, 0);
        assert_eq!(parse(&datagram), says(false));
        datagram[7] = 1;
        assert_eq!(parse(&datagram), says(true));
        datagram[0] = 0xf7;
        assert_eq!(parse(&datagram), Err(Fault::NoVniFlag));
    }

    #[test]
    fn a_checksum_left_to_the_receiver_is_said_as_linux_says_it() {
        let frame = crate::offload::cut::tests::frame(false, true, 16, 12, b"hello");
        let mut packet = Packet::locate(&frame).unwrap().unwrap();
        let tcp = Remote { start: 34, at: 50 };
        assert_eq!(Remote::of(&packet), Some(tcp));
        let mut datagram = build(0x00ab_cdef, Some(tcp)).to_vec();
        assert_eq!(datagram, [8, 0x20, 0, 0, 0xab, 0xcd, 0xef, 17]);
        datagram.extend(frame);
        let says = |remote| Ok(Header { vni: 0x00ab_cdef, reserved: false, remote: Some(remote) });
        assert_eq!(parse(&datagram), says(tcp));
        datagram[7] |= 0x80;
        assert_eq!(parse(&datagram), says(Remote { start: 34, at: 40 }));
        for (transport, protocol) in [(256, 6), (35, 6), (34, 1)] {
            packet.transport = transport;
            packet.protocol = protocol;
            assert_eq!(Remote::of(&packet), None);
        }
    }

    // RFC 6040 §4.2, figure 4; rows are the inner, columns the outer header, in order of the bits.
    const DROP: u8 = 0xff;
    const MATRIX: [[u8; 4]; 4] = [
        [ecn::NOT_ECT, ecn::NOT_ECT, ecn::NOT_ECT, DROP],
        [ecn::ECT_1, ecn::ECT_1, ecn::ECT_1, ecn::CE],
        [ecn::ECT_0, ecn::ECT_1, ecn::ECT_0, ecn::CE],
        [ecn::CE, ecn::CE, ecn::CE, ecn::CE],
    ];

    fn frame(is_v6: bool, ecn: u8) -> Vec<u8> {
        let mut frame = vec![0; 14];
        if is_v6 {
            frame[12..].copy_from_slice(&[0x86, 0xdd]);
            frame.extend([0x60, ecn << 4 | 7, 1, 2, 0, 0, 59, 64]);
            frame.extend([5; 32]);
        } else {
            frame[12..].copy_from_slice(&[8, 0]);
            frame.extend([
                0x45,
                0xb8 | ecn,
                0,
                20,
                1,
                2,
                0,
                0,
                64,
                1,
                0,
                0,
                10,
                0,
                0,
                1,
                10,
                0,
                0,
                2,
            ]);
            write_ipv4_checksum(&mut frame[14..]);
        }
        frame
    }

    #[test]
    fn every_pair_of_codepoints_is_handled_as_rfc_6040_says() {
        for is_v6 in [false, true] {
            for (inner, row) in MATRIX.iter().enumerate() {
                for (outer, &wanted) in row.iter().enumerate() {
                    let mut got = frame(is_v6, inner as u8);
                    assert_eq!(outer_class(&got) & 3, inner as u8);
                    let outcome = decapsulate_ecn(&mut got, outer as u8);
                    if wanted == DROP {
                        assert_eq!(outcome, Err(Congested));
                    } else {
                        assert_eq!(got, frame(is_v6, wanted), "{inner} in {outer}");
                    }
                }
            }
        }
    }
}
