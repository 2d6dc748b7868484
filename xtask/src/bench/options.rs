//! The command line of `cargo xtask bench`.

use std::path::PathBuf;

use anyhow::Context as _;

use super::tools;

/// Text for the usage message.
pub const USAGE: &str = "\
cargo xtask bench [--against DIR] [--scenario NAME]... [--seconds N] [--rounds N]
                  [--bin-dir DIR | --no-build] [--force] [-o json] [--list]

  --against DIR    also measure the daprd in DIR, turn by turn, and print the ratios
  --scenario NAME  only this scenario, or all whose name starts with NAME; may be repeated
  --seconds N      length of each measured window (10)
  --rounds N       rounds a scenario, results are averaged (2)
  --bin-dir DIR    measure the daprd in DIR instead of building one with profile `dist`
  --no-build       measure what is already in target/dist, else target/release
  --names RESOLVER mdns, the default of both, or sqlite, which is quiet but not in every build
  --force          go on although other work keeps the machine busy
  -o json          JSON instead of Markdown
  --list           print the scenarios";

/// How the sidecars find each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    Mdns,
    Sqlite,
}

#[derive(Debug)]
pub struct Options {
    pub against: Option<PathBuf>,
    pub bin_dir: Option<PathBuf>,
    pub build: bool,
    pub scenarios: Vec<String>,
    pub seconds: u32,
    pub rounds: u32,
    pub names: Names,
    pub force: bool,
    pub json: bool,
    pub list: bool,
    /// Where load generators are installed: outside the clone, kept between runs.
    pub cache: PathBuf,
}

impl Options {
    pub fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut options = Options {
            against: None,
            bin_dir: None,
            build: true,
            scenarios: Vec::new(),
            seconds: 10,
            rounds: 2,
            names: Names::Mdns,
            force: false,
            json: false,
            list: false,
            cache: cache_folder()?,
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().with_context(|| format!("{argument} needs a value\n\n{USAGE}"));
            match argument.as_str() {
                "--against" => options.against = Some(folder(value()?)?),
                "--bin-dir" => options.bin_dir = Some(folder(value()?)?),
                "--scenario" => options.scenarios.push(value()?.clone()),
                "--seconds" => options.seconds = positive(argument, value()?)?,
                "--rounds" => options.rounds = positive(argument, value()?)?,
                "--names" => {
                    options.names = match value()?.as_str() {
                        "mdns" => Names::Mdns,
                        "sqlite" => Names::Sqlite,
                        other => anyhow::bail!("--names knows mdns and sqlite, not {other:?}"),
                    };
                }
                "--no-build" => options.build = false,
                "--force" => options.force = true,
                "--list" => options.list = true,
                "-o" => {
                    let format = value()?;
                    anyhow::ensure!(format == "json", "-o knows only json, not {format:?}");
                    options.json = true;
                }
                _ => anyhow::bail!("unknown argument {argument:?}\n\n{USAGE}"),
            }
        }
        Ok(options)
    }

    /// The folder with our daprd, and `sentry` if asked for, built first unless the options say otherwise.
    pub async fn our_binaries(&self, sentry: bool) -> anyhow::Result<PathBuf> {
        if let Some(folder) = &self.bin_dir {
            return Ok(folder.clone());
        }
        if self.build {
            if sentry {
                tools::cargo_build("sentry", "dist").await?;
            }
            let program = tools::cargo_build("daprd", "dist").await?;
            return Ok(program.parent().context("cargo named a program without a folder")?.to_owned());
        }
        let target = tools::target_folder().await?;
        ["dist", "release"]
            .map(|profile| target.join(profile))
            .into_iter()
            .find(|folder| folder.join("daprd").is_file())
            .with_context(|| {
                format!(
                    "no daprd in the folders dist and release of {}: leave out --no-build",
                    target.display()
                )
            })
    }
}

fn folder(path: &str) -> anyhow::Result<PathBuf> {
    std::fs::canonicalize(path).with_context(|| format!("folder {path}"))
}

fn positive(name: &str, text: &str) -> anyhow::Result<u32> {
    let number: u32 = text.parse().with_context(|| format!("{name} {text}: not a number"))?;
    anyhow::ensure!(number > 0, "{name} must be at least 1");
    Ok(number)
}

fn cache_folder() -> anyhow::Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?)
            .join(".cache"),
    };
    Ok(base.join("dapr-rust").join("bench"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> anyhow::Result<Options> {
        Options::parse(&arguments.iter().map(|&argument| argument.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn reads_every_option() {
        let options = parse(&[
            "--against",
            "/",
            "--scenario",
            "state",
            "--scenario",
            "start",
            "--seconds",
            "3",
            "-o",
            "json",
        ])
        .expect("valid");
        assert_eq!(options.against, Some(PathBuf::from("/")));
        assert_eq!(options.scenarios, ["state", "start"]);
        assert_eq!(options.seconds, 3);
        assert!(options.json && options.build && !options.force);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for wrong in
            [&["--fast"][..], &["--seconds"], &["--seconds", "0"], &["-o", "xml"], &["--names", "dns"]]
        {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
