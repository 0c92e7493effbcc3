//! Owns how a server is reached: TLS, token, and the options of the channel.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use crate::error::Error;
use crate::retry::{Retries, check_time};
use crate::store::EventStore;
use crate::target::Target;

/// Returns the store at `target`: `host:port`, `[v6 address]:port` or `unix:/path`.
///
/// Plaintext and without a token; [`ConnectOptions`] has those. Nothing is sent yet: a server that cannot be reached
/// shows at the first call.
///
/// # Errors
///
/// [`ErrorKind::Usage`](crate::ErrorKind::Usage) when the target is no address, or has no port.
///
/// # Panics
///
/// Outside of a tokio runtime.
pub fn connect(target: &str) -> Result<EventStore, Error> {
    ConnectOptions::new().connect(target)
}

/// How to connect to a store.
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn example() -> Result<(), factstr_client::Error> {
/// use factstr_client::{ConnectOptions, Tls};
///
/// let store = ConnectOptions::new()
///     .tls(Tls::new().ca("ca.pem"))
///     .token("s3cret")
///     .timeout(Duration::from_secs(5))
///     .connect("store.example:50051")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct ConnectOptions {
    tls: Option<Tls>,
    token: Option<String>,
    allow_plaintext_token: bool,
    timeout: Duration,
    retries: Retries,
}

impl ConnectOptions {
    /// Plaintext, no token, a timeout of 30 s, and the usual repetitions.
    pub fn new() -> Self {
        Self {
            tls: None,
            token: None,
            allow_plaintext_token: false,
            timeout: Duration::from_secs(30),
            retries: Retries::default(),
        }
    }

    /// Encrypts, and verifies the server.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sends a token with every call, as `authorization: Bearer TOKEN`.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Lets the token go in plaintext to another machine, where everyone on the way can read it.
    pub fn allow_plaintext_token(mut self) -> Self {
        self.allow_plaintext_token = true;
        self
    }

    /// Bounds each call, its repetitions included; of a query, each wait for the server. 30 s unless set;
    /// [`Duration::MAX`] is no bound.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Says how failed calls are repeated.
    pub fn retries(mut self, retries: Retries) -> Self {
        self.retries = retries;
        self
    }

    /// Returns the store at `target`: see [`connect`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage) when the target is no address or has no port, when the token would
    /// go to another machine in plaintext or no header can carry it, when a file of the TLS cannot be read or holds
    /// nothing of use, and when the timeout is zero.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn connect(self, target: &str) -> Result<EventStore, Error> {
        let address: Target = target.parse()?;
        check_time("timeout", Some(self.timeout))?;
        if self.token.is_some() && self.tls.is_none() && !address.is_local() && !self.allow_plaintext_token {
            return Err(Error::usage(format!(
                "the token would go to {target} in plaintext; use TLS, or allow it with allow_plaintext_token"
            )));
        }
        let authorization = self.token.as_deref().map(bearer).transpose()?;
        let channel = channel(&address, self.tls.as_ref())?;
        let transport = InterceptedService::new(channel, Authorization(authorization));
        Ok(EventStore::new(transport, self.timeout, self.retries))
    }
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ConnectOptions")
            .field("tls", &self.tls)
            .field("has_token", &self.token.is_some())
            .field("allow_plaintext_token", &self.allow_plaintext_token)
            .field("timeout", &self.timeout)
            .field("retries", &self.retries)
            .finish()
    }
}

/// How to verify the server, and how to show who is calling. Files are PEM, and read when connecting.
///
/// As it is, the authorities of the system are trusted, and the caller shows no certificate.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Tls {
    ca: Option<PathBuf>,
    cert_and_key: Option<(PathBuf, PathBuf)>,
    server_name: Option<String>,
}

impl Tls {
    /// Trusts the authorities of the system.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the authorities in this file instead.
    ///
    /// The server must show a certificate that one of them has signed, and not an authority's own: rustls refuses that
    /// at each call (`CaUsedAsEndEntity`), as of a self-signed certificate that says `CA:TRUE`.
    pub fn ca(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca = Some(file.into());
        self
    }

    /// Shows the server the caller's own certificate, which takes its key.
    pub fn cert(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.cert_and_key = Some((cert.into(), key.into()));
        self
    }

