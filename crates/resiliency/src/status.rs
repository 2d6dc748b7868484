//! Which status codes a retry policy covers.

/// A status code of a failed call. Whether it is a gRPC or an HTTP code
/// follows from its value: 0 to 16 is gRPC, 100 to 599 HTTP (runtime.md §3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusCode(pub i32);

impl StatusCode {
    pub fn http(code: u16) -> Self {
        Self(i32::from(code))
    }

    pub fn grpc(code: i32) -> Self {
        Self(code)
    }
}

const HTTP: (i32, i32) = (100, 599);
const GRPC: (i32, i32) = (0, 16);

fn within(range: (i32, i32), code: i32) -> bool {
    range.0 <= code && code <= range.1
}

/// A text in `matching` that is not a list of codes and ranges.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("invalid pattern {0}, more than one '-' exists")]
    Dashes(String),
    #[error("failed to parse {edge} code {text} from pattern {pattern} to int, {reason}")]
    Number { edge: &'static str, text: String, pattern: String, reason: String },
    #[error("invalid pattern {pattern}, {edge} code {code} is not valid")]
    Range { edge: &'static str, pattern: String, code: i32 },
    #[error("invalid pattern {0}, start value should not bigger than end value")]
    Order(String),
}

/// Inclusive ranges of codes. An absent list covers every code; a list that
/// names none (`","`) covers none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodeRanges(Option<Box<[(i32, i32)]>>);

impl CodeRanges {
    fn parse(text: &str, valid: (i32, i32)) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let ranges = text.split(',').filter(|p| !p.is_empty()).map(|p| parse_pattern(p, valid));
        Ok(Self(Some(ranges.collect::<Result<_, _>>()?)))
    }

    fn covers(&self, code: i32) -> bool {
        self.0.as_ref().is_none_or(|ranges| ranges.iter().any(|r| within(*r, code)))
    }
}

fn parse_pattern(pattern: &str, valid: (i32, i32)) -> Result<(i32, i32), PatternError> {
    let mut parts = pattern.split('-');
    let start = parts.next().unwrap_or_default();
    let end = parts.next();
    if parts.next().is_some() {
        return Err(PatternError::Dashes(pattern.to_owned()));
    }
    let start = parse_code("start", start, pattern, valid)?;
    let end = end.map_or(Ok(start), |text| parse_code("end", text, pattern, valid))?;
    if end < start {
        return Err(PatternError::Order(pattern.to_owned()));
    }
    Ok((start, end))
}

fn parse_code(edge: &'static str, text: &str, pattern: &str, valid: (i32, i32)) -> Result<i32, PatternError> {
    // The reason is spelled as users of Dapr know it from its logs.
    let code: i32 = text.parse().map_err(|_| PatternError::Number {
        edge,
        text: text.to_owned(),
        pattern: pattern.to_owned(),
        reason: format!("strconv.Atoi: parsing {}: invalid syntax", dapr_gocompat::quote::quote(text)),
    })?;
    if within(valid, code) {
        Ok(code)
    } else {
        Err(PatternError::Range { edge, pattern: pattern.to_owned(), code })
    }
}

/// `matching` of a retry policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    http: CodeRanges,
    grpc: CodeRanges,
}

impl Matching {
    /// From the comma-separated texts of a resource; empty covers every code.
    pub fn parse(http: &str, grpc: &str) -> Result<Self, PatternError> {
        Ok(Self { http: CodeRanges::parse(http, HTTP)?, grpc: CodeRanges::parse(grpc, GRPC)? })
    }

    /// Whether a call that failed with `code` is retried. A code of neither
    /// protocol never is.
    pub fn retries(&self, code: StatusCode) -> bool {
        match code.0 {
            c if within(GRPC, c) => self.grpc.covers(c),
            c if within(HTTP, c) => self.http.covers(c),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(http: &str, grpc: &str) -> String {
        Matching::parse(http, grpc).unwrap_err().to_string()
    }

    #[test]
    fn without_a_list_every_code_is_retried() {
        let m = Matching::default();
        assert!(m.retries(StatusCode::http(404)) && m.retries(StatusCode::grpc(0)));
        assert!(!m.retries(StatusCode(17)) && !m.retries(StatusCode(600)) && !m.retries(StatusCode(-1)));
    }

    #[test]
    fn lists_hold_codes_and_inclusive_ranges() {
        let m = Matching::parse("429,500-502,", "14").unwrap();
        let retried: Vec<u16> = (100..600).filter(|c| m.retries(StatusCode::http(*c))).collect();
        assert_eq!(retried, [429, 500, 501, 502]);
        assert!(m.retries(StatusCode::grpc(14)) && !m.retries(StatusCode::grpc(13)));
    }

    #[test]
    fn a_list_for_one_protocol_leaves_the_other_open() {
        let m = Matching::parse("500", "").unwrap();
        assert!(m.retries(StatusCode::grpc(5)) && !m.retries(StatusCode::http(501)));
    }

    #[test]
    fn a_list_of_nothing_retries_nothing() {
        assert!(!Matching::parse(",", "").unwrap().retries(StatusCode::http(500)));
    }

    #[test]
    fn errors_are_worded_as_the_contract_has_them() {
        assert_eq!(message("1-2-3", ""), "invalid pattern 1-2-3, more than one '-' exists");
        assert_eq!(message("600", ""), "invalid pattern 600, start code 600 is not valid");
        assert_eq!(message("", "1-17"), "invalid pattern 1-17, end code 17 is not valid");
        assert_eq!(
            message("500-400", ""),
            "invalid pattern 500-400, start value should not bigger than end value"
        );
        assert_eq!(
            message("5xx", ""),
            "failed to parse start code 5xx from pattern 5xx to int, strconv.Atoi: parsing \"5xx\": invalid syntax"
        );
        assert!(
            message("500, 501", "").contains("start code  501 from pattern  501"),
            "spaces are not allowed"
        );
    }
}
