//! What the metadata of a component type may hold, written down once beside
//! the code that reads it: for `dapr lint`, and for whoever else has to judge a
//! component without starting it (components.md §1.4).
//!
//! [`check_decoder`] is the test that keeps a description and its decoder from
//! drifting apart: every crate of components runs it.

use std::collections::BTreeSet;

use dapr_gocompat::{bools, duration, quantity};

use crate::Properties;

/// A component type, or several that read the same metadata.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// Full types as registered: a main name and its aliases.
    pub types: &'static [&'static str],
    /// Version that this is about; empty is every version.
    pub version: &'static str,
    /// The fields, in groups that types share.
    pub fields: &'static [&'static [Field]],
    /// Names that Dapr's component of this type reads and this one has no use
    /// for: accepted without effect.
    pub without_effect: &'static [&'static str],
    /// Any other name means something, too.
    pub open: bool,
}

impl Description {
    pub const fn new(types: &'static [&'static str], fields: &'static [&'static [Field]]) -> Self {
        Self { types, version: "", fields, without_effect: &[], open: false }
    }

    #[must_use]
    pub const fn version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    #[must_use]
    pub const fn without_effect(mut self, names: &'static [&'static str]) -> Self {
        self.without_effect = names;
        self
    }

    #[must_use]
    pub const fn open(mut self) -> Self {
        self.open = true;
        self
    }

    pub fn all_fields(&self) -> impl Iterator<Item = &'static Field> + use<> {
        self.fields.iter().flat_map(|group| group.iter())
    }

    /// The field that a name of metadata means, in any case.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.all_fields().find(|field| field.answers_to(name))
    }

    /// Whether this is about `component_type` in `version`.
    pub fn is_about(&self, component_type: &str, version: &str) -> bool {
        let same = |name: &&str| name.eq_ignore_ascii_case(component_type);
        self.types.iter().any(same) && (self.version.is_empty() || self.version.eq_ignore_ascii_case(version))
    }
}

/// One property.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub name: &'static str,
    /// Older names.
    pub aliases: &'static [&'static str],
    /// There is no component without it.
    pub required: bool,
    /// Properties that will do in place of a required one.
    pub instead: &'static [&'static str],
    /// The component starts without it, but hardly as it was meant.
    pub expected: bool,
    /// Counts only in exactly this spelling.
    pub exact_case: bool,
    pub kind: FieldKind,
}

/// What the text of a property has to be. An empty text is as good as none.
#[derive(Clone, Copy, Debug)]
pub enum FieldKind {
    Text,
    /// Truthy words are true, all else is false, never an error.
    Bool,
    /// Go's booleans, otherwise an error.
    StrictBool,
    /// A whole number of at least this.
    Integer(i64),
    /// Go duration or whole seconds.
    Duration,
    /// Go duration or whole milliseconds.
    DurationOrMillis,
    /// Kubernetes quantity.
    ByteSize,
    /// Whatever the decoder's own check takes.
    Checked(fn(&str) -> Result<(), String>),
    /// What is not understood has no effect: the check tells, the decoder
    /// does not.
    Lenient(fn(&str) -> Result<(), String>),
}

/// Why a value will not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// `a duration such as 5s or a number of seconds`
    pub wanted: String,
    /// The component starts nevertheless, and goes without the value.
    pub lenient: bool,
}

const FALSE_WORDS: [&str; 6] = ["n", "no", "false", "f", "off", "0"];

impl FieldKind {
    /// Whether a component can make sense of `text`.
    pub fn check(&self, text: &str) -> Result<(), Unfit> {
        if text.is_empty() {
            return Ok(());
        }
        let strict = |fits: bool, wanted: &str| {
            if fits { Ok(()) } else { Err(Unfit { wanted: wanted.to_owned(), lenient: false }) }
        };
        match self {
            Self::Text => Ok(()),
            Self::Bool => {
                let word = text.trim().to_ascii_lowercase();
                let known = bools::is_truthy(text) || FALSE_WORDS.contains(&word.as_str());
                let wanted =
                    || "true or false; anything but true, yes, on, y, t and 1 counts as false".to_owned();
                if known { Ok(()) } else { Err(Unfit { wanted: wanted(), lenient: true }) }
            }
            Self::StrictBool => strict(bools::parse_bool(text).is_ok(), "true or false"),
            Self::Integer(least) => {
                let number = text.trim().parse::<i64>();
                let wanted = match *least {
                    i64::MIN => "a whole number".to_owned(),
                    least => format!("a whole number of at least {least}"),
                };
                strict(number.is_ok_and(|number| number >= *least), &wanted)
            }
            Self::Duration => strict(
                duration::parse_duration_or_seconds(text).is_ok(),
                "a duration such as 500ms or 5s, or a number of seconds",
            ),
            Self::DurationOrMillis => strict(
                duration::parse_duration_or_millis(text).is_ok(),
                "a duration such as 500ms or 5s, or a number of milliseconds",
            ),
            Self::ByteSize => strict(quantity::parse_quantity(text).is_ok(), "a size such as 512Ki or 4Mi"),
            Self::Checked(check) => check(text).map_err(|wanted| Unfit { wanted, lenient: false }),
            Self::Lenient(check) => check(text).map_err(|wanted| Unfit { wanted, lenient: true }),
        }
    }

