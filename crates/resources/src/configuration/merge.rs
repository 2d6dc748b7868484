use crate::yaml::{Dialect, Kind, Node, Scalar, YamlError};

/// Fields that hold any JSON: a later file replaces them whole.
const REPLACED_WHOLE: &[&[&str]] = &[&["spec", "nameResolution", "configuration"]];

/// Lays `upper` over `lower`: mappings merge, everything else is replaced; a
/// null removes what was there (runtime.md §3.4).
pub(crate) fn merge(lower: Node, upper: Node, dialect: Dialect) -> Result<Node, YamlError> {
    merge_at(lower, upper, dialect, &mut Vec::new())
}

fn merge_at(lower: Node, upper: Node, dialect: Dialect, path: &mut Vec<String>) -> Result<Node, YamlError> {
    let (Some(_), Some(entries)) = (lower.entries(dialect)?, upper.entries(dialect)?) else {
        return Ok(upper);
    };
    let line = upper.line;
    let mut fields: Vec<(String, Node)> = Vec::new();
    for entry in lower.entries(dialect)?.unwrap_or_default() {
        fields.push((entry.key, entry.value.clone()));
    }
    for entry in entries {
        let same = |name: &str| match dialect {
            Dialect::Configuration => name == entry.key,
            Dialect::Resource => name.eq_ignore_ascii_case(&entry.key),
        };
        let known = fields.iter_mut().find(|(name, _)| same(name));
        let Some((_, known)) = known else {
            fields.push((entry.key, entry.value.clone()));
            continue;
        };
        path.push(entry.key);
        *known = if REPLACED_WHOLE.iter().any(|whole| whole.iter().eq(path.iter())) {
            entry.value.clone()
        } else {
            merge_at(std::mem::replace(known, Node::null(line)), entry.value.clone(), dialect, path)?
        };
        path.pop();
    }
    let key = |name: String| Node { line, kind: Kind::Scalar(Scalar::quoted(name)) };
    let pairs = fields.into_iter().map(|(name, value)| (key(name), value)).collect();
    Ok(Node { line, kind: Kind::Mapping(pairs) })
}
