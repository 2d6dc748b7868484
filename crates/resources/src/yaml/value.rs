use serde_json::{Map, Number, Value};

use super::{Dialect, Kind, Node, Resolved, Scalar, YamlError};

impl Node {
    /// The JSON value of a node nobody has a type for. Times stay strings.
    pub fn to_json(&self, dialect: Dialect) -> Result<Value, YamlError> {
        match &self.kind {
            Kind::Scalar(scalar) => scalar_to_json(scalar, dialect, self.line),
            Kind::Sequence(items) => {
                items.iter().map(|item| item.to_json(dialect)).collect::<Result<_, _>>().map(Value::Array)
            }
            Kind::Mapping(_) => {
                let mut fields = Map::new();
                for entry in self.entries(dialect)?.unwrap_or_default() {
                    fields.insert(entry.key, entry.value.to_json(dialect)?);
                }
                Ok(Value::Object(fields))
            }
        }
    }

    /// A node for JSON that did not come from YAML.
    pub fn from_json(value: &Value) -> Self {
        let kind = match value {
            Value::Null => Kind::Scalar(Scalar::plain("null")),
            Value::Bool(flag) => Kind::Scalar(Scalar::plain(flag.to_string())),
            Value::Number(number) => Kind::Scalar(Scalar::plain(number.to_string())),
            Value::String(text) => Kind::Scalar(Scalar::quoted(text)),
            Value::Array(items) => Kind::Sequence(items.iter().map(Self::from_json).collect()),
            Value::Object(fields) => Kind::Mapping(
                fields
                    .iter()
                    .map(|(key, value)| {
                        let key = Node { line: 1, kind: Kind::Scalar(Scalar::quoted(key)) };
                        (key, Self::from_json(value))
                    })
                    .collect(),
            ),
        };
        Node { line: 1, kind }
    }
}

fn scalar_to_json(scalar: &Scalar, dialect: Dialect, line: usize) -> Result<Value, YamlError> {
    Ok(match scalar.resolve(dialect, line)? {
        Resolved::Null => Value::Null,
        Resolved::Bool(flag) => Value::Bool(flag),
        Resolved::Int(n) => n.into(),
        Resolved::UInt(n) => n.into(),
        Resolved::Float(float) => match Number::from_f64(float) {
            Some(number) => Value::Number(number),
            None => return Err(YamlError::new(line, format!("unsupported value: {}", scalar.text))),
        },
        Resolved::Str(text) => Value::String(text.to_owned()),
    })
}

/// What a number or boolean becomes where a string is wanted in a resource
/// file: integers in decimal, floats at single precision (runtime.md §3.1).
pub(crate) fn scalar_as_string(resolved: &Resolved<'_>) -> String {
    match resolved {
        Resolved::Null => String::new(),
        Resolved::Bool(flag) => flag.to_string(),
        Resolved::Int(n) => n.to_string(),
        Resolved::UInt(n) => n.to_string(),
        Resolved::Float(float) => float_as_string(*float as f32),
        Resolved::Str(text) => (*text).to_owned(),
    }
}

/// Go's `%g`: shortest digits, an exponent of two digits from 1e+06 and below 1e-04.
fn float_as_string(float: f32) -> String {
    if float.is_nan() {
        return ".nan".to_owned();
    }
    if float.is_infinite() {
        return if float > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let scientific = format!("{float:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return float.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}
