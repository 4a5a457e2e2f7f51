//! Frames that the switch is to decide, or to be told of: a bounded queue, and a bell that the event loop hears.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::sync::{Mutex, PoisonError};

use crate::io::poll::Bell;
use crate::vnet;
use crate::yard::Books;

/// Where a frame entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// From a port, by its id.
    Port(u32),
    /// From a port: dropped and counted as too big already; its sender may be told.
    TooBig {
        /// Its id.
        port: u32,
        /// Octets of the longest frame that would have been carried.
        frame_max: usize,
    },
    /// Out of a tunnel.
    Tunnel {
        /// The network.
        vni: u32,
        /// The other end.
        from: IpAddr,
        /// Whether reserved bits of the VXLAN header were set.
        reserved: bool,
    },
}

/// A frame behind its `virtio_net_hdr`.
pub struct Punt {
    /// Where it entered.
    pub origin: Origin,
    /// Where it was counted, if it came out of a tunnel.
    pub books: Option<Books>,
    /// Header and frame.
    pub octets: Box<[u8]>,
}

impl Punt {
    /// What it has become: another header and frame.
    pub fn with(&self, octets: Box<[u8]>) -> Self {
        Self { origin: self.origin, books: self.books.clone(), octets }
    }

    /// The frame, from its Ethernet header on.
    pub fn frame(&self) -> &[u8] {
        &self.octets[vnet::BYTES..]
    }

    /// Whether its checksum is yet to be made.
    pub fn is_partial(&self) -> bool {
        self.octets[0] & vnet::NEEDS_CHECKSUM != 0
    }
}

/// The most frames that wait, and of those the most that entered at one place: a storm at one port
/// leaves room for the others.
const FRAMES_MAX: usize = 8192;
const SHARE_MAX: usize = 1024;
/// The most octets that wait.
const OCTETS_MAX: usize = 16 << 20;

#[derive(Default)]
struct Waiting {
    punts: VecDeque<Punt>,
    octets: usize,
    shares: HashMap<Origin, usize>,
}

/// The queue.
pub struct Queue {
    waiting: Mutex<Waiting>,
    bell: Bell,
}

impl Queue {
    /// An empty one.
    pub fn new() -> io::Result<Self> {
        Ok(Self { waiting: Mutex::default(), bell: Bell::new()? })
    }

    /// Readable while frames wait.
    pub fn descriptor(&self) -> RawFd {
        self.bell.descriptor()
    }

    /// Append a frame, copied from `header` and `frame`. `false` where there is no room for it.
    pub fn push(
        &self,
        origin: Origin,
        books: Option<Books>,
        header: &[u8; vnet::BYTES],
        frame: &[u8],
    ) -> bool {
        let octets = [header, frame].concat().into_boxed_slice();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.punts.len() >= FRAMES_MAX || waiting.octets + octets.len() > OCTETS_MAX {
            return false;
        }
        let share = waiting.shares.entry(origin).or_default();
        if *share >= SHARE_MAX {
            return false;
        }
        *share += 1;
        waiting.octets += octets.len();
        waiting.punts.push_back(Punt { origin, books, octets });
        if waiting.punts.len() == 1 {
            self.bell.ring();
        }
        true
    }

    /// The first `most` frames. The bell stays on while others wait.
    pub fn take(&self, most: usize) -> Vec<Punt> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let most = most.min(waiting.punts.len());
        let taken: Vec<Punt> = waiting.punts.drain(..most).collect();
        for punt in &taken {
            waiting.octets -= punt.octets.len();
            if let Some(share) = waiting.shares.get_mut(&punt.origin) {
                *share -= 1;
            }
        }
        if waiting.punts.is_empty() {
            waiting.shares.clear();
            self.bell.hush();
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_at_one_place_leaves_room_for_the_others() {
        let queue = Queue::new().unwrap();
        for _ in 0..SHARE_MAX {
            assert!(queue.push(Origin::Port(1), None, &vnet::PLAIN, b"frame"));
        }
        assert!(!queue.push(Origin::Port(1), None, &vnet::PLAIN, b"frame"));
        assert!(queue.push(Origin::Port(2), None, &vnet::PLAIN, b"other"));
        queue.take(1);
        assert!(queue.push(Origin::Port(1), None, &vnet::PLAIN, b"frame"));
        let rest = queue.take(usize::MAX);
        assert_eq!(rest.len(), SHARE_MAX + 1);
        assert_eq!(rest[SHARE_MAX - 1].frame(), b"other");
        assert!(queue.take(1).is_empty());
    }

    #[test]
    fn what_waits_is_bounded() {
        let queue = Queue::new().unwrap();
        let taken = (0..2 * FRAMES_MAX)
            .filter(|&number| queue.push(Origin::Port(number as u32), None, &vnet::PLAIN, b"frame"))
            .count();
        assert_eq!(taken, FRAMES_MAX);
        let large = vec![0; 65_000];
        queue.take(usize::MAX);
        let taken = (0..FRAMES_MAX)
            .filter(|&number| queue.push(Origin::Port(number as u32), None, &vnet::PLAIN, &large))
            .count();
        assert!(taken * large.len() <= OCTETS_MAX);
    }
}
