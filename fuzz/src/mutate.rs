//! Broken variants of good input. The same seed and number give the same
//! variant.

use fastrand::Rng;

/// Largest input: enough for any recursion, small enough for thousands a
/// second.
const LONGEST: usize = 64 << 10;
const MOST_CHANGES: u32 = 6;
/// Spreads the numbers of inputs over the seeds of generators.
const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

/// At the edges of what numbers and lengths can be.
const NUMBERS: [&str; 12] = [
    "0",
    "-1",
    "1e999",
    "-0",
    "127",
    "65536",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "0.0000000000000000000000001",
];
/// Text that changes its length with its case, has no width, or is none.
const TEXTS: [&[u8]; 12] = [
    "\u{130}".as_bytes(),
    "\u{df}".as_bytes(),
    "\u{10ffff}".as_bytes(),
    "\u{200d}".as_bytes(),
    "\u{2028}".as_bytes(),
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\r\n",
    b"\\",
    b"\"",
];

/// The first inputs are the seeds themselves.
pub fn input(seeds: &[Vec<u8>], words: &[&str], seed: u64, iteration: u64) -> Vec<u8> {
    if let Some(whole) = usize::try_from(iteration).ok().and_then(|at| seeds.get(at)) {
        return whole.clone();
    }
    let mut rng = Rng::with_seed(seed.wrapping_add(iteration.wrapping_mul(STRIDE)));
    let mut input = seeds[rng.usize(..seeds.len())].clone();
    for _ in 0..rng.u32(1..=MOST_CHANGES) {
        change(&mut input, seeds, words, &mut rng);
        input.truncate(LONGEST);
    }
    input
}

fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], words: &[&str], rng: &mut Rng) {
    let at = rng.usize(..=input.len());
    match rng.u32(..12) {
        0 | 1 if at < input.len() => input[at] ^= 1 << rng.u32(..8),
        2 if at < input.len() => input[at] = rng.u8(..),
        3 => {
            let length = rng.usize(1..9);
            let bytes: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(length).collect();
            insert(input, at, &bytes);
        }
        4 => drop(input.drain(range(input.len(), rng))),
        5 => {
            let copy = input[range(input.len(), rng)].to_vec();
            insert(input, at, &copy);
        }
        6 if !words.is_empty() => insert(input, at, words[rng.usize(..words.len())].as_bytes()),
        7 => {
            let other = &seeds[rng.usize(..seeds.len())];
            let part = other[range(other.len(), rng)].to_vec();
            input.truncate(at);
            input.extend_from_slice(&part);
        }
        8 => number(input, at, rng),
        9 => insert(input, at, TEXTS[rng.usize(..TEXTS.len())]),
        10 if rng.u32(..4) == 0 => {
            let unit = match rng.bool() || words.is_empty() {
                true => input[short_range(input.len(), rng)].to_vec(),
                false => words[rng.usize(..words.len())].as_bytes().to_vec(),
            };
            let most = LONGEST / unit.len().max(1);
            insert(input, at, &unit.repeat((1 << rng.u32(1..17)).min(most)));
        }
        _ => integer(input, at, rng),
    }
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    input.splice(at..at, bytes.iter().copied());
}

fn range(length: usize, rng: &mut Rng) -> std::ops::Range<usize> {
    let start = rng.usize(..=length);
    start..rng.usize(start..=length)
}

/// What is repeated: a bracket, a key, rarely more.
fn short_range(length: usize, rng: &mut Rng) -> std::ops::Range<usize> {
    let start = rng.usize(..=length);
    start..(start + rng.usize(1..8)).min(length)
}

/// Replaces the digits at or after `at`.
fn number(input: &mut Vec<u8>, at: usize, rng: &mut Rng) {
    let Some(start) = input[at..].iter().position(u8::is_ascii_digit).map(|offset| at + offset) else {
        return;
    };
    let end = input[start..].iter().position(|b| !b.is_ascii_digit()).map_or(input.len(), |n| start + n);
    input.splice(start..end, NUMBERS[rng.usize(..NUMBERS.len())].bytes());
}

/// Overwrites bytes with an integer of some width and order.
fn integer(input: &mut [u8], at: usize, rng: &mut Rng) {
    let value: u64 = match rng.u32(..5) {
        0 => 0,
        1 => u64::MAX,
        2 => 1 << rng.u32(..64),
        3 => (1 << rng.u32(..64)) - 1,
        _ => input.len() as u64,
    };
    let width = 1 << rng.u32(..4);
    let bytes = if rng.bool() {
        value.to_le_bytes()[..width].to_vec()
    } else {
        value.to_be_bytes()[8 - width..].to_vec()
    };
    for (to, from) in input[at..].iter_mut().zip(bytes) {
        *to = from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_repeat_and_begin_with_the_seeds() {
        let seeds = [b"one 1".to_vec(), b"{}".to_vec()];
        assert_eq!(input(&seeds, &["w"], 7, 1), b"{}");
        let mut different = std::collections::BTreeSet::new();
        for iteration in 0..1000 {
            let made = input(&seeds, &["w"], 7, iteration);
            assert_eq!(made, input(&seeds, &["w"], 7, iteration));
            assert!(made.len() <= LONGEST);
            different.insert(made);
        }
        assert!(different.len() > 700, "{}", different.len());
        // Seeds may be empty, and there may be no words.
        (0..1000).for_each(|iteration| drop(input(&[Vec::new()], &[], 1, iteration)));
    }
}
