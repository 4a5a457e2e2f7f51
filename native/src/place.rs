//! A thread's place: what `seat` advises, done.

use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::io::core::{self, Cores, Intake};
use crate::seat::{Advice, Load, Seat};

/// How often a thread looks at which core packets arrive, at most,
const LOOK: Duration = Duration::from_millis(15);
/// and after how long without a look the next one tells of times that are over.
const STALE: Duration = Duration::from_millis(100);

/// Where a thread runs.
pub struct Place {
    index: usize,
    cores: Option<Cores>, // those it may run on, where there is a choice
    seat: Seat,
    intake: Intake,
    arrival: Option<usize>,
    sends: usize,
    looked: Instant,
}

impl Place {
    /// Anywhere that the calling thread may run.
    pub fn new(index: usize, now: Instant) -> Self {
        let cores = Cores::allowed().ok().filter(|cores| cores.count() > 1);
        let seat = Seat::new(std::process::id() ^ index as u32, now);
        Self { index, cores, seat, intake: Intake::default(), arrival: None, sends: 0, looked: now }
    }

    fn look(&mut self, here: usize, now: Instant) {
        let since = now.saturating_duration_since(self.looked);
        if since >= LOOK {
            self.looked = now;
            // Between namespaces what is sent is taken in at once, on the sender's core.
            let busiest = self.intake.busiest(here, mem::take(&mut self.sends));
            self.arrival = busiest.filter(|_| since < STALE);
        }
    }

    /// More was carried by `now`, with so many `sends`; whether that means to go elsewhere. For the
    /// same thread.
    pub fn carried(&mut self, load: Load, sends: usize, kept: &Kept, now: Instant) {
        let Some(cores) = self.cores else { return };
        self.sends += sends;
        if !self.seat.add(load, now) {
            return;
        }
        let Some(here) = core::here() else { return };
        if self.seat.is_busy() {
            self.look(here, now);
        }
        match self.seat.judge(here, self.arrival, now) {
            None => {}
            Some(Advice::Roam) => {
                kept.leave(self.index);
                let _ = cores.take(); // they are those it came with
            }
            Some(Advice::Keep(core)) => {
                let mine = cores.only(core).filter(|_| kept.keep(self.index, core));
                if mine.is_none_or(|core| core.take().is_err()) {
                    kept.leave(self.index);
                    let _ = cores.take();
                    self.seat.refused(now);
                }
            }
        }
    }
}

/// Which thread keeps to which core: no two to the same.
#[derive(Default)]
pub struct Kept(Mutex<HashMap<usize, usize>>);

impl Kept {
    fn keep(&self, index: usize, core: usize) -> bool {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = kept.iter().all(|(&other, &taken)| other == index || taken != core);
        if is_free {
            kept.insert(index, core);
        }
        is_free
    }

    fn leave(&self, index: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_threads_keep_to_one_core() {
        let kept = Kept::default();
        assert!(kept.keep(0, 3));
        assert!(!kept.keep(1, 3));
        assert!(kept.keep(0, 3));
        assert!(kept.keep(1, 2));
        assert!(!kept.keep(1, 3));
        kept.leave(0);
        assert!(kept.keep(1, 3));
        assert!(kept.keep(0, 2));
    }

    #[test]
    fn a_thread_that_carries_much_keeps_to_a_core_and_roams_in_a_lull() {
        let all = Cores::allowed().unwrap().count();
        let (kept, mut now) = (Kept::default(), Instant::now());
        let mut place = Place::new(0, now);
        let mut carry = |out: usize, times: usize| {
            for _ in 0..times {
                now += Duration::from_millis(1);
                place.carried(Load { out, inward: 0 }, 0, &kept, now);
            }
            Cores::allowed().unwrap().count()
        };
        assert_eq!(carry(1_000_000, 100), 1);
        assert_eq!(carry(0, 100), all);
    }
}
