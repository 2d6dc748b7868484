//! The programs the bench drives: cargo for what is built, public load generators for the load.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context as _;
use tokio::process::Command;

use super::scenarios::{Generator, Scenario};

/// The fixed-rate generator, installed from its registry into the cache.
const OHA_VERSION: &str = "1.16.0";

pub struct Tools {
    pub echo: PathBuf,
    pub oha: Option<PathBuf>,
}

impl Tools {
    /// Finds what the chosen scenarios need and installs the one that no distribution packages.
    pub async fn find(cache: &Path, echo: PathBuf, chosen: &[&'static Scenario]) -> anyhow::Result<Self> {
        let needs = |generator| chosen.iter().any(|scenario| scenario.generator() == Some(generator));
        if needs(Generator::Wrk) {
            require("wrk", "wrk").await?;
        }
        if needs(Generator::H2load) {
            require("h2load", "nghttp2-client").await?;
        }
        if chosen.iter().any(|scenario| scenario.needs_redis()) {
            require("redis-server", "redis-server").await?;
        }
        let oha = if needs(Generator::Oha) { Some(install_oha(cache).await?) } else { None };
        Ok(Tools { echo, oha })
    }
}

async fn require(program: &str, package: &str) -> anyhow::Result<()> {
    let started =
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().await;
    started.with_context(|| {
        format!("{program} does not start: install the package {package} (apt-get install {package})")
    })?;
    Ok(())
}

async fn install_oha(cache: &Path) -> anyhow::Result<PathBuf> {
    let root = cache.join(format!("oha-{OHA_VERSION}"));
    let program = root.join("bin").join("oha");
    if !program.is_file() {
        eprintln!("installing oha {OHA_VERSION} into {} (takes minutes, once)", root.display());
        let status = Command::new("cargo")
            .args(["install", "oha", "--locked", "--version", OHA_VERSION])
            .args(["--no-default-features", "--features", "rustls", "--root"])
            .arg(&root)
            .env("CARGO_TARGET_DIR", cache.join("build"))
            // Its own release profile takes ten minutes of two cores and changes no result at these rates.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .kill_on_drop(true)
            .status()
            .await?;
        anyhow::ensure!(status.success(), "cargo install oha failed");
        // What is left over from the build is only size.
        let _ = std::fs::remove_dir_all(cache.join("build"));
    }
    Ok(program)
}

pub async fn build_echo() -> anyhow::Result<PathBuf> {
    cargo_build("bench-echo", "release").await
}

/// Builds one package of the workspace and returns its program.
pub async fn cargo_build(package: &str, profile: &str) -> anyhow::Result<PathBuf> {
    let output = Command::new("cargo")
        .args([
            "build",
            "--quiet",
            "--package",
            package,
            "--profile",
            profile,
            "--message-format",
            "json-render-diagnostics",
        ])
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await
        .context("start cargo")?;
    anyhow::ensure!(output.status.success(), "cargo build --package {package} --profile {profile} failed");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back()
        .with_context(|| format!("cargo named no program for {package}"))
}

pub async fn target_folder() -> anyhow::Result<PathBuf> {
    let output =
        Command::new("cargo").args(["metadata", "--no-deps", "--format-version", "1"]).output().await?;
    anyhow::ensure!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    Ok(PathBuf::from(metadata["target_directory"].as_str().context("cargo metadata names no target folder")?))
}
