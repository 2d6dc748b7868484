//! Names for applications that were given none.

const FIRST: [&str; 32] = [
    "amber", "brave", "calm", "clever", "crisp", "dawn", "eager", "early", "fair", "fleet", "gentle",
    "golden", "happy", "hazel", "ivory", "jolly", "keen", "kind", "lively", "lucid", "merry", "misty",
    "noble", "olive", "plain", "quick", "quiet", "rosy", "silver", "swift", "vivid", "witty",
];
const SECOND: [&str; 32] = [
    "anchor", "badger", "beacon", "birch", "brook", "cedar", "comet", "cricket", "dolphin", "ember",
    "falcon", "fern", "harbor", "heron", "island", "juniper", "lantern", "lark", "maple", "meadow", "otter",
    "pebble", "pine", "raven", "river", "rocket", "sparrow", "spruce", "thistle", "violet", "willow", "wren",
];

/// A name of the form `word-word` that is not `taken`.
pub(super) fn fresh(taken: impl Fn(&str) -> bool) -> String {
    loop {
        let pick = |words: &'static [&'static str]| words[fastrand::usize(..words.len())];
        let mut name = format!("{}-{}", pick(&FIRST), pick(&SECOND));
        if taken(&name) {
            // With many instances the words run out; a number does not.
            name.push_str(&fastrand::u16(..).to_string());
        }
        if !taken(&name) {
            return name;
        }
    }
}
