//! Finding a command the way a shell does.

use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use crate::layout::{errno_text, stat_error};

/// The file that `command` names, through `path` unless it has a slash.
pub(super) fn find(command: &str, path: &str) -> Result<PathBuf, String> {
    if command.contains('/') {
        let file = PathBuf::from(command);
        return match check(&file) {
            Ok(()) => Ok(file),
            Err(reason) => Err(format!("exec: {command:?}: {reason}")),
        };
    }
    path.split(':')
        .map(|folder| Path::new(if folder.is_empty() { "." } else { folder }).join(command))
        .find(|file| !command.is_empty() && check(file).is_ok())
        .ok_or_else(|| format!("exec: {command:?}: executable file not found in $PATH"))
}

fn check(file: &Path) -> Result<(), String> {
    let meta = file.metadata().map_err(|error| stat_error(file, &error))?;
    if meta.is_dir() {
        return Err("is a directory".to_owned());
    }
    access(file, AccessFlags::X_OK).map_err(|error| errno_text(&io::Error::from(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_through_the_path() {
        assert_eq!(find("sh", "/nowhere:/bin").unwrap(), Path::new("/bin/sh"));
        assert_eq!(find("/bin/sh", "").unwrap(), Path::new("/bin/sh"));
        assert_eq!(
            find("no-such", "/bin").unwrap_err(),
            r#"exec: "no-such": executable file not found in $PATH"#
        );
        assert_eq!(find("./no", "").unwrap_err(), r#"exec: "./no": stat ./no: no such file or directory"#);
        assert_eq!(find("/etc/passwd", "").unwrap_err(), r#"exec: "/etc/passwd": permission denied"#);
    }
}
