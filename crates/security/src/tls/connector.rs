//! From a byte stream to a TLS stream.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::{CertificateError, ClientConfig};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::read_ahead::ReadAhead;

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("'{0}' is neither a host name nor an IP address that TLS could check")]
    ServerName(String),
    #[error("TLS handshake with '{host}' failed: {}", reason(.source))]
    Handshake { host: String, source: io::Error },
}

/// A certificate that was refused, in the words that tests and users of Dapr
/// look for.
fn reason(error: &io::Error) -> String {
    let refused = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(certificate)) = refused else { return error.to_string() };
    let why = match certificate {
        // A bad signature is that of another authority with the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "x509: certificate signed by unknown authority".to_owned()
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            format!("x509: certificate has expired or is not yet valid: {certificate}")
        }
        other => other.to_string(),
    };
    format!("tls: failed to verify certificate: {why}")
}

/// Makes TLS connections with one configuration. Cloning is cheap and shares
/// the session cache.
#[derive(Clone)]
pub struct Connector(tokio_rustls::TlsConnector);

impl Connector {
    pub fn new(config: Arc<ClientConfig>) -> Self {
        Self(config.into())
    }

    /// Shakes hands over `io`. `host` is a DNS name or an IP address, without
    /// port, with or without brackets. No time limit of its own.
    pub async fn connect<IO>(&self, host: &str, io: IO) -> Result<TlsStream<IO>, ConnectError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let name =
            ServerName::try_from(bare.to_owned()).map_err(|_| ConnectError::ServerName(host.to_owned()))?;
        match self.0.connect(name, ReadAhead::new(io)).await {
            Ok(stream) => Ok(TlsStream(stream)),
            Err(source) => Err(ConnectError::Handshake { host: host.to_owned(), source }),
        }
    }
}

/// An encrypted stream over `IO`.
#[derive(Debug)]
pub struct TlsStream<IO>(tokio_rustls::client::TlsStream<ReadAhead<IO>>);

impl<IO> TlsStream<IO> {
    /// The protocol that the server chose among those offered.
    pub fn alpn_protocol(&self) -> Option<&[u8]> {
        self.0.get_ref().1.alpn_protocol()
    }

    /// The stream below, for its addresses and socket options.
    pub fn get_ref(&self) -> &IO {
        self.0.get_ref().0.get_ref()
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
