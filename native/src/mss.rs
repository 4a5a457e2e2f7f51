//! The maximum segment size that a TCP SYN asks for, lowered to what the way carries.
//!
//! `vxnet/wire/mss.py` is the specification.

use crate::checksum;
use crate::packet::{self, Packet, ethertype, protocol, tcp_flag};

const END: u8 = 0;
const NOTHING: u8 = 1;
const MSS: u8 = 2;

const FLAGS: usize = 13;
const NEXT_HEADER: usize = packet::ETHERNET + 6;
const PROTOCOL: usize = packet::ETHERNET + 9;

/// Whether a frame may be a SYN, by a glance that never says no to one (of those without IPv6
/// extension headers, which no stack sends a SYN with).
pub fn may_be_syn(frame: &[u8]) -> bool {
    let is_set = |at: usize| frame.get(at + FLAGS).is_some_and(|flags| flags & tcp_flag::SYN != 0);
    match packet::be16(frame, packet::ETHERNET - 2) {
        Some(ethertype::IPV4) => {
            frame.get(PROTOCOL) == Some(&protocol::TCP)
                && is_set(packet::ETHERNET + usize::from(frame[packet::ETHERNET] & 0x0f) * 4)
        }
        Some(ethertype::IPV6) => {
            frame.get(NEXT_HEADER) == Some(&protocol::TCP)
                && is_set(packet::ETHERNET + packet::IPV6)
        }
        Some(kind) => packet::is_vlan(kind),
        None => false,
    }
}

/// Lower the option of a SYN so that its answers fit IP packets of `mtu` octets (RFC 9293 §3.7.1).
/// The checksum is repaired, unless it is yet to be written (`is_open`).
pub fn clamp(frame: &mut [u8], packet: Option<&Packet>, mtu: usize, is_open: bool) {
    let Some(packet) = packet.filter(|packet| packet.protocol == protocol::TCP) else { return };
    let Ok(header) = packet.tcp_header(frame) else { return };
    if packet.is_fragment || frame[packet.transport + FLAGS] & tcp_flag::SYN == 0 {
        return;
    }
    let fixed = packet::TCP + if packet.is_v6 { packet::IPV6 } else { packet::IPV4 };
    let most = mtu.saturating_sub(fixed).min(usize::from(u16::MAX)) as u16;
    let (mut at, end) = (packet.transport + packet::TCP, packet.transport + header);
    while at + 1 < end {
        let length = match frame[at] {
            END => return,
            NOTHING => 1,
            _ => usize::from(frame[at + 1]),
        };
        if frame[at] == MSS && length == 4 && at + 4 <= end {
            return lower(frame, at + 2, packet.transport, most, is_open);
        }
        if length == 0 || frame[at] != NOTHING && length < 2 {
            return;
        }
        at += length;
    }
}

fn lower(frame: &mut [u8], at: usize, transport: usize, most: u16, is_open: bool) {
    let before = packet::be16(frame, at).unwrap_or_default();
    if before <= most {
        return;
    }
    packet::put16(frame, at, most);
    if is_open {
        return;
    }
    let field = packet::be16(frame, transport + packet::TCP_CHECKSUM).unwrap_or_default();
    // An option may lie at an odd offset: its octets then count the other way round.
    let is_odd = !(at - transport).is_multiple_of(2);
    let turned = |value: u16| if is_odd { value.swap_bytes() } else { value };
    packet::put16(
        frame,
        transport + packet::TCP_CHECKSUM,
        checksum::update(field, turned(before), turned(most)),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offload::cut::tests::frame;
    use proptest::prelude::*;

    fn is_correct(frame: &[u8], packet: &Packet) -> bool {
        let length = packet.end - packet.transport;
        let pseudo = checksum::pseudo(packet.addresses(frame), packet.protocol, length);
        checksum::add(pseudo, checksum::sum(&frame[packet.transport..packet.end])) == 0xffff
    }

    // A SYN with an MSS option behind so many no-operations.
    fn syn(is_v6: bool, nothings: usize, mss: u16) -> Vec<u8> {
        let whole = frame(is_v6, true, tcp_flag::SYN, 12, &[]);
        let packet = Packet::locate(&whole).unwrap().unwrap();
        let mut syn = whole.clone();
        let at = packet.transport + 20 + nothings;
        syn[at..at + 2].copy_from_slice(&[MSS, 4]);
        packet::put16(&mut syn, at + 2, mss);
        packet::put16(&mut syn, packet.transport + 16, 0);
        let length = packet.end - packet.transport;
        let sum = checksum::add(
            checksum::pseudo(packet.addresses(&syn), 6, length),
            checksum::sum(&syn[packet.transport..]),
        );
        syn[packet.transport + 16..packet.transport + 18].copy_from_slice(&checksum::finish(sum));
        syn
    }

    proptest! {
        #[test]
        fn a_syn_asks_for_no_more_than_fits_and_stays_correct(
            is_v6: bool, nothings in 0usize..8, mss: u16, mtu in 100usize..9000,
        ) {
            let mut got = syn(is_v6, nothings, mss);
            let packet = Packet::locate(&got).unwrap().unwrap();
            prop_assert!(may_be_syn(&got) && is_correct(&got, &packet));
            clamp(&mut got, Some(&packet), mtu, false);
            prop_assert!(is_correct(&got, &packet));
            let fits = mtu - if is_v6 { 60 } else { 40 };
            let asked = packet::be16(&got, packet.transport + 22 + nothings).unwrap();
            prop_assert_eq!(usize::from(asked), usize::from(mss).min(fits));
        }

        #[test]
        fn any_octets_are_taken(mut octets in proptest::collection::vec(any::<u8>(), 14..120), kind in 0usize..2) {
            octets[12..14].copy_from_slice(&[[8u8, 0], [0x86, 0xdd]][kind]);
            may_be_syn(&octets);
            let packet = Packet::locate(&octets).unwrap_or(None);
            clamp(&mut octets, packet.as_ref(), 1000, false);
        }
    }

    #[test]
    fn what_is_no_syn_is_left_alone() {
        let whole = frame(false, true, tcp_flag::ACK, 12, b"x");
        let packet = Packet::locate(&whole).unwrap().unwrap();
        let mut got = whole.clone();
        assert!(!may_be_syn(&got));
        clamp(&mut got, Some(&packet), 100, false);
        assert_eq!(got, whole);
    }
}
