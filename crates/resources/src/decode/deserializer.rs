use serde::de::{DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use super::{DecodeError, Notes};
use crate::yaml::{Dialect, Entry, Kind, Node, Resolved, Scalar, old_bool_word, scalar_as_string};

#[derive(Clone, Copy)]
pub(super) struct NodeDeserializer<'a> {
    node: &'a Node,
    dialect: Dialect,
    /// Takes down what nobody reads.
    notes: Option<&'a Notes>,
}

impl<'a> NodeDeserializer<'a> {
    pub(super) fn new(node: &'a Node, dialect: Dialect, notes: Option<&'a Notes>) -> Self {
        Self { node, dialect, notes }
    }

    fn wrong(&self, want: &str) -> DecodeError {
        let line = self.node.line;
        match (&self.node.kind, self.dialect) {
            (Kind::Sequence(_), Dialect::Resource) => DecodeError::wrong_type(line, "array", "", want),
            (Kind::Mapping(_), Dialect::Resource) => DecodeError::wrong_type(line, "object", "", want),
            (Kind::Sequence(_), Dialect::Configuration) => DecodeError::wrong_type(line, "!!seq", "", want),
            (Kind::Mapping(_), Dialect::Configuration) => DecodeError::wrong_type(line, "!!map", "", want),
            (Kind::Scalar(scalar), dialect) => match scalar.resolve(dialect, line) {
                Err(error) => error.into(),
                Ok(resolved) if dialect == Dialect::Configuration => {
                    DecodeError::wrong_type(line, resolved.tag(), &excerpt(&scalar.text), want)
                }
                Ok(resolved) => DecodeError::wrong_type(line, json_kind(&resolved), "", want),
            },
        }
    }

    fn scalar(&self, want: &str) -> Result<&'a Scalar, DecodeError> {
        match &self.node.kind {
            Kind::Scalar(scalar) => Ok(scalar),
            _ => Err(self.wrong(want)),
        }
    }

    fn resolved(&self, want: &str) -> Result<Resolved<'a>, DecodeError> {
        Ok(self.scalar(want)?.resolve(self.dialect, self.node.line)?)
    }

    /// A whole number; one written as a float counts when nothing is lost.
    fn integer(&self, want: &str) -> Result<i128, DecodeError> {
        match self.resolved(want)? {
            Resolved::Null => Ok(0),
            Resolved::Int(n) => Ok(n.into()),
            Resolved::UInt(n) => Ok(n.into()),
            Resolved::Float(float) if float.fract() == 0.0 && float.abs() < 9e18 => Ok(float as i128),
            _ => Err(self.wrong(want)),
        }
    }

    fn fit<T: TryFrom<i128>>(&self, want: &str) -> Result<T, DecodeError> {
        T::try_from(self.integer(want)?).map_err(|_| self.wrong(want))
    }

    fn string(&self) -> Result<String, DecodeError> {
        let scalar = self.scalar("string")?;
        match scalar.resolve(self.dialect, self.node.line)? {
            Resolved::Null => Ok(String::new()),
            Resolved::Str(text) => Ok(text.to_owned()),
            _ if self.dialect == Dialect::Configuration => Ok(scalar.text.clone()),
            other => Ok(scalar_as_string(&other)),
        }
    }

    fn boolean(&self) -> Result<bool, DecodeError> {
        match self.resolved("bool")? {
            Resolved::Null => Ok(false),
            Resolved::Bool(flag) => Ok(flag),
            Resolved::Str(text) if self.dialect == Dialect::Configuration => {
                old_bool_word(text).ok_or_else(|| self.wrong("bool"))
            }
            _ => Err(self.wrong("bool")),
        }
    }

    fn float(&self) -> Result<f64, DecodeError> {
        match self.resolved("float64")? {
            Resolved::Null => Ok(0.0),
            Resolved::Int(n) => Ok(n as f64),
            Resolved::UInt(n) => Ok(n as f64),
            Resolved::Float(float) => Ok(float),
            _ => Err(self.wrong("float64")),
        }
    }

    fn entries(&self, want: &str) -> Result<Vec<Entry<'a>>, DecodeError> {
        if self.node.is_null() {
            return Ok(Vec::new());
        }
        self.node.entries(self.dialect)?.ok_or_else(|| self.wrong(want))
    }
}

/// How a value is shown in a complaint: its first characters.
fn excerpt(text: &str) -> String {
    if text.len() > 10 {
        let head: String = text.chars().take(7).collect();
        format!(" `{head}...`")
    } else {
        format!(" `{text}`")
    }
}

