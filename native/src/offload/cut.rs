//! Cutting a super-frame into the frames it stands for (TSO for TCP, USO for UDP), and writing the
//! checksum the kernel left out of an ordinary one.

use crate::checksum;
use crate::packet::{self, Malformed, Packet, protocol, put16, put32, tcp_flag};
use crate::vnet::{Gso, Header};

/// The most octets of headers a super-frame may have: four tags, full IPv4 and TCP options, or
/// IPv6 with some extension headers. The kernel makes none above 14 + 60 + 60.
pub const HEADER_MAX: usize = 256;

/// How a super-frame is cut. All offsets were checked against the frame it was planned from.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    packet: Packet,
    header: usize,
    size: usize,
    // Sums of what is the same in all: of the IPv4 header all but length, identification and
    // checksum; of the transport header all but length, sequence number, flags, checksum and urgent
    // pointer, the pseudo header included.
    network_sum: u16,
    transport_sum: u16,
    pseudo: u16, // the sum of the pseudo header but for its length
}

impl Cut {
    /// Look at a super-frame and its `virtio_net_hdr`. Refuses where the two contradict.
    pub fn plan(frame: &[u8], packet: Option<&Packet>, vnet: &Header) -> Result<Self, Malformed> {
        let packet = *packet.ok_or(Malformed)?;
        let (is_v6, protocol) = match vnet.gso {
            Gso::Tcp4 => (false, protocol::TCP),
            Gso::Tcp6 => (true, protocol::TCP),
            Gso::Udp => (packet.is_v6, protocol::UDP),
            Gso::None => return Err(Malformed),
        };
        if packet.is_v6 != is_v6 || packet.protocol != protocol || packet.is_fragment {
            return Err(Malformed);
        }
        let header = packet.transport
            + match protocol {
                protocol::TCP => packet.tcp_header(frame)?,
                _ => packet::UDP,
            };
        if header >= packet.end || header > HEADER_MAX {
            return Err(Malformed);
        }
        let mut octets = [0; HEADER_MAX];
        let octets = &mut octets[..header];
        octets.copy_from_slice(&frame[..header]);
        let (network, transport) = octets.split_at_mut(packet.transport);
        let network = &mut network[packet.network..];
        if !is_v6 {
            network[2..6].fill(0);
            network[10..12].fill(0);
        }
        transport[4..8].fill(0);
        if protocol == protocol::TCP {
            transport[13] = 0;
            transport[16..20].fill(0);
        }
        let pseudo = checksum::pseudo(packet.addresses(frame), protocol, 0);
        Ok(Self {
            packet,
            header,
            size: usize::from(vnet.gso_size),
            network_sum: checksum::sum(network),
            transport_sum: checksum::add(pseudo, checksum::sum(transport)),
            pseudo,
        })
    }

    /// How many frames it stands for.
    pub fn count(&self) -> usize {
        (self.packet.end - self.header).div_ceil(self.size)
    }

    /// Octets of all those frames.
    pub fn octets(&self) -> usize {
        self.count() * self.header + (self.packet.end - self.header)
    }

    /// Octets of the longest of them.
    pub fn longest(&self) -> usize {
        self.header + self.size.min(self.packet.end - self.header)
    }

    /// Write frame `index` to the start of `room`, which has place for `longest()` octets, and give
    /// its length. Its transport checksum is right, or with `is_partial` left to the receiver, with
    /// the sum of the pseudo header in its place.
    pub fn write(&self, frame: &[u8], index: usize, room: &mut [u8], is_partial: bool) -> usize {
        let start = self.header + index * self.size;
        let end = (start + self.size).min(self.packet.end);
        let (header, payload) = room[..self.header + end - start].split_at_mut(self.header);
        header.copy_from_slice(&frame[..self.header]);
        let (before, transport) = header.split_at_mut(self.packet.transport);
        let network = &mut before[self.packet.network..];
        let length = transport.len() + payload.len();
        if self.packet.is_v6 {
            put16(network, 4, (network.len() - packet::IPV6 + length) as u16);
        } else {
            self.write_ipv4(network, index, length);
        }
        let octets = &frame[start..end];
        let mut sum = checksum::add(self.transport_sum, (length as u16).to_be());
        if is_partial {
            payload.copy_from_slice(octets);
        } else {
            sum = checksum::add(sum, checksum::copy(octets, payload));
        }
        let field = if self.packet.protocol == protocol::TCP {
            self.write_tcp(transport, index, end == self.packet.end, sum);
            packet::TCP_CHECKSUM
        } else {
            put16(transport, 4, length as u16);
            let sum = checksum::add(sum, (length as u16).to_be());
            transport[6..8].copy_from_slice(&checksum::finish(sum));
            packet::UDP_CHECKSUM
        };
        if is_partial {
            let pseudo = checksum::add(self.pseudo, (length as u16).to_be());
            transport[field..field + 2].copy_from_slice(&pseudo.to_ne_bytes());
        }
        self.header + payload.len()
    }

