use super::*;

fn operation(name: &str, verbs: &[&str], action: &str) -> OperationSpec {
    let verbs = verbs.iter().map(|v| (*v).to_owned()).collect();
    OperationSpec { name: name.into(), verbs, action: action.into() }
}

fn policy(app_id: &str, default_action: &str, operations: Vec<OperationSpec>) -> AppPolicySpec {
    AppPolicySpec {
        app_id: app_id.into(),
        default_action: default_action.into(),
        trust_domain: "public".into(),
        namespace: "default".into(),
        operations,
    }
}

fn spec(default_action: &str, policies: Vec<AppPolicySpec>) -> Spec {
    Spec { default_action: default_action.into(), trust_domain: "public".into(), policies: Some(policies) }
}

fn compile(spec: &Spec, app: Protocol) -> AccessControl {
    AccessControl::compile(spec, app).unwrap().unwrap()
}

fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

#[test]
fn a_rule_with_any_number_of_segments_is_no_burden() {
    let name = "/a".repeat(50_000);
    let list = compile(
        &spec("allow", vec![policy("caller", "allow", vec![operation(&name, &["*"], "deny")])]),
        Protocol::Http,
    );
    assert!(!list.decide(Some(&id(CALLER)), &name, Some("GET"), Protocol::Http).allowed);
}

const CALLER: &str = "spiffe://public/ns/default/caller";

fn list(default: &str, operations: Vec<OperationSpec>, app: Protocol) -> AccessControl {
    compile(&spec("deny", vec![policy("caller", default, operations)]), app)
}

fn allowed(list: &AccessControl, operation: &str, verb: &str, protocol: Protocol) -> bool {
    let verb = (verb != "NONE").then_some(verb);
    list.decide(Some(&id(CALLER)), operation, verb, protocol).allowed
}

#[test]
fn nothing_specified_is_no_list() {
    for policies in [None, Some(vec![])] {
        let spec = Spec { policies, ..Spec::default() };
        assert!(AccessControl::compile(&spec, Protocol::Http).unwrap().is_none());
    }
}

#[test]
fn an_emptied_default_action_denies_unless_the_list_is_empty() {
    let caller = id(CALLER);
    let open = |policies| {
        let spec = Spec { default_action: String::new(), trust_domain: "td".into(), policies };
        let list = compile(&spec, Protocol::Http);
        assert_eq!(list.trust_domain(), "td");
        list.decide(Some(&caller), "x", Some("GET"), Protocol::Http).allowed
    };
    assert!(open(Some(vec![])));
    assert!(!open(None));
    assert!(!open(Some(vec![policy("other", "allow", vec![])])));
}

#[test]
fn the_default_action_is_allow_in_any_case_and_else_deny() {
    for (action, expected) in
        [("allow", true), ("ALLOW", true), ("deny", false), ("Allowed", false), ("x", false)]
    {
        let list = compile(&spec(action, vec![]), Protocol::Http);
        assert_eq!(
            list.decide(None, "x", Some("GET"), Protocol::Http),
            Decision { allowed: expected, basis: Basis::Global },
            "{action}"
        );
    }
    let unnamed = Spec { default_action: "deny".into(), ..Spec::default() };
    assert_eq!(compile(&unnamed, Protocol::Grpc).trust_domain(), "public");
}

#[test]
fn incomplete_policies_are_refused_together() {
    let complete = policy("ok", "", vec![]);
    let no_domain = AppPolicySpec { trust_domain: String::new(), ..policy("a", "", vec![]) };
    let neither = AppPolicySpec {
        namespace: String::new(),
        ..AppPolicySpec { app_id: "b".into(), ..no_domain.clone() }
    };
    let text =
        |policies| AccessControl::compile(&spec("", policies), Protocol::Http).unwrap_err().to_string();
    assert_eq!(
        text(vec![complete.clone(), no_domain, neither]),
        "invalid access control spec. missing trustdomain for apps: [a b], missing namespace for apps: [b], missing app name on at least one of the app policies: false"
    );
    assert_eq!(
        text(vec![policy("", "allow", vec![]), complete]),
        "invalid access control spec. missing trustdomain for apps: [], missing namespace for apps: [], missing app name on at least one of the app policies: true"
    );
}

