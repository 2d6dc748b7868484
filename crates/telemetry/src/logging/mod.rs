//! Log lines as Dapr writes them (runtime.md §8).
//!
//! An event's target is its scope, its fields follow the line's own keys in
//! sorted order. One process has one logger: [`LogOptions::install`] makes it
//! and hands out the [`LogHandle`] by which it is changed later.

mod fields;
mod format;
mod subscriber;

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use dapr_gocompat::quote::quote;
use fields::Fields;
pub use subscriber::Logger;

/// Scopes of the API log. They are logged at info whatever the threshold.
pub const HTTP_API_SCOPE: &str = "dapr.runtime.http-info";
/// See [`HTTP_API_SCOPE`].
pub const GRPC_API_SCOPE: &str = "dapr.runtime.grpc.api-info";

/// Threshold or level of a line, most severe first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Fatal,
    Error,
    Warn,
    #[default]
    Info,
    Debug,
}

impl Level {
    /// As the `level` key spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fatal => "fatal",
            Self::Error => "error",
            Self::Warn => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

impl From<&tracing::Level> for Level {
    fn from(level: &tracing::Level) -> Self {
        match *level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::INFO => Self::Info,
            _ => Self::Debug,
        }
    }
}

impl FromStr for Level {
    type Err = LogError;

    /// As `--log-level` gives it, in any case.
    fn from_str(text: &str) -> Result<Self, LogError> {
        match text.to_lowercase().as_str() {
            "debug" => Ok(Self::Debug),
            "info" => Ok(Self::Info),
            "warn" => Ok(Self::Warn),
            "error" => Ok(Self::Error),
            "fatal" => Ok(Self::Fatal),
            _ => Err(LogError::Level(text.to_owned())),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("invalid value for --log-level: {0}")]
    Level(String),
    #[error("failed to open log file {}: {source}", quote(&.path.display().to_string()))]
    File { path: PathBuf, source: io::Error },
    #[error("this process already has a logger")]
    Installed,
}

/// Layout of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// How to log.
#[derive(Clone, Debug)]
pub struct LogOptions {
    pub level: Level,
    pub format: Format,
    /// Written to instead of stdout, appended to if it exists.
    pub file: Option<PathBuf>,
    /// Value of `ver`.
    pub version: String,
    /// Value of `instance`.
    pub instance: String,
    /// Value of `app_id`; not written while empty.
    pub app_id: String,
}

impl LogOptions {
    /// Info as text to stdout, from this machine.
    pub fn new(version: impl Into<String>) -> Self {
        Self {
            level: Level::default(),
            format: Format::default(),
            file: None,
            version: version.into(),
            instance: gethostname::gethostname().to_string_lossy().into_owned(),
            app_id: String::new(),
        }
    }

    /// Makes a logger without installing it.
    pub fn build(self) -> Result<(Logger, LogHandle), LogError> {
        let sink = Sink::open(self.file.as_deref())?;
        Ok(self.build_with(sink))
    }

    /// Makes a logger that writes whole lines to `writer`.
    pub fn build_to(self, writer: Box<dyn Write + Send>) -> (Logger, LogHandle) {
        self.build_with(Sink::Writer(writer))
    }

    fn build_with(self, sink: Sink) -> (Logger, LogHandle) {
        let settings = Settings {
            level: self.level,
            format: self.format,
            version: self.version,
            instance: self.instance,
            app_id: self.app_id,
        };
        let shared = Arc::new(Shared { settings: ArcSwap::from_pointee(settings), sink: Mutex::new(sink) });
        (Logger::new(Arc::clone(&shared)), LogHandle(shared))
    }

    /// Makes the logger of this process.
    pub fn install(self) -> Result<LogHandle, LogError> {
        let (logger, handle) = self.build()?;
        tracing::subscriber::set_global_default(logger).map_err(|_| LogError::Installed)?;
        Ok(handle)
    }
}

#[derive(Clone, Debug)]
struct Settings {
    level: Level,
    format: Format,
    version: String,
    instance: String,
    app_id: String,
}

enum Sink {
    Stdout,
    File(File),
    Writer(Box<dyn Write + Send>),
}

impl Sink {
    fn open(path: Option<&Path>) -> Result<Self, LogError> {
        let Some(path) = path else { return Ok(Self::Stdout) };
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.map(Self::File).map_err(|source| LogError::File { path: path.to_owned(), source })
    }

    /// One write per line. A log that cannot be written must not stop the
    /// program, so errors are dropped.
    fn write(&mut self, line: &[u8]) {
        let _ = match self {
            Self::Stdout => io::stdout().lock().write_all(line),
            Self::File(file) => file.write_all(line),
            Self::Writer(writer) => writer.write_all(line),
        };
    }
}

struct Shared {
    settings: ArcSwap<Settings>,
    sink: Mutex<Sink>,
}

impl Shared {
    fn log(&self, level: Level, scope: &str, fields: &Fields) {
        let settings = self.settings.load();
        let line = format::line(&settings, SystemTime::now(), level, scope, fields);
        self.sink.lock().write(line.as_bytes());
    }
}

/// Changes a logger while it is in use. Cloning shares it.
#[derive(Clone)]
pub struct LogHandle(Arc<Shared>);

impl fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogHandle").field(&**self.0.settings.load()).finish()
    }
}

impl LogHandle {
    /// Sets `app_id` from now on.
    pub fn set_app_id(&self, app_id: impl Into<String>) {
        let app_id = app_id.into();
        self.update(|s| s.app_id.clone_from(&app_id));
    }

    pub fn set_level(&self, level: Level) {
        self.update(|s| s.level = level);
        tracing::callsite::rebuild_interest_cache();
    }

    pub fn set_format(&self, format: Format) {
        self.update(|s| s.format = format);
    }

    /// Writes to `path` from now on, to stdout without one.
    pub fn set_file(&self, path: Option<&Path>) -> Result<(), LogError> {
        let sink = Sink::open(path)?;
        *self.0.sink.lock() = sink;
        Ok(())
    }

    pub fn level(&self) -> Level {
        self.0.settings.load().level
    }

    /// Logs why the program ends. The caller then exits with
    /// [`FATAL_EXIT_CODE`].
    pub fn fatal(&self, scope: &str, message: &dyn fmt::Display) -> u8 {
        let mut fields = Fields::default();
        fields.set_message(message.to_string());
        self.0.log(Level::Fatal, scope, &fields);
        FATAL_EXIT_CODE
    }

    fn update(&self, change: impl Fn(&mut Settings)) {
        self.0.settings.rcu(|current| {
            let mut next = Settings::clone(current);
            change(&mut next);
            next
        });
    }
}

/// Exit code after a fatal line.
pub const FATAL_EXIT_CODE: u8 = 1;

#[cfg(test)]
mod tests;
