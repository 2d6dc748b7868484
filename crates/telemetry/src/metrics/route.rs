//! Path patterns as Go's request multiplexer reads them (`pathMatching`):
//! `{name}` is one segment, `{name...}` the rest, `{$}` the end; a trailing
//! slash covers everything below. The most specific pattern wins.

use std::cmp::Ordering;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    One,
    Rest,
}

impl Segment {
    /// Smaller is more specific.
    fn rank(&self) -> u8 {
        match self {
            Self::Literal(_) => 0,
            Self::One => 1,
            Self::Rest => 2,
        }
    }
}

#[derive(Debug)]
struct Pattern {
    text: String,
    segments: Vec<Segment>,
    /// Ends in a plain slash: `/a/` also answers for `/a`.
    subtree: bool,
}

impl Pattern {
    fn parse(text: &str) -> Self {
        let body = text.strip_prefix('/').unwrap_or(text);
        let mut segments: Vec<Segment> = body.split('/').map(parse_segment).collect();
        let subtree = body.is_empty() || body.ends_with('/');
        if subtree {
            // The empty last segment stands for anything, nothing included.
            segments.pop();
            segments.push(Segment::Rest);
        } else if body == "{$}" || body.ends_with("/{$}") {
            segments.pop();
            segments.push(Segment::Literal(String::new()));
        }
        Self { text: text.to_owned(), segments, subtree }
    }

    fn matches(&self, path: &[&str]) -> bool {
        for (index, segment) in self.segments.iter().enumerate() {
            match (segment, path.get(index)) {
                (Segment::Rest, Some(_)) => return true,
                (Segment::Literal(wanted), Some(given)) if wanted == given => {}
                (Segment::One, Some(given)) if !given.is_empty() => {}
                _ => return false,
            }
        }
        path.len() == self.segments.len()
    }

    fn compare(&self, other: &Self) -> Ordering {
        let ranks = |p: &Self| p.segments.iter().map(Segment::rank).collect::<Vec<_>>();
        // A longer pattern says more where the common part ranks the same.
        let (a, b) = (ranks(self), ranks(other));
        let common = a.len().min(b.len());
        a[..common].cmp(&b[..common]).then(b.len().cmp(&a.len())).then_with(|| self.text.cmp(&other.text))
    }
}

fn parse_segment(text: &str) -> Segment {
    match text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
        Some(name) if name.ends_with("...") => Segment::Rest,
        Some(_) => Segment::One,
        None => Segment::Literal(text.to_owned()),
    }
}

/// Patterns, most specific first.
#[derive(Debug)]
pub(super) struct Routes(Vec<Pattern>);

impl Routes {
    pub(super) fn new(mut patterns: Vec<String>) -> Self {
        patterns.sort();
        patterns.dedup();
        let mut parsed: Vec<Pattern> = patterns.iter().map(|p| Pattern::parse(p)).collect();
        parsed.sort_by(Pattern::compare);
        Self(parsed)
    }

    /// The text of the pattern for `path`, or what it would be redirected to.
    pub(super) fn find(&self, path: &str) -> Option<std::borrow::Cow<'_, str>> {
        let segments: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
        let found = self.0.iter().find(|p| p.matches(&segments));
        if found.is_none_or(|p| p.subtree) && !path.ends_with('/') {
            // Nothing that ends here: perhaps a subtree named without its slash.
            let mut below = segments;
            below.push("");
            let exact = |p: &&Pattern| p.subtree && p.segments.len() == below.len() && p.matches(&below);
            if self.0.iter().any(|p| exact(&p)) {
                return Some(format!("{path}/").into());
            }
        }
        found.map(|p| p.text.as_str().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(patterns: &[&str], path: &str) -> String {
        let routes = Routes::new(patterns.iter().map(|p| (*p).to_owned()).collect());
        routes.find(path).map(std::borrow::Cow::into_owned).unwrap_or_default()
    }

    #[test]
    fn wildcards_take_one_segment() {
        assert_eq!(find(&["/orders/{id}"], "/orders/7"), "/orders/{id}");
        assert_eq!(find(&["/orders/{id}"], "/orders/7/items"), "");
        assert_eq!(find(&["/orders/{id}"], "/orders/"), "");
        assert_eq!(find(&["/orders/{rest...}"], "/orders/7/items"), "/orders/{rest...}");
    }

    #[test]
    fn the_most_specific_pattern_wins() {
        let all = ["/", "/orders/", "/orders/{id}", "/orders/new", "/orders/{id}/items"];
        assert_eq!(find(&all, "/orders/new"), "/orders/new");
        assert_eq!(find(&all, "/orders/7"), "/orders/{id}");
        assert_eq!(find(&all, "/orders/7/items"), "/orders/{id}/items");
        assert_eq!(find(&all, "/orders/7/other"), "/orders/");
        assert_eq!(find(&all, "/else"), "/");
    }

    #[test]
    fn a_subtree_answers_for_its_name_without_the_slash() {
        assert_eq!(find(&["/", "/tree/"], "/tree"), "/tree/");
        assert_eq!(find(&["/tree/", "/tree"], "/tree"), "/tree");
    }

    #[test]
    fn the_end_marker_covers_only_the_end() {
        assert_eq!(find(&["/a/{$}"], "/a/"), "/a/{$}");
        assert_eq!(find(&["/a/{$}"], "/a/b"), "");
    }
}
