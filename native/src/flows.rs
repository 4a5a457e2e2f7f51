//! The flows that go through services: what becomes of their packets, so that none but the first of
//! each have to be looked at by the switch (`vxnet/switch/balancer.py`).
//!
//! The switch gives every flow a number, and says what becomes of it. Flows are found by what their
//! packets say, either way, without a lock.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::counters::{Amount, Counter};
use crate::flow::{Flow, Key, Way};
use crate::packet::{self, Packet, protocol, tcp_flag};
use crate::rewrite::Edit;
use crate::words::{PRESENT, Words};

/// How many there can be; the switch stops earlier.
pub const FLOWS_MAX: usize = CHUNKS * CHUNK;

const CHUNKS: usize = 256;
const CHUNK: usize = 1024; // made when the first of its numbers is used

const FLAGS: usize = 13;
const ACKNOWLEDGEMENT: usize = 8;
/// What ends a connection.
const LAST: u8 = tcp_flag::FIN | tcp_flag::RST;
/// What takes a connection that was asked for.
const TAKEN: u8 = tcp_flag::SYN | tcp_flag::ACK;

/// Which packets of a flow the switch wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// All.
    All,
    /// All until its member answers; the answer that takes it is not one of them.
    UntilAnswered,
    /// None but those that may begin another one.
    Few,
}

/// How a flow's packets are dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// By whom.
    pub shown: Shown,
    /// For so long it may be silent, in seconds; after that the switch is asked.
    pub idle_s: u16,
    /// The same when its end was seen.
    pub closing_s: u16,
}

/// What was seen of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When its last packet was carried, on the workers' clock.
    pub at: u16,
    /// What its client last said it has.
    pub acknowledged: Option<u32>,
    /// Whether an answer was.
    pub is_answered: bool,
    /// Whether its end was.
    pub is_closing: bool,
    /// What was carried.
    pub frames: u64,
    /// And their octets.
    pub octets: u64,
}

const CLOSING_SHIFT: u32 = 16;
const HELD: u64 = 1 << 32;
const USED: u64 = 1 << 33;
const CLOSING: u64 = 1 << 34;
const FRESH: u64 = 1 << 35; // nobody has answered yet
const ACKNOWLEDGED: u64 = 1 << 32;

// In two lines of the cache: what is looked at, and what every packet changes.
#[derive(Default)]
#[repr(align(64))]
struct Record {
    words: [AtomicU64; Flow::WORDS],
    terms: AtomicU64, // the seconds it may be silent, and flags
    seen: AtomicU32,
    acknowledged: AtomicU64,
    frames: Counter,
    octets: Counter,
}

impl Record {
    fn flow(&self) -> Flow {
        Flow::unpack(std::array::from_fn(|at| self.words[at].load(Ordering::Relaxed)))
    }

    fn is_used(&self) -> bool {
        self.terms.load(Ordering::Relaxed) & USED != 0
    }
}

/// What becomes of a packet that is carried without asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Of the flow.
    pub number: u32,
    /// How the packet goes on.
    pub edit: Edit,
}

/// What a frame is to the flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Of none.
    Nothing,
    /// The switch has to look.
    Held,
    /// Of this one, and goes its way.
    Carried(Carried),
}

/// All of them.
pub struct Flows {
    chunks: Box<[OnceLock<Box<[Record]>>]>,
    index: Words,
    seeds: [u64; 2], // so that nobody outside can choose flows that collide
    writing: Mutex<()>,
}

impl Default for Flows {
    fn default() -> Self {
        let random = RandomState::new();
        Self {
            chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect(),
            index: Words::default(),
            seeds: [random.hash_one(1), random.hash_one(2) | 1],
            writing: Mutex::new(()),
        }
    }
}

impl Flows {
    // Entries of the index are found by this hash, which is all they hold of a key.
    fn hash(&self, key: &Key, way: Way) -> u64 {
        let [seed, factor] = self.seeds;
        let first = if way == Way::There { seed } else { !seed };
        key.words().iter().fold(first, |hash, word| {
            let product = u128::from(hash ^ word) * u128::from(factor);
            (product >> 64) as u64 ^ product as u64
        })
    }

    fn record(&self, number: u32) -> Option<&Record> {
        self.chunks.get(number as usize / CHUNK)?.get()?.get(number as usize % CHUNK)
    }

