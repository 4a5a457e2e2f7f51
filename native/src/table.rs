//! The forwarding table: which port or tunnel a station of a network is behind.
//!
//! Read by every worker for every frame without a lock, written by one thread while they read.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use crate::packet::Mac;
use crate::words::{PRESENT, Words};

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

// The value word: VNI bits 16..24, flags, seen, target.
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

fn vni_of(key: u64, value: u64) -> u32 {
    ((value >> 56) as u32) << 16 | key as u32 & 0xffff
}

/// The whole table.
pub struct Table {
    words: Words,
    seeds: [u64; 2], // so that nobody outside can choose MACs that collide
}

impl Default for Table {
    fn default() -> Self {
        let random = RandomState::new();
        Self { words: Words::default(), seeds: [random.hash_one(1), random.hash_one(2) | 1] }
    }
}

impl Table {
    fn hash(&self, key: u64, vni: u32) -> u64 {
        let left = u128::from(key ^ self.seeds[0]);
        let right = u128::from(self.seeds[1] ^ u64::from(vni >> 16) << 40);
        let product = left * right;
        (product >> 64) as u64 ^ product as u64
    }

    fn place(&self, vni: u32, mac: Mac) -> (u64, u64) {
        let key = key_of(vni, mac);
        (key, self.hash(key, vni))
    }

    fn rehash(&self) -> impl Fn(u64, u64) -> u64 {
        |key, value| self.hash(key, vni_of(key, value))
    }

    /// What is known of a station. Takes no lock.
    pub fn get(&self, vni: u32, mac: Mac) -> Option<Entry> {
        let (key, hash) = self.place(vni, mac);
        self.words.find(key, hash, |value| holds(value, vni).then(|| Entry::unpack(value)))
    }

    /// Note that a station was seen; takes no lock, and is lost if the entry moves meanwhile.
    pub fn touch(&self, vni: u32, mac: Mac, now: u16) {
        let (key, hash) = self.place(vni, mac);
        let seen = u64::from(now) << SEEN_SHIFT;
        self.words.update(key, hash, |value| {
            holds(value, vni).then_some(value & !(0xffff << SEEN_SHIFT) | seen)
        });
    }

    /// Put an entry, or replace it.
    pub fn set(&self, vni: u32, mac: Mac, entry: Entry) {
        let (key, hash) = self.place(vni, mac);
        self.words.set(key, hash, entry.pack(vni), |value| holds(value, vni), self.rehash());
    }

    /// Forget a station. `false` if there was none.
    pub fn remove(&self, vni: u32, mac: Mac) -> bool {
        let (key, hash) = self.place(vni, mac);
        self.words.remove(key, hash, |value| holds(value, vni), self.rehash())
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
        self.words.for_each(|key, value| {
            let [a, b, c, d, e, f, ..] = key.to_be_bytes();
            look(vni_of(key, value), [a, b, c, d, e, f], Entry::unpack(value));
        });
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Octets the entries take, free places included.
    pub fn octets(&self) -> usize {
        self.words.octets()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicBool, Ordering};

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
