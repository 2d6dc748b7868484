use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

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
    let mut composer = Composer {
        parser: Parser::new_from_str(text),
        line_offset: first_line - 1,
        anchors: HashMap::new(),
        open: Vec::new(),
        nodes: 0,
    };
    loop {
        match composer.next()? {
            None | Some((Event::StreamEnd, _)) => return Ok(None),
            Some((Event::DocumentStart(_), _)) => break,
            Some(_) => {}
        }
    }
    let root = composer.node(0)?;
    // The rest of the document is read too: an error after the root counts.
    composer.next()?;
    Ok(root.filter(|node| !node.is_null()))
}

struct Composer<'a> {
    parser: Parser<'a, StrInput<'a>>,
    line_offset: usize,
    /// Finished anchored nodes with their sizes.
    anchors: HashMap<usize, (Node, usize)>,
    /// Anchors whose node is still being read.
    open: Vec<usize>,
    nodes: usize,
}

impl<'a> Composer<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, YamlError> {
        self.parser.next_event().transpose().map_err(|error| self.scan_error(&error))
    }

    fn scan_error(&self, error: &ScanError) -> YamlError {
        YamlError::new(error.marker().line() + self.line_offset, error.info())
    }

    fn line(&self, span: Span) -> usize {
        span.start.line() + self.line_offset
    }

    /// `None` at the end of the enclosing collection or document.
    fn node(&mut self, depth: usize) -> Result<Option<Node>, YamlError> {
        let Some((event, span)) = self.next()? else { return Ok(None) };
        let line = self.line(span);
        self.nodes += 1;
        self.check_limits(depth, line)?;
        let before = self.nodes;
        let (anchor, kind) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.map(|tag| short_tag(&tag));
                let plain = style == ScalarStyle::Plain;
                (anchor, Kind::Scalar(Scalar { text: text.into_owned(), plain, tag }))
            }
            Event::SequenceStart(anchor, _) => {
                self.open.push(anchor);
                let mut items = Vec::new();
                while let Some(item) = self.node(depth + 1)? {
                    items.push(item);
                }
                self.open.pop();
                (anchor, Kind::Sequence(items))
            }
            Event::MappingStart(anchor, _) => {
                self.open.push(anchor);
                let mut pairs = Vec::new();
                while let Some(key) = self.node(depth + 1)? {
                    let Some(value) = self.node(depth + 1)? else { break };
                    pairs.push((key, value));
                }
                self.open.pop();
                (anchor, Kind::Mapping(pairs))
            }
            Event::Alias(anchor) => return self.alias(anchor, line).map(Some),
            _ => return Ok(None),
        };
        let node = Node { line, kind };
        if anchor != 0 {
            let size = self.nodes - before + 1;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok(Some(node))
    }

    fn alias(&mut self, anchor: usize, line: usize) -> Result<Node, YamlError> {
        if self.open.contains(&anchor) {
            return Err(YamlError::new(line, "anchor value contains itself"));
        }
        let Some((node, size)) = self.anchors.get(&anchor) else {
            return Err(YamlError::new(line, "unknown anchor referenced"));
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

fn short_tag(tag: &Tag) -> String {
    if tag.is_yaml_core_schema() {
        format!("!!{}", tag.suffix)
    } else {
        format!("{}{}", tag.handle, tag.suffix)
    }
}
