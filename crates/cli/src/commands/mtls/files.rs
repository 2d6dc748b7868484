//! The files of an authority that runs on this machine.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use dapr_gocompat::time::date_string;
use dapr_security::ca::Certificate;
use dapr_security::private_file;

use super::material::{ISSUER, KEY, Material, ROOT};
use super::{days_left, mention_expiry};
use crate::context::Context;
use crate::say::stdout;

/// Permission bits of everyone but the owner.
const OTHERS: u32 = 0o077;

pub(super) fn read(folder: &Path) -> Result<Material, String> {
    let part = |name: &str| {
        let path = folder.join(name);
        fs::read(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))
    };
    Ok(Material { roots: part(ROOT)?, issuer: part(ISSUER)?, key: part(KEY)? })
}

/// All of them with mode 0600, as the authority itself does.
pub(super) fn write(folder: &Path, material: &Material) -> Result<(), String> {
    material.parts().into_iter().try_for_each(|(name, content)| {
        let path = folder.join(name);
        private_file::write(&path, content).map_err(|e| format!("cannot write {}: {e}", path.display()))
    })
}

/// Says what the files hold, and whether an authority would take them.
pub(super) fn check(context: &Context, folder: &Path) -> ExitCode {
    let now = SystemTime::now();
    let described = read(folder).and_then(|material| {
        let roots = Certificate::all_from_pem(&material.roots).map_err(|e| format!("{ROOT}: {e}"))?;
        let chain = Certificate::all_from_pem(&material.issuer).map_err(|e| format!("{ISSUER}: {e}"))?;
        let lines = [("Root", &roots), ("Issuer", &chain)]
            .into_iter()
            .flat_map(|(what, all)| all.iter().map(move |certificate| line(what, certificate, now)));
        stdout(&lines.collect::<String>());
        material.verified(now)?;
        Ok(material)
    });
    match described {
        Err(reason) => {
            context.say.failure(format!("error checking mTLS: {reason}"));
            ExitCode::FAILURE
        }
        Ok(material) => {
            context.say.success("The issuer certificate leads to the root and fits its key");
            let key = folder.join(KEY);
            if let Ok(metadata) = fs::metadata(&key)
                && metadata.permissions().mode() & OTHERS != 0
            {
                context.say.warning(format!("{0} can be read by others: chmod 600 {0}", key.display()));
            }
            mention_expiry(context, &material, Some(folder));
            ExitCode::SUCCESS
        }
    }
}

fn line(what: &str, certificate: &Certificate, now: SystemTime) -> String {
    let name = certificate.organization().unwrap_or_else(|| "without organization".to_owned());
    let (from, to) = (date_string(certificate.not_before()), date_string(certificate.not_after()));
    let days = days_left(certificate.not_after(), now);
    format!("{what} certificate ({name}): valid from {from} to {to}, {days} days left\n")
}
