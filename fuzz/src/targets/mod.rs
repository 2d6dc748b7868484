//! What is tried, one entry each. A target panics when something is wrong; that
//! it returns an error for broken input is not.

mod certificates;
mod data;
mod events;
mod messages;
mod paths;
mod tokens;

/// Something that reads input from outside.
#[derive(Debug)]
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// Good input.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// What such input is made of.
    pub words: &'static [&'static str],
}

pub const TARGETS: &[Target] = &[
    paths::PATHS,
    paths::ACCESS,
    events::CLOUDEVENT,
    events::ROUTES,
    data::PROPERTIES,
    data::RESOURCES,
    data::JSON,
    messages::FRAMES,
    messages::INVOKE,
    certificates::CERTIFICATES,
    tokens::TOKENS,
    tokens::IDENTITIES,
];

/// Between the parts of one input.
pub const BREAK: u8 = 0x1f;

/// The parts of an input that has several; the last takes the rest.
fn parts<const N: usize>(input: &[u8]) -> [&[u8]; N] {
    let mut all = input.splitn(N, |byte| *byte == BREAK);
    std::array::from_fn(|_| all.next().unwrap_or_default())
}

/// One input of several parts.
fn join(parts: &[&str]) -> Vec<u8> {
    parts.join("\u{1f}").into_bytes()
}

fn texts(seeds: &[&str]) -> Vec<Vec<u8>> {
    seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A short campaign in every test run: the targets themselves must work.
    #[test]
    fn seeds_and_their_next_variants_do_no_harm() {
        for target in TARGETS {
            let seeds = (target.seeds)();
            assert!(!seeds.is_empty());
            for iteration in 0..seeds.len() as u64 + 200 {
                (target.run)(&crate::mutate::input(&seeds, target.words, 1, iteration));
            }
        }
    }
}
