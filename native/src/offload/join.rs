//! Joining consecutive segments of a flow into one super-frame (GRO).
//!
//! What may be joined is what the kernel's own GRO joins, and what `cut` would cut into the same
//! frames again: headers equal but for lengths, IP identification, sequence number and checksums;
//! no gap; every checksum right; at least one octet of payload; all of one size but the last. PSH
//! and FIN end a super-frame; a SYN, RST, URG or CWR, a fragment, IP options, extension headers
//! and VLAN tags stay alone. The rules are those of `vxnet/wire/coalesce.py`.

use std::ops::Range;

use crate::checksum;
use crate::counters::Amount;
use crate::packet::{self, Packet, protocol, put16, tcp_flag};
use crate::vnet::{self, Gso, Header};
use crate::vxlan::{Remote, write_ipv4_checksum};

const JOINABLE: u8 = tcp_flag::ACK | tcp_flag::PSH | tcp_flag::FIN | tcp_flag::ECE;
const LAST: u8 = tcp_flag::PSH | tcp_flag::FIN;
const DONT_FRAGMENT: u16 = 0x4000;

/// Datagrams in a super-frame: what every kernel with USO takes.
const DATAGRAMS_MAX: usize = 64;

/// The most frames in a super-frame; a write takes their payloads as so many pieces.
pub const SEGMENTS_MAX: usize = 128;

/// Octets of a super-frame's IP packet: what its length field can say.
const PACKET_MAX: usize = 65_535;

/// What kind of joinable frame this is; offsets from the frame's first octet.
#[derive(Clone, Copy, Debug)]
struct Shape {
    is_v6: bool,
    is_tcp: bool,
    transport: usize,
    header: usize,
    consecutive_id: bool, // IPv4 without DF: the identification has to count up
    pseudo: u16,          // the sum of the pseudo header but for its length
}

impl Shape {
    fn of(frame: &[u8], packet: &Packet) -> Option<Self> {
        let network = packet::ETHERNET;
        if packet.network != network
            || packet.is_fragment
            || packet.is_extended
            || packet.end != frame.len()
        {
            return None;
        }
        // Neither DF nor anything else may be in the fragment field: the reserved bit would be lost.
        let fragment = if packet.is_v6 { DONT_FRAGMENT } else { packet::be16(frame, network + 6)? };
        if fragment & !DONT_FRAGMENT != 0 {
            return None;
        }
        let (is_tcp, octets) = match packet.protocol {
            protocol::TCP => {
                let flags = *frame.get(packet.transport + 13)?;
                if flags & !JOINABLE != 0 || flags & tcp_flag::ACK == 0 {
                    return None;
                }
                (true, packet.tcp_header(frame).ok()?)
            }
            protocol::UDP => {
                let length = packet::be16(frame, packet.transport + 4)?;
                let checksum = packet::be16(frame, packet.transport + 6)?;
                if usize::from(length) != packet.end - packet.transport || checksum == 0 {
                    return None;
                }
                (false, packet::UDP)
            }
            _ => return None,
        };
        let shape = Self {
            is_v6: packet.is_v6,
            is_tcp,
            transport: packet.transport,
            header: packet.transport + octets,
            consecutive_id: fragment & DONT_FRAGMENT == 0,
            pseudo: checksum::pseudo(packet.addresses(frame), packet.protocol, 0),
        };
        (shape.header < frame.len()).then_some(shape)
    }

    // With `is_partial` the outer checksum has covered the transport's part of the frame.
    fn is_correct(&self, frame: &[u8], is_partial: bool) -> bool {
        let is_whole = || {
            let segment = &frame[self.transport..];
            let sum = checksum::add(self.pseudo, (segment.len() as u16).to_be());
            checksum::add(sum, checksum::sum(segment)) == 0xffff
        };
        (is_partial || is_whole())
            && (self.is_v6 || checksum::sum(&frame[packet::ETHERNET..self.transport]) == 0xffff)
    }

    // Whether two frames, both at least as long as the headers, differ in nothing a super-frame
    // could not say.
    fn is_alike(&self, head: &[u8], next: &[u8]) -> bool {
        let same = |from: usize, to: usize| head[from..to] == next[from..to];
        let network = packet::ETHERNET;
        let ip = if self.is_v6 {
            same(0, network + 4) && same(network + 6, self.transport)
        } else {
            same(0, network + 2)
                && same(network + 6, network + 10)
                && same(network + 12, self.transport)
        };
        let at = self.transport;
        ip && if self.is_tcp {
            same(at, at + 4)
                && same(at + 8, at + 13)
                && (head[at + 13] ^ next[at + 13]) & !LAST == 0
                && same(at + 14, at + 16)
                && same(at + 18, self.header)
        } else {
            same(at, at + 4)
        }
    }
}

