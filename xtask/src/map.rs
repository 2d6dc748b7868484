//! The code map in ARCHITECTURE.md is the folder list, in both directions.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Folders whose own folders are in the map one by one.
const OPENED: &[&str] = &["bin", "components", "crates", "tests"];
/// What cargo builds when it is told nothing else.
const BUILD: &str = "target";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn folders(of: &Path) -> Vec<String> {
    let entries = fs::read_dir(of).unwrap().map(Result::unwrap);
    // Git does not carry empty folders: a clone must give the same answer.
    let folders = entries.filter(|entry| entry.path().is_dir() && holds_files(&entry.path()));
    let names = folders.map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| !name.starts_with('.') && name != BUILD).collect()
}

fn holds_files(folder: &Path) -> bool {
    let mut entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.any(|path| path.is_file() || (path.is_dir() && holds_files(&path)))
}

fn on_disk() -> BTreeSet<String> {
    let root = root();
    let mut all = BTreeSet::new();
    for top in folders(&root) {
        if OPENED.contains(&top.as_str()) {
            all.extend(folders(&root.join(&top)).iter().map(|name| format!("{top}/{name}")));
        }
        all.insert(top);
    }
    all
}

/// The first word of each line of the block below the heading.
fn in_map(text: &str) -> BTreeSet<String> {
    let section = text.split("## Code map").nth(1).expect("ARCHITECTURE.md has a section \"Code map\"");
    let block = section.split("```").nth(1).expect("the section has a block");
    let lines = block.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    lines.map(|path| path.trim_end_matches('/').to_owned()).collect()
}

#[test]
fn the_map_is_the_folder_list() {
    let map = in_map(&fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap());
    let disk = on_disk();
    let absent: Vec<_> = disk.difference(&map).collect();
    let stale: Vec<_> = map.difference(&disk).collect();
    assert!(absent.is_empty() && stale.is_empty(), "not in the map: {absent:?}; not a folder: {stale:?}");
}

#[test]
fn lines_of_the_map() {
    let text = "## Code map\nwords\n```text\ncrates/\n  crates/a   first\nbench/  x\n```\n```\nother\n```\n";
    assert_eq!(in_map(text), ["bench", "crates", "crates/a"].map(str::to_owned).into());
}
