//! What `invoke` and `publish` send.

use bytes::Bytes;
use dapr_flags::Matches;

use crate::context::Context;
use crate::layout::errno_text;

/// The body from `--data` or `--data-file`; an error is printed already.
pub(super) fn read(context: &Context, matches: &Matches, command: &str) -> Option<Bytes> {
    let (data, file) = (matches.string("data"), matches.string("data-file"));
    if !data.is_empty() && !file.is_empty() {
        context
            .say
            .failure(format!("Only one of --data and --data-file allowed in the same {command} command"));
        return None;
    }
    if file.is_empty() {
        return Some(Bytes::copy_from_slice(data.as_bytes()));
    }
    match std::fs::read(file) {
        Ok(content) => Some(content.into()),
        Err(error) => {
            let reason = format!("open {file}: {}", errno_text(&error));
            context.say.failure(format!("Error reading payload from '{file}'. Error: {reason}"));
            None
        }
    }
}