/// A super-frame in the making: a frame, and the payloads of those that follow it. It holds where
/// they lie in a buffer, not their octets.
#[derive(Debug)]
pub struct Train {
    shape: Option<Shape>,
    head: Range<usize>,
    rest: Vec<Range<usize>>,
    size: usize,   // payload octets of all but the last
    octets: usize, // of the super-frame
    is_closed: bool,
    is_head_checked: bool,
    remote: Option<Remote>, // the checksums are left to us
    next_sequence: u32,
    next_id: u16,
}

impl Default for Train {
    fn default() -> Self {
        Self {
            shape: None,
            head: 0..0,
            rest: Vec::with_capacity(DATAGRAMS_MAX),
            size: 0,
            octets: 0,
            is_closed: true,
            is_head_checked: false,
            remote: None,
            next_sequence: 0,
            next_id: 0,
        }
    }
}

impl Train {
    /// Begin anew with one frame; of UDP where `uso` says that the receiver takes its super-frames.
    /// Where its checksum was left to us, `remote` is that of its own transport header. `false` if
    /// nothing can follow it.
    pub fn start(
        &mut self,
        buffer: &[u8],
        head: Range<usize>,
        packet: Option<&Packet>,
        uso: bool,
        remote: Option<Remote>,
    ) -> bool {
        let frame = &buffer[head.clone()];
        self.head = head;
        self.remote = remote;
        self.rest.clear();
        self.octets = frame.len();
        self.is_head_checked = false;
        let shape = packet.and_then(|packet| Shape::of(frame, packet));
        self.shape = shape.filter(|shape| shape.is_tcp || uso);
        self.is_closed = true;
        if let Some(shape) = self.shape {
            self.size = frame.len() - shape.header;
            self.is_closed = shape.is_tcp && frame[shape.transport + 13] & LAST != 0;
            if shape.is_tcp {
                let sequence = packet::be32(frame, shape.transport + 4).unwrap_or_default();
                self.next_sequence = sequence.wrapping_add(self.size as u32);
            }
            if shape.consecutive_id {
                let id = packet::be16(frame, packet::ETHERNET + 4).unwrap_or_default();
                self.next_id = id.wrapping_add(1);
            }
        }
        !self.is_closed
    }

    /// Append a frame if it continues this super-frame.
    pub fn offer(&mut self, buffer: &[u8], next: Range<usize>) -> bool {
        let Some(shape) = self.shape else { return false };
        let frame = &buffer[next.clone()];
        if self.is_closed
            || frame.len() <= shape.header
            || frame.len() - shape.header > self.size
            || !shape.is_alike(&buffer[self.head.clone()], frame)
        {
            return false;
        }
        let payload = frame.len() - shape.header;
        let network = packet::ETHERNET;
        let stated = if shape.is_v6 {
            packet::be16(frame, network + 4).map(|octets| usize::from(octets) + packet::IPV6)
        } else {
            packet::be16(frame, network + 2).map(usize::from)
        };
        if stated != Some(frame.len() - network)
            || self.octets + payload - network > PACKET_MAX
            || shape.consecutive_id && packet::be16(frame, network + 4) != Some(self.next_id)
        {
            return false;
        }
        let (continues, most) = if shape.is_tcp {
            let sequence = packet::be32(frame, shape.transport + 4);
            (sequence == Some(self.next_sequence), SEGMENTS_MAX)
        } else {
            let length = packet::be16(frame, shape.transport + 4);
            let is_whole = length == Some((frame.len() - shape.transport) as u16);
            (is_whole && packet::be16(frame, shape.transport + 6) != Some(0), DATAGRAMS_MAX)
        };
        let is_partial = self.remote.is_some();
        if !continues || self.count() >= most || !shape.is_correct(frame, is_partial) {
            return false;
        }
        if !self.is_head_checked {
            if !shape.is_correct(&buffer[self.head.clone()], is_partial) {
                self.is_closed = true;
                return false;
            }
            self.is_head_checked = true;
        }
        self.is_closed =
            payload < self.size || shape.is_tcp && frame[shape.transport + 13] & LAST != 0;
        self.octets += payload;
        self.next_sequence = self.next_sequence.wrapping_add(payload as u32);
        self.next_id = self.next_id.wrapping_add(1);
        self.rest.push(next.start + shape.header..next.end);
        true
    }

    /// How many frames it stands for, and their octets.
    pub fn amount(&self) -> Amount {
        let headers = self.shape.map_or(0, |shape| shape.header * self.rest.len());
        Amount { frames: self.count(), octets: self.octets + headers }
    }