#[test]
fn whoever_is_not_named_gets_the_default_for_all() {
    let list = compile(&spec("deny", vec![policy("caller", "allow", vec![])]), Protocol::Http);
    let basis = |caller: Option<&SpiffeId>| list.decide(caller, "x", Some("GET"), Protocol::Http);
    let global = Decision { allowed: false, basis: Basis::Global };
    assert_eq!(basis(Some(&id(CALLER))), Decision { allowed: true, basis: Basis::App });
    assert_eq!(basis(None), global);
    for other in [
        "spiffe://public/ns/default/Caller",
        "spiffe://public/ns/default/caller2",
        "spiffe://public/ns/other/caller",
        "spiffe://elsewhere/ns/default/caller",
    ] {
        assert_eq!(basis(Some(&id(other))), global, "{other}");
    }
    // More segments may come one day; the application is the same.
    assert!(basis(Some(&id("spiffe://public/ns/default/caller/more"))).allowed);
}

#[test]
fn the_last_policy_of_an_application_counts_and_namespaces_are_apart() {
    let elsewhere = AppPolicySpec { namespace: "other".into(), ..policy("caller", "deny", vec![]) };
    let policies = vec![policy("caller", "deny", vec![]), policy("caller", "allow", vec![]), elsewhere];
    let list = compile(&spec("deny", policies), Protocol::Http);
    let decide = |who| list.decide(Some(&id(who)), "x", Some("GET"), Protocol::Http).allowed;
    assert!(decide(CALLER));
    assert!(!decide("spiffe://public/ns/other/caller"));
}

#[test]
fn verbs_of_http() {
    let operations = vec![
        operation("/op1", &["POST", "GET"], "allow"),
        operation("/op2", &["*"], "allow"),
        operation("/op3", &["PUT", "*"], "deny"),
        operation("/op4", &["get"], "allow"),
        operation("/op5", &[], "allow"),
    ];
    let denying = list("deny", operations.clone(), Protocol::Http);
    let cases = [
        ("op1", "GET", true),
        ("op1", "POST", true),
        ("op1", "PUT", false),
        // A verb that is not upper-case is no verb.
        ("op1", "get", false),
        ("op2", "DELETE", true),
        ("op3", "PUT", false),
        ("op4", "GET", false),
        // Without verbs the operation's action means nothing to HTTP.
        ("op5", "GET", false),
        // Without a verb in the call only the policy's default counts.
        ("op1", "NONE", false),
        ("op2", "NONE", false),
        ("unknown", "GET", false),
    ];
    for (operation, verb, expected) in cases {
        assert_eq!(allowed(&denying, operation, verb, Protocol::Http), expected, "{verb} {operation}");
    }
    let allowing = list("allow", operations.clone(), Protocol::Http);
    assert!(allowed(&allowing, "op1", "PUT", Protocol::Http));
    assert!(!allowed(&allowing, "op3", "GET", Protocol::Http));
    assert!(allowed(&allowing, "op3", "NONE", Protocol::Http));
    // No default of its own: the verb falls back to the default for all, the
    // call without a verb is refused even when that one allows.
    let silent = compile(&spec("allow", vec![policy("caller", "", operations)]), Protocol::Http);
    assert!(allowed(&silent, "op1", "PUT", Protocol::Http));
    assert!(!allowed(&silent, "op1", "NONE", Protocol::Http));
    let decision = silent.decide(Some(&id(CALLER)), "op3", Some("GET"), Protocol::Http);
    assert_eq!(decision, Decision { allowed: false, basis: Basis::Global });
}

#[test]
fn names_of_http_operations_have_no_case() {
    let list = list("allow", vec![operation("/Admin/Über", &["*"], "deny")], Protocol::Http);
    for name in ["/admin/über", "ADMIN/ÜBER", "Admin/über/below"] {
        assert!(!allowed(&list, name, "GET", Protocol::Http), "{name}");
    }
}

#[test]
fn grpc_operations_have_case_and_no_verbs() {
    let list = list("deny", vec![operation("/pkg.Service/Method", &["POST"], "allow")], Protocol::Grpc);
    assert!(allowed(&list, "/pkg.Service/Method", "NONE", Protocol::Grpc));
    assert!(allowed(&list, "/pkg.Service/Method", "GET", Protocol::Grpc));
    assert!(allowed(&list, "pkg.Service/Method", "NONE", Protocol::Grpc));
    for name in ["/pkg.service/method", "/pkg.Service/Method2", "/pkg.Service", "/"] {
        assert!(!allowed(&list, name, "NONE", Protocol::Grpc), "{name}");
    }
}

