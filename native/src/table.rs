//! The forwarding table: which port or tunnel a station of a network is behind.
//!
//! Read by every worker for every frame without a lock, written by one thread while they read. A
//! table is split into shards; each is an open-addressed array of two words a slot behind a
//! sequence number, which a writer makes odd while it moves things and a reader finds unchanged
//! after it has looked, or looks again.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::packet::Mac;

const SHARDS: usize = 64;
const SLOTS_MIN: usize = 16;

/// Where frames for a station go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A port of this host, by its id.
    Port(u32),
    /// A tunnel, by its number in the list of VTEPs.
    Vtep(u32),
}

/// The largest id or number a `Target` can hold.
pub const TARGET_MAX: u32 = 0x7fff_ffff;

/// What is known of a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub target: Target,
    /// Whether it was learned from traffic, so that it is forgotten when it falls silent.
    pub ages: bool,
    /// When it was last seen, on a clock of the caller's that may wrap around.
    pub seen: u16,
}

// The value word: VNI bits 16..24, flags, seen, target; zero in an empty slot.
const PRESENT: u64 = 1 << 55;
const AGES: u64 = 1 << 54;
const SEEN_SHIFT: u32 = 32;
const VTEP: u64 = 1 << 31;

impl Entry {
    fn pack(self, vni: u32) -> u64 {
        let target = match self.target {
            Target::Port(id) => u64::from(id),
            Target::Vtep(number) => u64::from(number) | VTEP,
        };
        let ages = if self.ages { AGES } else { 0 };
        u64::from(vni >> 16) << 56 | PRESENT | ages | u64::from(self.seen) << SEEN_SHIFT | target
    }

    fn unpack(value: u64) -> Self {
        let number = value as u32 & TARGET_MAX;
        Self {
            target: if value & VTEP != 0 { Target::Vtep(number) } else { Target::Port(number) },
            ages: value & AGES != 0,
            seen: (value >> SEEN_SHIFT) as u16,
        }
    }
}

fn key_of(vni: u32, mac: Mac) -> u64 {
    let [a, b, c, d, e, f] = mac;
    let [_, _, high, low] = vni.to_be_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, high, low])
}

fn holds(value: u64, vni: u32) -> bool {
    value & PRESENT != 0 && value >> 56 == u64::from(vni >> 16)
}

#[derive(Default)]
struct Slot {
    key: AtomicU64,
    value: AtomicU64,
}

struct Shard {
    sequence: AtomicU32,
    slots: ArcSwap<Box<[Slot]>>,
    used: Mutex<usize>, // held by whoever writes
}

/// The whole table.
pub struct Table {
    shards: Box<[Shard]>,
    seeds: [u64; 2], // so that nobody outside can choose MACs that collide
}

impl Default for Table {
    fn default() -> Self {
        let random = RandomState::new();
        Self {
            shards: (0..SHARDS).map(|_| Shard::new()).collect(),
            seeds: [random.hash_one(1), random.hash_one(2) | 1],
        }
    }
}

impl Table {
    fn hash(&self, key: u64, vni: u32) -> u64 {
        let left = u128::from(key ^ self.seeds[0]);
        let right = u128::from(self.seeds[1] ^ u64::from(vni >> 16) << 40);
        let product = left * right;
        (product >> 64) as u64 ^ product as u64
    }

    fn place(&self, vni: u32, mac: Mac) -> (&Shard, u64, u64) {
        let key = key_of(vni, mac);
        let hash = self.hash(key, vni);
        (&self.shards[(hash >> 58) as usize % SHARDS], key, hash)
    }

    /// What is known of a station. Takes no lock.
    pub fn get(&self, vni: u32, mac: Mac) -> Option<Entry> {
        let (shard, key, hash) = self.place(vni, mac);
        shard
            .read(|slots| shard.find(slots, key, vni, hash).map(|(_, value)| value))
            .map(Entry::unpack)
    }

