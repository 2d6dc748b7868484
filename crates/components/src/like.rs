//! SQL LIKE patterns: `%` any run, `_` any one character, `\` escapes
//! (components.md §1.5). For stores whose servers know no such thing.

enum Token {
    Literal(char),
    One,
    Any,
}

/// A pattern, taken apart.
pub struct Pattern(Vec<Token>);

impl Pattern {
    /// A trailing lone `\` stands for itself.
    pub fn new(pattern: &str) -> Self {
        let mut tokens = Vec::with_capacity(pattern.len());
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '\\' => Token::Literal(chars.next().unwrap_or('\\')),
                '%' => Token::Any,
                '_' => Token::One,
                c => Token::Literal(c),
            });
        }
        Self(tokens)
    }

    /// What every text that matches begins with.
    pub fn literal_prefix(&self) -> String {
        self.0.iter().map_while(|token| if let Token::Literal(c) = token { Some(*c) } else { None }).collect()
    }

    /// Whether all of `text` matches.
    ///
    /// Linear in the usual case, `pattern x text` at worst: on a mismatch only
    /// the latest `%` takes one character more.
    pub fn matches(&self, text: &str) -> bool {
        let tokens = &self.0;
        let (mut at, mut rest) = (0, text.chars());
        let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            let before = rest.clone();
            let next = rest.next();
            match (tokens.get(at), next) {
                (None, None) => return true,
                (Some(Token::Any), _) => {
                    at += 1;
                    rest = before.clone();
                    retry = Some((at, before));
                    continue;
                }
                (Some(Token::One), Some(_)) => at += 1,
                (Some(Token::Literal(want)), Some(got)) if *want == got => at += 1,
                _ => {
                    let Some((token, mut from)) = retry.take() else { return false };
                    if from.next().is_none() {
                        return false;
                    }
                    at = token;
                    rest = from.clone();
                    retry = Some((token, from));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        let compiled = Pattern::new(pattern);
        for text in yes {
            assert!(compiled.matches(text), "{pattern} should match {text}");
        }
        for text in no {
            assert!(!compiled.matches(text), "{pattern} should not match {text}");
        }
    }

    #[test]
    fn wildcards() {
        check("%", &["", "a", "a||b"], &[]);
        check("a%", &["a", "ab"], &["", "ba"]);
        check("%key1", &["key1", "x||key1", "key1key1"], &["key12"]);
        check("%||%||%", &["a||b||c", "||||"], &["a||b"]);
        check("abc_", &["abc1"], &["abc", "abc33"]);
        check("_%_", &["ab", "abc"], &["a"]);
        check("%a%b", &["ab", "xaxbxb"], &["xaxbx"]);
        check("é_", &["éü"], &["é"]);
    }

    #[test]
    fn prefixes() {
        for (pattern, prefix) in [("abc", "abc"), ("a%b", "a"), (r"a\_b_", "a_b"), ("%a", ""), (r"a\", r"a\")]
        {
            assert_eq!(Pattern::new(pattern).literal_prefix(), prefix, "{pattern}");
        }
    }

    #[test]
    fn escapes() {
        check(r"a\_b", &["a_b"], &["axb"]);
        check(r"100\%", &["100%"], &["1000"]);
        check(r"%\%", &["50%", "%"], &["50"]);
        check(r"a\", &[r"a\"], &["a"]);
        check(r"a\\%", &[r"a\b"], &["ab"]);
    }
}