    fn sample(&self) -> &'static str {
        match self {
            Self::Text | Self::Checked(_) | Self::Lenient(_) => "text",
            Self::Bool | Self::StrictBool => "true",
            Self::Integer(_) => "7",
            Self::Duration | Self::DurationOrMillis => "7s",
            Self::ByteSize => "7Mi",
        }
    }
}

impl Field {
    pub const fn new(name: &'static str, kind: FieldKind) -> Self {
        Self { name, aliases: &[], required: false, instead: &[], expected: false, exact_case: false, kind }
    }

    pub const fn text(name: &'static str) -> Self {
        Self::new(name, FieldKind::Text)
    }

    pub const fn bool(name: &'static str) -> Self {
        Self::new(name, FieldKind::Bool)
    }

    pub const fn strict_bool(name: &'static str) -> Self {
        Self::new(name, FieldKind::StrictBool)
    }

    /// Any whole number.
    pub const fn integer(name: &'static str) -> Self {
        Self::new(name, FieldKind::Integer(i64::MIN))
    }

    /// A whole number that is not negative.
    pub const fn count(name: &'static str) -> Self {
        Self::new(name, FieldKind::Integer(0))
    }

    pub const fn duration(name: &'static str) -> Self {
        Self::new(name, FieldKind::Duration)
    }

    pub const fn duration_or_millis(name: &'static str) -> Self {
        Self::new(name, FieldKind::DurationOrMillis)
    }

    pub const fn checked(name: &'static str, check: fn(&str) -> Result<(), String>) -> Self {
        Self::new(name, FieldKind::Checked(check))
    }

    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Required, unless one of these is there.
    #[must_use]
    pub const fn required_unless(mut self, instead: &'static [&'static str]) -> Self {
        self.required = true;
        self.instead = instead;
        self
    }

    #[must_use]
    pub const fn expected(mut self) -> Self {
        self.expected = true;
        self
    }

    #[must_use]
    pub const fn exact_case(mut self) -> Self {
        self.exact_case = true;
        self
    }

    #[must_use]
    pub const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// The name and the aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    pub fn answers_to(&self, name: &str) -> bool {
        self.names().any(|own| own.eq_ignore_ascii_case(name))
    }
}

/// The building blocks that components of a type serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Block {
    State,
    PubSub,
    Bindings,
    Secrets,
    Configuration,
    Conversation,
    Crypto,
    Lock,
    Middleware,
}

impl Block {
    /// By the start of a full type.
    pub fn of(component_type: &str) -> Option<Self> {
        let (category, _) = component_type.split_once('.')?;
        Some(match category.to_ascii_lowercase().as_str() {
            "state" => Self::State,
            "pubsub" => Self::PubSub,
            "bindings" => Self::Bindings,
            "secretstores" => Self::Secrets,
            "configuration" => Self::Configuration,
            "conversation" => Self::Conversation,
            "crypto" => Self::Crypto,
            "lock" => Self::Lock,
            "middleware" => Self::Middleware,
            _ => return None,
        })
    }

    /// How sentences call a component of the block.
    pub fn noun(self) -> &'static str {
        match self {
            Self::State => "state store",
            Self::PubSub => "pub/sub component",
            Self::Bindings => "binding",
            Self::Secrets => "secret store",
            Self::Configuration => "configuration store",
            Self::Conversation => "conversation component",
            Self::Crypto => "cryptography provider",
            Self::Lock => "lock store",
            Self::Middleware => "middleware",
        }
    }

    /// What the sidecar itself reads from any component of the block
    /// (components.md §1.3, api.md §6.4).
    pub fn fields(self) -> &'static [Field] {
        match self {
            Self::State => STATE,
            Self::PubSub => PUBSUB,
            Self::Bindings => BINDINGS,
            Self::Lock => LOCK,
            _ => &[],
        }
    }
}