    /// How many frames it stands for.
    pub fn count(&self) -> usize {
        1 + self.rest.len()
    }

    /// Where the first frame lies, whose headers are the super-frame's.
    pub fn head(&self) -> Range<usize> {
        self.head.clone()
    }

    /// Where the payloads of the others lie, in order.
    pub fn rest(&self) -> &[Range<usize>] {
        &self.rest
    }

    /// Write the super-frame's headers into the first frame, and give its `virtio_net_hdr`. A frame
    /// alone is left as it came; whoever receives it judges its checksum.
    pub fn finish(&mut self, buffer: &mut [u8]) -> [u8; vnet::BYTES] {
        let Some(shape) = self.shape.filter(|_| !self.rest.is_empty()) else {
            return self.remote.map_or(vnet::PLAIN, |remote| remote.vnet().build(0));
        };
        let network = packet::ETHERNET;
        if shape.is_tcp && self.is_closed {
            // The last frame's PSH and FIN are the super-frame's.
            let last = self.rest.last().map_or(0, |payload| payload.start - shape.header);
            let flags = buffer[last + shape.transport + 13] & LAST;
            buffer[self.head.start + shape.transport + 13] |= flags;
        }
        let frame = &mut buffer[self.head.clone()];
        let length = self.octets - shape.transport;
        let addresses = if shape.is_v6 {
            put16(frame, network + 4, length as u16);
            network + 8..network + 40
        } else {
            put16(frame, network + 2, (self.octets - network) as u16);
            write_ipv4_checksum(&mut frame[network..shape.transport]);
            network + 12..network + 20
        };
        let (gso, protocol, field) = match (shape.is_tcp, shape.is_v6) {
            (true, false) => (Gso::Tcp4, protocol::TCP, packet::TCP_CHECKSUM),
            (true, true) => (Gso::Tcp6, protocol::TCP, packet::TCP_CHECKSUM),
            (false, _) => (Gso::Udp, protocol::UDP, packet::UDP_CHECKSUM),
        };
        if !shape.is_tcp {
            put16(frame, shape.transport + 4, length as u16);
        }
        let pseudo = checksum::pseudo(&frame[addresses], protocol, length);
        let at = shape.transport + field;
        frame[at..at + 2].copy_from_slice(&pseudo.to_ne_bytes());
        let header = Header {
            needs_checksum: true,
            gso,
            gso_size: self.size as u16,
            checksum_start: shape.transport as u16,
            checksum_offset: field as u16,
        };
        header.build(shape.header as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offload::cut::complete_checksum;
    use crate::offload::cut::tests::{cut_all, cut_left, frame, vnet};
    use proptest::prelude::*;

    // Lays frames side by side and joins what can be joined, as the worker does.
    fn join_all(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
        join_left(frames, false)
    }

    // The same for frames whose checksums may be left to us.
    fn join_left(frames: &[Vec<u8>], is_left: bool) -> Vec<Vec<u8>> {
        let mut buffer = frames.concat();
        let mut trains: Vec<Train> = Vec::new();
        let mut at = 0;
        for frame in frames {
            let range = at..at + frame.len();
            at = range.end;
            if trains.last_mut().is_some_and(|train| train.offer(&buffer, range.clone())) {
                continue;
            }
            let packet = Packet::locate(frame).unwrap_or(None);
            let mut train = Train::default();
            let remote = packet.as_ref().and_then(Remote::of).filter(|_| is_left);
            train.start(&buffer, range, packet.as_ref(), true, remote);
            trains.push(train);
        }
        trains
            .iter_mut()
            .map(|train| {
                let mut whole = train.finish(&mut buffer).to_vec();
                whole.extend(&buffer[train.head()]);
                for payload in train.rest() {
                    whole.extend(&buffer[payload.clone()]);
                }
                whole
            })
            .collect()
    }

    // The frames a list of super-frames, each behind its header, stands for.
    fn cut_again(joined: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        for whole in joined {
            let (header, frame) = whole.split_first_chunk::<{ vnet::BYTES }>().unwrap();
            match Header::parse(header).unwrap() {
                Header { gso: Gso::None, .. } => frames.push(frame.to_vec()),
                vnet => frames.extend(cut_all(frame, &vnet)),
            }
        }
        frames
    }

    proptest! {
        #[test]
        fn what_was_cut_is_joined_into_what_it_was(
            is_v6: bool, is_tcp: bool, flags in 0u8..64, options in 0usize..11,
            payload in proptest::collection::vec(any::<u8>(), 2..9000), size in 200u16..3000,
        ) {
            let flags = flags & (LAST | tcp_flag::ECE) | tcp_flag::ACK;
            let whole = frame(is_v6, is_tcp, flags, options * 4, &payload);
            let frames = cut_all(&whole, &vnet(is_v6, is_tcp, size));
            let joined = join_all(&frames);
            prop_assert_eq!(joined.len(), 1);
            // The checksum of a super-frame is left to the kernel; all else is as it was.
            let at = if is_v6 { 54 } else { 34 } + if is_tcp { 16 } else { 6 };
            let mut got = joined[0][vnet::BYTES..].to_vec();
            let mut wanted = whole;
            if frames.len() > 1 {
                got[at..at + 2].fill(0);
                wanted[at..at + 2].fill(0);
            }
            prop_assert_eq!(got, wanted);
            prop_assert_eq!(cut_again(&joined), frames);
        }

        #[test]
        fn checksums_that_were_left_out_are_in_place_again(
            is_v6: bool, is_tcp: bool, options in 0usize..11,
            payload in proptest::collection::vec(any::<u8>(), 1..9000), size in 200u16..3000,
        ) {
            let whole = frame(is_v6, is_tcp, tcp_flag::ACK, options * 4, &payload);
            let vnet = vnet(is_v6, is_tcp, size);
            let sent = cut_left(&whole, &vnet, true);
            let joined = join_left(&sent, true);
            prop_assert_eq!(joined.len(), 1);
            let mut given = cut_again(&joined);
            if let ([sent], [given]) = (&sent[..], &mut given[..]) {
                // Alone, it is given as it came, and the kernel is told what is left.
                let left = Header::parse(joined[0].first_chunk().unwrap()).unwrap();
                prop_assert!(left.needs_checksum && sent == given);
                complete_checksum(given, &left).unwrap();
            }
            prop_assert_eq!(given, cut_all(&whole, &vnet));
        }

        #[test]
        fn a_flow_with_anything_wrong_in_it_comes_out_as_it_went_in(
            is_v6: bool, is_tcp: bool,
            payload in proptest::collection::vec(any::<u8>(), 2000..5000), size in 200u16..700,
            harm in proptest::collection::vec((0usize..25, 0usize..900, any::<u8>()), 0..6),
        ) {
            let whole = frame(is_v6, is_tcp, tcp_flag::ACK, 12, &payload);
            let mut frames = cut_all(&whole, &vnet(is_v6, is_tcp, size));
            for (index, at, octet) in harm {
                let index = index % frames.len();
                let at = at % frames[index].len();
                frames[index][at] = octet;
            }
            let again = cut_again(&join_all(&frames));
            // Only identifications that do not count (DF is set) may have changed, and with them
            // the IPv4 header's checksum.
            prop_assert_eq!(again.len(), frames.len());
            for (got, sent) in again.iter().zip(&frames) {
                let is_atomic = sent[12..14] == [8, 0] && sent[20] & 0x40 != 0;
                let (mut got, mut sent) = (got.clone(), sent.clone());
                if is_atomic {
                    for frame in [&mut got, &mut sent] {
                        frame[18..20].fill(0);
                        frame[24..26].fill(0);
                    }
                }
                prop_assert_eq!(got, sent);
            }
        }
    }

    #[test]
    fn what_must_stay_alone_does() {
        let payload = [7; 1000];
        for flags in [tcp_flag::SYN, tcp_flag::RST, tcp_flag::URG, tcp_flag::CWR] {
            let whole = frame(false, true, tcp_flag::ACK | flags, 0, &payload);
            let pieces = [whole.clone(), whole];
            assert_eq!(join_all(&pieces).len(), 2);
        }
        let ack = frame(false, true, tcp_flag::ACK, 0, &[]);
        assert_eq!(join_all(&[ack.clone(), ack]).len(), 2);
    }

    #[test]
    fn a_super_frame_never_outgrows_its_length_field() {
        let payload = vec![7; 64_000];
        let whole = frame(false, true, tcp_flag::ACK, 0, &payload);
        let mut frames = cut_all(&whole, &vnet(false, true, 1000));
        let mut later = frames.clone();
        for (index, frame) in later.iter_mut().enumerate() {
            // The same again, 64,000 octets on.
            let sequence = 0xffff_ff00u32.wrapping_add(64_000 + 1000 * index as u32);
            packet::put32(frame, 38, sequence);
            frame[50..52].fill(0);
            let pseudo = checksum::pseudo(&frame[26..34], 6, frame.len() - 34);
            let sum = checksum::add(pseudo, checksum::sum(&frame[34..]));
            frame[50..52].copy_from_slice(&checksum::finish(sum));
        }
        frames.append(&mut later);
        let joined = join_all(&frames);
        assert_eq!(joined.len(), 2);
        assert_eq!(cut_again(&joined).len(), frames.len());
    }
}
