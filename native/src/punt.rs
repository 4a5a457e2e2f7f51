//! Frames that the switch is to decide: a bounded queue, and a bell that the event loop hears.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::sync::{Mutex, PoisonError};

use crate::io::poll::Bell;
use crate::vnet;

/// Where a frame entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From a port, by its id.
    Port(u32),
    /// Out of a tunnel.
    Tunnel {
        /// The network.
        vni: u32,
        /// The other end.
        from: IpAddr,
        /// Whether reserved bits of the VXLAN header were set.
        reserved: bool,
        /// The outer traffic class.
        class: u8,
    },
}

/// A frame behind its `virtio_net_hdr`.
#[derive(Debug)]
pub struct Punt {
    /// Where it entered.
    pub origin: Origin,
    /// Header and frame.
    pub octets: Box<[u8]>,
}

impl Punt {
    /// The frame, from its Ethernet header on.
    pub fn frame(&self) -> &[u8] {
        &self.octets[vnet::BYTES..]
    }
}

/// The most frames that wait.
const FRAMES_MAX: usize = 4096;
/// The most octets that wait.
const OCTETS_MAX: usize = 16 << 20;

#[derive(Default)]
struct Waiting {
    punts: VecDeque<Punt>,
    octets: usize,
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
    pub fn push(&self, origin: Origin, header: &[u8; vnet::BYTES], frame: &[u8]) -> bool {
        let octets = [header, frame].concat().into_boxed_slice();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.punts.len() >= FRAMES_MAX || waiting.octets + octets.len() > OCTETS_MAX {
            return false;
        }
        waiting.octets += octets.len();
        waiting.punts.push_back(Punt { origin, octets });
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
        waiting.octets -= taken.iter().map(|punt| punt.octets.len()).sum::<usize>();
        if waiting.punts.is_empty() {
            self.bell.hush();
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_and_what_is_taken_makes_room() {
        let queue = Queue::new().unwrap();
        for number in 0..FRAMES_MAX {
            assert!(queue.push(Origin::Port(number as u32), &vnet::PLAIN, b"frame"));
        }
        assert!(!queue.push(Origin::Port(0), &vnet::PLAIN, b"frame"));
        let first = queue.take(3);
        assert_eq!(first[2].origin, Origin::Port(2));
        assert_eq!(first[2].frame(), b"frame");
        assert!(queue.push(Origin::Port(9), &vnet::PLAIN, b"frame"));
        assert_eq!(queue.take(usize::MAX).len(), FRAMES_MAX - 2);
        assert!(queue.take(1).is_empty());
    }
}
