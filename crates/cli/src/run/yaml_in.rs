//! Typed fields of a YAML mapping: field names as written, scalars of YAML 1.1,
//! numbers and booleans as written where a text is wanted.

use std::collections::BTreeMap;

use dapr_resources::yaml::{Dialect, Kind, Node, Resolved, Scalar};

const DIALECT: Dialect = Dialect::Resource;

/// The fields of one mapping. Unknown ones are simply never asked for.
pub(super) struct Fields<'a>(BTreeMap<String, &'a Node>);

impl<'a> Fields<'a> {
    /// Nothing at all (`common:` with no value) is an empty mapping.
    pub fn of(node: Option<&'a Node>) -> Result<Self, String> {
        let Some(node) = node.filter(|node| !node.is_null()) else { return Ok(Self(BTreeMap::new())) };
        let entries = node.entries(DIALECT).map_err(|error| error.to_string())?;
        let entries = entries.ok_or_else(|| mismatch(node, "a mapping"))?;
        Ok(Self(entries.into_iter().map(|entry| (entry.key, entry.value)).collect()))
    }

    pub fn node(&self, key: &str) -> Option<&'a Node> {
        self.0.get(key).copied().filter(|node| !node.is_null())
    }

    /// Empty when not given.
    pub fn text(&self, key: &str) -> Result<String, String> {
        Ok(self.optional_text(key)?.unwrap_or_default())
    }

    pub fn optional_text(&self, key: &str) -> Result<Option<String>, String> {
        self.node(key).map(|node| Ok(scalar(node, "a text")?.text.clone())).transpose()
    }

    /// Zero when not given.
    pub fn int(&self, key: &str) -> Result<i64, String> {
        let Some(node) = self.node(key) else { return Ok(0) };
        match resolve(node)? {
            Resolved::Int(value) => Ok(value),
            Resolved::Float(value) if value.fract() == 0.0 && value.abs() < 1e15 => Ok(value as i64),
            _ => Err(mismatch(node, "a whole number")),
        }
    }

    /// False when not given.
    pub fn bool(&self, key: &str) -> Result<bool, String> {
        let Some(node) = self.node(key) else { return Ok(false) };
        match resolve(node)? {
            Resolved::Bool(value) => Ok(value),
            _ => Err(mismatch(node, "true or false")),
        }
    }

    pub fn items(&self, key: &str) -> Result<&'a [Node], String> {
        let Some(node) = self.node(key) else { return Ok(&[]) };
        match &node.kind {
            Kind::Sequence(items) => Ok(items),
            _ => Err(mismatch(node, "a list")),
        }
    }

    pub fn texts(&self, key: &str) -> Result<Vec<String>, String> {
        self.items(key)?.iter().map(text_of).collect()
    }

    pub fn map(&self, key: &str) -> Result<BTreeMap<String, String>, String> {
        let fields = Fields::of(self.node(key))?;
        fields.0.into_iter().map(|(key, node)| Ok((key, text_of(node)?))).collect()
    }
}

fn text_of(node: &Node) -> Result<String, String> {
    if node.is_null() { Ok(String::new()) } else { Ok(scalar(node, "a text")?.text.clone()) }
}

fn scalar<'a>(node: &'a Node, wanted: &str) -> Result<&'a Scalar, String> {
    match &node.kind {
        Kind::Scalar(scalar) => Ok(scalar),
        _ => Err(mismatch(node, wanted)),
    }
}

fn resolve(node: &Node) -> Result<Resolved<'_>, String> {
    let scalar = scalar(node, "a single value")?;
    scalar.resolve(DIALECT, node.line).map_err(|error| error.to_string())
}

fn mismatch(node: &Node, wanted: &str) -> String {
    let found = match &node.kind {
        Kind::Scalar(scalar) => format!("`{}`", scalar.text),
        Kind::Sequence(_) => "a list".to_owned(),
        Kind::Mapping(_) => "a mapping".to_owned(),
    };
    format!("yaml: line {}: expected {wanted}, found {found}", node.line)
}
