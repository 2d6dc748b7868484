//! JSON documents and the query API over the server's search module
//! (components.md §3.3, §3.9).

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use dapr_components::state::{Item, QueryItem, QueryResponse, RequestMetadata, Value as Data};
use redis::{Cmd, Value, cmd};
use serde_json::Value as Json;

use crate::connection::{bytes_of, text_of};

/// The stored document of a value; the script adds the version.
pub(super) fn document(value: &Data) -> Bytes {
    let data = match value {
        Data::Json(text) => String::from_utf8_lossy(text).into_owned(),
        // Bytes in JSON are base64 text, as in every Go program.
        Data::Bytes(bytes) => {
            use base64::Engine;
            format!("\"{}\"", base64::engine::general_purpose::STANDARD.encode(bytes))
        }
    };
    format!("{{\"data\":{data}}}").into()
}

#[derive(serde::Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    data: Option<&'a serde_json::value::RawValue>,
    version: Option<i64>,
}

/// Item of a stored document.
pub(super) fn item_of(document: &[u8]) -> Result<Item, String> {
    let document: Document<'_> = serde_json::from_slice(document).map_err(|e| e.to_string())?;
    let data = document.data.map_or("null", serde_json::value::RawValue::get);
    Ok(Item {
        data: data.to_owned().into(),
        etag: document.version.map(|v| v.to_string()),
        ..Item::default()
    })
}

/// Indexes of `queryIndexes` by name.
#[derive(Default)]
pub(super) struct Indexes(BTreeMap<String, Index>);

pub(super) struct Index {
    /// Path below `data` and type, in the order given.
    fields: Vec<(String, String)>,
}

#[derive(serde::Deserialize)]
struct IndexText {
    #[serde(default)]
    name: String,
    #[serde(default)]
    indexes: Vec<FieldText>,
}

#[derive(serde::Deserialize)]
struct FieldText {
    #[serde(default)]
    key: String,
    #[serde(default, rename = "type")]
    kind: String,
}

impl Indexes {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let parsed: Vec<IndexText> = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let mut indexes = BTreeMap::new();
        for IndexText { name, indexes: fields } in parsed {
            if name.is_empty() {
                return Err("empty query schema name".to_owned());
            }
            for field in &fields {
                if field.key.is_empty() {
                    return Err(format!("empty key in query schema {name}"));
                }
                if field.kind.is_empty() {
                    return Err(format!("empty type in query schema {name}"));
                }
            }
            let index = Index { fields: fields.into_iter().map(|f| (f.key, f.kind)).collect() };
            if indexes.insert(name.clone(), index).is_some() {
                return Err(format!("duplicate schema name {name}"));
            }
        }
        Ok(Self(indexes))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Index)> {
        self.0.iter().map(|(name, index)| (name.as_str(), index))
    }

    pub(super) fn search(&self, body: &[u8], metadata: &RequestMetadata) -> Result<Search, String> {
        let name = metadata
            .iter()
            .find(|(key, value)| key.eq_ignore_ascii_case("queryIndexName") && !value.is_empty())
            .map(|(_, value)| value)
            .ok_or("query index not found")?;
        let index = self.0.get(name).ok_or_else(|| format!("query index schema \"{name}\" not found"))?;
        let body: Json = serde_json::from_slice(body).map_err(|e| e.to_string())?;
        Search::build(name, &index.aliases(), &body)
    }
}

impl Index {
    pub(super) fn create_command(&self, name: &str) -> Cmd {
        let mut command = cmd("FT.CREATE");
        command.arg(name).arg("ON").arg("JSON").arg("SCHEMA");
        for (number, (path, kind)) in self.fields.iter().enumerate() {
            command.arg(format!("$.data.{path}")).arg("AS").arg(format!("var{number}"));
            command.arg(kind).arg("SORTABLE");
        }
        command
    }

    fn aliases(&self) -> HashMap<&str, String> {
        let numbered = self.fields.iter().enumerate();
        numbered.map(|(number, (path, _))| (path.as_str(), format!("var{number}"))).collect()
    }
}

