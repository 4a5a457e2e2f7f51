//! Which core a thread that carries much keeps to.
//!
//! A super-frame is copied five times between the programs at its two ends, and a copy costs several
//! times as much where the octets lie in another core's cache. The scheduler spreads busy threads
//! over the cores, and so puts that price on every frame. A thread that carries much therefore keeps
//! to the core where its datagrams arrive, or else to the one it is on. Whether that is for the better
//! depends on who else wants that core, which can not be known. So now and then it roams for a moment,
//! and goes on as it carried more.

use std::time::{Duration, Instant};

/// How often a thread looks at what it carried, about.
const WINDOW: Duration = Duration::from_millis(10);
/// Octets a second from which on it matters where it is carried: a gigabit or so.
const MUCH: f64 = 100e6;
/// Windows with much after which it keeps to a core.
const EARNEST: u32 = 3;
/// Windows that are measured when something is tried; the one before them is left out.
const TRIAL: u32 = 5;
/// Windows' time without much after which all of this is forgotten.
const LULL: u32 = 4;
/// Windows for which datagrams arrive at another core before the thread goes there.
const MOVED: u32 = 6;
/// How much more it must carry without a core of its own to do without one.
const GAIN: f64 = 1.05;
/// How long it stays as it carried more before it tries again, and at most; twice as long each time
/// that nothing else comes of it.
const STAY: Duration = Duration::from_secs(4);
const STAY_MAX: Duration = Duration::from_secs(32);

/// What was carried since the last look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// Octets read from links.
    pub out: usize,
    /// Octets that arrived in datagrams.
    pub inward: usize,
}

/// What the thread is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Keep to this core.
    Keep(usize),
    /// Run wherever the scheduler wants.
    Roam,
}

/// One thread's choice. Time is an argument.
#[derive(Debug)]
pub struct Seat {
    way: Advice, // what it does
    load: Load,
    window: Instant, // when the current one began
    length: Duration,
    windows: u32,        // measured ones of this way, the one that is left out included
    octets: f64,         // carried in the last of them
    spent: f64,          // seconds of those
    other: Option<f64>,  // octets a second, the other way
    core: Option<usize>, // the one it kept to last
    stays_until: Option<Instant>,
    stay: Duration,
    lull: u32,
    moved: u32,
    dice: u32,
}

impl Seat {
    /// A thread that roams. Threads of different `seed`s do not look in step.
    pub fn new(seed: u32, now: Instant) -> Self {
        Self {
            way: Advice::Roam,
            load: Load::default(),
            window: now,
            length: WINDOW,
            windows: 0,
            octets: 0.0,
            spent: 0.0,
            other: None,
            core: None,
            stays_until: None,
            stay: STAY,
            lull: LULL,
            moved: 0,
            dice: seed | 1,
        }
    }

    /// More was carried by `now`. Says whether a window is over, and it is time for `judge`.
    pub fn add(&mut self, load: Load, now: Instant) -> bool {
        self.load.out += load.out;
        self.load.inward += load.inward;
        now.saturating_duration_since(self.window) >= self.length
    }

    /// Whether much was carried lately.
    pub fn is_busy(&self) -> bool {
        self.lull == 0
    }

    /// A window is over. `here` is the core the thread is on, and `arrival` the one where
    /// datagrams arrive, as far as that is clear.
    pub fn judge(&mut self, here: usize, arrival: Option<usize>, now: Instant) -> Option<Advice> {
        let load = std::mem::take(&mut self.load);
        let spent = now.saturating_duration_since(self.window).as_secs_f64();
        self.window = now;
        self.length = self.next_length();
        let octets = (load.out + load.inward) as f64;
        if octets < MUCH * spent {
            return self.rest(spent);
        }
        self.lull = 0;
        let arrival = arrival.filter(|_| load.inward > load.out);
        if let (Advice::Keep(core), Some(arrival)) = (self.way, arrival) {
            self.moved = if arrival == core { 0 } else { self.moved + 1 };
            if self.moved == MOVED {
                self.moved = 0;
                return Some(self.keep(arrival));
            }
        }
        let best = arrival.or(self.core).unwrap_or(here);
        self.windows += 1;
        if self.core.is_none() && self.stays_until.is_none() && self.windows == EARNEST {
            self.stays_until = Some(now + self.stay);
            return Some(self.change(best));
        }
        if self.windows == 1 {
            return None; // in which it came here
        }
        if self.windows > 1 + TRIAL {
            // Of a long stay the last windows count.
            let share = f64::from(TRIAL - 1) / f64::from(TRIAL);
            (self.octets, self.spent) = (self.octets * share, self.spent * share);
        }
        (self.octets, self.spent) = (self.octets + octets, self.spent + spent);
        if self.windows <= TRIAL || self.stays_until.is_some_and(|until| now < until) {
            return None;
        }
        let rate = self.octets / self.spent;
        match self.other.take() {
            // It stayed long enough, or knows nothing of the other way yet.
            None => Some(self.try_other(rate, best)),
            Some(other) => self.decide(rate, other, best, now),
        }
    }

