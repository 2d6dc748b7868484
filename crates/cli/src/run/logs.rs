//! Where the lines of one sidecar or application go (cli.md §5.2).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use dapr_kernel::tasks::TaskGroup;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::Child;
use tokio::task::JoinHandle;

use crate::say::{Level, Say, Style, stdout, stdout_is_terminal, styled};

/// A longer line is written in pieces.
const MAX_LINE: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    Console,
    File,
    FileAndConsole,
}

impl Destination {
    /// The run file's word for it; nothing given is `default`.
    pub fn parse(word: &str, default: Self) -> Result<Self, String> {
        match word {
            "" => Ok(default),
            "console" => Ok(Self::Console),
            "file" => Ok(Self::File),
            "fileAndConsole" => Ok(Self::FileAndConsole),
            _ => Err(format!("invalid log destination type: {word}")),
        }
    }
}

/// One log; cloning shares it.
#[derive(Clone, Debug)]
pub(super) struct Log {
    console: bool,
    file: Option<Arc<LogFile>>,
}

#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl Log {
    /// Opens `path` where the destination has a file. Appending lets a process
    /// and this command write to it side by side.
    pub fn open(destination: Destination, path: &Path) -> io::Result<Self> {
        let file = match destination {
            Destination::Console => None,
            _ => {
                let file = OpenOptions::new().append(true).create(true).open(path)?;
                Some(Arc::new(LogFile { path: path.to_owned(), file: Mutex::new(file) }))
            }
        };
        Ok(Self { console: destination != Destination::File, file })
    }

    /// The file's path.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|file| file.path.as_path())
    }

    /// A status line; symbols show only where the console is all there is.
    pub fn status(&self, say: Say, level: Level, message: &str) {
        match &self.file {
            None => say.out(level, message),
            Some(_) => self.text(&say.bare_line(level, message)),
        }
    }

    /// Text as it is, to all places.
    pub fn text(&self, text: &str) {
        if self.console {
            stdout(text);
        }
        self.file_text(text);
    }

    /// Only to the file, when there is one.
    pub fn file_text(&self, text: &str) {
        if let Some(file) = &self.file {
            let _ = file.file.lock().write_all(text.as_bytes());
        }
    }

    /// What a process writes to directly; none when its lines must pass here.
    pub fn direct(&self) -> Option<io::Result<(Stdio, Stdio)>> {
        match &self.file {
            // Both streams go to stdout, as everything of a run file does.
            None => Some(io::Result::Ok((Stdio::inherit(), io::stdout().into()))),
            Some(file) if !self.console => {
                let file = file.file.lock();
                Some(file.try_clone().and_then(|one| Ok((one.into(), file.try_clone()?.into()))))
            }
            Some(_) => None,
        }
    }

    /// Copies both output streams of `child` line by line; with a `prefix` the
    /// lines are an application's: emphasised on a terminal, without colour
    /// codes in the file.
    pub fn copy_output(
        &self,
        child: &mut Child,
        prefix: Option<&str>,
        tasks: &TaskGroup,
    ) -> Vec<JoinHandle<Option<()>>> {
        let mut copies = Vec::new();
        if let Some(stream) = child.stdout.take() {
            copies.push(tasks.spawn("copy stdout", copy(stream, self.clone(), prefix.map(str::to_owned))));
        }
        if let Some(stream) = child.stderr.take() {
            copies.push(tasks.spawn("copy stderr", copy(stream, self.clone(), prefix.map(str::to_owned))));
        }
        copies
    }

    fn line(&self, prefix: Option<&str>, line: &str) {
        let Some(prefix) = prefix else { return self.text(&format!("{line}\n")) };
        let line = format!("{prefix}{line}");
        if self.console {
            stdout(&format!("{}\n", styled(Style::BoldBlue, &line, stdout_is_terminal())));
        }
        self.file_text(&format!("{}\n", without_colours(&line)));
    }
}

async fn copy(stream: impl AsyncRead + Unpin, log: Log, prefix: Option<String>) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                let text = text.strip_suffix('\n').unwrap_or(&text);
                log.line(prefix.as_deref(), text.strip_suffix('\r').unwrap_or(text));
            }
        }
    }
}

/// Drops `ESC [ digits and semicolons m`.
fn without_colours(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("\u{1b}[") {
        let code = &rest[start + 2..];
        let digits = code.len() - code.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').len();
        if digits > 0 && code[digits..].starts_with('m') {
            out.push_str(&rest[..start]);
            rest = &code[digits + 1..];
        } else {
            out.push_str(&rest[..start + 2]);
            rest = code;
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_have_words() {
        assert_eq!(Destination::parse("", Destination::File), Ok(Destination::File));
        assert_eq!(Destination::parse("fileAndConsole", Destination::File), Ok(Destination::FileAndConsole));
        assert_eq!(
            Destination::parse("x", Destination::File),
            Err("invalid log destination type: x".to_owned())
        );
    }

    #[test]
    fn files_hold_no_colours() {
        assert_eq!(without_colours("\u{1b}[1;31mred\u{1b}[0m \u{1b}[2K \u{1b}[m"), "red \u{1b}[2K \u{1b}[m");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let log = Log::open(Destination::File, &path).unwrap();
        log.line(Some("== APP - a == "), "\u{1b}[31mx\u{1b}[0m");
        log.status(Say::default(), Level::Success, "Exited App successfully");
        assert_eq!(std::fs::read_to_string(path).unwrap(), "== APP - a == x\nExited App successfully\n");
    }
}