    fn write_ipv4(&self, network: &mut [u8], index: usize, length: usize) {
        let total = (network.len() + length) as u16;
        let id = u16::from_be_bytes([network[4], network[5]]).wrapping_add(index as u16);
        put16(network, 2, total);
        put16(network, 4, id);
        let sum = checksum::add(checksum::add(self.network_sum, total.to_be()), id.to_be());
        network[10..12].copy_from_slice(&(!sum).to_ne_bytes());
    }

    fn write_tcp(&self, transport: &mut [u8], index: usize, is_last: bool, mut sum: u16) {
        let skipped = index * self.size;
        let sequence = packet::be32(transport, 4).unwrap_or_default().wrapping_add(skipped as u32);
        put32(transport, 4, sequence);
        sum = checksum::add(sum, ((sequence >> 16) as u16).to_be());
        sum = checksum::add(sum, (sequence as u16).to_be());
        // RFC 3168 §6.1.2: CWR goes with the first only; FIN and PSH belong to the last octet.
        let mut flags = transport[13];
        if index > 0 {
            flags &= !tcp_flag::CWR;
        }
        if !is_last {
            flags &= !(tcp_flag::FIN | tcp_flag::PSH);
        }
        let mut urgent = packet::be16(transport, 18).unwrap_or_default();
        if flags & tcp_flag::URG != 0 {
            // RFC 9293 §3.1: the urgent pointer counts from the segment's own sequence number.
            urgent = usize::from(urgent).saturating_sub(skipped) as u16;
            put16(transport, 18, urgent);
            if urgent == 0 {
                flags &= !tcp_flag::URG;
            }
        }
        transport[13] = flags;
        sum = checksum::add(sum, urgent.to_be());
        sum = checksum::add(sum, u16::from(flags).to_be());
        transport[16..18].copy_from_slice(&(!sum).to_ne_bytes());
    }
}

