//! Files that are right give no finding; each of them, with one thing made
//! wrong, gives a finding on the line of that thing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dapr_components::description::FieldKind;
use dapr_components::registry::Registry;
use dapr_lint::{Catalogue, Checks, Finding, Job, Report, Severity};
use dapr_resources::configuration::AccessControlSpec;
use dapr_resources::yaml::{Kind, Node, parse_first_at, split_documents};

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");
const PROJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn registry() -> Registry {
    let mut registry = Registry::default();
    dapr_components_all::register_all(&mut registry);
    registry
}

fn catalogue() -> Catalogue {
    let route = |text: &str| dapr_blocks::pubsub::Rule::new(text, "/").map(|_| ()).map_err(|e| e.to_string());
    // The compiler proper belongs to the sidecar; this much of it is enough here.
    let access_control =
        |spec: &AccessControlSpec| match spec.policies.iter().flatten().all(|p| !p.app_id.is_empty()) {
            true => Ok(()),
            false => Err("a policy without an app".to_owned()),
        };
    Catalogue::new(&registry(), Checks { route, access_control })
}

fn lint(job: &Job) -> Report {
    dapr_lint::lint(job, &catalogue(), &|_: &str| None)
}

fn shown(findings: &[Finding]) -> Vec<String> {
    let line = |f: &Finding| format!("{}:{}: {} ({})", f.file.display(), f.line, f.message, f.mend);
    findings.iter().map(line).collect()
}

fn yaml_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            yaml_files(&path, files);
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            files.push(path);
        }
    }
    files.sort();
}

/// The resources in the project's documentation.
fn documented() -> Vec<String> {
    let mut texts = Vec::new();
    let docs = std::fs::read_dir(Path::new(PROJECT).join("docs")).unwrap().map(|entry| entry.unwrap().path());
    for page in docs
        .chain([Path::new(PROJECT).join("README.md")])
        .filter(|p| p.extension().is_some_and(|e| e == "md"))
    {
        let text = std::fs::read_to_string(page).unwrap();
        for block in text.split("```yaml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            if block.contains("apiVersion: dapr.io/") && block.contains("kind:") {
                texts.push(block.to_owned());
            }
        }
    }
    texts
}

/// Every valid document there is, as text.
fn valid() -> Vec<String> {
    let mut files = Vec::new();
    yaml_files(Path::new(CORPUS), &mut files);
    yaml_files(&Path::new(PROJECT).join("examples"), &mut files);
    let texts = files.iter().map(|file| std::fs::read_to_string(file).unwrap());
    let all: Vec<String> = texts.chain(documented()).collect();
    let documents = all.iter().flat_map(|text| split_documents(text)).map(|chunk| chunk.text.to_owned());
    documents.filter(|text| text.contains("apiVersion: dapr.io/")).collect()
}

#[test]
fn what_is_right_gives_no_finding() {
    let mut folders = vec![(PathBuf::from(CORPUS), vec![])];
    let example = Path::new(PROJECT).join("examples/orders");
    folders.push((example.join("resources"), vec![example.join("config.yaml")]));
    for (folder, configurations) in folders {
        let job = Job {
            working_folder: Some(folder.clone()),
            folders: vec![folder],
            configurations,
            apps: Some(vec!["orders".to_owned(), "stock".to_owned(), "shipping".to_owned()]),
            ..Job::default()
        };
        let report = lint(&job);
        assert!(report.files.len() > 1);
        assert_eq!(shown(&report.findings), Vec::<String>::new());
    }
    let scratch = tempfile::tempdir().unwrap();
    for text in valid() {
        assert_eq!(found(scratch.path(), &text), BTreeSet::new(), "{text}");
    }
}

/// Lines with findings in one file.
fn found(scratch: &Path, text: &str) -> BTreeSet<usize> {
    let file = scratch.join("one.yaml");
    std::fs::write(&file, text).unwrap();
    let report = lint(&Job { files: vec![file], ..Job::default() });
    report.findings.iter().map(|finding| finding.line).collect()
}

/// A key with its value and the keys above it.
struct Pair {
    path: Vec<String>,
    line: usize,
    /// The text of a scalar that ends on the line of its key.
    scalar: Option<String>,
}

fn pairs(node: &Node, path: &[String], out: &mut Vec<Pair>) {
    match &node.kind {
        Kind::Scalar(_) => {}
        Kind::Sequence(items) => items.iter().for_each(|item| pairs(item, path, out)),
        Kind::Mapping(entries) => {
            for (key, value) in entries {
                let Kind::Scalar(name) = &key.kind else { continue };
                let mut path = path.to_vec();
                path.push(name.text.clone());
                let scalar = match &value.kind {
                    Kind::Scalar(s) if value.line == key.line && !s.text.contains('\n') => {
                        Some(s.text.clone())
                    }
                    _ => None,
                };
                pairs(value, &path, out);
                out.push(Pair { path, line: key.line, scalar });
            }
        }
    }
}

