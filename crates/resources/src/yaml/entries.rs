use dapr_gocompat::quote::quote;

use super::{Dialect, Kind, Node, Resolved, YamlError};

/// One field of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<'a> {
    pub key: String,
    /// Line of the key in the file, from one.
    pub line: usize,
    pub value: &'a Node,
}

impl Node {
    /// The fields of a mapping, in order of appearance, merge keys and
    /// duplicates settled as `dialect` has it; `None` when this is no mapping.
    pub fn entries(&self, dialect: Dialect) -> Result<Option<Vec<Entry<'_>>>, YamlError> {
        let Kind::Mapping(pairs) = &self.kind else { return Ok(None) };
        let mut entries: Vec<Entry<'_>> = Vec::with_capacity(pairs.len());
        let mut merges = Vec::new();
        for (key, value) in pairs {
            if matches!(&key.kind, Kind::Scalar(scalar) if scalar.is_merge_key()) {
                match dialect {
                    Dialect::Resource => merge(&mut entries, value, dialect, true)?,
                    Dialect::Configuration => merges.push(value),
                }
                continue;
            }
            let name = key_text(key, dialect)?;
            let known = entries.iter_mut().find(|entry| entry.key == name);
            match (known, dialect) {
                (None, _) => entries.push(Entry { key: name, line: key.line, value }),
                (Some(known), Dialect::Resource) => (known.line, known.value) = (key.line, value),
                (Some(known), Dialect::Configuration) => {
                    return Err(duplicate(&name, key.line, known.value.line));
                }
            }
        }
        for value in merges {
            merge(&mut entries, value, dialect, false)?;
        }
        Ok(Some(entries))
    }

    /// The value of a field, looked up as written.
    pub fn get(&self, key: &str, dialect: Dialect) -> Option<&Node> {
        let entries = self.entries(dialect).ok()??;
        entries.into_iter().find(|entry| entry.key == key).map(|entry| entry.value)
    }
}

fn duplicate(name: &str, line: usize, first: usize) -> YamlError {
    YamlError::new(line, format!("mapping key {} already defined at line {first}", quote(name)))
}

fn merge<'a>(
    entries: &mut Vec<Entry<'a>>,
    value: &'a Node,
    dialect: Dialect,
    replace: bool,
) -> Result<(), YamlError> {
    const WANT_MAP: &str = "map merge requires map or sequence of maps as the value";
    let wrong = || YamlError::new(value.line, WANT_MAP);
    let sources: Vec<&Node> = match &value.kind {
        Kind::Mapping(_) => vec![value],
        Kind::Sequence(items) => items.iter().collect(),
        Kind::Scalar(_) => return Err(wrong()),
    };
    // Earlier maps of a list win over later ones.
    let mut merged: Vec<Entry<'a>> = Vec::new();
    for source in sources {
        for entry in source.entries(dialect)?.ok_or_else(wrong)? {
            if !merged.iter().any(|known| known.key == entry.key) {
                merged.push(entry);
            }
        }
    }
    for entry in merged {
        match entries.iter_mut().find(|known| known.key == entry.key) {
            Some(known) if replace => (known.line, known.value) = (entry.line, entry.value),
            Some(_) => {}
            None => entries.push(entry),
        }
    }
    Ok(())
}

fn key_text(key: &Node, dialect: Dialect) -> Result<String, YamlError> {
    let Kind::Scalar(scalar) = &key.kind else {
        return Err(YamlError::new(key.line, "invalid map key: only scalars can be keys"));
    };
    if dialect == Dialect::Configuration {
        return Ok(scalar.text.clone());
    }
    Ok(match scalar.resolve(dialect, key.line)? {
        Resolved::Null => {
            return Err(YamlError::new(key.line, "unsupported map key of type: null"));
        }
        Resolved::Str(text) => text.to_owned(),
        other => super::value::scalar_as_string(&other),
    })
}
