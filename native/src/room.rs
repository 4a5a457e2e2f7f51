//! Memory for frames, used again and again.

use std::ops::{Deref, DerefMut};

/// Octets of a page.
pub const PAGE: usize = 4096;

/// Octets that begin at a page. Some processors copy four times slower to a place that is, within
/// its page, a few octets behind where the source is in its own; what the kernel hands out mostly
/// begins at a page, so this does too (`docs/performance.md`).
pub struct Room {
    octets: Box<[u8]>,
    start: usize,
    length: usize,
}

impl Room {
    /// So many octets, all zero.
    pub fn new(length: usize) -> Self {
        let octets = vec![0; length + PAGE].into_boxed_slice();
        let start = octets.as_ptr().align_offset(PAGE).min(PAGE);
        Self { octets, start, length }
    }
}

impl Deref for Room {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.octets[self.start..self.start + self.length]
    }
}

impl DerefMut for Room {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.octets[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_at_a_page_and_is_as_long_as_asked_for() {
        for length in [1, 5000, 1 << 20] {
            let room = Room::new(length);
            assert_eq!(room.as_ptr() as usize % PAGE, 0);
            assert_eq!(room.len(), length);
        }
    }
}