const STATE: &[Field] = &[
    Field::text("keyPrefix"),
    Field::bool("actorStateStore"),
    Field::text("primaryEncryptionKey").exact_case(),
    Field::text("secondaryEncryptionKey").exact_case(),
    Field::text("outboxPublishPubsub").exact_case(),
    Field::text("outboxPublishTopic").exact_case(),
    Field::text("outboxPubsub").exact_case(),
    Field::bool("outboxDiscardWhenMissingState").exact_case(),
];
const PUBSUB: &[Field] = &[
    Field::text("consumerID"),
    Field::text("publishingScopes"),
    Field::text("subscriptionScopes"),
    Field::text("allowedTopics"),
    Field::text("protectedTopics"),
];
const BINDINGS: &[Field] =
    &[Field::new("direction", FieldKind::Lenient(direction)), Field::text("route").exact_case()];
const LOCK: &[Field] = &[Field::text("keyPrefix")];

fn direction(text: &str) -> Result<(), String> {
    let known = |word: &str| ["input", "output"].iter().any(|way| word.trim().eq_ignore_ascii_case(way));
    match text.split(',').all(known) {
        true => Ok(()),
        false => Err("input, output or \"input, output\"".to_owned()),
    }
}

/// The test of component crates that holds a decoder against its description.
/// The decoder answers what the component's constructor would, without a server
/// behind it.
pub struct DecoderCheck {
    description: Description,
    samples: Vec<(String, String)>,
    combinations: Vec<Vec<(String, String)>>,
}

/// Fits no kind but text.
const UNFIT: &str = "\u{1}(";

impl DecoderCheck {
    pub fn new(description: &Description) -> Self {
        Self { description: *description, samples: Vec::new(), combinations: Vec::new() }
    }

    /// A valid value for a property whose kind does not suggest one.
    #[must_use]
    pub fn sample(mut self, name: &str, value: impl Into<String>) -> Self {
        self.samples.push((name.to_owned(), value.into()));
        self
    }

    /// Properties that lead to further ones being read.
    #[must_use]
    pub fn combination(mut self, items: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        self.combinations.push(items.iter().map(owned).collect());
        self
    }

    /// The first thing that does not agree is the error:
    ///
    /// - every described name is accepted with a valid value, and is read,
    /// - nothing else is read,
    /// - a value that the description refuses is refused,
    /// - without a required property there is no component.
    pub fn run(&self, decode: impl Fn(&Properties) -> Result<(), String>) -> Result<(), String> {
        let what = self.description.types.first().copied().unwrap_or_default();
        let mut asked = BTreeSet::new();
        let mut decode = |items: Vec<(String, String)>| {
            let properties = Properties::recording(items).map_err(|error| error.to_string())?;
            let outcome = decode(&properties);
            asked.extend(properties.asked());
            outcome
        };
        let all_agree = decode(self.all_but("")).is_ok();
        for field in self.description.all_fields() {
            for name in field.names() {
                let sample = self.value(field);
                field.kind.check(&sample).map_err(|e| format!("{what}: sample of {name}: {}", e.wanted))?;
                decode(self.with(name, &sample))
                    .map_err(|error| format!("{what}: {name}={sample} is refused: {error}"))?;
            }
            let strict = field.kind.check(UNFIT).is_err_and(|unfit| !unfit.lenient);
            if strict && decode(self.with(field.name, UNFIT)).is_ok() {
                // Some are read only beside others.
                let mut items = self.all_but(field.name);
                items.push((field.name.to_owned(), UNFIT.to_owned()));
                if !all_agree || decode(items).is_ok() {
                    return Err(format!("{what}: a bad {} is refused by the description only", field.name));
                }
            }
            if field.required && decode(self.required_but(field)).is_ok() {
                return Err(format!("{what}: {} is required by the description only", field.name));
            }
        }
        for items in &self.combinations {
            // What comes of them is no matter: they only have to be looked at.
            let _ = decode(items.clone());
        }
        self.compare_names(what, &asked)
    }

