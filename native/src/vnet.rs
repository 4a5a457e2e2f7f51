//! `struct virtio_net_hdr`: what the kernel says about a frame's checksum and size (TUN/TAP).
//!
//! linux/virtio_net.h, in the host's octet order; it precedes every frame in both directions.

use crate::packet::Malformed;

/// Octets of the header.
pub const BYTES: usize = 10;

/// An ordinary frame whose checksums are all in place.
pub const PLAIN: [u8; BYTES] = [0; BYTES];

/// The flag of a frame whose checksum is yet to be made.
pub const NEEDS_CHECKSUM: u8 = 1;
const ECN: u8 = 0x80;

/// How the frame is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gso {
    /// Not at all.
    None,
    /// Into TCP segments over IPv4.
    Tcp4,
    /// Into TCP segments over IPv6.
    Tcp6,
    /// Into whole datagrams, over either (`VIRTIO_NET_HDR_GSO_UDP_L4`).
    Udp,
}

/// The header's fields that count; its `hdr_len` is a hint and not to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The checksum is yet to be written, at `checksum_start + checksum_offset`.
    pub needs_checksum: bool,
    /// How it is to be cut.
    pub gso: Gso,
    /// Payload octets of each frame it is cut into.
    pub gso_size: u16,
    /// From where the checksum is taken, from the frame's first octet.
    pub checksum_start: u16,
    /// Where it is put, from `checksum_start`.
    pub checksum_offset: u16,
}

impl Header {
    /// Read it. Refuses what asks for the unknown, UFO among it, which nobody asked for.
    pub fn parse(octets: &[u8; BYTES]) -> Result<Self, Malformed> {
        let [flags, kind, _, _, s0, s1, c0, c1, o0, o1] = *octets;
        let header = Self {
            needs_checksum: flags & NEEDS_CHECKSUM != 0,
            gso: match kind & !ECN {
                0 => Gso::None,
                1 => Gso::Tcp4,
                4 => Gso::Tcp6,
                5 => Gso::Udp,
                _ => return Err(Malformed),
            },
            gso_size: u16::from_ne_bytes([s0, s1]),
            checksum_start: u16::from_ne_bytes([c0, c1]),
            checksum_offset: u16::from_ne_bytes([o0, o1]),
        };
        // The ECN bit alone means nothing.
        if (header.gso != Gso::None) != (kind != 0) || kind != 0 && header.gso_size == 0 {
            return Err(Malformed);
        }
        Ok(header)
    }

    /// The ten octets; `header_bytes` is what lies before the payload.
    pub fn build(&self, header_bytes: u16) -> [u8; BYTES] {
        let mut octets = PLAIN;
        octets[0] = if self.needs_checksum { NEEDS_CHECKSUM } else { 0 };
        octets[1] = match self.gso {
            Gso::None => 0,
            Gso::Tcp4 => 1,
            Gso::Tcp6 => 4,
            Gso::Udp => 5,
        };
        octets[2..4].copy_from_slice(&header_bytes.to_ne_bytes());
        octets[4..6].copy_from_slice(&self.gso_size.to_ne_bytes());
        octets[6..8].copy_from_slice(&self.checksum_start.to_ne_bytes());
        octets[8..10].copy_from_slice(&self.checksum_offset.to_ne_bytes());
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_built_is_read_back(
            needs_checksum: bool, kind in 0usize..4, gso_size in 1u16.., start: u16, offset: u16,
        ) {
            let gso = [Gso::None, Gso::Tcp4, Gso::Tcp6, Gso::Udp][kind];
            let header = Header {
                needs_checksum, gso, gso_size, checksum_start: start, checksum_offset: offset,
            };
            prop_assert_eq!(Header::parse(&header.build(54)), Ok(header));
        }
    }

    #[test]
    fn fragmentation_is_refused() {
        assert_eq!(Header::parse(&[0, 3, 0, 0, 100, 0, 0, 0, 0, 0]), Err(Malformed));
    }

    #[test]
    fn a_super_frame_of_no_size_is_refused() {
        assert_eq!(Header::parse(&[1, 1, 0, 0, 0, 0, 34, 0, 16, 0]), Err(Malformed));
    }
}
