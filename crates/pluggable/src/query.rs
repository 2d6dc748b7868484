//! The query language of the state API as the message that a component gets.

use std::collections::HashMap;

use dapr_components::state::Error;
use dapr_gocompat::json::{decode_whole, to_go_json};
use dapr_wire::components::v1::sorting::Order;
use dapr_wire::components::v1::{Pagination, Query, Sorting};
use serde_json::{Map, Value};

/// Deepest nesting of `AND` and `OR` that is looked at.
const MAX_DEPTH: usize = 64;

/// `body` is the request as the caller sent it.
pub fn parse(body: &[u8]) -> Result<Query, Error> {
    read(body).map_err(|reason| Error::other(format!("failed to parse JSON query body: {reason}")))
}

fn read(body: &[u8]) -> Result<Query, String> {
    let Value::Object(fields) = serde_json::from_slice(body).map_err(|e| syntax(body, &e))? else {
        return Err("the query must be an object".to_owned());
    };
    let mut filter = HashMap::new();
    if let Some(given) = object(&fields, "filter")?.filter(|f| !f.is_empty()) {
        check(given, 0)?;
        for (operator, value) in given {
            let value = to_go_json(value);
            filter.insert(operator.clone(), prost_types::Any { type_url: String::new(), value });
        }
    }
    Ok(Query { filter, sort: sort(&fields)?, pagination: Some(page(&fields)?) })
}

/// What is wrong with `body`, in Go's words if it agrees that something is.
fn syntax(body: &[u8], error: &serde_json::Error) -> String {
    decode_whole(body).err().map_or_else(|| error.to_string(), |e| e.to_string())
}

fn object<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<Option<&'a Map<String, Value>>, String> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(map)) => Ok(Some(map)),
        Some(_) => Err(format!("{name} must be an object")),
    }
}

fn text(fields: &Map<String, Value>, name: &str) -> Result<String, String> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(format!("{name} must be a string")),
    }
}

fn sort(fields: &Map<String, Value>) -> Result<Vec<Sorting>, String> {
    let entries = match fields.get("sort") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(entries)) => entries,
        Some(_) => return Err("sort must be an array".to_owned()),
    };
    let one = |entry: &Value| {
        let entry = entry.as_object().ok_or("sort must hold objects")?;
        let order = Order::from_str_name(&text(entry, "order")?).unwrap_or(Order::Asc);
        Ok(Sorting { key: text(entry, "key")?, order: order.into() })
    };
    entries.iter().map(one).collect()
}

fn page(fields: &Map<String, Value>) -> Result<Pagination, String> {
    let Some(page) = object(fields, "page")? else { return Ok(Pagination::default()) };
    let limit = match page.get("limit") {
        None | Some(Value::Null) => 0,
        Some(limit) => limit.as_i64().ok_or("page.limit must be a whole number")?,
    };
    Ok(Pagination { limit, token: text(page, "token")? })
}

/// Refuses what no store understands, so that the caller hears it from the
/// sidecar in the same words whatever the store.
fn check(unit: &Map<String, Value>, depth: usize) -> Result<(), String> {
    if unit.len() != 1 {
        return Err("filter unit must have a single element".to_owned());
    }
    if depth > MAX_DEPTH {
        return Err(format!("filters are nested more than {MAX_DEPTH} deep"));
    }
    let Some((operator, operand)) = unit.iter().next() else { return Ok(()) };
    match operator.as_str() {
        "EQ" | "NEQ" | "GT" | "GTE" | "LT" | "LTE" | "IN" => {
            let pair = operand.as_object().ok_or_else(|| format!("{operator} filter must be a map"))?;
            if pair.len() != 1 {
                return Err(format!("{operator} filter must contain a single key/value pair"));
            }
            if operator == "IN" && !pair.values().all(Value::is_array) {
                return Err("IN filter value must be an array".to_owned());
            }
            Ok(())
        }
        "AND" | "OR" => {
            let units = operand.as_array().ok_or_else(|| format!("{operator} filter must be an array"))?;
            if units.len() < 2 {
                return Err(format!("{operator} filter must contain at least two entries"));
            }
            units
                .iter()
                .try_for_each(|unit| check(unit.as_object().ok_or("filter unit must be a map")?, depth + 1))
        }
        _ => Err(format!("unsupported filter {}", dapr_gocompat::quote::quote(operator))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_becomes_a_message() {
        let body = br#"{"filter":{"EQ":{"state":"CA"}},"sort":[{"key":"id","order":"DESC"},{"key":"n"}],"page":{"limit":3,"token":"t"}}"#;
        let query = parse(body).unwrap();
        assert_eq!(query.filter["EQ"].value, br#"{"state":"CA"}"#);
        let orders: Vec<_> = query.sort.iter().map(|s| (s.key.as_str(), s.order())).collect();
        assert_eq!(orders, [("id", Order::Desc), ("n", Order::Asc)]);
        assert_eq!(query.pagination.unwrap(), Pagination { limit: 3, token: "t".into() });
        assert!(parse(b"{}").unwrap().filter.is_empty());
    }

    #[test]
    fn a_bad_filter_is_refused_by_name() {
        let refused =
            |filter: &str| parse(format!(r#"{{"filter":{filter}}}"#).as_bytes()).unwrap_err().to_string();
        let prefix = "failed to parse JSON query body: ";
        assert_eq!(refused(r#"{"XX":1}"#), format!("{prefix}unsupported filter \"XX\""));
        assert_eq!(refused(r#"{"EQ":1}"#), format!("{prefix}EQ filter must be a map"));
        assert_eq!(refused(r#"{"OR":[{}]}"#), format!("{prefix}OR filter must contain at least two entries"));
        assert_eq!(refused(r#"{"IN":{"a":1}}"#), format!("{prefix}IN filter value must be an array"));
    }
}