    fn compare_names(&self, what: &str, asked: &BTreeSet<String>) -> Result<(), String> {
        let fields = self.description.all_fields();
        let described: BTreeSet<String> = fields.flat_map(Field::names).map(str::to_lowercase).collect();
        // What the sidecar reads from any component of a block a component may read, too.
        let of_block = |name: &String| {
            Block::of(what).is_some_and(|block| block.fields().iter().any(|field| field.answers_to(name)))
        };
        if let Some(name) = asked.iter().find(|name| !described.contains(*name) && !of_block(name)) {
            return Err(format!("{what}: {name} is read but not described"));
        }
        match described.iter().find(|name| !asked.contains(*name)) {
            Some(name) => Err(format!("{what}: {name} is described but never read")),
            None => Ok(()),
        }
    }

    fn value(&self, field: &Field) -> String {
        let given = self.samples.iter().find(|(name, _)| field.answers_to(name));
        given.map_or_else(|| field.kind.sample().to_owned(), |(_, value)| value.clone())
    }

    /// Required properties and `name`.
    fn with(&self, name: &str, value: &str) -> Vec<(String, String)> {
        let fields = self.description.all_fields();
        let others = fields.filter(|field| field.required && !field.answers_to(name));
        let mut items: Vec<_> = others.map(|field| (field.name.to_owned(), self.value(field))).collect();
        items.push((name.to_owned(), value.to_owned()));
        items
    }

    fn required_but(&self, without: &Field) -> Vec<(String, String)> {
        let fields = self.description.all_fields();
        let others = fields.filter(|field| field.required && field.name != without.name);
        others.map(|field| (field.name.to_owned(), self.value(field))).collect()
    }

    fn all_but(&self, without: &str) -> Vec<(String, String)> {
        let others = self.description.all_fields().filter(|field| field.name != without);
        others.map(|field| (field.name.to_owned(), self.value(field))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[Field] =
        &[Field::text("url").required().aliases(&["address"]), Field::duration("timeout")];
    const THING: Description = Description::new(&["state.thing"], &[FIELDS]);

    fn thing(properties: &Properties) -> Result<(), String> {
        let url = properties.get_any(&["url", "address"]).unwrap_or_default();
        properties.duration("timeout").map_err(|e| e.to_string())?;
        if url.is_empty() { Err("no url".to_owned()) } else { Ok(()) }
    }

    #[test]
    fn a_decoder_that_does_what_is_described_passes() {
        assert_eq!(DecoderCheck::new(&THING).run(thing), Ok(()));
    }

    #[test]
    fn drift_is_found_either_way() {
        let more = |p: &Properties| p.get("colour").map_or(thing(p), |_| Ok(()));
        assert_eq!(
            DecoderCheck::new(&THING).run(more).unwrap_err(),
            "state.thing: colour is read but not described"
        );
        const MORE: &[Field] = &[Field::text("colour")];
        const WIDER: Description = Description::new(&["state.thing"], &[FIELDS, MORE]);
        assert_eq!(
            DecoderCheck::new(&WIDER).run(thing).unwrap_err(),
            "state.thing: colour is described but never read"
        );
        let careless = |p: &Properties| {
            p.get("timeout");
            p.get_any(&["url", "address"]).map(|_| ()).ok_or_else(String::new)
        };
        assert_eq!(
            DecoderCheck::new(&THING).run(careless).unwrap_err(),
            "state.thing: a bad timeout is refused by the description only"
        );
        let undemanding = |p: &Properties| thing(p).or_else(|e| if e == "no url" { Ok(()) } else { Err(e) });
        assert_eq!(
            DecoderCheck::new(&THING).run(undemanding).unwrap_err(),
            "state.thing: url is required by the description only"
        );
    }

    #[test]
    fn kinds_say_what_they_want() {
        let wanted = |kind: FieldKind, text: &str| kind.check(text).unwrap_err();
        assert_eq!(wanted(FieldKind::Integer(0), "-1").wanted, "a whole number of at least 0");
        assert!(wanted(FieldKind::Bool, "maybe").lenient);
        assert!(!wanted(FieldKind::StrictBool, "yes").lenient);
        assert!(wanted(FieldKind::Lenient(direction), "inptu").lenient);
        for kind in [FieldKind::Duration, FieldKind::DurationOrMillis, FieldKind::ByteSize] {
            assert!(!wanted(kind, "soon").lenient);
            assert_eq!(kind.check(""), Ok(()));
        }
        assert_eq!(FieldKind::Lenient(direction).check("Input, output"), Ok(()));
    }
}
