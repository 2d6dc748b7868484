use std::borrow::Cow;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;

use base64::Engine;
use libyaml_safer::{Encoding, Error, Event, EventData, Mark, Parser, ScalarStyle};

use super::{Kind, Node, Scalar, YamlError};

/// Nesting beyond which a document is refused.
const MAX_DEPTH: usize = 256;
/// Nodes of one document after aliases are replaced; a few lines of nested
/// aliases could otherwise fill the memory.
const MAX_NODES: usize = 500_000;

/// The first document of `text`; `None` when it is empty.
pub fn parse_first(text: &str) -> Result<Option<Node>, YamlError> {
    parse_first_at(text, 1)
}

/// [`parse_first`] for text that starts at `first_line` of its file.
pub fn parse_first_at(text: &str, first_line: usize) -> Result<Option<Node>, YamlError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // The parser cannot take a text that ends inside a block scalar.
    let terminated = if text.ends_with('\n') { Cow::Borrowed(text) } else { Cow::Owned(format!("{text}\n")) };
    let last_line = text.rsplit('\n').next().unwrap_or_default();
    let open_end = (!last_line.trim().is_empty()).then_some(text.len() as u64);
    let mut parser = Parser::<&[u8]>::new();
    parser.set_encoding(Encoding::Utf8);
    parser.set_input(terminated.as_bytes());
    let mut composer = Composer {
        parser,
        first_line,
        open_end,
        anchors: HashMap::new(),
        open: Vec::new(),
        nodes: 0,
        at: first_line,
    };
    // The parser panics where its port is unfinished (a tag right before a comma);
    // no file may end the process.
    let composed = std::panic::catch_unwind(AssertUnwindSafe(|| composer.document()));
    composed.unwrap_or_else(|_| {
        Err(YamlError::new(
            composer.at,
            "this construct is not supported; a tag before a comma needs a space",
        ))
    })
}

struct Composer<'a> {
    /// A port of libyaml, as Go's parsers are: the same leniency about
    /// indentation, the same words for what is wrong.
    parser: Parser<&'a [u8]>,
    first_line: usize,
    /// Length of a text whose last line has no end: a block scalar that reaches
    /// it has no final line break either, as in Go.
    open_end: Option<u64>,
    /// Finished anchored nodes with their sizes.
    anchors: HashMap<String, (Node, usize)>,
    /// Anchors whose node is still being read.
    open: Vec<String>,
    nodes: usize,
    /// Line of the last event.
    at: usize,
}

impl Composer<'_> {
    fn document(&mut self) -> Result<Option<Node>, YamlError> {
        loop {
            match self.next()?.data {
                EventData::StreamEnd => return Ok(None),
                EventData::DocumentStart { .. } => break,
                _ => {}
            }
        }
        let root = self.node(0)?;
        // What follows the root belongs to the document: an error there counts.
        self.next()?;
        Ok(root.filter(|node| !node.is_null()))
    }

    fn next(&mut self) -> Result<Event, YamlError> {
        self.parser.parse().map_err(|error| self.syntax_error(&error))
    }

    fn syntax_error(&self, error: &Error) -> YamlError {
        let mark = error.problem_mark().or_else(|| error.context_mark()).unwrap_or_default();
        YamlError::new(self.line(mark), error.problem())
    }

    fn line(&self, mark: Mark) -> usize {
        self.first_line + usize::try_from(mark.line).unwrap_or(usize::MAX - self.first_line)
    }

    /// `None` at the end of the enclosing collection or document.
    fn node(&mut self, depth: usize) -> Result<Option<Node>, YamlError> {
        let event = self.next()?;
        let line = self.line(event.start_mark);
        self.at = line;
        let before = self.nodes;
        self.nodes += 1;
        self.check_limits(depth, line)?;
        let (anchor, kind) = match event.data {
            EventData::Scalar { anchor, tag, mut value, style, .. } => {
                let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                if block && self.open_end.is_some_and(|end| event.end_mark.index >= end) {
                    value.truncate(value.trim_end_matches('\n').len());
                }
                (anchor, Kind::Scalar(scalar(value, style, tag.as_deref(), line)?))
            }
            EventData::SequenceStart { anchor, .. } => {
                self.open.extend(anchor.clone());
                let mut items = Vec::new();
                while let Some(item) = self.node(depth + 1)? {
                    items.push(item);
                }
                (anchor, Kind::Sequence(items))
            }
            EventData::MappingStart { anchor, .. } => {
                self.open.extend(anchor.clone());
                let mut pairs = Vec::new();
                while let Some(key) = self.node(depth + 1)? {
                    let Some(value) = self.node(depth + 1)? else { break };
                    pairs.push((key, value));
                }
                (anchor, Kind::Mapping(pairs))
            }
            EventData::Alias { anchor } => return self.alias(&anchor, line).map(Some),
            _ => return Ok(None),
        };
        let node = Node { line, kind };
        if let Some(anchor) = anchor {
            self.open.retain(|open| *open != anchor);
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(Some(node))
    }

    fn alias(&mut self, anchor: &str, line: usize) -> Result<Node, YamlError> {
        if self.open.iter().any(|open| open == anchor) {
            return Err(YamlError::new(line, format!("anchor '{anchor}' value contains itself")));
        }
        let Some((node, size)) = self.anchors.get(anchor) else {
            return Err(YamlError::new(line, format!("unknown anchor '{anchor}' referenced")));
        };
        self.nodes += size;
        if self.nodes > MAX_NODES {
            return Err(YamlError::new(line, "document contains excessive aliasing"));
        }
        Ok(node.clone())
    }

    fn check_limits(&self, depth: usize, line: usize) -> Result<(), YamlError> {
        if depth > MAX_DEPTH {
            return Err(YamlError::new(line, format!("exceeded max depth of {MAX_DEPTH}")));
        }
        if self.nodes > MAX_NODES {
            return Err(YamlError::new(line, format!("document has more than {MAX_NODES} values")));
        }
        Ok(())
    }
}

fn scalar(text: String, style: ScalarStyle, tag: Option<&str>, line: usize) -> Result<Scalar, YamlError> {
    let plain = style == ScalarStyle::Plain;
    let tag = tag.filter(|tag| !tag.is_empty()).map(short_tag);
    if tag.as_deref() != Some("!!binary") {
        return Ok(Scalar { text, plain, tag });
    }
    let packed: String = text.split_whitespace().collect();
    let bytes = base64::engine::general_purpose::STANDARD.decode(packed);
    let bytes = bytes.map_err(|_| YamlError::new(line, "!!binary value contains invalid base64 data"))?;
    Ok(Scalar { text: String::from_utf8_lossy(&bytes).into_owned(), plain: false, tag: None })
}

fn short_tag(tag: &str) -> String {
    match tag.strip_prefix("tag:yaml.org,2002:") {
        Some(name) => format!("!!{name}"),
        None => tag.to_owned(),
    }
}