/// Whether any key may stand at `path`.
fn is_free(path: &[&str], kind: &str) -> bool {
    match path {
        ["metadata", "annotations" | "labels", _, ..] => true,
        ["spec", "policies", _, _] | ["spec", "targets", _, _] => kind == "Resiliency",
        ["spec", "metadata", _] => kind == "Subscription",
        ["spec", "nameResolution", "configuration", _, ..] | ["spec", "metadata", "value", _, ..] => true,
        ["spec", _, ..] => matches!(kind, "MCPServer" | "WorkflowAccessPolicy"),
        _ => false,
    }
}

fn misspelt(word: &str) -> String {
    let mut letters: Vec<char> = word.chars().collect();
    if letters.len() > 3 && letters[1] != letters[2] {
        letters.swap(1, 2);
    } else {
        letters.pop();
    }
    letters.into_iter().collect()
}

fn with_line(text: &str, line: usize, change: impl Fn(&str) -> String) -> String {
    let changed =
        text.split('\n').enumerate().map(|(i, l)| if i + 1 == line { change(l) } else { l.to_owned() });
    changed.collect::<Vec<_>>().join("\n")
}

#[test]
fn each_mistake_is_found_on_its_line() {
    let (registry, scratch) = (registry(), tempfile::tempdir().unwrap());
    let mut mutations = 0;
    let mut missed = Vec::new();
    for text in valid() {
        let node = parse_first_at(&text, 1).unwrap().unwrap();
        let mut all = Vec::new();
        pairs(&node, &[], &mut all);
        let root = |key: &str| {
            let at = all.iter().find(|pair| pair.path == [key]);
            at.and_then(|pair| pair.scalar.clone()).unwrap_or_default()
        };
        let kind = root("kind");
        let component_type =
            all.iter().find(|pair| pair.path == ["spec", "type"]).and_then(|pair| pair.scalar.clone());
        let description = component_type.as_deref().and_then(|component_type| {
            registry.descriptions.iter().find(|description| description.is_about(component_type, "v1"))
        });
        let mut expect = |what: &str, line: usize, mutated: String| {
            mutations += 1;
            if !found(scratch.path(), &mutated).contains(&line) {
                missed.push(format!("{what} on line {line} of\n{mutated}"));
            }
        };
        for (index, pair) in all.iter().enumerate() {
            let path: Vec<&str> = pair.path.iter().map(String::as_str).collect();
            let (key, line) = (pair.path.last().unwrap().as_str(), pair.line);
            let change = |to: String| with_line(&text, line, |l| l.replacen(&format!("{key}:"), &to, 1));
            if !is_free(&path, &kind) && key.len() > 2 {
                expect("a misspelt key", line, change(format!("{}:", misspelt(key))));
            }
            let Some(scalar) = &pair.scalar else { continue };
            if !is_free(&path, &kind)
                && path != ["spec", "metadata", "value"]
                && path != ["metadata", "annotations"]
            {
                let wrong =
                    with_line(&text, line, |l| format!("{}{key}: [{{a: b}}]", &l[..l.find(key).unwrap()]));
                expect("a wrong type", line, wrong);
            }
            let in_metadata = kind == "Component" && path == ["spec", "metadata", "name"];
            let Some(description) = description.filter(|_| in_metadata) else { continue };
            let misspelt_name = with_line(&text, line, |l| l.replace(scalar.as_str(), &misspelt(scalar)));
            expect("misspelt metadata", line, misspelt_name);
            let Some(field) = description.field(scalar) else { continue };
            let value = all[index..].iter().find(|pair| pair.path == ["spec", "metadata", "value"]);
            let Some(value) = value.filter(|value| value.line == line + 1) else { continue };
            if !matches!(field.kind, FieldKind::Text) {
                let bad = with_line(&text, value.line, |l| {
                    format!("{}value: \"\\x01(\"", &l[..l.find("value").unwrap()])
                });
                expect("a bad value", value.line, bad);
            }
            if field.required {
                let above = all.iter().find(|pair| pair.path == ["spec", "metadata"]).unwrap().line;
                let lines = text.split('\n').enumerate();
                let kept = lines.filter(|(i, _)| i + 1 != line && i + 1 != line + 1).map(|(_, l)| l);
                expect("a missing property", above, kept.collect::<Vec<_>>().join("\n"));
            }
        }
    }
    assert!(mutations > 250, "only {mutations} mutations");
    assert!(missed.is_empty(), "{} of {mutations} missed:\n{}", missed.len(), missed.join("\n----\n"));
}

/// Lints `files` as one folder.
fn folder(files: &[(&str, &str)], apps: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let apps = (!apps.is_empty()).then(|| apps.iter().map(|app| (*app).to_owned()).collect());
    let (folders, working_folder) = (vec![folder.path().to_owned()], Some(folder.path().to_owned()));
    let report = lint(&Job { folders, working_folder, apps, ..Job::default() });
    let line = |f: &Finding| {
        let severity = if f.severity == Severity::Error { "E" } else { "W" };
        let message = f.message.replace(&format!("{}/", folder.path().display()), "");
        format!("{}:{severity}: {message} ({})", f.line, f.mend)
    };
    report.findings.iter().map(line).collect()
}