fn json_kind(resolved: &Resolved<'_>) -> &'static str {
    match resolved {
        Resolved::Null => "null",
        Resolved::Bool(_) => "bool",
        Resolved::Int(_) | Resolved::UInt(_) | Resolved::Float(_) => "number",
        Resolved::Str(_) => "string",
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty, $go:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            visitor.$visit(self.fit::<$type>($go)?)
        }
    )*};
}

impl<'de> serde::Deserializer<'de> for NodeDeserializer<'_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.kind {
            Kind::Sequence(_) => self.deserialize_seq(visitor),
            Kind::Mapping(_) => self.deserialize_map(visitor),
            Kind::Scalar(scalar) => match scalar.resolve(self.dialect, self.node.line)? {
                Resolved::Null => visitor.visit_unit(),
                Resolved::Bool(flag) => visitor.visit_bool(flag),
                Resolved::Int(n) => visitor.visit_i64(n),
                Resolved::UInt(n) => visitor.visit_u64(n),
                Resolved::Float(float) if float.is_finite() => visitor.visit_f64(float),
                Resolved::Float(_) => {
                    Err(DecodeError::other(self.node.line, format!("unsupported value: {}", scalar.text)))
                }
                Resolved::Str(text) => visitor.visit_str(text),
            },
        }
    }

    integers! {
        deserialize_i8 visit_i8 i8, "int8";
        deserialize_i16 visit_i16 i16, "int16";
        deserialize_i32 visit_i32 i32, "int32";
        deserialize_i64 visit_i64 i64, "int";
        deserialize_u8 visit_u8 u8, "uint8";
        deserialize_u16 visit_u16 u16, "uint16";
        deserialize_u32 visit_u32 u32, "uint32";
        deserialize_u64 visit_u64 u64, "uint";
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_f64(self.float()?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_f64(self.float()?)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_bool(self.boolean()?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_string(self.string()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_string(self.string()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.node.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let items: &[Node] = match &self.node.kind {
            Kind::Sequence(items) => items,
            _ if self.node.is_null() => &[],
            _ => return Err(self.wrong("list")),
        };
        visitor.visit_seq(Items { items: items.iter(), dialect: self.dialect, notes: self.notes })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_map(Fields::new(self.entries("map")?, self.dialect, self.notes))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let mut known: Vec<Entry<'_>> = Vec::new();
        for mut entry in self.entries(name)? {
            let Some(field) = field_of(&entry.key, fields, self.dialect) else {
                if let Some(notes) = self.notes {
                    notes.unknown(name, entry, fields);
                }
                continue;
            };
            if entry.value.is_null() {
                continue;
            }
            field.clone_into(&mut entry.key);
            known.retain(|earlier| earlier.key != entry.key);
            known.push(entry);
        }
        visitor.visit_map(Fields::new(known, self.dialect, self.notes))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! { i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct enum }
}

fn field_of(key: &str, fields: &[&'static str], dialect: Dialect) -> Option<&'static str> {
    let exact = fields.iter().find(|field| **field == key);
    match dialect {
        Dialect::Configuration => exact.copied(),
        Dialect::Resource => exact.or_else(|| fields.iter().find(|f| f.eq_ignore_ascii_case(key))).copied(),
    }
}

struct Items<'a> {
    items: std::slice::Iter<'a, Node>,
    dialect: Dialect,
    notes: Option<&'a Notes>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        let Some(node) = self.items.next() else { return Ok(None) };
        seed.deserialize(NodeDeserializer::new(node, self.dialect, self.notes)).map(Some)
    }
}

struct Fields<'a> {
    entries: std::vec::IntoIter<Entry<'a>>,
    current: Option<Entry<'a>>,
    dialect: Dialect,
    notes: Option<&'a Notes>,
}

impl<'a> Fields<'a> {
    fn new(entries: Vec<Entry<'a>>, dialect: Dialect, notes: Option<&'a Notes>) -> Self {
        Self { entries: entries.into_iter(), current: None, dialect, notes }
    }
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        self.current = self.entries.next();
        let Some(entry) = &self.current else { return Ok(None) };
        seed.deserialize(entry.key.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        let entry = self.current.take().ok_or_else(|| DecodeError::other(0, "value without a key"))?;
        seed.deserialize(NodeDeserializer::new(entry.value, self.dialect, self.notes))
            .map_err(|error| error.inside(&entry.key, entry.value.line))
    }
}
