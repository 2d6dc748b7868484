//! Everything about trust: identities and the certificates that prove them, TLS
//! configurations and connections, tokens. rustls is configured here, so that
//! the provider, the protocol versions and the treatment of certificates are
//! decided once.
//!
//! It must not know what is served or called over TLS, except for the
//! certificate authority, nor components or resource files. Entry types:
//! [`provider::Provider`] and its handle [`Security`], [`PeerIdentity`],
//! [`spiffe::SpiffeId`], [`tls::ClientTls`], [`api_token::matches`]; for data,
//! [`keys::Key`], [`enc`] and [`at_rest::Keys`].
#![forbid(unsafe_code)]

pub mod acl;
pub mod anchors;
pub mod api_token;
pub mod at_rest;
pub mod ca;
pub mod enc;
pub mod expiry;
pub mod identity;
pub mod jwt;
pub mod keys;
pub mod mtls;
pub mod pem;
pub mod private_file;
pub mod provider;
mod random;
pub mod rotation;
mod rsa_key;
pub mod spiffe;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod x509;

pub use mtls::PeerIdentity;
pub use provider::Security;
