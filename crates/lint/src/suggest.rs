//! What somebody may have meant.

/// Edits that still count as a slip of the fingers.
const NEAR: usize = 2;

/// The candidate that is nearest to `typed`, if one is near. Short words have
/// to be nearer than long ones.
pub(crate) fn nearest<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    let near = match typed.chars().count() {
        0..=2 => 0,
        3..=4 => 1,
        _ => NEAR,
    };
    let measured =
        candidates.into_iter().map(|candidate| (distance(&typed, &candidate.to_lowercase()), candidate));
    measured.filter(|(distance, _)| *distance <= near).min_by_key(|(distance, _)| *distance).map(|(_, it)| it)
}

/// A sentence for [`nearest`], else the whole choice while it is short.
pub(crate) fn choice(typed: &str, candidates: &[&str]) -> String {
    const SHORT: usize = 12;
    if let Some(near) = nearest(typed, candidates.iter().copied()) {
        return format!("did you mean {near}?");
    }
    match candidates.len() {
        0 => String::new(),
        1..=SHORT => format!("known: {}", candidates.join(", ")),
        more => format!("known: {} and {} more", candidates[..SHORT].join(", "), more - SHORT),
    }
}

/// Edits between two words; two neighbours swapped are one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_near_and_other_words_are_not() {
        let fields = ["metadata", "spec", "scopes", "auth"];
        assert_eq!(nearest("scpoes", fields), Some("scopes"));
        assert_eq!(nearest("SPEC", fields), Some("spec"));
        assert_eq!(nearest("spce", fields), Some("spec"));
        assert_eq!(nearest("data", fields), None);
        assert_eq!(nearest("x", fields), None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("verison", "version"), 1);
    }

    #[test]
    fn choices_are_short() {
        assert_eq!(choice("spek", &["spec"]), "did you mean spec?");
        assert_eq!(choice("colour", &["spec", "auth"]), "known: spec, auth");
        assert_eq!(choice("colour", &[]), "");
    }
}