/// One search, ready to be sent.
#[derive(Debug)]
pub(super) struct Search {
    arguments: Vec<String>,
    limit: u64,
    offset: u64,
}

impl Search {
    fn build(name: &str, aliases: &HashMap<&str, String>, body: &Json) -> Result<Self, String> {
        let filters = Filters { aliases };
        let filter = match body.get("filter") {
            Some(Json::Object(filter)) if !filter.is_empty() => filters.top(&Json::Object(filter.clone()))?,
            None | Some(Json::Null | Json::Object(_)) => "*".to_owned(),
            Some(_) => return Err("filter unit must be a map".to_owned()),
        };
        let mut arguments = vec![name.to_owned(), filter];
        let sorts = body.get("sort").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
        match sorts {
            [] => {}
            [sort] => {
                let key = sort.get("key").and_then(Json::as_str).unwrap_or_default();
                arguments.extend(["SORTBY".to_owned(), filters.alias(key)?.to_owned()]);
                if sort.get("order").and_then(Json::as_str) == Some("DESC") {
                    arguments.push("DESC".to_owned());
                }
            }
            _ => {
                return Err(
                    "multiple SORTBY steps are not allowed. Sort multiple fields in a single step".to_owned()
                );
            }
        }
        let page = body.get("page");
        let limit = page.and_then(|page| page.get("limit")).and_then(Json::as_u64).unwrap_or(0);
        let token = page.and_then(|page| page.get("token")).and_then(Json::as_str).unwrap_or_default();
        let mut offset = 0;
        if limit > 0 {
            if !token.is_empty() {
                offset =
                    token.parse().map_err(|e| format!("query token \"{token}\" is not a number: {e}"))?;
            }
            arguments.extend(["LIMIT".to_owned(), offset.to_string(), limit.to_string()]);
        }
        Ok(Self { arguments, limit, offset })
    }

    pub(super) fn command(&self) -> Cmd {
        let mut command = cmd("FT.SEARCH");
        command.arg(&self.arguments).arg("RETURN").arg(2).arg("$.data").arg("$.version");
        command
    }

    /// Answer in the flat form: a count, then key and fields in turn.
    pub(super) fn response(&self, found: Value) -> Result<QueryResponse, String> {
        let Value::Array(flat) = found else { return Err("invalid output".to_owned()) };
        let mut flat = flat.into_iter().skip(1);
        let mut results = Vec::new();
        while let Some(key) = flat.next() {
            let (Some(key), Some(fields)) = (text_of(key), flat.next()) else {
                return Err("invalid output".to_owned());
            };
            results.push(query_item(key, fields));
        }
        let next = self.offset + u64::try_from(results.len()).unwrap_or(u64::MAX);
        let token = if self.limit > 0 && !results.is_empty() { next.to_string() } else { String::new() };
        Ok(QueryResponse { results, token, metadata: RequestMetadata::new() })
    }
}

fn query_item(key: String, fields: Value) -> QueryItem {
    let mut item = QueryItem { key, ..QueryItem::default() };
    let mut has_data = false;
    if let Value::Array(fields) = fields {
        let mut fields = fields.into_iter();
        while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
            match text_of(name).as_deref() {
                Some("$.data") => {
                    item.data = bytes_of(value).unwrap_or_default().into();
                    has_data = true;
                }
                Some("$.version") => item.etag = text_of(value),
                _ => {}
            }
        }
    }
    if !has_data {
        item.error = "the found document has no data".to_owned();
    }
    item
}

struct Filters<'a> {
    aliases: &'a HashMap<&'a str, String>,
}

