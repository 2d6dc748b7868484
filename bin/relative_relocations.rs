//! Build script of the programs: relative relocations in their compact form.
//!
//! The dynamic linker reads the whole table at every start, and its pages stay
//! resident: two megabytes in the usual form, a few kilobytes in this one.
//! glibc has understood it since 2.36; whoever has that has a linker that
//! writes it.

use std::process::Command;

const SINCE: (u32, u32) = (2, 36);

fn main() {
    println!("cargo:rerun-if-changed=../relative_relocations.rs");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let glibc = variable("CARGO_CFG_TARGET_OS") == "linux" && variable("CARGO_CFG_TARGET_ENV") == "gnu";
    let native = variable("HOST") == variable("TARGET");
    if glibc && native && version().is_some_and(|version| version >= SINCE) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Of this machine's glibc, as in `glibc 2.36`.
fn version() -> Option<(u32, u32)> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