    /// Expects this name in the server's certificate, instead of the target's host.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    fn config(&self, host: &str) -> Result<ClientTlsConfig, Error> {
        let config =
            ClientTlsConfig::new().domain_name(self.server_name.as_deref().unwrap_or(host)).timeout(CONNECT_TIMEOUT);
        let config = match &self.ca {
            Some(file) => config.ca_certificate(authorities(file)?),
            None => config.with_native_roots(),
        };
        Ok(match &self.cert_and_key {
            Some((cert, key)) => config.identity(Identity::from_pem(read(cert)?, read(key)?)),
            None => config,
        })
    }
}

/// Tonic would trust nobody where there is none.
fn authorities(file: &Path) -> Result<Certificate, Error> {
    let pem = read(file)?;
    if let Err(error) = CertificateDer::from_pem_slice(&pem) {
        let message = format!("{} holds no certificate (PEM): {error}", file.display());
        return Err(Error::usage(message).with_source(error));
    }
    Ok(Certificate::from_pem(pem))
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    fs::read(file)
        .map_err(|error| Error::usage(format!("{} cannot be read: {error}", file.display())).with_source(error))
}

fn bearer(token: &str) -> Result<MetadataValue<Ascii>, Error> {
    const MESSAGE: &str = "the token is empty, or holds a character that no header can carry, such as a line end; give \
                           it as `factstr-server token new` has told it, or none";
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::usage(MESSAGE));
    }
    let mut value: MetadataValue<Ascii> =
        format!("Bearer {token}").parse().map_err(|error| Error::usage(MESSAGE).with_source(error))?;
    value.set_sensitive(true);
    Ok(value)
}

/// What the generated stubs of a store send their calls on: its channel, with its token.
pub type Transport = InterceptedService<Channel, Authorization>;

/// Puts the token of a store into each call.
#[derive(Clone)]
pub struct Authorization(Option<MetadataValue<Ascii>>);

impl Interceptor for Authorization {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Authorization").field("has_token", &self.0.is_some()).finish()
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Tonic knows no proxies and no retry policies, and connects anew at each call that finds no connection.
fn channel(target: &Target, tls: Option<&Tls>) -> Result<Channel, Error> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{}", target.authority()))
        .and_then(|endpoint| endpoint.user_agent(concat!("factstr-rust/", env!("CARGO_PKG_VERSION"))))
        .map_err(|error| Error::usage(format!("the target cannot be used: {error}")).with_source(error))?
        // One that hangs would hold up all calls.
        .connect_timeout(CONNECT_TIMEOUT)
        // A dead connection is noticed within 40 s while a call is under way; nothing is sent while there is none.
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(false)
        // What a slow reader leaves unread must not take the room of all other calls on the connection.
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(i32::MAX.unsigned_abs());
    if let Some(tls) = tls {
        endpoint = endpoint
            .tls_config(tls.config(target.host())?)
            .map_err(|error| Error::usage(format!("the TLS cannot be used: {}", deepest(&error))).with_source(error))?;
    }
    Ok(match target {
        Target::Tcp { .. } => endpoint.connect_lazy(),
        Target::Unix(path) => unix_channel(&endpoint, path.clone())?,
    })
}

/// Not by tonic's own `unix:` targets, which know no TLS.
#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "where there are none it fails")]
fn unix_channel(endpoint: &Endpoint, path: PathBuf) -> Result<Channel, Error> {
    Ok(endpoint.connect_with_connector_lazy(tower::service_fn(move |_| {
        let path = path.clone();
        async { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
    })))
}

#[cfg(not(unix))]
fn unix_channel(_: &Endpoint, path: PathBuf) -> Result<Channel, Error> {
    Err(Error::usage(format!("unix:{}: this system has no Unix sockets", path.display())))
}

fn deepest(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), deepest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn refused(options: ConnectOptions) -> String {
        let error = options.connect("localhost:1").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        error.message().to_owned()
    }

    #[test]
    fn a_token_that_no_header_can_carry_is_refused_and_not_told() {
        for token in ["", "secret\n", "two words", "tökén", "\u{7f}"] {
            let message = refused(ConnectOptions::new().token(token));
            assert!(token.is_empty() || !message.contains(token), "{message}");
        }
    }

    #[test]
    fn a_timeout_that_is_none_is_refused() {
        assert!(refused(ConnectOptions::new().timeout(Duration::ZERO)).starts_with("timeout"));
    }

    #[test]
    fn authorities_that_are_none_are_refused_by_the_name_of_their_file() {
        for file in ["Cargo.toml", "nowhere.pem", "src"] {
            let message = refused(ConnectOptions::new().tls(Tls::new().ca(file)));
            assert!(message.starts_with(file), "{message}");
        }
    }
}
