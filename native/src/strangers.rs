//! Who sent frames into networks whose peer it is not: how many, by address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Addresses kept. Anybody can send from any address, so later ones are counted only together.
const ADDRESSES_MAX: usize = 256;

/// The counters.
#[derive(Debug, Default)]
pub struct Strangers(Mutex<HashMap<IpAddr, u64>>);

impl Strangers {
    /// Count frames of an address.
    pub fn add(&self, from: IpAddr, frames: usize) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() < ADDRESSES_MAX || seen.contains_key(&from) {
            *seen.entry(from).or_default() += frames as u64;
        }
    }

    /// All of them.
    pub fn all(&self) -> Vec<(IpAddr, u64)> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().map(|(&from, &frames)| (from, frames)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_addresses_are_kept() {
        let strangers = Strangers::default();
        for number in 0..2 * ADDRESSES_MAX as u32 {
            strangers.add(IpAddr::from(number.to_be_bytes()), 1);
        }
        strangers.add(IpAddr::from([0, 0, 0, 1]), 2);
        assert_eq!(strangers.all().len(), ADDRESSES_MAX);
        assert!(strangers.all().contains(&(IpAddr::from([0, 0, 0, 1]), 3)));
    }
}