#[test]
fn wildcards() {
    // (rules in order, call, the rule that is found)
    let cases: &[(&[&str], &str, Option<usize>)] = &[
        (&["/a"], "/a", Some(0)),
        (&["a"], "a", Some(0)),
        (&["/a"], "/a/below/deeper", Some(0)),
        (&["/a"], "/ab", None),
        (&["/a/b"], "/a", None),
        (&["/a/*"], "/a/b", Some(0)),
        (&["/a/*"], "/a", Some(0)),
        (&["/a/*"], "/a/b/c", None),
        (&["/a/*"], "/a/*", Some(0)),
        // In the middle a star alone is nothing but itself.
        (&["/a/*/b"], "/a/x/b", None),
        (&["/a/*/b"], "/a/*/b", Some(0)),
        (&["/a/**"], "/a/b/c/d", Some(0)),
        (&["/a/**"], "/a", Some(0)),
        (&["/a/**"], "/b", None),
        (&["/**"], "/anything/at/all", Some(0)),
        (&["/*"], "/one", Some(0)),
        (&["/*"], "/one/two", None),
        (&["/a*"], "/abc", Some(0)),
        (&["/a*"], "/abc/below", Some(0)),
        (&["/a*c"], "/abbc", Some(0)),
        (&["/a*c"], "/abcd", None),
        (&["/*a*"], "/banana", Some(0)),
        (&["/a*/b*/c"], "/ax/by/c", Some(0)),
        (&["/a/**/z"], "/a/x/z", Some(0)),
        (&["/a/**/z"], "/a/x/y/z", None),
        // Order decides, not which is narrower.
        (&["/a/*", "/a/b"], "/a/b", Some(0)),
        (&["/a/b", "/a/*"], "/a/b", Some(0)),
        (&["/a/b", "/a/*"], "/a/c", Some(1)),
        (&["/**", "/a"], "/a", Some(0)),
        // The first branch that fits is not left again.
        (&["/a*/x", "/ab/y"], "/ab/y", None),
        // What is said twice is said by the first.
        (&["/a", "/a"], "/a", Some(0)),
        (&["/"], "/", Some(0)),
        (&["/"], "/a", None),
        (&[""], "", Some(0)),
    ];
    for (rules, call, expected) in cases {
        // Which rule was found shows in the verbs it knows.
        let names: Vec<String> = (0..rules.len()).map(|i| i.to_string()).collect();
        let specs: Vec<_> =
            rules.iter().zip(&names).map(|(rule, name)| operation(rule, &[name.as_str()], "allow")).collect();
        let operations = Operations::compile(&specs, Protocol::Grpc);
        let found = operations.find(call).and_then(|o| names.iter().position(|n| o.allows_verb(n).is_some()));
        assert_eq!(found, *expected, "{rules:?} {call}");
    }
}

/// Found by fuzzing: the rule for a parent is met before what is said below it.
#[test]
fn a_rule_for_a_parent_decides_what_is_below_it() {
    let list = list(
        "deny",
        vec![operation("/secret/**", &["*"], "deny"), operation("/secret", &["*"], "allow")],
        Protocol::Http,
    );
    assert!(allowed(&list, "/secret/key", "GET", Protocol::Http));
    assert!(allowed(&list, "secret", "GET", Protocol::Http));
}

#[test]
fn a_star_matches_as_little_or_as_much_as_needed() {
    for (pattern, text, expected) in [
        ("*", "", true),
        ("a*", "a", true),
        ("*a", "ba", true),
        ("*ab*ab", "abab", true),
        ("*ab*ab", "ab", false),
        ("a**b", "axxb", true),
        ("a*b*c", "abbbbcbc", true),
        ("a*b", "a", false),
        ("", "a", false),
    ] {
        assert_eq!(operations::matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
    }
}

#[test]
fn a_refusal_names_caller_operation_and_verb() {
    assert_eq!(
        denial(Some(&id(CALLER)), "op1", Some("PUT")),
        "access control policy has denied access to id: spiffe://public/ns/default/caller operation: op1 verb: PUT"
    );
    assert_eq!(
        denial(None, "/pkg.S/M", None),
        "access control policy has denied access to id:  operation: /pkg.S/M verb: NONE"
    );
}
