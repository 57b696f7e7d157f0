//! The endpoint: POST over HTTP/1.1 on connections that are kept.

use std::error::Error as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{Instant, timeout_at};

/// So much of an answer is read: a connection whose answer is not read to its end is not used
/// again.
const READ: usize = 64 << 10;
const AGENT: &str = concat!("roadstead/", env!("CARGO_PKG_VERSION"));

/// Where messages are posted to.
pub struct Endpoint {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    /// With every request.
    headers: HeaderMap,
    timeout: Duration,
}

impl Endpoint {
    /// `ca_file`: trusted instead of what the system trusts. Nothing is connected yet.
    ///
    /// # Errors
    /// When the certificates cannot be read.
    pub fn new(
        uri: Uri,
        mut headers: HeaderMap,
        timeout: Duration,
        ca_file: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let tls = tls(uri.scheme_str() == Some("https"), ca_file)?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(connector);
        headers
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(AGENT));
        Ok(Self {
            client,
            uri,
            headers,
            timeout,
        })
    }

    /// Status, headers and the beginning of the body of the answer.
    ///
    /// # Errors
    /// Says why there was no answer.
    pub async fn post(
        &self,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<(StatusCode, HeaderMap, Bytes), String> {
        headers.extend(self.headers.clone());
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        let end = Instant::now() + self.timeout;
        let answer = match timeout_at(end, self.client.request(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                return Err(format!(
                    "no answer from {}: {}",
                    self.shown(),
                    causes(&error)
                ));
            }
            Err(_) => {
                return Err(format!(
                    "no answer from {} in {:?}",
                    self.shown(),
                    self.timeout
                ));
            }
        };
        let (head, body) = answer.into_parts();
        // The status counts, also where the rest of the answer does not come.
        let body = timeout_at(end, beginning(body)).await.unwrap_or_default();
        Ok((head.status, head.headers, body))
    }

    /// The endpoint without its query, which may hold a secret.
    fn shown(&self) -> String {
        let scheme = self.uri.scheme_str().unwrap_or("http");
        let authority = self.uri.authority().map_or("", |it| it.as_str());
        let host = authority.rsplit('@').next().unwrap_or_default();
        format!("{scheme}://{host}{}", self.uri.path())
    }
}

async fn beginning(body: Incoming) -> Bytes {
    let body = Limited::new(body, READ).collect().await;
    body.map(Collected::to_bytes).unwrap_or_default()
}

/// What the error and its causes say.
fn causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn tls(needed: bool, ca_file: Option<&Path>) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions()?;
    let config = match ca_file {
        Some(path) => config.with_root_certificates(roots(path)?),
        None if needed => config.with_native_roots().context(
            "this system has no certificates of authorities to trust; name a file by \
             --post-ca-file",
        )?,
        None => config.with_root_certificates(RootCertStore::empty()),
    };
    Ok(config.with_no_client_auth())
}

fn roots(path: &Path) -> anyhow::Result<RootCertStore> {
    let cannot = || format!("cannot read CA certificates {}", path.display());
    let text = std::fs::read(path).with_context(cannot)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        roots
            .add(certificate.with_context(cannot)?)
            .with_context(cannot)?;
    }
    if roots.is_empty() {
        bail!("{} holds no certificate (PEM)", path.display());
    }
    Ok(roots)
}
