//! Other addresses and ports in a packet that stays what it was: its checksums follow (RFC 1624).
//!
//! `vxnet/wire/rewrite.py` is the specification; both give the same octets.

use crate::packet::{self, Mac, Packet, protocol};

const MODULUS: i64 = 0xffff;
const ADDRESS: usize = 16;

/// Addresses of either version, as flows hold them: IPv4's in the first four octets.
pub type Address = [u8; ADDRESS];

/// What a frame shall say, from whom to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // says it
pub struct Edit {
    pub destination_mac: Mac,
    pub source_mac: Mac,
    pub source: Address,
    pub destination: Address,
    pub source_port: u16,
    pub destination_port: u16,
}

/// Write it into a frame whose packet has ports, and is of the edit's version of IP.
///
/// `is_partial` says that the checksum is yet to be made, and its field holds the pseudo header's
/// sum.
pub fn apply(edit: &Edit, frame: &mut [u8], packet: &Packet, is_partial: bool) {
    let change = apply_addresses(edit, frame, packet);
    apply_ports(edit, frame, packet, is_partial, change);
}

/// The same for a fragment but the first, of which only the addresses are there. Gives by how much
/// their sum changed.
pub fn apply_addresses(edit: &Edit, frame: &mut [u8], packet: &Packet) -> i64 {
    frame[..6].copy_from_slice(&edit.destination_mac);
    frame[6..12].copy_from_slice(&edit.source_mac);
    let (at, width) =
        if packet.is_v6 { (packet.network + 8, 16) } else { (packet.network + 12, 4) };
    let addresses = &mut frame[at..at + 2 * width];
    let before = sum(addresses);
    addresses[..width].copy_from_slice(&edit.source[..width]);
    addresses[width..].copy_from_slice(&edit.destination[..width]);
    let change = sum(addresses) - before;
    if !packet.is_v6 {
        adjust(frame, packet.network + 10, change, false);
    }
    change
}

fn apply_ports(edit: &Edit, frame: &mut [u8], packet: &Packet, is_partial: bool, mut change: i64) {
    let is_udp = packet.protocol == protocol::UDP;
    let offset = if is_udp { packet::UDP_CHECKSUM } else { packet::TCP_CHECKSUM };
    let (ports, field) = (packet.transport, packet.transport + offset);
    if is_partial {
        adjust(frame, field, change, true);
    } else if !is_udp || frame[field..field + 2] != [0, 0] {
        // RFC 768: zero says that there is none.
        change += i64::from(edit.source_port) + i64::from(edit.destination_port);
        change -= sum(&frame[ports..ports + 4]);
        adjust(frame, field, change, false);
    }
    packet::put16(frame, ports, edit.source_port);
    packet::put16(frame, ports + 2, edit.destination_port);
}

fn sum(octets: &[u8]) -> i64 {
    let (words, _) = octets.as_chunks::<2>();
    words.iter().map(|word| i64::from(u16::from_be_bytes(*word))).sum()
}

// Bring a sum, or its complement, up to date. The complement is never zero, as UDP asks.
fn adjust(frame: &mut [u8], at: usize, change: i64, is_sum: bool) {
    let field = i64::from(packet::be16(frame, at).unwrap_or_default());
    let value = if is_sum {
        (field + change).rem_euclid(MODULUS)
    } else {
        MODULUS - (MODULUS - field + change).rem_euclid(MODULUS)
    };
    packet::put16(frame, at, value as u16);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum;
    use crate::offload::cut::complete_checksum;
    use crate::offload::cut::tests::frame;
    use crate::vxlan::Remote;
    use proptest::prelude::*;

    fn is_correct(frame: &[u8]) -> bool {
        let packet = Packet::locate(frame).unwrap().unwrap();
        let length = packet.end - packet.transport;
        let pseudo = checksum::pseudo(packet.addresses(frame), packet.protocol, length);
        let header = &frame[packet.network..packet.transport];
        checksum::add(pseudo, checksum::sum(&frame[packet.transport..packet.end])) == 0xffff
            && (packet.is_v6 || checksum::sum(header) == 0xffff)
    }

    fn edit(octets: [u8; 48]) -> Edit {
        let [a, b, c, d, e, f, ..] = octets;
        Edit {
            destination_mac: [a, b, c, d, e, f],
            source_mac: [f, e, d, c, b, a],
            source: *octets[8..].first_chunk().unwrap(),
            destination: *octets[24..].first_chunk().unwrap(),
            source_port: u16::from_be_bytes([octets[40], octets[41]]),
            destination_port: u16::from_be_bytes([octets[42], octets[43]]),
        }
    }

    proptest! {
        #[test]
        fn what_was_correct_is_correct_and_says_what_it_shall(
            is_v6: bool, is_tcp: bool, octets: [u8; 48],
            payload in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut got = frame(is_v6, is_tcp, 0x10, 12, &payload);
            let packet = Packet::locate(&got).unwrap().unwrap();
            let edit = edit(octets);
            apply(&edit, &mut got, &packet, false);
            prop_assert!(is_correct(&got));
            let width = if is_v6 { 16 } else { 4 };
            let wanted = [&edit.source[..width], &edit.destination[..width]].concat();
            prop_assert_eq!(packet.addresses(&got), &wanted[..]);
            prop_assert_eq!(packet::be16(&got, packet.transport), Some(edit.source_port));
            prop_assert_eq!(packet::be16(&got, packet.transport + 2), Some(edit.destination_port));
            prop_assert_eq!(&got[..6], &edit.destination_mac[..]);
            prop_assert_eq!(&got[6..12], &edit.source_mac[..]);
        }

        #[test]
        fn a_checksum_that_is_yet_to_be_made_comes_out_right(
            is_v6: bool, is_tcp: bool, octets: [u8; 48],
            payload in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut got = frame(is_v6, is_tcp, 0x10, 12, &payload);
            let packet = Packet::locate(&got).unwrap().unwrap();
            let remote = Remote::of(&packet).unwrap();
            let length = packet.end - packet.transport;
            let pseudo = checksum::pseudo(packet.addresses(&got), packet.protocol, length);
            got[remote.at..remote.at + 2].copy_from_slice(&pseudo.to_ne_bytes());
            apply(&edit(octets), &mut got, &packet, true);
            complete_checksum(&mut got, &remote.vnet()).unwrap();
            prop_assert!(is_correct(&got));
        }
    }

    #[test]
    fn a_datagram_without_checksum_stays_without() {
        let mut got = frame(false, false, 0, 0, b"hello");
        got[40..42].fill(0);
        let packet = Packet::locate(&got).unwrap().unwrap();
        apply(&edit([7; 48]), &mut got, &packet, false);
        assert_eq!(got[40..42], [0, 0]);
    }
}
