//! The Internet checksum (RFC 1071), with the widest instructions this processor has.
//!
//! A sum is kept in the processor's own octet order, as RFC 1071 §2(B) allows, and put into the
//! packet as it is. Pieces may be summed apart and added, as long as each but the last is even.

// RFC 768: a zero would say that there is no checksum; all ones are equal to it in the sum.
const MANGLED_ZERO: u16 = 0xffff;

const WIDE_FROM: usize = 128; // below, choosing costs more than it saves

/// The ones'-complement sum of `data`, folded to 16 bits; an odd last octet is padded with zero.
pub fn sum(data: &[u8]) -> u16 {
    fold(if data.len() >= WIDE_FROM { wide(data) } else { words(data) })
}

/// Copy `from` to `to`, which is as long, and give the sum: one pass over memory instead of two.
pub fn copy(from: &[u8], to: &mut [u8]) -> u16 {
    fold(if from.len() >= WIDE_FROM { copy_wide(from, to) } else { copy_words(from, to) })
}

/// The sum of two sums.
pub fn add(left: u16, right: u16) -> u16 {
    let (sum, carry) = left.overflowing_add(right);
    sum + u16::from(carry)
}

/// The two octets that make a packet with this sum correct, for UDP as for all others.
pub fn finish(sum: u16) -> [u8; 2] {
    let value = !sum;
    (if value == 0 { MANGLED_ZERO } else { value }).to_ne_bytes()
}

/// The sum of the pseudo header of `length` octets of `protocol` between two addresses, given as
/// they lie side by side in the IP header (RFC 768, RFC 8200 §8.1).
pub fn pseudo(addresses: &[u8], protocol: u8, length: usize) -> u16 {
    let length = length as u32;
    let tail = (length >> 16) + (length & 0xffff) + u32::from(protocol);
    let tail = (tail >> 16) + (tail & 0xffff);
    add(sum(addresses), (tail as u16).to_be())
}

/// A checksum field after one 16-bit word that it covers changed (RFC 1624 §3, eqn. 3); numbers as
/// the wire has them.
pub fn update(field: u16, old: u16, new: u16) -> u16 {
    !add(add(!field, !old), new)
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(target_arch = "x86_64")]
fn wide(data: &[u8]) -> u64 {
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has just been asked whether it has AVX2, all the function needs.
        unsafe { words_avx2(data) }
    } else {
        words(data) // SSE2 is part of x86-64, so the compiler used it
    }
}

#[cfg(target_arch = "x86_64")]
fn copy_wide(from: &[u8], to: &mut [u8]) -> u64 {
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has just been asked whether it has AVX2, all the function needs.
        unsafe { copy_words_avx2(from, to) }
    } else {
        copy_words(from, to)
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn wide(data: &[u8]) -> u64 {
    words(data)
}

#[cfg(not(target_arch = "x86_64"))]
fn copy_wide(from: &[u8], to: &mut [u8]) -> u64 {
    copy_words(from, to)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn copy_words_avx2(from: &[u8], to: &mut [u8]) -> u64 {
    copy_words(from, to)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn words_avx2(data: &[u8]) -> u64 {
    words(data)
}

// Written so that the compiler makes vector instructions of it, for whichever set its caller has:
// 32-bit words into 64-bit lanes, which can not overflow.
#[inline(always)]
fn words(data: &[u8]) -> u64 {
    const LANES: usize = 16;
    let mut lanes = [0u64; LANES];
    let mut blocks = data.chunks_exact(4 * LANES);
    for block in &mut blocks {
        for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(4)) {
            *lane += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        }
    }
    let mut sum: u64 = lanes.iter().sum();
    let mut pairs = blocks.remainder().chunks_exact(2);
    for pair in &mut pairs {
        sum += u64::from(u16::from_ne_bytes([pair[0], pair[1]]));
    }
    if let [last] = pairs.remainder() {
        sum += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    sum
}

#[inline(always)]
fn copy_words(from: &[u8], to: &mut [u8]) -> u64 {
    const LANES: usize = 16;
    let mut lanes = [0u64; LANES];
    let mut sources = from.chunks_exact(4 * LANES);
    let mut targets = to[..from.len()].chunks_exact_mut(4 * LANES);
    for (source, target) in (&mut sources).zip(&mut targets) {
        for (lane, word) in lanes.iter_mut().zip(source.chunks_exact(4)) {
            *lane += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        }
        target.copy_from_slice(source);
    }
    targets.into_remainder().copy_from_slice(sources.remainder());
    lanes.iter().sum::<u64>() + words(sources.remainder())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // RFC 1071 §4.1, word by word.
    fn plain(data: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in data.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn the_example_of_rfc_1071() {
        let data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(u16::from_be(sum(&data)), 0xddf2);
        assert_eq!(finish(sum(&data)), (!0xddf2u16).to_be_bytes());
    }

    #[test]
    fn a_packet_with_its_checksum_sums_to_all_ones() {
        let mut data = vec![7u8; 20];
        data[10..12].fill(0);
        let checksum = finish(sum(&data));
        data[10..12].copy_from_slice(&checksum);
        assert_eq!(sum(&data), 0xffff);
    }

    proptest! {
        #[test]
        fn every_way_gives_the_plain_sum(data in proptest::collection::vec(any::<u8>(), 0..5000)) {
            prop_assert_eq!(u16::from_be(sum(&data)), plain(&data));
            prop_assert_eq!(u16::from_be(fold(words(&data))), plain(&data));
            let mut copied = vec![0; data.len()];
            prop_assert_eq!(u16::from_be(copy(&data, &mut copied)), plain(&data));
            prop_assert_eq!(copied, data);
        }

        #[test]
        fn pieces_add_up(data in proptest::collection::vec(any::<u8>(), 0..3000), cut in 0usize..1500) {
            let cut = (cut * 2).min(data.len() & !1);
            let whole = add(sum(&data[..cut]), sum(&data[cut..]));
            prop_assert_eq!(u16::from_be(whole), plain(&data));
        }

        #[test]
        fn a_pseudo_header_is_summed_as_its_octets(
            addresses in proptest::collection::vec(any::<u8>(), 32),
            protocol: u8,
            length in 0usize..70_000,
        ) {
            let mut header = addresses.clone();
            header.extend((length as u32).to_be_bytes());
            header.extend([0, 0, 0, protocol]);
            prop_assert_eq!(u16::from_be(pseudo(&addresses, protocol, length)), plain(&header));
        }
    }
}