    /// Note that a station was seen; takes no lock, and is lost if the entry moves meanwhile.
    pub fn touch(&self, vni: u32, mac: Mac, now: u16) {
        let (shard, key, hash) = self.place(vni, mac);
        let slots = shard.slots.load();
        if let Some((at, value)) = shard.find(&slots, key, vni, hash) {
            let seen = value & !(0xffff << SEEN_SHIFT) | u64::from(now) << SEEN_SHIFT;
            let _ =
                slots[at].value.compare_exchange(value, seen, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Put an entry, or replace it.
    pub fn set(&self, vni: u32, mac: Mac, entry: Entry) {
        let (shard, key, hash) = self.place(vni, mac);
        let mut used = shard.lock();
        let slots = shard.slots.load();
        if let Some((at, _)) = shard.find(&slots, key, vni, hash) {
            slots[at].value.store(entry.pack(vni), Ordering::Relaxed);
            return;
        }
        let slots = if (*used + 1) * 4 > slots.len() * 3 {
            let larger = self.larger(&slots);
            shard.slots.store(larger.into());
            shard.slots.load()
        } else {
            slots
        };
        *used += 1;
        shard.write(|| insert(&slots, key, entry.pack(vni), hash));
    }

    fn larger(&self, slots: &[Slot]) -> Box<[Slot]> {
        let larger = empty(slots.len() * 2);
        for slot in slots {
            let (key, value) =
                (slot.key.load(Ordering::Relaxed), slot.value.load(Ordering::Relaxed));
            if value & PRESENT != 0 {
                insert(&larger, key, value, self.hash(key, vni_of(key, value)));
            }
        }
        larger
    }

    /// Forget a station. `false` if there was none.
    pub fn remove(&self, vni: u32, mac: Mac) -> bool {
        let (shard, key, hash) = self.place(vni, mac);
        let mut used = shard.lock();
        let slots = shard.slots.load();
        let Some((at, _)) = shard.find(&slots, key, vni, hash) else { return false };
        *used -= 1;
        shard.write(|| self.close_gap(&slots, at));
        true
    }

    // Linear probing has no gaps: what follows moves up unless it would come before its own place.
    fn close_gap(&self, slots: &[Slot], mut gap: usize) {
        let mask = slots.len() - 1;
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let (key, value) =
                (slots[at].key.load(Ordering::Relaxed), slots[at].value.load(Ordering::Relaxed));
            if value & PRESENT == 0 {
                break;
            }
            let home = self.hash(key, vni_of(key, value)) as usize & mask;
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(gap) & mask {
                slots[gap].key.store(key, Ordering::Relaxed);
                slots[gap].value.store(value, Ordering::Relaxed);
                gap = at;
            }
        }
        slots[gap].value.store(0, Ordering::Relaxed);
        slots[gap].key.store(0, Ordering::Relaxed);
    }

    /// Forget all stations of a network.
    pub fn remove_network(&self, vni: u32) {
        let mut found = Vec::new();
        self.for_each(|of, mac, _| {
            if of == vni {
                found.push(mac);
            }
        });
        for mac in found {
            self.remove(vni, mac);
        }
    }

    /// Look at every entry, in no order. What changes meanwhile is seen or not.
    pub fn for_each(&self, mut look: impl FnMut(u32, Mac, Entry)) {
        for shard in &self.shards {
            let _used = shard.lock();
            for slot in shard.slots.load().iter() {
                let (key, value) =
                    (slot.key.load(Ordering::Relaxed), slot.value.load(Ordering::Relaxed));
                if value & PRESENT != 0 {
                    let [a, b, c, d, e, f, ..] = key.to_be_bytes();
                    look(vni_of(key, value), [a, b, c, d, e, f], Entry::unpack(value));
                }
            }
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| *shard.lock()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Octets the entries take, free places included.
    pub fn octets(&self) -> usize {
        self.shards.iter().map(|shard| shard.slots.load().len() * size_of::<Slot>()).sum()
    }
}

fn vni_of(key: u64, value: u64) -> u32 {
    ((value >> 56) as u32) << 16 | key as u32 & 0xffff
}

fn empty(slots: usize) -> Box<[Slot]> {
    (0..slots).map(|_| Slot::default()).collect()
}

// Into the first free place; there is always one.
fn insert(slots: &[Slot], key: u64, value: u64, hash: u64) {
    let mask = slots.len() - 1;
    let mut at = hash as usize & mask;
    while slots[at].value.load(Ordering::Relaxed) & PRESENT != 0 {
        at = (at + 1) & mask;
    }
    slots[at].key.store(key, Ordering::Relaxed);
    slots[at].value.store(value, Ordering::Relaxed);
}

impl Shard {
    fn new() -> Self {
        Self {
            sequence: AtomicU32::new(0),
            slots: ArcSwap::from_pointee(empty(SLOTS_MIN)),
            used: Mutex::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        // A writer that panicked left counters and slots consistent enough to go on: both change
        // in steps that each keep every other entry reachable.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // Look until nobody wrote meanwhile (Boehm, "Can seqlocks get along with programming language
    // memory models?", 2012, figure 4).
    fn read<T>(&self, look: impl Fn(&[Slot]) -> T) -> T {
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            let found = look(&self.slots.load());
            fence(Ordering::Acquire);
            if before & 1 == 0 && self.sequence.load(Ordering::Relaxed) == before {
                return found;
            }
            std::hint::spin_loop();
        }
    }

    // Only with `used` locked.
    fn write(&self, change: impl FnOnce()) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        change();
        self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
    }

    fn find(&self, slots: &[Slot], key: u64, vni: u32, hash: u64) -> Option<(usize, u64)> {
        let mask = slots.len() - 1;
        let mut at = hash as usize & mask;
        // Bounded, because a reader may meet a table that is being moved.
        for _ in 0..slots.len() {
            let value = slots[at].value.load(Ordering::Relaxed);
            if value & PRESENT == 0 {
                return None;
            }
            if slots[at].key.load(Ordering::Relaxed) == key && holds(value, vni) {
                return Some((at, value));
            }
            at = (at + 1) & mask;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::sync::atomic::AtomicBool;

    fn mac(number: u32) -> Mac {
        let [a, b, c, d] = number.to_be_bytes();
        [2, 0, a, b, c, d]
    }

    fn entry(number: u32) -> Entry {
        Entry { target: Target::Vtep(number), ages: number & 1 == 0, seen: number as u16 }
    }

    proptest! {
        #[test]
        fn it_is_a_map(
            steps in proptest::collection::vec((0u32..4, 0u32..60, 0u32..3, any::<u16>()), 0..500),
        ) {
            let table = Table::default();
            let mut model = HashMap::new();
            for (verb, station, network, value) in steps {
                // VNIs that differ in their high bits only, to be told apart.
                let (vni, mac) = (network << 16 | 7, mac(station));
                let entry = entry(u32::from(value));
                match verb {
                    0 => prop_assert_eq!(table.remove(vni, mac), model.remove(&(vni, mac)).is_some()),
                    1 if value % 16 == 0 => {
                        table.remove_network(vni);
                        model.retain(|(of, _), _| *of != vni);
                    }
                    _ => {
                        table.set(vni, mac, entry);
                        model.insert((vni, mac), entry);
                    }
                }
                prop_assert_eq!(table.get(vni, mac), model.get(&(vni, mac)).copied());
            }
            prop_assert_eq!(table.len(), model.len());
            let mut seen = HashMap::new();
            table.for_each(|vni, mac, entry| { seen.insert((vni, mac), entry); });
            prop_assert_eq!(seen, model);
        }
    }

    #[test]
    fn a_station_that_is_seen_is_noted() {
        let table = Table::default();
        table.set(5, mac(1), entry(4));
        table.touch(5, mac(1), 999);
        table.touch(5, mac(2), 999);
        assert_eq!(table.get(5, mac(1)), Some(Entry { seen: 999, ..entry(4) }));
        assert_eq!(table.get(5, mac(2)), None);
    }

    #[test]
    fn a_million_entries_take_less_than_120_octets_each() {
        let table = Table::default();
        let count = 1_000_000;
        for number in 0..count {
            table.set(number % 1000, mac(number), entry(number));
        }
        assert_eq!(table.len(), count as usize);
        assert!(table.octets() < 120 * count as usize, "{} octets", table.octets());
        assert!(
            (0..count).all(|number| table.get(number % 1000, mac(number)) == Some(entry(number)))
        );
    }

    #[test]
    fn readers_find_what_stays_while_others_come_and_go() {
        let table = Table::default();
        for number in 0..200 {
            table.set(1, mac(number * 2), entry(number));
        }
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        for number in 0..200 {
                            assert_eq!(table.get(1, mac(number * 2)), Some(entry(number)));
                        }
                    }
                });
            }
            for round in 0..50 {
                for number in 0..500 {
                    table.set(1, mac(number * 2 + 1), entry(round));
                }
                for number in 0..500 {
                    table.remove(1, mac(number * 2 + 1));
                }
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}