    /// It can not keep to the core that it was told to.
    pub fn refused(&mut self, now: Instant) {
        self.way = Advice::Roam;
        self.begin();
        self.other = None;
        self.stay = STAY_MAX;
        self.stays_until = Some(now + self.stay);
    }

    fn rest(&mut self, spent: f64) -> Option<Advice> {
        let windows = (spent / WINDOW.as_secs_f64()).ceil() as u32;
        self.lull = self.lull.saturating_add(windows);
        if self.lull < LULL {
            return None;
        }
        self.begin();
        self.other = None;
        self.core = None;
        self.stays_until = None;
        self.stay = STAY;
        let was = std::mem::replace(&mut self.way, Advice::Roam);
        (was != Advice::Roam).then_some(Advice::Roam)
    }

    fn try_other(&mut self, rate: f64, best: usize) -> Advice {
        self.other = Some(rate);
        self.stays_until = None;
        self.change(best)
    }

    // Two ways are known now.
    fn decide(&mut self, rate: f64, other: f64, best: usize, now: Instant) -> Option<Advice> {
        let is_better = match self.way {
            Advice::Keep(_) => rate * GAIN >= other,
            Advice::Roam => rate >= other * GAIN,
        };
        // Where it tried again, and stays as it was, it tries less often.
        self.stay = if is_better { STAY } else { (self.stay * 2).min(STAY_MAX) };
        self.stays_until = Some(now + self.stay);
        (!is_better).then(|| self.change(best))
    }

    fn change(&mut self, best: usize) -> Advice {
        self.begin();
        if self.way == Advice::Roam {
            return self.keep(best);
        }
        self.way = Advice::Roam;
        self.way
    }

    fn keep(&mut self, core: usize) -> Advice {
        self.way = Advice::Keep(core);
        self.core = Some(core);
        self.way
    }

    fn begin(&mut self) {
        self.windows = 0;
        (self.octets, self.spent) = (0.0, 0.0);
        self.moved = 0;
    }

