//! Status lines: talk for people, or one JSON object a line (cli.md §1.3).

use std::fmt::Display;
use std::io::IsTerminal;
use std::time::SystemTime;

// A reader that has gone is no reason to end: the processes that the command
// started still have to be stopped.
pub(crate) use dapr_flags::output::{stderr, stdout};
use dapr_gocompat::json::escape_str;
use dapr_gocompat::time::rfc3339_nano;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Success,
    Failure,
    Warning,
    Info,
    Pending,
}

impl Level {
    fn symbol(self) -> &'static str {
        match self {
            Self::Success => "✅",
            Self::Failure => "❌",
            Self::Warning => "⚠",
            Self::Info => "ℹ️",
            Self::Pending => "⌛",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Pending => "pending",
        }
    }
}

/// How status lines look.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Say {
    pub json: bool,
}

impl Say {
    /// A line for a terminal, newline included.
    pub fn line(self, level: Level, message: impl Display) -> String {
        if self.json { self.json_line(level, message) } else { format!("{}  {message}\n", level.symbol()) }
    }

    /// A line for a log file: no symbol.
    pub fn bare_line(self, level: Level, message: impl Display) -> String {
        if self.json { self.json_line(level, message) } else { format!("{message}\n") }
    }

    fn json_line(self, level: Level, message: impl Display) -> String {
        let time = rfc3339_nano(SystemTime::now());
        let message = escape_str(&message.to_string());
        format!("{{\"time\":\"{time}\",\"status\":\"{}\",\"msg\":{message}}}\n", level.name())
    }

    pub fn out(self, level: Level, message: impl Display) {
        stdout(&self.line(level, message));
    }

    pub fn err(self, level: Level, message: impl Display) {
        stderr(&self.line(level, message));
    }

    pub fn success(self, message: impl Display) {
        self.out(Level::Success, message);
    }

    pub fn info(self, message: impl Display) {
        self.out(Level::Info, message);
    }

    pub fn warning(self, message: impl Display) {
        self.out(Level::Warning, message);
    }

    /// Failures go to stderr.
    pub fn failure(self, message: impl Display) {
        self.err(Level::Failure, message);
    }
}

/// Emphasis for a terminal; plain text elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Style {
    BoldWhite,
    BoldBlue,
}

pub(crate) fn styled(style: Style, text: &str, colour: bool) -> String {
    let code = match style {
        Style::BoldWhite => "37;1",
        Style::BoldBlue => "94;1",
    };
    if colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}

pub(crate) fn stdout_is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_carry_symbol_and_two_spaces() {
        let say = Say::default();
        assert_eq!(
            say.line(Level::Success, "Event published successfully"),
            "✅  Event published successfully\n"
        );
        assert_eq!(say.line(Level::Info, "\nbye"), "ℹ️  \nbye\n");
        assert_eq!(say.bare_line(Level::Failure, "x"), "x\n");
    }

    #[test]
    fn json_lines_are_objects() {
        let line = Say { json: true }.line(Level::Failure, "a \"b\" <c>");
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["status"], "failure");
        assert_eq!(value["msg"], "a \"b\" <c>");
        assert!(line.starts_with("{\"time\":\"20") && line.ends_with("}\n"), "{line}");
    }
}
