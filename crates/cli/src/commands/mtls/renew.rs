//! `dapr mtls renew-certificate` (cli.md §9).

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use dapr_flags::{Command, Flag, FlagGroup, Matches};
use dapr_security::ca::{Bundle, Certificate, KeyKind, SigningKey};
use dapr_security::spiffe::{SpiffeId, TrustDomain, control_plane};

use super::cluster::{CLOCK_SKEW, Cluster, System};
use super::material::Material;
use super::{FILES, FILES_HELP, Handler, files, folder, help_flag, rfc1123, rollout};
use crate::context::Context;
use crate::say::Level;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Name in a new root of a cluster.
const CLUSTER_TRUST_DOMAIN: &str = "cluster.local";
/// The same for files that name none: the authority's own default.
const LOCAL_TRUST_DOMAIN: &str = "localhost";
const LOCAL_NAMESPACE: &str = "default";
const GIVEN: [&str; 3] = ["ca-root-certificate", "issuer-private-key", "issuer-public-certificate"];

const EXAMPLE: &str = "
# New root and issuer in the cluster, valid for 90 days, and services that use them at once
dapr mtls renew-certificate -k --valid-until 90 --restart

# A root with a key of your own, so that it can take the place of the last one with that key
dapr mtls renew-certificate -k --private-key root.key

# Certificates that you made
dapr mtls rnc -k --ca-root-certificate ca.crt --issuer-public-certificate issuer.crt --issuer-private-key issuer.key

# The files of a sentry on this machine, with the old root still trusted
dapr mtls renew-certificate --certs-dir ./certs --keep-old-root
";

pub(super) fn command() -> Command<Handler> {
    Command::<Handler>::new(
        "renew-certificate",
        "Rotates the Dapr root certificate on your Kubernetes cluster",
    )
    .aliases(&["renew-cert", "rnc"])
    .example(EXAMPLE)
    .flag(help_flag())
    .flag(
        Flag::bool(
            "kubernetes",
            false,
            "Renews root and issuer certificates of Dapr in a Kubernetes cluster",
        )
        .short('k'),
    )
    .flag(Flag::string(FILES, "", FILES_HELP))
    .flag(Flag::bool("keep-old-root", false, "Trust the roots in use until they expire, besides the new one"))
    .flag(Flag::string("private-key", "", "The root.key file which is used to generate root certificate"))
    .flag(Flag::string("ca-root-certificate", "", "The root certificate file"))
    .flag(Flag::string("issuer-private-key", "", "The issuer certificate private key"))
    .flag(Flag::string("issuer-public-certificate", "", "The issuer certificate"))
    .flag(Flag::uint("valid-until", 365, "Max days before certificate expires"))
    .flag(Flag::bool("restart", false, "Restart Dapr control plane services"))
    .flag(Flag::uint("timeout", 300, "The timeout for the certificate renewal"))
    .flag(Flag::string(
        "image-variant",
        "",
        "The image variant to use for the Dapr runtime, for example: mariner",
    ))
    .group(FlagGroup::Unless { required: "kubernetes", unless: FILES })
    .group(FlagGroup::Exclusive(vec!["kubernetes", FILES]))
    .group(FlagGroup::Exclusive(vec!["restart", FILES]))
    .run(run)
}

fn run(context: &Context, matches: &Matches) -> ExitCode {
    context.say.out(Level::Pending, "Starting certificate rotation");
    let renewed = check(matches).and_then(|()| context.block_on(renew(context, matches)));
    match renewed {
        Ok(code) => code,
        Err(reason) => {
            context.say.failure(format!("certificate rotation failed: {reason}"));
            ExitCode::FAILURE
        }
    }
}