    /// Put a flow, or other terms for one; whatever had its number goes. `now` is the workers' clock.
    /// `false` for a number that there is not.
    pub fn set(&self, number: u32, flow: &Flow, terms: Terms, now: u16) -> bool {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(chunk) = self.chunks.get(number as usize / CHUNK) else { return false };
        let chunk = chunk.get_or_init(|| (0..CHUNK).map(|_| Record::default()).collect());
        let record = &chunk[number as usize % CHUNK];
        let held = match terms.shown {
            Shown::All => HELD,
            Shown::UntilAnswered => FRESH,
            Shown::Few => 0,
        };
        let times = u64::from(terms.closing_s) << CLOSING_SHIFT | u64::from(terms.idle_s);
        record.seen.store(now.into(), Ordering::Relaxed);
        // One that begins, or is over, may be another one under the same name.
        if record.is_used() && terms.shown == Shown::Few && record.flow() == *flow {
            let closing = record.terms.load(Ordering::Relaxed) & CLOSING;
            record.terms.store(USED | closing | times, Ordering::Relaxed);
            return true;
        }
        self.unlink(number, record);
        for (word, value) in record.words.iter().zip(flow.pack()) {
            word.store(value, Ordering::Relaxed);
        }
        record.acknowledged.store(0, Ordering::Relaxed);
        record.frames.reset();
        record.octets.reset();
        record.terms.store(USED | held | times, Ordering::Relaxed);
        for way in [Way::There, Way::Back] {
            let hash = self.hash(&flow.key(way), way);
            let value = PRESENT | u64::from(number);
            self.index.set(hash, hash, value, |other| other == value, |key, _| key);
        }
        true
    }

