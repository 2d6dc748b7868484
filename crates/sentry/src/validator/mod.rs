//! Who asks: proof of the identity that a request claims.

mod fetch;
mod jwks;
mod kubernetes;

use std::collections::BTreeMap;

use dapr_security::spiffe::TrustDomain;

use crate::core::{SignRequest, ValidatorKind, check};
pub use jwks::{JwksOptions, JwksValidator};
pub use kubernetes::KubernetesValidator;

/// Those that are enabled.
#[derive(Debug, Default)]
pub struct Validators(BTreeMap<ValidatorKind, Validator>);

#[derive(Debug)]
pub enum Validator {
    /// Believes everybody: for machines where everybody is trusted.
    Insecure,
    Jwks(JwksValidator),
    Kubernetes(KubernetesValidator),
}

impl Validators {
    pub fn insert(&mut self, kind: ValidatorKind, validator: Validator) {
        self.0.insert(kind, validator);
    }

    pub fn has(&self, kind: ValidatorKind) -> bool {
        self.0.contains_key(&kind)
    }

    pub fn kinds(&self) -> impl Iterator<Item = ValidatorKind> {
        self.0.keys().copied()
    }

    /// The trust domain of whoever asks, or why it is refused. The reason goes
    /// to the caller and holds nothing of the token.
    pub async fn validate(&self, kind: ValidatorKind, request: &SignRequest) -> Result<TrustDomain, String> {
        match self.0.get(&kind) {
            Some(Validator::Insecure) => check(request),
            Some(Validator::Jwks(validator)) => validator.validate(request).await,
            Some(Validator::Kubernetes(validator)) => validator.validate(request).await,
            None => Err("the requested validator is not enabled".to_owned()),
        }
    }
}