impl Filters<'_> {
    fn alias(&self, path: &str) -> Result<&str, String> {
        let alias = self.aliases.get(path).ok_or_else(|| format!("JSON path \"{path}\" is not indexed"))?;
        Ok(alias)
    }

    /// The outermost filter: no parentheses around a comparison, and nothing to
    /// negate it with.
    fn top(&self, filter: &Json) -> Result<String, String> {
        let (operator, argument) = unit(filter)?;
        self.expression(operator, argument)
    }

    fn expression(&self, operator: &str, argument: &Json) -> Result<String, String> {
        match operator {
            "AND" => self.group(operator, " ", argument),
            "OR" => self.group(operator, "|", argument),
            "IN" => self.one_of(argument),
            "EQ" | "NEQ" => {
                let (key, value) = comparison(operator, argument)?;
                self.equals(key, value)
            }
            "GT" | "GTE" | "LT" | "LTE" => {
                let (key, value) = comparison(operator, argument)?;
                self.range(operator, key, value)
            }
            other => Err(format!("unsupported filter \"{other}\"")),
        }
    }

    fn group(&self, operator: &str, separator: &str, argument: &Json) -> Result<String, String> {
        let filters = argument.as_array().ok_or_else(|| format!("{operator} filter must be an array"))?;
        if filters.len() < 2 {
            return Err(format!("{operator} filter must contain at least two entries"));
        }
        let parts = filters.iter().map(|filter| {
            let (operator, argument) = unit(filter)?;
            let inner = self.expression(operator, argument)?;
            Ok(match operator {
                "AND" | "OR" => inner,
                "NEQ" => format!("-({inner})"),
                _ => format!("({inner})"),
            })
        });
        Ok(format!("({})", parts.collect::<Result<Vec<String>, String>>()?.join(separator)))
    }

    fn equals(&self, key: &str, value: &Json) -> Result<String, String> {
        let alias = self.alias(key)?;
        match value {
            Json::String(text) => Ok(format!("@{alias}:({text})")),
            _ => {
                let number = number(value)?;
                Ok(format!("@{alias}:[{number} {number}]"))
            }
        }
    }

    fn range(&self, operator: &str, key: &str, value: &Json) -> Result<String, String> {
        let alias = self.alias(key)?;
        if let Json::String(text) = value {
            return Err(format!("unsupported type of value {text}; string type not permitted"));
        }
        let number = number(value)?;
        Ok(match operator {
            "GT" => format!("@{alias}:[({number} +inf]"),
            "GTE" => format!("@{alias}:[{number} +inf]"),
            "LT" => format!("@{alias}:[-inf ({number}]"),
            _ => format!("@{alias}:[-inf {number}]"),
        })
    }

    fn one_of(&self, argument: &Json) -> Result<String, String> {
        let (key, values) = comparison("IN", argument)?;
        let values = values.as_array().ok_or("IN filter value must be an array")?;
        if values.len() < 2 {
            return Err(format!("too few values in IN operator for key \"{key}\""));
        }
        if values[0].is_string() {
            let texts: Option<Vec<&str>> = values.iter().map(Json::as_str).collect();
            let texts = texts.ok_or_else(|| format!("IN values of key \"{key}\" must have one type"))?;
            return Ok(format!("@{}:({})", self.alias(key)?, texts.join("|")));
        }
        let parts = values.iter().map(|value| Ok(format!("({})", self.equals(key, value)?)));
        Ok(format!("({})", parts.collect::<Result<Vec<String>, String>>()?.join("|")))
    }
}

/// Operator and argument of a filter object.
fn unit(filter: &Json) -> Result<(&str, &Json), String> {
    let map = filter.as_object().ok_or("filter unit must be a map")?;
    let mut entries = map.iter();
    match (entries.next(), entries.next()) {
        (Some((operator, argument)), None) => Ok((operator, argument)),
        _ => Err("filter unit must have a single element".to_owned()),
    }
}

fn comparison<'a>(operator: &str, argument: &'a Json) -> Result<(&'a str, &'a Json), String> {
    let map = argument.as_object().ok_or_else(|| format!("{operator} filter must be a map"))?;
    let mut entries = map.iter();
    match (entries.next(), entries.next()) {
        (Some((key, value)), None) => Ok((key, value)),
        _ => Err(format!("{operator} filter must contain a single key/value pair")),
    }
}

fn number(value: &Json) -> Result<String, String> {
    let number = value.as_f64().ok_or_else(|| format!("unsupported type of value {value}"))?;
    Ok(format!("{number:.6}"))
}

#[cfg(test)]
mod tests;
