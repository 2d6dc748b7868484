//! Functions of OPA that policies about requests need and the engine lacks:
//! tokens and hashes. As in OPA, what cannot be computed is undefined.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use regorus::{Engine, Value};
use ring::{digest, hmac};

type Function = fn(&[Value]) -> Option<Value>;

/// Name, number of arguments, function.
const FUNCTIONS: [(&str, u8, Function); 10] = [
    ("io.jwt.decode", 1, |args| decode_token(text(args, 0)?)),
    ("io.jwt.verify_hs256", 2, |args| verify(hmac::HMAC_SHA256, args)),
    ("io.jwt.verify_hs384", 2, |args| verify(hmac::HMAC_SHA384, args)),
    ("io.jwt.verify_hs512", 2, |args| verify(hmac::HMAC_SHA512, args)),
    ("crypto.sha1", 1, |args| hash(&digest::SHA1_FOR_LEGACY_USE_ONLY, args)),
    ("crypto.sha256", 1, |args| hash(&digest::SHA256, args)),
    ("crypto.hmac.sha1", 2, |args| sign(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, args)),
    ("crypto.hmac.sha256", 2, |args| sign(hmac::HMAC_SHA256, args)),
    ("crypto.hmac.sha512", 2, |args| sign(hmac::HMAC_SHA512, args)),
    ("crypto.hmac.equal", 2, |args| Some(equal(text(args, 0)?, text(args, 1)?).into())),
];

/// Makes the functions known to `engine`.
pub fn add(engine: &mut Engine) -> Result<(), String> {
    for (name, arguments, function) in FUNCTIONS {
        let call = move |args: Vec<Value>| Ok(function(&args).unwrap_or(Value::Undefined));
        engine.add_extension(name.to_owned(), arguments, Box::new(call)).map_err(|e| e.to_string())?;
    }
    Ok(())
}

fn text(args: &[Value], at: usize) -> Option<&str> {
    args.get(at)?.as_string().ok().map(|text| &**text)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Head, claims and the signature in hexadecimal; nothing is verified.
fn decode_token(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let mut part = || URL_SAFE_NO_PAD.decode(parts.next()?.trim_end_matches('=')).ok();
    let (head, claims, signature) = (part()?, part()?, part()?);
    let object = |bytes: &[u8]| {
        let value = Value::from_json_str(std::str::from_utf8(bytes).ok()?).ok()?;
        value.as_object().is_ok().then_some(value)
    };
    let all = vec![object(&head)?, object(&claims)?, Value::from(hex(&signature))];
    parts.next().is_none().then(|| Value::from(all))
}

fn verify(kind: hmac::Algorithm, args: &[Value]) -> Option<Value> {
    let (signed, signature) = text(args, 0)?.rsplit_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature.trim_end_matches('=')).ok()?;
    let key = hmac::Key::new(kind, text(args, 1)?.as_bytes());
    Some(hmac::verify(&key, signed.as_bytes(), &signature).is_ok().into())
}

fn hash(kind: &'static digest::Algorithm, args: &[Value]) -> Option<Value> {
    Some(hex(digest::digest(kind, text(args, 0)?.as_bytes()).as_ref()).into())
}

fn sign(kind: hmac::Algorithm, args: &[Value]) -> Option<Value> {
    let key = hmac::Key::new(kind, text(args, 1)?.as_bytes());
    Some(hex(hmac::sign(&key, text(args, 0)?.as_bytes()).as_ref()).into())
}

/// Takes as long for what is different as for what is equal.
fn equal(a: &str, b: &str) -> bool {
    let differences = a.bytes().zip(b.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differences) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eval(expression: &str) -> Option<serde_json::Value> {
        let mut engine = Engine::new();
        engine.set_rego_v0(true);
        add(&mut engine).unwrap();
        engine.add_policy("x".to_owned(), format!("package x\nresult = {expression}")).unwrap();
        match engine.eval_rule("data.x.result".to_owned()).unwrap() {
            Value::Undefined => None,
            value => Some(serde_json::from_str(&value.to_json_str().unwrap()).unwrap()),
        }
    }

    #[test]
    fn tokens_are_taken_apart_and_verified() {
        let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
        let signed = format!("{}.{}", part(r#"{"alg":"HS256"}"#), part(r#"{"sub":"me"}"#));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"secret"), signed.as_bytes());
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag));
        let decoded = eval(&format!(r#"io.jwt.decode("{token}")"#)).unwrap();
        assert_eq!((&decoded[0]["alg"], &decoded[1]["sub"]), (&"HS256".into(), &"me".into()));
        assert_eq!(decoded[2], hex(tag.as_ref()));
        let verify = |secret| eval(&format!(r#"io.jwt.verify_hs256("{token}", "{secret}")"#));
        assert_eq!((verify("secret"), verify("other")), (Some(true.into()), Some(false.into())));
        for bad in ["", "a.b", "a.b.c.d", "!.!.!"] {
            assert_eq!(eval(&format!(r#"io.jwt.decode("{bad}")"#)), None, "{bad}");
        }
        assert_eq!(eval("io.jwt.decode(1)"), None);
    }

    #[test]
    fn hashes_are_hexadecimal() {
        let sha256 = "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683";
        assert_eq!(eval(r#"crypto.sha256("key")"#), Some(sha256.into()));
        let tag = "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8";
        let text = "The quick brown fox jumps over the lazy dog";
        assert_eq!(eval(&format!(r#"crypto.hmac.sha256("{text}", "key")"#)), Some(tag.into()));
        assert_eq!(eval(r#"crypto.hmac.equal("a", "a")"#), Some(true.into()));
        assert_eq!(eval(r#"crypto.hmac.equal("a", "ab")"#), Some(false.into()));
    }
}