/// What flags say wrong, before anything is read.
fn check(matches: &Matches) -> Result<(), String> {
    let variant = matches.string("image-variant");
    if !matches!(variant, "" | "mariner") {
        return Err(format!("image variant {variant} is not supported"));
    }
    let blank = |name: &&str| matches.string(name).trim().is_empty();
    if GIVEN.iter().any(|name| matches.changed(name)) && GIVEN.iter().any(blank) {
        let [root, key, issuer] = GIVEN;
        return Err(format!(
            "all required flags for this certificate rotation path, {root:?}, {key:?} and {issuer:?} are not present"
        ));
    }
    if matches.changed("private-key") && blank(&"private-key") {
        return Err("\"privateKey\" flag has incorrect value".to_owned());
    }
    if folder(matches).is_none() && !matches.bool("kubernetes") {
        return Err("there is nothing to renew: give --kubernetes or --certs-dir".to_owned());
    }
    Ok(())
}

async fn renew(context: &Context, matches: &Matches) -> Result<ExitCode, String> {
    if let Some(folder) = folder(matches) {
        let old = files::read(&folder).ok();
        let new = make(context, matches, &Origin::of_files(old.as_ref()), old.as_ref())?;
        fs::create_dir_all(&folder).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
        context.say.info(format!("Updating certificates in {}", folder.display()));
        files::write(&folder, &new)?;
        say_success(context, &new)?;
        return Ok(ExitCode::SUCCESS);
    }
    let cluster = Cluster::of(context)?;
    let system = cluster.system().await?;
    let old = cluster.material().await.ok();
    let new = make(context, matches, &Origin::of_cluster(&system), old.as_ref())?;
    context.say.info("Updating certifcates in your Kubernetes cluster");
    let limit = Duration::from_secs(matches.uint("timeout"));
    let stored = tokio::time::timeout(limit, cluster.store(&system.namespace, &new)).await;
    stored.unwrap_or_else(|_| Err("timed out waiting for the Kubernetes API".to_owned()))?;
    say_success(context, &new)?;
    if matches.bool("restart")
        && let Err(reason) = rollout::restart(context, &cluster.client, &system.namespace, limit).await
    {
        context.say.out(Level::Failure, reason);
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn say_success(context: &Context, new: &Material) -> Result<(), String> {
    let end = rfc1123(new.root_end()?);
    context
        .say
        .success(format!("Certificate rotation is successful! Your new certicate is valid through {end}"));
    Ok(())
}

/// Whose certificates these are.
#[derive(Debug)]
struct Origin {
    trust_domain: String,
    namespace: String,
    clock_skew: Duration,
}

impl Origin {
    fn of_cluster(system: &System) -> Self {
        Self {
            trust_domain: CLUSTER_TRUST_DOMAIN.to_owned(),
            namespace: system.namespace.clone(),
            clock_skew: system.clock_skew,
        }
    }

    /// The new root is named as the old one, so that with the same key it can
    /// take its place.
    fn of_files(old: Option<&Material>) -> Self {
        let roots = old.and_then(|old| Certificate::all_from_pem(&old.roots).ok());
        let name = roots.and_then(|roots| roots[0].organization());
        Self {
            trust_domain: name.unwrap_or_else(|| LOCAL_TRUST_DOMAIN.to_owned()),
            namespace: LOCAL_NAMESPACE.to_owned(),
            clock_skew: CLOCK_SKEW,
        }
    }

    fn issuer(&self) -> Result<SpiffeId, String> {
        // The organisation of a root that a user made may be any text.
        let domain = TrustDomain::parse(&self.trust_domain).unwrap_or_default();
        SpiffeId::new(&domain, &self.namespace, control_plane::SENTRY).map_err(|e| e.to_string())
    }
}

/// The new certificates, checked as an authority does: what it would refuse
/// must not replace what works.
fn make(
    context: &Context,
    matches: &Matches,
    origin: &Origin,
    old: Option<&Material>,
) -> Result<Material, String> {
    let now = SystemTime::now();
    let mut bundle = if GIVEN.iter().any(|name| matches.changed(name)) {
        context.say.info("Using provided certificates");
        let [roots, key, issuer] = GIVEN.map(|name| read(Path::new(matches.string(name))));
        Material { roots: roots?, issuer: issuer?, key: key? }.verified(now)?
    } else {
        let root_key = if matches.changed("private-key") {
            context.say.info("Using password file to generate root certificate");
            root_key(&read(Path::new(matches.string("private-key")))?)?
        } else {
            context.say.info("generating fresh certificates");
            SigningKey::generate_p256().map_err(|e| e.to_string())?.0
        };
        generate(&root_key, origin, matches.uint("valid-until"), now)?
    };
    if let Some(old) = old.filter(|_| matches.bool("keep-old-root")) {
        let roots = Certificate::all_from_pem(&old.roots).map_err(|e| format!("the roots in use: {e}"))?;
        bundle = bundle.also_trusting(roots, now);
    }
    Ok(Material::of(&bundle))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}

fn root_key(pem: &[u8]) -> Result<SigningKey, String> {
    let key = SigningKey::from_pem(pem).map_err(|e| match e {
        dapr_security::ca::KeyError::NotPem => "provided private key file is not pem encoded".to_owned(),
        e => e.to_string(),
    })?;
    match key.kind() {
        KeyKind::P256 | KeyKind::P384 | KeyKind::P521 => Ok(key),
        KeyKind::Rsa | KeyKind::Ed25519 => {
            Err("the key of the root must be an elliptic curve key".to_owned())
        }
    }
}

fn generate(root_key: &SigningKey, origin: &Origin, days: u64, now: SystemTime) -> Result<Bundle, String> {
    let life = u32::try_from(days).ok().and_then(|days| DAY.checked_mul(days)).filter(|life| !life.is_zero());
    let end = life.and_then(|life| now.checked_add(life));
    let end = end.ok_or_else(|| format!("certificates cannot be valid for {days} days"))?;
    let start = now.checked_sub(origin.clock_skew).unwrap_or(SystemTime::UNIX_EPOCH);
    let issuer = origin.issuer()?;
    let bundle = Bundle::generate_with(root_key, &origin.trust_domain, &issuer, start, end)
        .map_err(|e| format!("cannot make certificates that are valid for {days} days: {e}"))?;
    Material::of(&bundle).verified(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Origin {
        Origin::of_files(None)
    }

    #[test]
    fn generated_certificates_are_what_an_authority_takes() {
        let (key, _) = SigningKey::generate_p256().unwrap();
        let now = SystemTime::now();
        let bundle = generate(&key, &local(), 10, now).unwrap();
        let left = bundle.root_not_after().duration_since(now).unwrap();
        assert!(left <= 10 * DAY && left > 9 * DAY, "{left:?}");
        assert_eq!(Origin::of_files(Some(&Material::of(&bundle))).trust_domain, "localhost");
    }

    #[test]
    fn impossible_lives_are_named() {
        let (key, _) = SigningKey::generate_p256().unwrap();
        let refusal = |days| generate(&key, &local(), days, SystemTime::now()).unwrap_err();
        assert_eq!(refusal(0), "certificates cannot be valid for 0 days");
        assert_eq!(refusal(u64::MAX), format!("certificates cannot be valid for {} days", u64::MAX));
        // Beyond the year 9999.
        assert!(refusal(4_000_000).starts_with("cannot make certificates that are valid for 4000000 days"));
    }

    #[test]
    fn only_elliptic_curve_keys_make_roots() {
        let (_, ed25519) = SigningKey::generate_ed25519().unwrap();
        assert!(root_key(ed25519.as_bytes()).unwrap_err().contains("elliptic curve"));
        assert_eq!(root_key(b"x").unwrap_err(), "provided private key file is not pem encoded");
        let (_, p256) = SigningKey::generate_p256().unwrap();
        assert!(root_key(p256.as_bytes()).is_ok());
    }
}
