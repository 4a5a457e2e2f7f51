//! How long a thread that has nothing to do looks again before it sleeps.
//!
//! Waking a thread costs a few microseconds where its core is awake, and ten times that where the
//! core has gone to sleep as well, most of all in a virtual machine. So a thread whose frames come
//! close together stays awake between them. It gives its core away at every look, so that whoever
//! makes the frames has it, and sleeps for a while where somebody kept the core for long.

use std::time::{Duration, Instant};

/// Others had the core for so long in one go that they can use more of it.
const LONG_AWAY: Duration = Duration::from_micros(100);
/// How long a thread then sleeps whenever it has nothing to do.
const REST: Duration = Duration::from_millis(10);
/// The share of a new gap in what is expected: one in eight.
const WEIGHT: u32 = 8;
/// A gap counts as at most so many times the longest vigil: a pause says no more than that.
const GAP_MAX: u32 = 4;

/// One thread's vigil. Time is an argument.
#[derive(Debug)]
pub struct Vigil {
    longest: Duration,
    expected: Duration, // from one turn's end to the next frames
    last: Instant,      // the last turn's end
    until: Option<Instant>,
    rests_until: Instant,
}

impl Vigil {
    /// At most `longest` at a time; zero is never.
    pub fn new(longest: Duration, now: Instant) -> Self {
        Self { longest, expected: longest * GAP_MAX, last: now, until: None, rests_until: now }
    }

    /// Whether to look again rather than to sleep.
    pub fn is_kept(&self) -> bool {
        self.until.is_some()
    }

    /// Frames were there at `now`.
    pub fn found(&mut self, now: Instant) {
        let gap = now.saturating_duration_since(self.last).min(self.longest * GAP_MAX);
        self.expected = (self.expected * (WEIGHT - 1) + gap) / WEIGHT;
    }

    /// They have been carried by `now`: keep awake if the next ones are likely to come soon.
    pub fn carried(&mut self, now: Instant) {
        self.last = now;
        let soon = self.expected < self.longest && now >= self.rests_until;
        self.until = soon.then(|| now + self.longest);
    }

    /// Nothing was there, and others had the core from `since` until `now`.
    pub fn gave_way(&mut self, since: Instant, now: Instant) {
        if now.saturating_duration_since(since) > LONG_AWAY {
            self.rests_until = now + REST;
            self.until = None;
        } else if self.until.is_some_and(|until| now >= until) {
            self.until = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_micros(200);
    const SOON: Duration = Duration::from_micros(50);
    const LATE: Duration = Duration::from_millis(5);

    /// A vigil after turns of no length with these gaps between them.
    fn after(gaps: impl IntoIterator<Item = Duration>) -> (Vigil, Instant) {
        let mut now = Instant::now();
        let mut vigil = Vigil::new(LONGEST, now);
        for gap in gaps {
            now += gap;
            vigil.found(now);
            vigil.carried(now);
        }
        (vigil, now)
    }

    #[test]
    fn a_thread_without_frames_sleeps() {
        assert!(!after([]).0.is_kept());
    }

    #[test]
    fn frames_in_quick_succession_keep_a_thread_awake_until_none_come() {
        let (mut vigil, mut now) = after([SOON; 32]);
        let start = now;
        while vigil.is_kept() {
            let since = now;
            now += Duration::from_micros(1);
            vigil.gave_way(since, now);
        }
        assert_eq!(now - start, LONGEST);
    }

    #[test]
    fn frames_now_and_then_keep_nobody_awake() {
        assert!(!after([LATE; 32]).0.is_kept());
    }

    #[test]
    fn a_question_and_its_late_answer_keep_nobody_awake() {
        let gaps: Vec<Duration> = [SOON, LATE].repeat(32);
        assert!(!after(gaps.clone()).0.is_kept());
        assert!(!after(gaps[1..].to_vec()).0.is_kept());
    }

    #[test]
    fn one_pause_among_many_frames_is_forgiven() {
        let (mut vigil, now) = after([SOON; 32]);
        vigil.found(now + LATE);
        vigil.carried(now + LATE);
        assert!(vigil.is_kept());
    }

    #[test]
    fn a_core_that_others_want_is_left_to_them_for_a_while() {
        let (mut vigil, now) = after([SOON; 32]);
        let back = now + LONG_AWAY * 2;
        vigil.gave_way(now, back);
        assert!(!vigil.is_kept());
        vigil.found(back + SOON);
        vigil.carried(back + SOON);
        assert!(!vigil.is_kept());
        vigil.found(back + REST);
        vigil.carried(back + REST);
        assert!(vigil.is_kept());
    }

    #[test]
    fn a_vigil_of_no_length_is_never_kept() {
        let mut now = Instant::now();
        let mut vigil = Vigil::new(Duration::ZERO, now);
        for _ in 0..32 {
            now += SOON;
            vigil.found(now);
            vigil.carried(now);
            assert!(!vigil.is_kept());
        }
    }
}
