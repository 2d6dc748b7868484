//! Slash-separated paths.

/// Shortest equivalent path (Go `path.Clean`): `//` and `.` collapse, `..`
/// removes the element before it, no trailing slash; empty becomes `.`.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut elements: Vec<&str> = Vec::new();
    for element in path.split('/') {
        match element {
            "" | "." => {}
            ".." => match elements.last() {
                Some(last) if *last != ".." => {
                    elements.pop();
                }
                _ if rooted => {}
                _ => elements.push(".."),
            },
            element => elements.push(element),
        }
    }
    let joined = elements.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_shortened() {
        let table = [
            ("", "."),
            ("/", "/"),
            ("//", "/"),
            ("//a/b/", "/a/b"),
            ("a/../..", ".."),
            ("../../a", "../../a"),
            ("../a/..", ".."),
            ("/../a", "/a"),
            ("/..", "/"),
            ("./a", "a"),
            ("a/./b//c/..", "a/b"),
            ("a/..", "."),
            ("...", "..."),
            ("/v1.0//invoke/app/method/a%2Fb/", "/v1.0/invoke/app/method/a%2Fb"),
        ];
        for (path, cleaned) in table {
            assert_eq!(clean(path), cleaned, "{path}");
        }
    }

    proptest! {
        #[test]
        fn cleaning_twice_changes_nothing(path in "[a./]{0,12}") {
            let once = clean(&path);
            prop_assert_eq!(clean(&once), once);
        }
    }
}
