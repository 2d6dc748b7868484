//! The programs that this executable contains.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

/// A program that can run in place of the `dapr` command.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    pub name: &'static str,
    /// Takes the arguments with the program's own name first.
    pub run: fn(Vec<OsString>) -> ExitCode,
}

/// The sidecar's name, which is also how other tools find it among the
/// processes of the machine (cli.md §12.1).
pub(crate) const SIDECAR: &str = "daprd";

pub(crate) fn dispatch(args: &[OsString], programs: &[Program]) -> Option<ExitCode> {
    let own_name = Path::new(args.first()?).file_name()?;
    if let Some(program) = find(own_name, programs) {
        return Some((program.run)(args.to_vec()));
    }
    let program = find(args.get(1)?, programs)?;
    name_process(program.name);
    Some((program.run)(args[1..].to_vec()))
}

/// Makes the system show the process under the program's name, as it does by
/// itself when the executable is started through a link of that name.
fn name_process(name: &str) {
    #[cfg(target_os = "linux")]
    if let Ok(name) = std::ffi::CString::new(name) {
        let _ = nix::sys::prctl::set_name(&name);
    }
}

fn find<'a>(name: &OsStr, programs: &'a [Program]) -> Option<&'a Program> {
    programs.iter().find(|program| name == program.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(args: Vec<OsString>) -> ExitCode {
        ExitCode::from(u8::try_from(args.len()).unwrap())
    }

    fn code(args: &[&str]) -> Option<String> {
        let programs = [Program { name: SIDECAR, run: count }];
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        dispatch(&args, &programs).map(|code| format!("{code:?}"))
    }

    #[test]
    fn a_program_runs_by_file_name_or_first_argument() {
        let three = Some(format!("{:?}", ExitCode::from(3)));
        assert_eq!(code(&["/x/bin/daprd", "--app-id", "a"]), three);
        assert_eq!(code(&["dapr", "daprd", "--app-id", "a"]), three);
        assert_eq!(code(&["dapr", "run", "daprd"]), None);
        assert_eq!(code(&["dapr"]), None);
    }
}
