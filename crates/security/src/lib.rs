//! Everything about trust: TLS configurations and connections, certificates in
//! PEM, tokens. rustls is configured here, so that the provider, the protocol
//! versions and the treatment of certificates are decided once.
//!
//! It must not know protocols above TLS, components or resource files. Entry
//! types: [`tls::ClientTls`], [`tls::Connector`], [`api_token::matches`].
#![forbid(unsafe_code)]

pub mod api_token;
pub mod pem;
pub mod spiffe;
pub mod tls;