fn component(name: &str, component_type: &str, more: &str) -> String {
    format!(
        "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata:\n  name: {name}\nspec:\n  type: {component_type}\n  version: v1\n{more}"
    )
}

#[test]
fn names_that_lead_nowhere_are_found() {
    let subscription = "apiVersion: dapr.io/v2alpha1\nkind: Subscription\nmetadata:\n  name: s\nspec:\n  pubsubname: pubsbu\n  topic: t\n  routes:\n    rules:\n    - match: event.type ==\n      path: /a\n    default: /b\nscopes: [ordres]\n";
    let resiliency = "apiVersion: dapr.io/v1alpha1\nkind: Resiliency\nmetadata:\n  name: r\nspec:\n  policies:\n    timeouts:\n      fast: 1s\n      idle: soon\n  targets:\n    apps:\n      ordres: {timeout: fsat}\n    components:\n      pubsub:\n        outbound: {timeout: fast}\n      store: {}\n";
    let found = folder(
        &[
            ("a.yaml", &component("pubsub", "pubsub.in-memory", "")),
            ("b.yaml", subscription),
            ("c.yaml", resiliency),
        ],
        &["orders"],
    );
    let expected = [
        "6:E: there is no pub/sub component pubsbu (did you mean pubsub?)",
        "10:E: the rule does not compile",
        "13:W: scopes names ordres, which is no application (did you mean orders?)",
        "9:E: invalid duration \"idle\", soon",
        "9:W: no target uses the policy idle",
        "12:E: there is no timeout policy fsat (did you mean fast?)",
        "12:W: there is no application or HTTP endpoint ordres (did you mean orders?)",
        "16:W: there is no component store",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found} is not {expected}");
    }
}

#[test]
fn secrets_and_names_are_followed() {
    let wants = |store: &str, key: &str| {
        format!("  metadata:\n  - name: redisHost\n    secretKeyRef: {{name: {key}, key: {key}}}\n{store}")
    };
    let store = "auth:\n  secretStore: secrets\n";
    let file = "  metadata:\n  - name: secretsFile\n    value: secrets.json\n";
    let found = folder(
        &[
            ("a.yaml", &component("one", "state.redis", &wants("", "k"))),
            ("b.yaml", &component("two", "state.redis", &wants(store, "host"))),
            ("c.yaml", &component("three", "state.redis", &wants(store, "hots"))),
            ("d.yaml", &component("four", "state.redis", &wants("auth:\n  secretStore: secerts\n", "host"))),
            ("e.yaml", &component("one", "state.in-memory", "")),
            ("f.yaml", &component("secrets", "secretstores.local.file", file)),
            ("g.yaml", &component("five", "state.sqlit", "")),
            ("secrets.json", r#"{"host": "x"}"#),
        ],
        &[],
    );
    assert_eq!(
        found,
        [
            "10:E: redisHost asks for a secret, but no secret store is named (add auth.secretStore with the name of a secret store)",
            "10:E: secrets.json has no secret hots (did you mean host?)",
            "12:E: there is no secret store secerts (did you mean secrets?)",
            "4:E: the name is taken by a.yaml:1: the sidecar does not start (rename one of them, or set scopes)",
            "6:E: unknown component type state.sqlit (did you mean state.sqlite?)",
        ]
    );
}

#[test]
fn pipelines_need_their_components() {
    let configuration = "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata:\n  name: c\nspec:\n  httpPipeline:\n    handlers:\n    - name: uper\n      type: middleware.http.uppercase\n    - name: upper\n      type: middleware.http.ratelimit\n    - name: upper\n      type: middleware.http.uppercaes\n  features:\n  - name: HotRelaod\n    enabled: true\n  nameResolution:\n    component: sqllite\n  tracing:\n    samplingRate: often\n";
    let found = folder(
        &[("a.yaml", &component("upper", "middleware.http.uppercase", "")), ("b.yaml", configuration)],
        &[],
    );
    assert_eq!(
        found,
        [
            "8:E: there is no component uper: the handler is left out (did you mean upper?)",
            "11:E: the component upper is middleware.http.uppercase/v1 (a.yaml:1): the handler is left out (write type: middleware.http.uppercase, version: v1)",
            "13:E: unknown middleware type middleware.http.uppercaes (did you mean middleware.http.uppercase?)",
            "15:W: the feature \"HotRelaod\" means nothing (did you mean HotReload?)",
            "18:E: unknown name resolution component sqllite (did you mean sqlite?)",
            "20:E: samplingRate has to be a number from 0 to 1, not \"often\" ()",
        ]
    );
}

#[test]
fn every_component_type_is_described() {
    let registry = registry();
    for known in registry.component_types() {
        let about = |version: &str| registry.descriptions.iter().any(|d| d.is_about(&known.name, version));
        let versions = if known.versions.is_empty() { vec!["v1"] } else { known.versions.clone() };
        for version in versions {
            assert!(about(version), "{}/{version} has no description of its metadata", known.name);
        }
    }
}
