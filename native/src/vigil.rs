//! How long a thread that has nothing to do looks again before it sleeps.
//!
//! Waking a thread costs a few microseconds where its core is awake, and ten times that where the
//! core has gone to sleep as well, most of all in a virtual machine. So a thread whose frames come
//! close together stays awake between them. It gives its core away at every look, so that whoever
//! makes the frames has it, and sleeps for a while where somebody kept the core for long.

use std::time::{Duration, Instant};

/// Others had the core for so long in one go that they can use more of it.
const LONG_AWAY: Duration = Duration::from_micros(100);
/// How long a thread then sleeps whenever it has nothing to do; four times as long with each time
/// that this happens, half as long with each vigil that was worth it.
const REST: Duration = Duration::from_millis(10);
const REST_MAX: Duration = Duration::from_secs(1);
/// After so many vigils in vain the pauses between them grow no longer: 2 to the power of it.
const VAIN_MAX: u32 = 6;

/// One thread's vigil. Time is an argument.
#[derive(Debug)]
pub struct Vigil {
    longest: Duration,
    last: Instant, // the last turn's end
    until: Option<Instant>,
    vain: u32,  // vigils in vain since the last that was not
    skips: u32, // turns that are followed by none
    rest: Duration,
    rests_until: Instant,
}

impl Vigil {
    /// At most `longest` at a time; zero is never.
    pub fn new(longest: Duration, now: Instant) -> Self {
        Self { longest, last: now, until: None, vain: 0, skips: 0, rest: REST, rests_until: now }
    }

    /// Whether to look again rather than to sleep.
    pub fn is_kept(&self) -> bool {
        self.until.is_some()
    }

    /// Frames were there at `now`.
    pub fn found(&mut self, now: Instant) {
        if self.until.is_some() {
            self.vain = 0;
            self.rest = (self.rest / 2).max(REST);
        } else if now.saturating_duration_since(self.last) < self.longest {
            // A vigil would have been worth it, so the next one comes soon. Not at once: where
            // long and short gaps take turns, the long ones are not to be waited for each time.
            self.skips = self.skips.min(2);
        }
    }

    /// They have been carried by `now`: keep awake for the next ones, or not.
    pub fn carried(&mut self, now: Instant) {
        self.last = now;
        self.until = None;
        if self.skips > 0 {
            self.skips -= 1;
        } else if !self.longest.is_zero() && now >= self.rests_until {
            self.until = Some(now + self.longest);
        }
    }

    /// Nothing was there, and others had the core from `since` until `now`.
    pub fn gave_way(&mut self, since: Instant, now: Instant) {
        if now.saturating_duration_since(since) > LONG_AWAY {
            self.rests_until = now + self.rest;
            self.rest = (self.rest * 4).min(REST_MAX);
            self.until = None;
        } else if self.until.is_some_and(|until| now >= until) {
            self.until = None;
            self.vain = (self.vain + 1).min(VAIN_MAX);
            self.skips = 1 << self.vain;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_micros(200);
    const LOOK: Duration = Duration::from_micros(1);
    const SOON: Duration = Duration::from_micros(50);
    const LATE: Duration = Duration::from_millis(1);

    /// Turns of no length with these gaps between them: how long was looked in each gap.
    fn looked(vigil: &mut Vigil, now: &mut Instant, gaps: &[Duration]) -> Vec<Duration> {
        let mut times = Vec::new();
        for gap in gaps {
            vigil.carried(*now);
            let (start, next) = (*now, *now + *gap);
            while vigil.is_kept() && *now < next {
                *now += LOOK;
                vigil.gave_way(*now - LOOK, *now);
            }
            times.push(*now - start);
            *now = next;
            vigil.found(*now);
        }
        times
    }

    fn begin(longest: Duration) -> (Vigil, Instant) {
        let now = Instant::now();
        (Vigil::new(longest, now), now)
    }

    #[test]
    fn frames_in_quick_succession_keep_a_thread_awake() {
        let (mut vigil, mut now) = begin(LONGEST);
        assert_eq!(looked(&mut vigil, &mut now, &[SOON; 32]), [SOON; 32]);
    }

    #[test]
    fn a_vigil_ends() {
        let (mut vigil, mut now) = begin(LONGEST);
        assert_eq!(looked(&mut vigil, &mut now, &[LATE]), [LONGEST]);
    }

    #[test]
    fn frames_now_and_then_keep_nobody_awake_for_long() {
        let (mut vigil, mut now) = begin(LONGEST);
        let times = looked(&mut vigil, &mut now, &[LATE; 1000]);
        let awake: Duration = times.iter().sum();
        assert!(awake < LATE * 1000 / 100, "{awake:?}");
    }

    #[test]
    fn a_question_and_its_late_answer_take_little_of_a_core() {
        let (mut vigil, mut now) = begin(LONGEST);
        let times = looked(&mut vigil, &mut now, &[SOON, LATE].repeat(500));
        let awake: Duration = times.iter().sum();
        assert!(awake < (SOON + LATE) * 500 / 8, "{awake:?}");
    }

    #[test]
    fn after_a_slow_time_a_fast_one_is_noticed_soon() {
        let (mut vigil, mut now) = begin(LONGEST);
        looked(&mut vigil, &mut now, &[LATE; 1000]);
        let times = looked(&mut vigil, &mut now, &[SOON; 10]);
        assert_eq!(times[4..], [SOON; 6]);
    }

    #[test]
    fn of_a_gap_just_too_long_and_a_short_one_the_short_one_is_watched() {
        let (mut vigil, mut now) = begin(LONGEST);
        let times = looked(&mut vigil, &mut now, &[SOON, LONGEST * 2].repeat(30));
        assert!(times.iter().filter(|&&time| time == SOON).count() >= 10, "{times:?}");
    }

    #[test]
    fn a_core_that_others_want_is_left_to_them_for_a_while() {
        let (mut vigil, mut now) = begin(LONGEST);
        vigil.carried(now);
        vigil.gave_way(now, now + LONG_AWAY * 2);
        now += LONG_AWAY * 2;
        vigil.carried(now);
        assert!(!vigil.is_kept());
        vigil.carried(now + REST);
        assert!(vigil.is_kept());
    }

    #[test]
    fn a_core_that_others_always_want_is_asked_for_once_a_second() {
        let (mut vigil, mut now) = begin(LONGEST);
        let mut asked = 0;
        for _ in 0..10_000 {
            vigil.carried(now);
            if vigil.is_kept() {
                asked += 1;
                vigil.gave_way(now, now + LONG_AWAY * 2);
            }
            now += LATE;
            vigil.found(now);
        }
        assert!((10..=14).contains(&asked), "{asked}");
    }

    #[test]
    fn a_vigil_of_no_length_is_never_kept() {
        let (mut vigil, mut now) = begin(Duration::ZERO);
        assert_eq!(looked(&mut vigil, &mut now, &[SOON; 32]), [Duration::ZERO; 32]);
    }
}
