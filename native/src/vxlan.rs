//! The VXLAN header (RFC 7348 §5) and what a tunnel does to ECN (RFC 6040).

use crate::checksum;
use crate::packet::{self, ethertype};

/// Octets of the header.
pub const BYTES: usize = 8;

const I_FLAG: u32 = 0x0800_0000;
const RESERVED_HIGH: u32 = 0xf7ff_ffff;
const RESERVED_LOW: u32 = 0x0000_00ff;

/// What is wrong with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Fewer than 8 + 14 octets.
    Short,
    /// The I flag is 0.
    NoVniFlag,
}

/// The header of a network: `08 00 00 00 VV VV VV 00`.
pub fn build(vni: u32) -> [u8; BYTES] {
    (u64::from(I_FLAG) << 32 | u64::from(vni) << 8).to_be_bytes()
}

/// The VNI, and whether any reserved bit was set. The inner frame starts 8 octets on.
pub fn parse(datagram: &[u8]) -> Result<(u32, bool), Fault> {
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
    Ok((tail >> 8, flags & RESERVED_HIGH != 0 || tail & RESERVED_LOW != 0))
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
        let mut datagram = build(0x00ab_cdef).to_vec();
        assert_eq!(datagram, [8, 0, 0, 0, 0xab, 0xcd, 0xef, 0]);
        assert_eq!(parse(&datagram), Err(Fault::Short));
        datagram.resize(22, 0);
        assert_eq!(parse(&datagram), Ok((0x00ab_cdef, false)));
        datagram[7] = 1;
        assert_eq!(parse(&datagram), Ok((0x00ab_cdef, true)));
        datagram[0] = 0xf7;
        assert_eq!(parse(&datagram), Err(Fault::NoVniFlag));
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
