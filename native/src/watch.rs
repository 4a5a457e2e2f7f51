//! Copies of frames and what became of them, for whoever captures: a bounded ring. While nobody
//! does, a frame costs one look at a number that never changes.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::counters::Reason;
use crate::io::poll::Bell;
use crate::model::Port;

/// Where a frame entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// From a port, by its id.
    Port(u32),
    /// Out of a tunnel, by the address of its other end.
    Tunnel(IpAddr),
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nowhere.
    Dropped(Reason),
    /// To a port, by its id.
    Delivered(u32),
    /// To another host, by its number.
    Sent(u32),
    /// To so many ports and so many hosts.
    Flooded(u32, u32),
    /// Answered here.
    Replied,
}

/// A frame that somebody watched.
#[derive(Debug)]
pub struct Sight {
    /// Nanoseconds of Unix time.
    pub at_ns: u64,
    /// Its network, or what its VXLAN header said.
    pub vni: u32,
    /// Where it entered.
    pub entrance: Entrance,
    /// What became of it.
    pub end: End,
    /// How many frames it stands for.
    pub frames: u32,
    /// How long it was.
    pub length: u32,
    /// Its first octets.
    pub octets: Box<[u8]>,
}

/// The most that waits to be taken.
const SIGHTS_MAX: usize = 8192;
const OCTETS_MAX: usize = 16 << 20;

#[derive(Default)]
struct Waiting {
    sights: VecDeque<Sight>,
    octets: usize,
    missed: u64,
}

/// The ring.
pub struct Watch {
    snap: AtomicUsize,
    waiting: Mutex<Waiting>,
    bell: Bell,
}

impl Watch {
    /// One that nobody looks at.
    pub fn new() -> io::Result<Self> {
        Ok(Self { snap: AtomicUsize::new(0), waiting: Mutex::default(), bell: Bell::new()? })
    }

    /// Keep this many octets of each frame from now on; 0: keep none, and forget those that wait.
    pub fn set(&self, snap: usize) {
        self.snap.store(snap, Ordering::Relaxed);
        if snap == 0 {
            self.take(usize::MAX);
        }
    }

    /// Whether somebody captures.
    pub fn is_on(&self) -> bool {
        self.snap.load(Ordering::Relaxed) != 0
    }

    /// Readable while there is something to take.
    pub fn descriptor(&self) -> RawFd {
        self.bell.descriptor()
    }

    /// A frame, which lies in `pieces`, met its end.
    pub fn note<'a>(
        &self,
        vni: u32,
        entrance: Entrance,
        end: End,
        frames: usize,
        pieces: impl Iterator<Item = &'a [u8]> + Clone,
    ) {
        if self.is_on() {
            self.note_at(self.clock_ns(), vni, entrance, end, frames, pieces);
        }
    }

    /// The time, if somebody captures.
    pub fn clock_ns(&self) -> u64 {
        if !self.is_on() {
            return 0;
        }
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
    }

    /// The same for one that met its end at `at_ns`.
    pub fn note_at<'a>(
        &self,
        at_ns: u64,
        vni: u32,
        entrance: Entrance,
        end: End,
        frames: usize,
        pieces: impl Iterator<Item = &'a [u8]> + Clone,
    ) {
        let snap = self.snap.load(Ordering::Relaxed);
        if snap == 0 {
            return;
        }
        let length: usize = pieces.clone().map(<[u8]>::len).sum();
        let kept = length.min(snap);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.sights.len() >= SIGHTS_MAX || waiting.octets + kept > OCTETS_MAX {
            waiting.missed += 1;
            return;
        }
        let octets: Box<[u8]> = pieces.flatten().copied().take(snap).collect();
        waiting.octets += octets.len();
        waiting.sights.push_back(Sight {
            at_ns,
            vni,
            entrance,
            end,
            frames: frames as u32,
            length: length as u32,
            octets,
        });
        if waiting.sights.len() == 1 {
            self.bell.ring();
        }
    }

    /// What a port sent met its end.
    pub fn note_from(&self, port: &Port, end: End, frames: usize, frame: &[u8]) {
        if self.is_on() {
            let entrance = Entrance::Port(port.id);
            self.note(port.vni, entrance, end, frames, std::iter::once(frame));
        }
    }

    /// The first `most`, and how many were missed since the last time for lack of room.
    pub fn take(&self, most: usize) -> (Vec<Sight>, u64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let most = most.min(waiting.sights.len());
        let taken: Vec<Sight> = waiting.sights.drain(..most).collect();
        waiting.octets -= taken.iter().map(|sight| sight.octets.len()).sum::<usize>();
        if waiting.sights.is_empty() {
            self.bell.hush();
        }
        (taken, std::mem::take(&mut waiting.missed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRANCE: Entrance = Entrance::Port(1);

    fn note(watch: &Watch, frame: &[u8]) {
        watch.note(7, ENTRANCE, End::Replied, 1, std::iter::once(frame));
    }

    #[test]
    fn nothing_is_kept_until_somebody_captures() {
        let watch = Watch::new().unwrap();
        note(&watch, b"frame");
        assert!(watch.take(9).0.is_empty());
        watch.set(3);
        note(&watch, b"frame");
        let (sights, missed) = watch.take(9);
        assert_eq!((sights.len(), missed), (1, 0));
        assert_eq!((&*sights[0].octets, sights[0].length), (&b"fra"[..], 5));
    }

    #[test]
    fn what_waits_is_bounded_and_what_is_missed_is_counted() {
        let watch = Watch::new().unwrap();
        watch.set(usize::MAX);
        for _ in 0..SIGHTS_MAX + 5 {
            note(&watch, b"frame");
        }
        let (sights, missed) = watch.take(usize::MAX);
        assert_eq!((sights.len(), missed), (SIGHTS_MAX, 5));
        let large = vec![0; 65_000];
        for _ in 0..SIGHTS_MAX {
            note(&watch, &large);
        }
        let (sights, missed) = watch.take(usize::MAX);
        assert!(sights.len() * large.len() <= OCTETS_MAX);
        assert_eq!(sights.len() + missed as usize, SIGHTS_MAX);
        watch.set(0);
        assert!(watch.take(1).0.is_empty());
    }

    #[test]
    fn a_frame_in_pieces_is_kept_as_one() {
        let watch = Watch::new().unwrap();
        watch.set(100);
        let pieces: [&[u8]; 2] = [b"head", b"rest"];
        watch.note(7, ENTRANCE, End::Replied, 2, pieces.into_iter());
        let (sights, _) = watch.take(1);
        assert_eq!((&*sights[0].octets, sights[0].frames), (&b"headrest"[..], 2));
    }
}
