//! Path templates: `/users/{id}`, `/files/{name:[a-z]+}` (components.md §12).

use dapr_gocompat::quote::quote;
use regex::Regex;

/// What a variable without a pattern of its own matches.
const SEGMENT: &str = "[^/]+";

/// A template that is no template; such a route matches nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("path must start with a slash, got {0}")]
    NoSlash(String),
    #[error("unbalanced braces in {0}")]
    Unbalanced(String),
    #[error("missing name or pattern in {0}")]
    Incomplete(String),
    #[error("duplicated route variable {0}")]
    Duplicate(String),
    #[error("route {0} contains capture groups in its regexp, only non-capturing groups are accepted")]
    Captures(String),
    #[error("{0}")]
    Pattern(String),
}

/// A compiled template.
#[derive(Debug)]
pub struct Template {
    whole: Regex,
    names: Vec<String>,
}

impl Template {
    pub fn compile(text: &str) -> Result<Self, Error> {
        if !text.starts_with('/') {
            return Err(Error::NoSlash(quote(text)));
        }
        let (mut pattern, mut names, mut at) = (String::from("^"), Vec::new(), 0);
        for (start, end) in braces(text)? {
            let variable = &text[start + 1..end];
            let (name, inner) = variable.split_once(':').unwrap_or((variable, SEGMENT));
            if name.is_empty() || inner.is_empty() {
                return Err(Error::Incomplete(quote(&text[start..=end])));
            }
            if names.iter().any(|known| known == name) {
                return Err(Error::Duplicate(quote(name)));
            }
            pattern.push_str(&regex::escape(&text[at..start]));
            pattern.push('(');
            pattern.push_str(inner);
            pattern.push(')');
            names.push(name.to_owned());
            at = end + 1;
        }
        pattern.push_str(&regex::escape(&text[at..]));
        pattern.push('$');
        let whole = Regex::new(&pattern).map_err(|e| Error::Pattern(e.to_string()))?;
        if whole.captures_len() != names.len() + 1 {
            return Err(Error::Captures(quote(text)));
        }
        Ok(Self { whole, names })
    }

    /// Variables of a path that matches.
    pub fn variables<'a>(&'a self, path: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
        let captures = self.whole.captures(path)?;
        let values = captures.iter().skip(1).map(|c| c.map_or("", |c| c.as_str()));
        Some(self.names.iter().map(String::as_str).zip(values).collect())
    }
}

/// First and last byte of each outermost pair of braces.
fn braces(text: &str) -> Result<Vec<(usize, usize)>, Error> {
    let unbalanced = || Error::Unbalanced(quote(text));
    let (mut pairs, mut depth, mut start) = (Vec::new(), 0usize, 0);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => {
                if depth == 0 {
                    start = at;
                }
                depth += 1;
            }
            b'}' => {
                depth = depth.checked_sub(1).ok_or_else(unbalanced)?;
                if depth == 0 {
                    pairs.push((start, at));
                }
            }
            _ => {}
        }
    }
    if depth == 0 { Ok(pairs) } else { Err(unbalanced()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(template: &str, path: &str) -> Option<Vec<(String, String)>> {
        let template = Template::compile(template).unwrap();
        let found = template.variables(path)?;
        Some(found.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect())
    }

    #[test]
    fn variables_are_segments_unless_they_say_otherwise() {
        let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        assert_eq!(variables("/a.b", "/a.b"), Some(vec![]));
        assert_eq!(variables("/a.b", "/axb"), None);
        assert_eq!(variables("/a/{id}/c", "/a/7/c"), Some(vec![pair("id", "7")]));
        assert_eq!(variables("/a/{id}", "/a/7/c"), None);
        let found = variables("/{x:[a-z]{2}}/{y:.*}", "/ab/c/d");
        assert_eq!(found, Some(vec![pair("x", "ab"), pair("y", "c/d")]));
        assert_eq!(variables("/{x:[a-z]{2}}", "/abc"), None);
    }

    #[test]
    fn what_is_no_template_says_why() {
        let error = |t| Template::compile(t).unwrap_err().to_string();
        assert_eq!(error("a"), "path must start with a slash, got \"a\"");
        assert_eq!(error("/{a"), "unbalanced braces in \"/{a\"");
        assert_eq!(error("/a}"), "unbalanced braces in \"/a}\"");
        assert_eq!(error("/{:x}"), "missing name or pattern in \"{:x}\"");
        assert_eq!(error("/{a}/{a}"), "duplicated route variable \"a\"");
        assert!(error("/{a:(b)}").contains("capture groups"));
        assert!(error("/{a:[}").contains("unclosed character class"));
    }
}
