/// One document of a file, as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    pub text: &'a str,
    /// Line of the file at which `text` starts, from one.
    pub line: usize,
}

/// Splits a resource file at every line that starts with `---`, the first line
/// excepted; what follows the dashes on that line is dropped (runtime.md §3.1).
///
/// This is a split of text and knows nothing of YAML: such a line separates even
/// inside a block scalar.
pub fn split_documents(text: &str) -> Vec<Chunk<'_>> {
    const SEPARATOR: &str = "\n---";
    let mut chunks = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(at) = rest.find(SEPARATOR) {
        chunks.push(Chunk { text: &rest[..at], line });
        let after = &rest[at + SEPARATOR.len()..];
        let dropped = after.find('\n').map_or(after.len(), |end| end + 1);
        line += rest[..at].matches('\n').count() + 2;
        rest = &after[dropped..];
    }
    if !rest.is_empty() {
        chunks.push(Chunk { text: rest, line });
    }
    chunks
}
