//! Cores: which one a thread is on, which ones it may be on, and which one takes in packets.

use std::fs::File;
use std::io;
use std::mem;
use std::os::unix::fs::FileExt;

use super::checked;

/// The cores that the calling thread may run on.
#[derive(Clone, Copy)]
pub struct Cores(libc::cpu_set_t);

impl Cores {
    /// Those it may run on now.
    pub fn allowed() -> io::Result<Self> {
        // SAFETY: an all-zero `cpu_set_t` is a valid, empty one.
        let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
        // SAFETY: the pointer and the length are those of one set, which is exclusively ours.
        checked(unsafe { libc::sched_getaffinity(0, mem::size_of_val(&set), &raw mut set) })?;
        Ok(Self(set))
    }

    /// Only `core`, if it is one of these.
    pub fn only(&self, core: usize) -> Option<Self> {
        // SAFETY: an all-zero `cpu_set_t` is a valid, empty one.
        let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
        if core >= libc::CPU_SETSIZE as usize {
            return None;
        }
        // SAFETY: `core` is one that a set has a bit for.
        unsafe {
            if !libc::CPU_ISSET(core, &self.0) {
                return None;
            }
            libc::CPU_SET(core, &mut set);
        }
        Some(Self(set))
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        // SAFETY: takes a reference to a valid set.
        usize::try_from(unsafe { libc::CPU_COUNT(&self.0) }).unwrap_or(0)
    }

    /// Run the calling thread on these only.
    pub fn take(&self) -> io::Result<()> {
        // SAFETY: the pointer and the length are those of one set, which the kernel copies.
        checked(unsafe {
            libc::sched_setaffinity(0, mem::size_of_val(&self.0), &raw const self.0)
        })?;
        Ok(())
    }
}

/// The core that the calling thread is on.
pub fn here() -> Option<usize> {
    // SAFETY: takes no pointers.
    usize::try_from(unsafe { libc::sched_getcpu() }).ok()
}

/// What each core took in of packets, for all devices and namespaces. A socket without a
/// destination is not told on which core its datagrams arrive (`SO_INCOMING_CPU` of socket(7) is
/// kept for connected ones only), so this is what there is.
pub struct Intake {
    file: Option<File>,
    counts: Vec<u32>,
}

impl Default for Intake {
    /// As it is now.
    fn default() -> Self {
        let file = File::open("/proc/net/softnet_stat").ok();
        let mut intake = Self { file, counts: Vec::new() };
        intake.busiest(0, 0);
        intake
    }
}

impl Intake {
    /// The core that has taken in the most since the last time, if none comes near it. Of what the
    /// core `here` took in, `own` is left out.
    pub fn busiest(&mut self, here: usize, own: usize) -> Option<usize> {
        let mut text = [0; 1 << 15];
        let octets = self.file.as_ref()?.read_at(&mut text, 0).ok()?;
        let counts = counts(std::str::from_utf8(&text[..octets]).ok()?);
        let busiest = ahead(&self.counts, &counts, here, own);
        self.counts = counts;
        busiest
    }
}

// One line for each core that is on: what it took in is the first word, its number the thirteenth.
fn counts(text: &str) -> Vec<u32> {
    let mut counts = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut words = line.split_ascii_whitespace().map(|word| u32::from_str_radix(word, 16));
        let Some(Ok(count)) = words.next() else { continue };
        let core = words.nth(11).and_then(Result::ok).map_or(index, |core| core as usize);
        if core < libc::CPU_SETSIZE as usize {
            counts.resize(counts.len().max(core + 1), 0);
            counts[core] = count;
        }
    }
    counts
}

fn ahead(before: &[u32], after: &[u32], here: usize, own: usize) -> Option<usize> {
    let grown = |core: usize| {
        let grown = after[core].wrapping_sub(before.get(core).copied().unwrap_or(after[core]));
        if core == here { grown.saturating_sub(own as u32) } else { grown }
    };
    let first = (0..after.len()).max_by_key(|&core| grown(core))?;
    let others = (0..after.len()).filter(|&core| core != first).map(grown).max().unwrap_or(0);
    (grown(first) > others + others / 3).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_keeps_to_the_core_it_takes_and_roams_again() {
        let all = Cores::allowed().unwrap();
        let core = here().unwrap();
        all.only(core).unwrap().take().unwrap();
        assert_eq!(Cores::allowed().unwrap().count(), 1);
        assert_eq!(here(), Some(core));
        all.take().unwrap();
        assert_eq!(Cores::allowed().unwrap().count(), all.count());
    }

    #[test]
    fn no_thread_keeps_to_a_core_that_it_may_not_run_on() {
        let core = here().unwrap();
        let alone = Cores::allowed().unwrap().only(core).unwrap();
        assert!(alone.only(core).is_some());
        assert!(alone.only(core + 1).is_none());
        assert!(alone.only(libc::CPU_SETSIZE as usize).is_none());
    }

    #[test]
    fn what_cores_took_in_is_read_by_their_numbers() {
        let rest = "00000000 ".repeat(11);
        let text = format!("0000000a {rest}00000000 00000000\n000000ff {rest}00000003 00000000\n");
        assert_eq!(counts(&text), [10, 0, 0, 255]);
        assert_eq!(counts("00000007 00000000\n00000009 00000000\n"), [7, 9]);
        assert_eq!(counts("nothing of the kind\n"), []);
    }

    #[test]
    fn a_core_that_took_in_much_more_than_all_others_is_the_busiest() {
        assert_eq!(ahead(&[5, 5, 5], &[6, 105, 7], 0, 0), Some(1));
        assert_eq!(ahead(&[5, u32::MAX], &[6, 9], 0, 0), Some(1)); // they wrap around
        assert_eq!(ahead(&[5, 5], &[105, 95], 0, 0), None);
        assert_eq!(ahead(&[5, 5], &[5, 5], 0, 0), None);
        assert_eq!(ahead(&[], &[5, 9], 0, 0), None);
        assert_eq!(ahead(&[5, 5], &[105, 95], 0, 80), Some(1));
        assert_eq!(ahead(&[5, 5], &[105, 95], 0, 200), Some(1));
    }

    #[test]
    fn this_system_tells_what_its_cores_take_in() {
        let intake = Intake::default();
        assert!(intake.counts.iter().any(|&count| count > 0));
    }
}
