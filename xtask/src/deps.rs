//! The rules of deny.toml for licenses, banned crates and who may use which, enforced without cargo-deny,
//! and that each crate root forbids unsafe code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::command::cargo;

/// Crates that name no license but ship its text: what the text is.
const LICENSE_FILES: &[(&str, &str)] = &[("libyaml-safer", "MIT")];

/// Crates with unsafe code of their own, and why.
const UNSAFE: &[(&str, &str)] =
    &[("dapr-footprint", "madvise and malloc_trim are system calls without a safe interface")];

/// Looks at every package of the dependency graph, whatever features bring it in.
pub fn dependencies() -> anyhow::Result<()> {
    let rules = Rules::parse(&fs::read_to_string("deny.toml").context("deny.toml")?)?;
    let output = cargo().args(["metadata", "--format-version=1", "--locked"]).output()?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("cargo metadata has packages")?;
    let problems: Vec<_> = packages.iter().flat_map(|package| rules.problems(package)).collect();
    if problems.is_empty() {
        println!("{} packages", packages.len());
        return Ok(());
    }
    bail!("{}", problems.join("\n"))
}

/// What deny.toml says of licenses and bans.
struct Rules {
    licenses: BTreeSet<String>,
    bans: BTreeMap<String, Ban>,
}

struct Ban {
    reason: String,
    /// Who may depend on it all the same; nobody for a crate that must not come in at all.
    wrappers: Vec<String>,
}

impl Rules {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let file: toml::Table = text.parse().context("deny.toml")?;
        let strings = |list: Option<&toml::Value>| -> Vec<String> {
            let list = list.and_then(toml::Value::as_array).into_iter().flatten();
            list.filter_map(|one| one.as_str().map(str::to_owned)).collect()
        };
        let licenses = file.get("licenses").and_then(|section| section.get("allow"));
        let licenses: BTreeSet<_> = strings(licenses).into_iter().collect();
        let bans = file.get("bans").and_then(|section| section.get("deny")).and_then(toml::Value::as_array);
        let bans = bans.context("deny.toml has bans.deny")?.iter().map(|ban| {
            let field =
                |name| ban.get(name).and_then(toml::Value::as_str).context("bans.deny: crate, reason");
            let ban_of = Ban { reason: field("reason")?.to_owned(), wrappers: strings(ban.get("wrappers")) };
            Ok((field("crate")?.to_owned(), ban_of))
        });
        let bans = bans.collect::<anyhow::Result<_>>()?;
        if licenses.is_empty() {
            bail!("deny.toml allows no license");
        }
        Ok(Self { licenses, bans })
    }

    fn problems(&self, package: &Value) -> Vec<String> {
        let (name, version) = (text(&package["name"]), text(&package["version"]));
        let mut problems = Vec::new();
        if let Some(ban) = self.bans.get(name).filter(|ban| ban.wrappers.is_empty()) {
            problems.push(format!("{name} {version} is banned: {}", ban.reason));
        }
        // Tests may use what the code may not.
        let shipped = package["dependencies"].as_array().into_iter().flatten();
        let shipped = shipped.filter(|dependency| text(&dependency["kind"]) != "dev");
        for needed in shipped.filter(|dependency| dependency["optional"] != true) {
            let needed = text(&needed["name"]);
            if let Some(ban) = self.bans.get(needed).filter(|ban| !ban.wrappers.iter().any(|w| w == name)) {
                problems.push(format!("{name} {version} must not depend on {needed}: {}", ban.reason));
            }
        }
        let named = text(&package["license"]);
        let read = LICENSE_FILES.iter().find(|(crate_name, _)| named.is_empty() && *crate_name == name);
        let license = read.map_or(named, |(_, license)| license);
        if !self.is_allowed(license) {
            problems.push(format!("{name} {version} has the license {license:?}, which is not on the list"));
        }
        if package["source"].is_null() {
            problems.extend(own_package(package));
        }
        problems
    }

    /// One alternative whose every part is allowed. Parentheses occur only around alternatives.
    fn is_allowed(&self, expression: &str) -> bool {
        expression.split(" AND ").all(|part| {
            let alternatives = part.trim_matches(['(', ')']).replace('/', " OR ");
            alternatives.split(" OR ").any(|license| self.licenses.contains(license.trim()))
        })
    }
}

/// Roots of libraries and programs; tests and examples inherit the workspace's `deny`.
fn own_package(package: &Value) -> Vec<String> {
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

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Rules;

    const FILE: &str = r#"
        [licenses]
        allow = ["MIT", "Apache-2.0", "Unicode-3.0"]
        [bans]
        deny = [
            { crate = "old", reason = "unmaintained" },
            { crate = "db", wrappers = ["files"], reason = "one place owns it" },
        ]
    "#;

    fn problems(name: &str, needs: &str, kind: Option<&str>) -> Vec<String> {
        let dependency = json!({ "name": needs, "kind": kind, "optional": false });
        let package = json!({
            "name": name, "version": "1.0.0", "license": "MIT", "source": "registry",
            "dependencies": [dependency],
        });
        Rules::parse(FILE).unwrap().problems(&package)
    }

    #[test]
    fn license_expressions() {
        let rules = Rules::parse(FILE).unwrap();
        for expression in ["MIT", "MIT/Apache-2.0", "GPL-2.0 OR MIT", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
            assert!(rules.is_allowed(expression), "{expression}");
        }
        for expression in ["", "GPL-3.0", "MIT AND GPL-3.0", "(GPL-3.0 OR AGPL-3.0) AND MIT"] {
            assert!(!rules.is_allowed(expression), "{expression}");
        }
    }

    #[test]
    fn bans() {
        assert_eq!(problems("old", "fine", None), ["old 1.0.0 is banned: unmaintained"]);
        assert_eq!(problems("other", "db", None), ["other 1.0.0 must not depend on db: one place owns it"]);
        assert!(problems("files", "db", None).is_empty());
        assert!(problems("other", "db", Some("dev")).is_empty());
        assert!(problems("db", "fine", None).is_empty());
    }

    #[test]
    fn the_projects_own_rules_can_be_read() {
        let rules = Rules::parse(include_str!("../../deny.toml")).unwrap();
        assert!(rules.bans.contains_key("openssl-sys") && rules.is_allowed("Apache-2.0"));
    }
}
