//! What the user may have meant.

/// Edits that still count as a slip of the fingers.
const NEAR: usize = 2;

/// Whether `candidate` is worth offering for `typed`: few edits away, or
/// `typed` is how it starts; case does not matter.
pub(crate) fn resembles(typed: &str, candidate: &str) -> bool {
    let typed = typed.to_lowercase();
    let candidate = candidate.to_lowercase();
    candidate.starts_with(&typed) || distance(&typed, &candidate) <= NEAR
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if from == *to { diagonal } else { 1 + diagonal.min(above).min(row[j]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_prefixes_and_case_are_near() {
        assert!(resembles("lsit", "list"));
        assert!(resembles("un", "uninstall"));
        assert!(resembles("RUN", "run"));
        assert!(!resembles("dashboard", "stop"));
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
