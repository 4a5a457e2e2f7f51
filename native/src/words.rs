//! Words found by words: what every worker looks up for every frame without a lock, while one
//! thread writes.
//!
//! A map is split into shards; each is an open-addressed array of two words a slot behind a
//! sequence number, which a writer makes odd while it moves things and a reader finds unchanged
//! after it has looked, or looks again. Keys need not be unique: who looks says which value it means.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

const SHARDS: usize = 64;
const SLOTS_MIN: usize = 16;

/// Set in every value: a slot without it is empty.
pub const PRESENT: u64 = 1 << 55;

#[derive(Default)]
struct Slot {
    key: AtomicU64,
    value: AtomicU64,
}

impl Slot {
    fn load(&self) -> (u64, u64) {
        (self.key.load(Ordering::Relaxed), self.value.load(Ordering::Relaxed))
    }

    fn store(&self, key: u64, value: u64) {
        self.key.store(key, Ordering::Relaxed);
        self.value.store(value, Ordering::Relaxed);
    }
}

struct Shard {
    sequence: AtomicU32,
    slots: ArcSwap<Box<[Slot]>>,
    used: Mutex<usize>, // held by whoever writes
}

/// Such a map.
pub struct Words {
    shards: Box<[Shard]>,
}

impl Default for Words {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard::new()).collect() }
    }
}

impl Words {
    fn shard(&self, hash: u64) -> &Shard {
        &self.shards[(hash >> 58) as usize % SHARDS]
    }

    /// What `look` makes of the first value of this key that it recognises. Takes no lock; `look`
    /// may be called again, and for values that are on their way out.
    pub fn find<T>(&self, key: u64, hash: u64, look: impl Fn(u64) -> Option<T>) -> Option<T> {
        self.shard(hash).read(|slots| find(slots, key, hash, &look).map(|(_, found)| found))
    }

    /// Replace a value by what `change` makes of it, if it is the one; takes no lock, and is lost
    /// where the value moves meanwhile.
    pub fn update(&self, key: u64, hash: u64, change: impl Fn(u64) -> Option<u64>) {
        let slots = self.shard(hash).slots.load();
        let look = |value| change(value).map(|changed| (value, changed));
        if let Some((at, (before, after))) = find(&slots, key, hash, &look) {
            let _ = slots[at].value.compare_exchange(
                before,
                after,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
    }

    /// Put a value, or replace the one that `is` recognises. `rehash` gives the hash of any entry.
    pub fn set(
        &self,
        key: u64,
        hash: u64,
        value: u64,
        is: impl Fn(u64) -> bool,
        rehash: impl Fn(u64, u64) -> u64,
    ) {
        let shard = self.shard(hash);
        let mut used = shard.lock();
        let slots = shard.slots.load();
        if let Some((at, ())) = find(&slots, key, hash, &|value| is(value).then_some(())) {
            slots[at].value.store(value, Ordering::Relaxed);
            return;
        }
        let slots = if (*used + 1) * 4 > slots.len() * 3 {
            shard.slots.store(larger(&slots, rehash).into());
            shard.slots.load()
        } else {
            slots
        };
        *used += 1;
        shard.write(|| insert(&slots, key, value, hash));
    }

    /// Take out the value that `is` recognises. `false` if there was none.
    pub fn remove(
        &self,
        key: u64,
        hash: u64,
        is: impl Fn(u64) -> bool,
        rehash: impl Fn(u64, u64) -> u64,
    ) -> bool {
        let shard = self.shard(hash);
        let mut used = shard.lock();
        let slots = shard.slots.load();
        let Some((at, ())) = find(&slots, key, hash, &|value| is(value).then_some(())) else {
            return false;
        };
        *used -= 1;
        shard.write(|| close_gap(&slots, at, rehash));
        true
    }

    /// Look at every entry, in no order. What changes meanwhile is seen or not.
    pub fn for_each(&self, mut look: impl FnMut(u64, u64)) {
        for shard in &self.shards {
            let _used = shard.lock();
            for slot in shard.slots.load().iter() {
                let (key, value) = slot.load();
                if value & PRESENT != 0 {
                    look(key, value);
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

fn empty(slots: usize) -> Box<[Slot]> {
    (0..slots).map(|_| Slot::default()).collect()
}

fn larger(slots: &[Slot], rehash: impl Fn(u64, u64) -> u64) -> Box<[Slot]> {
    let larger = empty(slots.len() * 2);
    for slot in slots {
        let (key, value) = slot.load();
        if value & PRESENT != 0 {
            insert(&larger, key, value, rehash(key, value));
        }
    }
    larger
}

// Into the first free place; there is always one.
fn insert(slots: &[Slot], key: u64, value: u64, hash: u64) {
    let mask = slots.len() - 1;
    let mut at = hash as usize & mask;
    while slots[at].value.load(Ordering::Relaxed) & PRESENT != 0 {
        at = (at + 1) & mask;
    }
    slots[at].store(key, value);
}

// Linear probing has no gaps: what follows moves up unless it would come before its own place.
fn close_gap(slots: &[Slot], mut gap: usize, rehash: impl Fn(u64, u64) -> u64) {
    let mask = slots.len() - 1;
    let mut at = gap;
    loop {
        at = (at + 1) & mask;
        let (key, value) = slots[at].load();
        if value & PRESENT == 0 {
            break;
        }
        let home = rehash(key, value) as usize & mask;
        if at.wrapping_sub(home) & mask >= at.wrapping_sub(gap) & mask {
            slots[gap].store(key, value);
            gap = at;
        }
    }
    slots[gap].value.store(0, Ordering::Relaxed);
    slots[gap].key.store(0, Ordering::Relaxed);
}

fn find<T>(
    slots: &[Slot],
    key: u64,
    hash: u64,
    look: &impl Fn(u64) -> Option<T>,
) -> Option<(usize, T)> {
    let mask = slots.len() - 1;
    let mut at = hash as usize & mask;
    // Bounded, because a reader may meet a shard that is being moved.
    for _ in 0..slots.len() {
        let value = slots[at].value.load(Ordering::Relaxed);
        if value & PRESENT == 0 {
            return None;
        }
        if slots[at].key.load(Ordering::Relaxed) == key
            && let Some(found) = look(value)
        {
            return Some((at, found));
        }
        at = (at + 1) & mask;
    }
    None
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
}