/// Write the checksum that the kernel left to whoever sends the frame: the field holds the sum of
/// the pseudo header. Refuses a place outside the frame.
pub fn complete_checksum(frame: &mut [u8], vnet: &Header) -> Result<(), Malformed> {
    if !vnet.needs_checksum {
        return Ok(());
    }
    let start = usize::from(vnet.checksum_start);
    let at = start + usize::from(vnet.checksum_offset);
    let covered = frame.get(start..).ok_or(Malformed)?;
    let value = checksum::finish(checksum::sum(covered));
    frame.get_mut(at..at + 2).ok_or(Malformed)?.copy_from_slice(&value);
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::vxlan::write_ipv4_checksum;
    use proptest::prelude::*;

    /// A frame of TCP or UDP with this payload and correct checksums.
    pub(crate) fn frame(
        is_v6: bool,
        is_tcp: bool,
        flags: u8,
        options: usize,
        payload: &[u8],
    ) -> Vec<u8> {
        let transport = if is_tcp { 20 + options } else { 8 };
        let length = transport + payload.len();
        let protocol = if is_tcp { 6 } else { 17 };
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        let network = 14;
        let start = if is_v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((length as u16).to_be_bytes());
            frame.extend([protocol, 64]);
            frame.extend([1; 16]);
            frame.extend([2; 16]);
            54
        } else {
            frame.extend([8, 0, 0x45, 0]);
            frame.extend(((20 + length) as u16).to_be_bytes());
            frame.extend([0xff, 0xfe, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
            write_ipv4_checksum(&mut frame[network..]);
            34
        };
        frame.extend([0x30, 0x39, 0, 80]);
        if is_tcp {
            frame.extend([0xff, 0xff, 0xff, 0x00, 0, 0, 0, 9, (transport as u8 / 4) << 4, flags]);
            frame.extend([1, 0, 0, 0, 0, 0]);
            frame.extend(std::iter::repeat_n(1, options));
        } else {
            frame.extend((length as u16).to_be_bytes());
            frame.extend([0, 0]);
        }
        frame.extend(payload);
        let addresses = if is_v6 { &frame[22..54] } else { &frame[26..34] };
        let mut sum = checksum::pseudo(addresses, protocol, length);
        sum = checksum::add(sum, checksum::sum(&frame[start..]));
        let at = start + if is_tcp { 16 } else { 6 };
        frame[at..at + 2].copy_from_slice(&checksum::finish(sum));
        frame
    }

    pub(crate) fn vnet(is_v6: bool, is_tcp: bool, size: u16) -> Header {
        let gso = match (is_v6, is_tcp) {
            (false, true) => Gso::Tcp4,
            (true, true) => Gso::Tcp6,
            (_, false) => Gso::Udp,
        };
        Header {
            needs_checksum: true,
            gso,
            gso_size: size,
            checksum_start: if is_v6 { 54 } else { 34 },
            checksum_offset: if is_tcp { 16 } else { 6 },
        }
    }

    pub(crate) fn cut_all(frame: &[u8], vnet: &Header) -> Vec<Vec<u8>> {
        cut_left(frame, vnet, false)
    }

    pub(crate) fn cut_left(frame: &[u8], vnet: &Header, is_partial: bool) -> Vec<Vec<u8>> {
        let packet = Packet::locate(frame).unwrap();
        let cut = Cut::plan(frame, packet.as_ref(), vnet).unwrap();
        (0..cut.count())
            .map(|index| {
                let mut room = vec![0; cut.longest()];
                let length = cut.write(frame, index, &mut room, is_partial);
                room.truncate(length);
                room
            })
            .collect()
    }

    fn is_correct(frame: &[u8]) -> bool {
        let packet = Packet::locate(frame).unwrap().unwrap();
        let length = packet.end - packet.transport;
        let pseudo = checksum::pseudo(packet.addresses(frame), packet.protocol, length);
        checksum::add(pseudo, checksum::sum(&frame[packet.transport..packet.end])) == 0xffff
            && (packet.is_v6 || checksum::sum(&frame[14..packet.transport]) == 0xffff)
    }

    proptest! {
        #[test]
        fn what_is_cut_is_whole_correct_and_of_the_size_asked_for(
            is_v6: bool, is_tcp: bool, flags: u8, options in 0usize..11,
            payload in proptest::collection::vec(any::<u8>(), 1..9000), size in 8u16..3000,
        ) {
            let whole = frame(is_v6, is_tcp, flags, options * 4, &payload);
            let frames = cut_all(&whole, &vnet(is_v6, is_tcp, size));
            let header = whole.len() - payload.len();
            let mut carried: Vec<u8> = Vec::new();
            for (index, frame) in frames.iter().enumerate() {
                prop_assert!(is_correct(frame));
                let is_last = index + 1 == frames.len();
                prop_assert!(is_last || frame.len() == header + usize::from(size));
                carried.extend(&frame[header..]);
                if is_tcp {
                    let at = header - options * 4 - 20;
                    let sequence = packet::be32(frame, at + 4).unwrap();
                    prop_assert_eq!(sequence, 0xffff_ff00u32.wrapping_add((index * usize::from(size)) as u32));
                    let mut wanted = flags;
                    if index > 0 { wanted &= !tcp_flag::CWR }
                    if !is_last { wanted &= !(tcp_flag::FIN | tcp_flag::PSH) }
                    wanted &= !tcp_flag::URG; // its pointer is 0
                    prop_assert_eq!(frame[at + 13], wanted);
                }
            }
            prop_assert_eq!(carried, payload);
        }

        #[test]
        fn any_octets_are_cut_or_refused(
            mut octets in proptest::collection::vec(any::<u8>(), 14..300), kind in 0usize..6, size in 1u16..,
        ) {
            octets[12..14].copy_from_slice(&[[8u8, 0], [0x86, 0xdd]][kind % 2]);
            let gso = [Gso::Tcp4, Gso::Tcp6, Gso::Udp][kind / 2];
            let vnet = Header { needs_checksum: true, gso, gso_size: size, checksum_start: size, checksum_offset: 16 };
            let packet = Packet::locate(&octets).unwrap_or(None);
            if let Ok(cut) = Cut::plan(&octets, packet.as_ref(), &vnet) {
                let mut room = vec![0; cut.longest()];
                for index in 0..cut.count() {
                    cut.write(&octets, index, &mut room, index % 2 == 0);
                }
            }
            let _ = complete_checksum(&mut octets, &vnet);
        }
    }

    #[test]
    fn a_left_out_checksum_is_written() {
        let whole = frame(false, true, tcp_flag::ACK, 12, b"hello");
        let mut partial = whole.clone();
        let pseudo = checksum::pseudo(&whole[26..34], 6, whole.len() - 34);
        partial[50..52].copy_from_slice(&pseudo.to_ne_bytes());
        let mut header = vnet(false, true, 1);
        header.gso = Gso::None;
        complete_checksum(&mut partial, &header).unwrap();
        assert_eq!(partial, whole);
        header.checksum_start = whole.len() as u16 - 10;
        assert_eq!(complete_checksum(&mut partial, &header), Err(Malformed));
    }
}