    // Two threads that send to each other would change places for ever if they looked in step.
    fn next_length(&mut self) -> Duration {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 17;
        self.dice ^= self.dice << 5;
        WINDOW * (75 + self.dice % 50) / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIGABYTE: f64 = 1e9;

    /// A thread in a world that lets it carry so many octets a second, by where it keeps to.
    struct World {
        seat: Seat,
        now: Instant,
        keeps: Option<usize>,
        arrival: usize,
        inward: bool,
        told: Vec<Advice>,
    }

    impl World {
        fn new(seed: u32) -> Self {
            let now = Instant::now();
            let seat = Seat::new(seed, now);
            Self { seat, now, keeps: None, arrival: 1, inward: true, told: Vec::new() }
        }

        fn run(&mut self, time: Duration, rate: impl Fn(Option<usize>) -> f64) {
            let end = self.now + time;
            while self.now < end {
                self.now += Duration::from_millis(1);
                let octets = (rate(self.keeps) / 1000.0) as usize;
                let load = if self.inward {
                    Load { inward: octets, out: 0 }
                } else {
                    Load { out: octets, inward: 0 }
                };
                if !self.seat.add(load, self.now) {
                    continue;
                }
                let here = self.keeps.unwrap_or(0);
                let advice = self.seat.judge(here, Some(self.arrival), self.now);
                if let Some(advice) = advice {
                    self.keeps = match advice {
                        Advice::Keep(core) => Some(core),
                        Advice::Roam => None,
                    };
                    self.told.push(advice);
                }
            }
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_thread_with_little_to_do_roams() {
        let mut world = World::new(1);
        world.run(LONG, |_| MUCH / 2.0);
        assert_eq!(world.told, []);
    }

    #[test]
    fn it_keeps_to_where_its_datagrams_arrive_if_it_carries_more_there() {
        let mut world = World::new(1);
        let rate = |keeps: Option<usize>| if keeps == Some(1) { GIGABYTE } else { GIGABYTE / 2.0 };
        world.run(Duration::from_millis(200), rate);
        assert_eq!(world.told, [Advice::Keep(1)]);
        world.run(LONG, rate);
        assert_eq!(world.keeps, Some(1));
        assert!(world.told.len() < 12, "it tried too often: {:?}", world.told);
    }

    #[test]
    fn what_sends_keeps_to_where_it_is() {
        let mut world = World::new(1);
        world.inward = false;
        world.run(Duration::from_millis(200), |_| GIGABYTE);
        assert_eq!(world.told, [Advice::Keep(0)]);
    }

    #[test]
    fn it_roams_where_it_carries_more_so() {
        let mut world = World::new(1);
        let rate = |keeps: Option<usize>| if keeps.is_some() { GIGABYTE / 2.0 } else { GIGABYTE };
        world.run(STAY + Duration::from_millis(200), rate);
        assert_eq!(world.told, [Advice::Keep(1), Advice::Roam]);
        let mut kept = 0;
        for _ in 0..2000 {
            world.run(Duration::from_millis(10), rate);
            kept += u32::from(world.keeps.is_some());
        }
        assert!(kept < 2000 / 20, "it tried too often: {:?}", world.told);
    }

    #[test]
    fn a_change_of_weather_is_noticed() {
        let mut world = World::new(1);
        let good = |keeps: Option<usize>| if keeps.is_some() { GIGABYTE } else { GIGABYTE / 2.0 };
        let bad = |keeps: Option<usize>| if keeps.is_some() { GIGABYTE / 2.0 } else { GIGABYTE };
        world.run(LONG, good);
        assert_eq!(world.keeps, Some(1));
        world.run(LONG, bad);
        assert_eq!(world.keeps, None);
        world.run(LONG, good);
        assert_eq!(world.keeps, Some(1));
    }

    #[test]
    fn it_follows_its_datagrams() {
        let mut world = World::new(1);
        world.run(Duration::from_millis(300), |_| GIGABYTE);
        assert_eq!(world.keeps, Some(1));
        world.arrival = 2;
        world.run(Duration::from_millis(100), |_| GIGABYTE);
        assert_eq!(world.keeps, Some(2));
    }

    #[test]
    fn all_is_forgotten_in_a_lull() {
        let mut world = World::new(1);
        world.run(Duration::from_millis(300), |_| GIGABYTE);
        world.run(Duration::from_millis(60), |_| 0.0);
        assert_eq!(world.told, [Advice::Keep(1), Advice::Roam]);
        world.run(Duration::from_millis(300), |_| GIGABYTE);
        assert_eq!(world.keeps, Some(1));
    }

    #[test]
    fn who_is_refused_a_core_does_not_ask_again_soon() {
        let mut world = World::new(1);
        world.run(Duration::from_millis(300), |_| GIGABYTE);
        world.seat.refused(world.now);
        world.keeps = None;
        world.told.clear();
        world.run(STAY_MAX - STAY, |_| GIGABYTE);
        assert_eq!(world.told, []);
    }

    #[test]
    fn two_that_send_to_each_other_end_up_on_one_core() {
        for seed in 1..200 {
            let mut threads = [World::new(seed), World::new(seed + 7)];
            let mut cores = [0, 1];
            for _ in 0..3000 {
                for index in 0..2 {
                    threads[index].arrival = cores[1 - index];
                    let here = cores[index];
                    let thread = &mut threads[index];
                    thread.now += Duration::from_millis(1);
                    let load = Load { inward: 600_000, out: 500_000 };
                    if thread.seat.add(load, thread.now) {
                        let arrival = Some(thread.arrival);
                        if let Some(Advice::Keep(core)) =
                            thread.seat.judge(here, arrival, thread.now)
                        {
                            cores[index] = core;
                        }
                    }
                }
            }
            assert_eq!(cores[0], cores[1], "with seed {seed}");
        }
    }
}
