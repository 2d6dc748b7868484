//! Where in a file something stands.

use dapr_resources::yaml::{Kind, Node};

/// One step down.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'a> {
    Key(&'a str),
    At(usize),
}

/// The line of the last step of `path` that is there: of its key, or of the
/// item itself. Keys compare without regard to case.
pub(crate) fn line(root: &Node, path: &[Step<'_>]) -> usize {
    let (mut node, mut line) = (root, root.line);
    for step in path {
        let next = match (step, &node.kind) {
            (Step::Key(key), Kind::Mapping(pairs)) => {
                let same =
                    |name: &Node| matches!(&name.kind, Kind::Scalar(s) if s.text.eq_ignore_ascii_case(key));
                // The last of several counts.
                pairs.iter().rev().find(|(name, _)| same(name)).map(|(name, value)| (name.line, value))
            }
            (Step::At(index), Kind::Sequence(items)) => items.get(*index).map(|item| (item.line, item)),
            _ => None,
        };
        let Some((at, inner)) = next else { break };
        (line, node) = (at, inner);
    }
    line
}

#[cfg(test)]
mod tests {
    use dapr_resources::yaml::parse_first;

    use super::Step::{At, Key};
    use super::*;

    #[test]
    fn paths_lead_to_keys_and_items() {
        let node = parse_first("a:\n  b:\n  - x\n  - C: 1\n").unwrap().unwrap();
        assert_eq!(line(&node, &[Key("a")]), 1);
        assert_eq!(line(&node, &[Key("A"), Key("b")]), 2);
        assert_eq!(line(&node, &[Key("a"), Key("b"), At(1)]), 4);
        assert_eq!(line(&node, &[Key("a"), Key("b"), At(1), Key("c")]), 4);
        assert_eq!(line(&node, &[Key("a"), Key("nothing"), Key("b")]), 1);
    }
}