    /// Know nothing of a flow any more.
    pub fn remove(&self, number: u32) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(record) = self.record(number) {
            self.unlink(number, record);
        }
    }

    // Before a record is written over: who reads it meanwhile finds its shard changed.
    fn unlink(&self, number: u32, record: &Record) {
        if !record.is_used() {
            return;
        }
        let flow = record.flow();
        for way in [Way::There, Way::Back] {
            let hash = self.hash(&flow.key(way), way);
            let value = PRESENT | u64::from(number);
            self.index.remove(hash, hash, |other| other == value, |key, _| key);
        }
        record.terms.store(0, Ordering::Relaxed);
    }

    /// What was seen of a flow.
    pub fn seen(&self, number: u32) -> Option<Seen> {
        let record = self.record(number).filter(|record| record.is_used())?;
        let acknowledged = record.acknowledged.load(Ordering::Relaxed);
        Some(Seen {
            at: record.seen.load(Ordering::Relaxed) as u16,
            acknowledged: (acknowledged & ACKNOWLEDGED != 0).then_some(acknowledged as u32),
            is_answered: record.terms.load(Ordering::Relaxed) & (HELD | FRESH) == 0,
            is_closing: record.terms.load(Ordering::Relaxed) & CLOSING != 0,
            frames: record.frames.get(),
            octets: record.octets.get(),
        })
    }

    fn find(&self, key: &Key, way: Way) -> Option<(u32, Flow, u64)> {
        let hash = self.hash(key, way);
        self.index.find(hash, hash, |value| {
            let record = self.record(value as u32)?;
            let flow = record.flow();
            let terms = record.terms.load(Ordering::Relaxed);
            (flow.key(way) == *key).then_some((value as u32, flow, terms))
        })
    }

    /// What a client's frame to a service's MAC is, or one of who speaks for clients; `packet` is the
    /// frame's, where it has one that can be read. Takes no lock.
    pub fn there(&self, vni: u32, frame: &[u8], packet: Option<&Packet>, now: u16) -> Found {
        let Some(packet) = packet.filter(|packet| !packet.is_fragment && packet.has_ports()) else {
            return Found::Held;
        };
        match self.find(&Key::of(vni, frame, packet), Way::There) {
            Some((number, flow, terms))
                if frame[..6] == flow.service.mac && frame[6..12] == flow.client.mac =>
            {
                self.judge(number, &flow, terms, Way::There, frame, packet, now)
            }
            _ => Found::Held, // it may be a new one
        }
    }

    /// The same for the frame of a member of services.
    pub fn back(&self, vni: u32, frame: &[u8], packet: Option<&Packet>, now: u16) -> Found {
        // What can not be read is for its receivers to discard.
        let Some(packet) = packet else { return Found::Nothing };
        let is_error = matches!(packet.protocol, protocol::ICMP | protocol::ICMPV6);
        let is_ported = matches!(packet.protocol, protocol::TCP | protocol::UDP);
        if packet.is_fragment && is_ported || is_error && !packet.is_fragment {
            return Found::Held; // it may be about a flow
        }
        if packet.is_fragment || !packet.has_ports() {
            return Found::Nothing;
        }
        match self.find(&Key::of(vni, frame, packet), Way::Back) {
            Some((number, flow, terms)) if frame[6..12] == flow.member.mac => {
                self.judge(number, &flow, terms, Way::Back, frame, packet, now)
            }
            _ => Found::Nothing,
        }
    }

    /// Whether the answers to a packet, which goes to a member by its own address, would be taken
    /// for those of a flow. Takes no lock.
    pub fn is_confused(&self, vni: u32, frame: &[u8], packet: Option<&Packet>) -> bool {
        let packet = packet.filter(|packet| !packet.is_fragment && packet.has_ports());
        packet.is_some_and(|packet| {
            self.find(&Key::of_answer(vni, frame, packet), Way::Back).is_some()
        })
    }

    #[allow(clippy::too_many_arguments)] // what was found out so far
    fn judge(
        &self,
        number: u32,
        flow: &Flow,
        terms: u64,
        way: Way,
        frame: &[u8],
        packet: &Packet,
        now: u16,
    ) -> Found {
        let Some(record) = self.record(number) else { return Found::Held };
        let is_plain = packet.network == packet::ETHERNET && !packet.is_extended;
        let idle_s = if terms & CLOSING != 0 { terms >> CLOSING_SHIFT } else { terms } as u16;
        let silence_s = silence(record.seen.load(Ordering::Relaxed) as u16, now);
        let is_early = terms & FRESH != 0 && way == Way::There;
        if terms & HELD != 0 || is_early || !is_plain || silence_s > idle_s {
            return Found::Held;
        }
        if packet.protocol == protocol::TCP {
            if packet.tcp_header(frame).is_err() {
                return Found::Held;
            }
            let flags = frame[packet.transport + FLAGS];
            let is_taken = flags & (TAKEN | LAST) == TAKEN;
            if terms & FRESH != 0 {
                if !is_taken {
                    return Found::Held; // a refusal, or the middle of what nobody knows
                }
            } else if flags & tcp_flag::SYN != 0 && !(way == Way::Back && is_taken) {
                return Found::Held; // another connection may begin
            }
            self.note_end(number, frame, packet);
            if way == Way::There && flags & tcp_flag::ACK != 0 {
                let acknowledged = packet::be32(frame, packet.transport + ACKNOWLEDGEMENT);
                let value = ACKNOWLEDGED | u64::from(acknowledged.unwrap_or_default());
                record.acknowledged.store(value, Ordering::Relaxed);
            }
        }
        if terms & FRESH != 0 {
            record.terms.fetch_and(!FRESH, Ordering::Relaxed);
        }
        Found::Carried(Carried { number, edit: flow.edit(way) })
    }

    /// A packet of a flow is carried: it may be the last one.
    pub fn note_end(&self, number: u32, frame: &[u8], packet: &Packet) {
        let flags = frame.get(packet.transport + FLAGS).filter(|flags| **flags & LAST != 0);
        if let (protocol::TCP, Some(_), Some(record)) =
            (packet.protocol, flags, self.record(number))
        {
            record.terms.fetch_or(CLOSING, Ordering::Relaxed);
        }
    }

    /// Packets of a flow were carried.
    pub fn note(&self, number: u32, amount: Amount, now: u16) {
        if let Some(record) = self.record(number) {
            record.seen.store(now.into(), Ordering::Relaxed);
            record.frames.add(amount.frames);
            record.octets.add(amount.octets);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.index.len() / 2
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Octets they take, free places included.
    pub fn octets(&self) -> usize {
        let made = self.chunks.iter().filter(|chunk| chunk.get().is_some()).count();
        made * CHUNK * size_of::<Record>() + self.index.octets()
    }
}

/// How long ago something was seen, by a clock that may wrap around, and that others may have read
/// a moment later.
pub fn silence(seen: u16, now: u16) -> u16 {
    let silence = now.wrapping_sub(seen);
    if silence > u16::MAX / 2 { 0 } else { silence }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Party;
    use crate::offload::cut::tests::frame;
    use crate::rewrite::{self, Address};
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::sync::atomic::AtomicBool;

    const VNI: u32 = 7;
    const CARRIED: Terms = Terms { shown: Shown::Few, idle_s: 300, closing_s: 100 };
    const FIRST: Terms = Terms { shown: Shown::UntilAnswered, ..CARRIED };
    const ON_HOLD: Terms = Terms { shown: Shown::All, ..CARRIED };

    fn address(is_v6: bool, last: u8) -> Address {
        let mut address = [last; 16];
        if !is_v6 {
            address[4..].fill(0);
        }
        address
    }

    // Of the frames that `tests::frame` makes.
    fn flow(is_v6: bool, is_tcp: bool) -> Flow {
        let [mut client, mut service] = [Address::default(); 2];
        if is_v6 {
            (client, service) = ([1; 16], [2; 16]);
        } else {
            client[..4].copy_from_slice(&[10, 0, 0, 1]);
            service[..4].copy_from_slice(&[10, 0, 0, 2]);
        }
        Flow {
            vni: VNI,
            protocol: if is_tcp { protocol::TCP } else { protocol::UDP },
            is_v6,
            is_own: false,
            client: Party { mac: [2, 0, 0, 0, 0, 2], ip: client, port: 12345 },
            service: Party { mac: [2, 0, 0, 0, 0, 1], ip: service, port: 80 },
            member: Party { mac: [2, 0, 0, 0, 0, 3], ip: address(is_v6, 9), port: 8080 },
        }
    }

    fn there(flows: &Flows, frame: &[u8], now: u16) -> Found {
        flows.there(VNI, frame, Packet::locate(frame).unwrap_or(None).as_ref(), now)
    }

    fn back(flows: &Flows, frame: &[u8], now: u16) -> Found {
        flows.back(VNI, frame, Packet::locate(frame).unwrap_or(None).as_ref(), now)
    }

    // A packet that goes there, and what its member would answer with.
    fn packets(flow: &Flow, is_tcp: bool, flags: u8) -> (Vec<u8>, Vec<u8>) {
        let asked = frame(flow.is_v6, is_tcp, flags, 0, b"hello");
        let mut answer = asked.clone();
        let (source_mac, source) = flow.seen_as();
        let edit = Edit {
            destination_mac: source_mac,
            source_mac: flow.member.mac,
            source: flow.member.ip,
            destination: source,
            source_port: flow.member.port,
            destination_port: flow.client.port,
        };
        rewrite::apply(&edit, &mut answer, &Packet::locate(&asked).unwrap().unwrap(), false);
        (asked, answer)
    }

    proptest! {
        #[test]
        fn a_flow_is_found_by_its_packets_both_ways(is_v6: bool, is_tcp: bool, is_own: bool) {
            let flows = Flows::default();
            let flow = Flow { is_own, ..flow(is_v6, is_tcp) };
            let (asked, answer) = packets(&flow, is_tcp, tcp_flag::ACK);
            prop_assert_eq!(there(&flows, &asked, 0), Found::Held);
            prop_assert_eq!(back(&flows, &answer, 0), Found::Nothing);
            prop_assert!(flows.set(5, &flow, CARRIED, 0));
            let carried = |way| Found::Carried(Carried { number: 5, edit: flow.edit(way) });
            prop_assert_eq!(there(&flows, &asked, 0), carried(Way::There));
            prop_assert_eq!(back(&flows, &answer, 0), carried(Way::Back));
            flows.set(5, &flow, ON_HOLD, 0);
            prop_assert_eq!(there(&flows, &asked, 0), Found::Held);
            prop_assert_eq!(back(&flows, &answer, 0), Found::Held);
            flows.remove(5);
            prop_assert_eq!(there(&flows, &asked, 0), Found::Held);
            prop_assert_eq!(back(&flows, &answer, 0), Found::Nothing);
            prop_assert!(flows.is_empty());
        }

        #[test]
        fn they_are_a_map(steps in proptest::collection::vec((0u32..3, 0u32..40, 0u16..60), 0..300)) {
            let flows = Flows::default();
            let mut model: HashMap<u32, u16> = HashMap::new();
            let numbered = |port| {
                let mut one = flow(false, true);
                one.client.port = port;
                one
            };
            for (verb, number, port) in steps {
                if verb == 0 {
                    flows.remove(number);
                    model.remove(&number);
                } else if model.values().all(|&other| other != port) {
                    flows.set(number, &numbered(port), CARRIED, 0);
                    model.insert(number, port);
                }
            }
            prop_assert_eq!(flows.len(), model.len());
            for number in 0..40 {
                prop_assert_eq!(flows.seen(number).is_some(), model.contains_key(&number));
            }
            for port in 0..60 {
                let key = numbered(port).key(Way::There);
                let found = flows.find(&key, Way::There).map(|(number, _, _)| number);
                let wanted = model.iter().find(|(_, other)| **other == port).map(|(at, _)| *at);
                prop_assert_eq!(found, wanted);
            }
        }

        #[test]
        fn any_octets_are_taken(
            mut octets in proptest::collection::vec(any::<u8>(), 15..120), kind in 0usize..2,
        ) {
            octets[12..15].copy_from_slice(&[[8u8, 0, 0x45], [0x86, 0xdd, 0x60]][kind]);
            let flows = Flows::default();
            flows.set(1, &flow(kind == 1, true), CARRIED, 0);
            there(&flows, &octets, 0);
            back(&flows, &octets, 0);
        }
    }

    #[test]
    fn a_connection_that_ends_is_carried_to_its_end_and_may_not_be_silent_for_as_long() {
        for flags in [tcp_flag::FIN, tcp_flag::RST] {
            let flows = Flows::default();
            let flow = flow(false, true);
            flows.set(0, &flow, CARRIED, 0);
            let (_, answer) = packets(&flow, true, tcp_flag::ACK | flags);
            assert!(matches!(back(&flows, &answer, 300), Found::Carried(_)));
            assert!(flows.seen(0).unwrap().is_closing);
            assert_eq!(back(&flows, &answer, 101), Found::Held);
            flows.set(0, &flow, CARRIED, 101);
            assert!(flows.seen(0).unwrap().is_closing);
            assert!(matches!(back(&flows, &answer, 201), Found::Carried(_)));
            flows.set(0, &flow, ON_HOLD, 201);
            assert!(!flows.seen(0).unwrap().is_closing, "another one under the same name");
        }
    }

    #[test]
    fn what_begins_a_connection_or_is_in_parts_is_for_the_switch() {
        let flows = Flows::default();
        let flow = flow(false, true);
        flows.set(0, &flow, CARRIED, 0);
        let (asked, _) = packets(&flow, true, tcp_flag::SYN);
        assert_eq!(there(&flows, &asked, 0), Found::Held);
        let (asked, answer) = packets(&flow, true, tcp_flag::ACK | tcp_flag::PSH);
        let parts = |frame: &[u8]| [&frame[..20], &[0x20, 0], &frame[22..]].concat();
        assert_eq!(there(&flows, &parts(&asked), 0), Found::Held);
        assert_eq!(back(&flows, &parts(&answer), 0), Found::Held);
        let mut other = answer.clone();
        other[11] = 99; // another station under a member's name
        assert_eq!(back(&flows, &other, 0), Found::Nothing);
        let tagged = [&asked[..12], &[0x81, 0, 0, 5], &asked[12..]].concat();
        assert_eq!(there(&flows, &tagged, 0), Found::Held);
    }

    #[test]
    fn what_is_answered_as_a_flow_is_known() {
        for is_v6 in [false, true] {
            let flows = Flows::default();
            let flow = flow(is_v6, true);
            flows.set(0, &flow, CARRIED, 0);
            let (mut asked, _) = packets(&flow, true, tcp_flag::SYN);
            let packet = Packet::locate(&asked).unwrap().unwrap();
            assert!(!flows.is_confused(VNI, &asked, Some(&packet)));
            rewrite::apply(&flow.edit(Way::There), &mut asked, &packet, false);
            assert!(flows.is_confused(VNI, &asked, Some(&packet)));
            assert!(!flows.is_confused(8, &asked, Some(&packet)));
        }
    }

    #[test]
    fn a_flow_is_carried_from_the_answer_that_takes_it_on() {
        for is_tcp in [true, false] {
            let flows = Flows::default();
            let flow = flow(false, is_tcp);
            flows.set(0, &flow, FIRST, 0);
            for flags in [tcp_flag::RST | tcp_flag::ACK, tcp_flag::ACK] {
                let (asked, answer) = packets(&flow, is_tcp, flags);
                assert_eq!(there(&flows, &asked, 0), Found::Held);
                assert!(!is_tcp || back(&flows, &answer, 0) == Found::Held);
            }
            assert!(!is_tcp || !flows.seen(0).unwrap().is_answered);
            let (asked, taken) = packets(&flow, is_tcp, TAKEN);
            assert!(matches!(back(&flows, &taken, 0), Found::Carried(_)));
            assert!(matches!(back(&flows, &taken, 0), Found::Carried(_)), "once more");
            assert!(flows.seen(0).unwrap().is_answered);
            assert!(!is_tcp || there(&flows, &asked, 0) == Found::Held);
            let (asked, _) = packets(&flow, is_tcp, tcp_flag::ACK);
            assert!(matches!(there(&flows, &asked, 0), Found::Carried(_)));
            flows.set(0, &flow, FIRST, 0);
            assert!(!flows.seen(0).unwrap().is_answered, "another one under the same name");
        }
    }

    #[test]
    fn what_was_seen_is_told_and_silence_is_for_the_switch() {
        let flows = Flows::default();
        let flow = flow(false, true);
        let (asked, answer) = packets(&flow, true, tcp_flag::ACK);
        flows.set(0, &flow, CARRIED, 65_500);
        assert!(matches!(there(&flows, &asked, 65_500), Found::Carried(_)));
        flows.note(0, Amount { frames: 2, octets: 99 }, 65_530);
        let seen = flows.seen(0).unwrap();
        assert_eq!((seen.at, seen.frames, seen.octets), (65_530, 2, 99));
        assert_eq!(seen.acknowledged, packet::be32(&asked, 42));
        assert!(matches!(back(&flows, &answer, 65_529), Found::Carried(_)), "a slow clock");
        assert!(matches!(back(&flows, &answer, 65_530u16.wrapping_add(300)), Found::Carried(_)));
        assert_eq!(back(&flows, &answer, 65_530u16.wrapping_add(301)), Found::Held);
        flows.set(0, &flow, Terms { idle_s: 1_000, ..CARRIED }, 5);
        let seen = flows.seen(0).unwrap();
        assert_eq!((seen.at, seen.frames), (5, 2), "the same flow on other terms");
        flows.set(0, &Flow { vni: 8, ..flow }, CARRIED, 5);
        assert_eq!(flows.seen(0).unwrap().frames, 0, "another flow");
        assert_eq!(flows.seen(0).unwrap().acknowledged, None);
        assert_eq!(there(&flows, &asked, 5), Found::Held);
        assert!(!flows.set(FLOWS_MAX as u32, &flow, CARRIED, 0));
    }

    #[test]
    fn two_hundred_thousand_flows_take_less_than_256_octets_each() {
        let flows = Flows::default();
        let count = 200_000u32;
        let numbered = |number: u32| {
            let mut one = flow(true, true);
            one.client.ip[..4].copy_from_slice(&number.to_be_bytes());
            one
        };
        for number in 0..count {
            flows.set(number, &numbered(number), CARRIED, 0);
        }
        assert_eq!(flows.len(), count as usize);
        assert!(flows.octets() < 256 * count as usize, "{} octets", flows.octets());
        assert!((0..count).all(|number| {
            let key = numbered(number).key(Way::Back);
            flows.find(&key, Way::Back).is_some_and(|(found, _, _)| found == number)
        }));
    }

    #[test]
    fn readers_find_flows_as_they_were_put_while_numbers_change_hands() {
        let flows = Flows::default();
        let numbered = |port: u16| {
            let mut one = flow(false, true);
            one.client.port = port;
            one.member.port = port;
            one
        };
        for number in 0..50 {
            flows.set(number, &numbered(number as u16), CARRIED, 0);
        }
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        for port in 0..400 {
                            let found = flows.find(&numbered(port).key(Way::There), Way::There);
                            let whole = found.is_none_or(|(_, flow, _)| flow == numbered(port));
                            assert!(whole);
                            assert!(port >= 50 || found.is_some());
                        }
                    }
                });
            }
            for round in 0..300u16 {
                for number in 50..80 {
                    flows.set(number, &numbered(number as u16 + round), CARRIED, 0);
                }
                for number in 50..80 {
                    flows.remove(number);
                }
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}
