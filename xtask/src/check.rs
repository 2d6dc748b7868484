//! `cargo xtask check`: formatting, lints and the rules for dependencies.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, bail};

use crate::command::{cargo, run};

pub const USAGE: &str =
    "  check [fmt|clippy|deps]      formatting, lints, rules for dependencies (default: all)";

/// Licenses whose terms the project's own allows to be met.
const LICENSES: &[&str] = &[
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "MIT",
    "MIT-0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "0BSD",
    "Unlicense",
    "CC0-1.0",
    "Unicode-3.0",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
];

/// Crates that name no license but ship its text: what the text is.
const LICENSE_FILES: &[(&str, &str)] = &[("libyaml-safer", "MIT")];

/// Crates that must not come in, and why.
const BANNED: &[(&str, &str)] = &[
    ("openssl-sys", "TLS is rustls with ring: nothing to install beside one file"),
    ("native-tls", "TLS is rustls with ring: nothing to install beside one file"),
    ("aws-lc-sys", "one crypto provider, and it is ring"),
    ("serde_yaml", "no longer maintained"),
];

/// Runs the named checks, all of them without a name; every one runs even if an earlier one failed.
pub fn check(arguments: &[String]) -> anyhow::Result<()> {
    let all: [(&str, fn() -> anyhow::Result<()>); 3] =
        [("fmt", fmt), ("clippy", clippy), ("deps", dependencies)];
    if let Some(unknown) = arguments.iter().find(|name| all.iter().all(|(known, _)| known != name)) {
        bail!("no check is called {unknown}\n\n{USAGE}");
    }
    let mut failed = Vec::new();
    for (name, body) in all {
        if !arguments.is_empty() && !arguments.iter().any(|wanted| wanted == name) {
            continue;
        }
        println!("== {name}");
        if let Err(error) = body() {
            println!("{error:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn fmt() -> anyhow::Result<()> {
    run(cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> anyhow::Result<()> {
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]))
}

/// Licenses and banned crates, and that each crate root forbids unsafe code.
fn dependencies() -> anyhow::Result<()> {
    let mut problems = Vec::new();
    let output = cargo().args(["metadata", "--format-version=1", "--locked"]).output()?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("cargo metadata has packages")?;
    for package in packages {
        let (name, version) = (text(&package["name"]), text(&package["version"]));
        if let Some((_, reason)) = BANNED.iter().find(|(banned, _)| *banned == name) {
            problems.push(format!("{name} {version} is banned: {reason}"));
        }
        let named = text(&package["license"]);
        let read = LICENSE_FILES.iter().find(|(crate_name, _)| named.is_empty() && *crate_name == name);
        let license = read.map_or(named, |(_, license)| license);
        if !is_allowed(license) {
            problems.push(format!("{name} {version} has the license {license:?}, which is not on the list"));
        }
        if package["source"].is_null() {
            problems.extend(own_package(package));
        }
    }
    if problems.is_empty() {
        println!("{} packages", packages.len());
        return Ok(());
    }
    bail!("{}", problems.join("\n"))
}

/// Crates with unsafe code of their own, and why.
const UNSAFE: &[(&str, &str)] =
    &[("dapr-footprint", "madvise and malloc_trim are system calls without a safe interface")];

/// Roots of libraries and programs; tests and examples inherit the workspace's `deny`.
fn own_package(package: &serde_json::Value) -> Vec<String> {
    if UNSAFE.iter().any(|(name, _)| *name == text(&package["name"])) {
        return Vec::new();
    }
    let targets = package["targets"].as_array().into_iter().flatten();
    let shipped = targets.filter(|target| {
        let kinds = target["kind"].as_array().into_iter().flatten();
        kinds.map(text).any(|kind| matches!(kind, "lib" | "bin" | "proc-macro"))
    });
    let roots: BTreeSet<_> = shipped.map(|target| text(&target["src_path"])).collect();
    let lacking =
        |path: &&str| !fs::read_to_string(path).unwrap_or_default().contains("#![forbid(unsafe_code)]");
    roots.into_iter().filter(lacking).map(|path| format!("{path} does not forbid unsafe code")).collect()
}

fn text(value: &serde_json::Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// One alternative whose every part is allowed. Parentheses occur only around alternatives.
fn is_allowed(expression: &str) -> bool {
    expression.split(" AND ").all(|part| {
        let alternatives = part.trim_matches(['(', ')']).replace('/', " OR ");
        alternatives.split(" OR ").any(|license| LICENSES.contains(&license.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::is_allowed;

    #[test]
    fn license_expressions() {
        for expression in ["MIT", "MIT/Apache-2.0", "GPL-2.0 OR MIT", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
            assert!(is_allowed(expression), "{expression}");
        }
        for expression in ["", "GPL-3.0", "MIT AND GPL-3.0", "(GPL-3.0 OR AGPL-3.0) AND MIT"] {
            assert!(!is_allowed(expression), "{expression}");
        }
    }
}
