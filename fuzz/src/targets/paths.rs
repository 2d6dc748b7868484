//! Paths and methods, and who may call them.

use dapr_blocks::invoke::{normalize, normalized};
use dapr_gocompat::{path, urlesc};
use dapr_security::acl::{AccessControl, AppPolicySpec, OperationSpec, Protocol, Spec};
use dapr_security::spiffe::SpiffeId;

use super::{Target, join, parts, texts};

const WORDS: &[&str] = &["/", "//", "..", "/../", "/./", "%2e%2e", "%2F", "?", "#", "*", "**", "secret", "%"];

pub const PATHS: Target = Target {
    name: "paths",
    run: paths,
    seeds: || texts(&["orders/new", "/a/b/../c", "//a//./b/", "a%2Fb/%E4", "..", "a b?c=d#e"]),
    words: WORDS,
};

fn paths(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let clean = path::clean(&text);
    assert_eq!(path::clean(&clean), clean, "cleaning twice");
    assert!(!clean.contains("//"), "{clean:?}");
    if let Ok(method) = normalize(&text) {
        assert_eq!(normalized(&method).as_deref(), Ok(method.as_str()), "normalising twice");
        assert!(!method.starts_with("//"), "{method:?}");
        assert!(!method.split('/').any(|part| part == ".." || part == "."), "{method:?}");
    }
    assert_eq!(urlesc::path_unescape(&urlesc::path_escape(&text)).as_deref(), Ok(&*text));
    assert_eq!(urlesc::query_unescape(&urlesc::query_escape(&text)).as_deref(), Ok(&*text));
    let _ = (urlesc::path_unescape(&text), urlesc::query_unescape(&text));
}

pub const ACCESS: Target = Target {
    name: "access",
    run: access,
    seeds: || {
        vec![
            join(&["/orders/*", "orders/new"]),
            join(&["/a/**", "secret/key"]),
            join(&["*", "/secret/../secret/key"]),
            join(&["/secret/*", "/secret/key"]),
            join(&["/a*b/c", "SECRET/x"]),
        ]
    },
    words: WORDS,
};

/// Whatever else a list says, what its first rule denies is denied: no spelling
/// of a method gets around it. A rule for `/secret` itself is not tried: it
/// comes first on the way down, as in Dapr.
fn access(input: &[u8]) {
    let [rule, method] = parts::<2>(input).map(String::from_utf8_lossy);
    if rule.strip_prefix('/').unwrap_or(&rule).eq_ignore_ascii_case("secret") {
        return;
    }
    let caller = SpiffeId::parse("spiffe://public/ns/default/caller").expect("it is an ID");
    let operation = |name: &str, action: &str| OperationSpec {
        name: name.to_owned(),
        verbs: vec!["*".to_owned()],
        action: action.to_owned(),
    };
    let policy = AppPolicySpec {
        app_id: "caller".to_owned(),
        default_action: "allow".to_owned(),
        trust_domain: "public".to_owned(),
        namespace: "default".to_owned(),
        operations: vec![operation("/secret/**", "deny"), operation(&rule, "allow")],
    };
    let spec = Spec { default_action: "allow".to_owned(), policies: Some(vec![policy]), ..Spec::default() };
    for app in [Protocol::Http, Protocol::Grpc] {
        let list = AccessControl::compile(&spec, app).expect("it is complete").expect("it is not empty");
        let Ok(method) = normalize(&method) else { continue };
        let allowed = list.decide(Some(&caller), &method, Some("GET"), app).allowed;
        let wanted = match app {
            Protocol::Http => method.to_lowercase(),
            Protocol::Grpc => method,
        };
        let wanted = wanted.trim_start_matches('/');
        let denied = wanted.strip_prefix("secret/").is_some_and(|rest| !rest.is_empty());
        assert!(!(denied && allowed), "{wanted:?} is allowed although /secret/** is not");
    }
}
