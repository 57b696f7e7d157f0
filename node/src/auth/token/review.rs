//! One `TokenReview`: an HTTPS POST to the Kubernetes API server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{AUDIENCE, Reviewer, Verdict};
use crate::auth::Principal;
use crate::tls::provider;

const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const DIRECTORY: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// An answer is about 1 KiB.
const MAX_ANSWER: usize = 64 * 1024;

/// How the API server is reached, and as whom.
#[derive(Debug, Clone)]
pub struct ApiServer {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Directory with `ca.crt` of the API server and `token` of this pod; both are read for each
    /// review, since they are rotated.
    pub directory: PathBuf,
}

/// Why there is no API server to ask.
#[derive(Debug, thiserror::Error)]
#[error(
    "ServiceAccount tokens cannot be checked: {0}; run in a Kubernetes pod with a ServiceAccount, \
     or let anonymous clients in (--client-auth anonymous)"
)]
pub struct ApiServerError(String);

impl ApiServer {
    /// The API server of the cluster that this process is a pod of.
    ///
    /// # Errors
    /// When it is none, or has no `ServiceAccount` token.
    pub fn in_cluster() -> Result<Self, ApiServerError> {
        let variable = |name: &str| {
            std::env::var(name).map_err(|_| ApiServerError(format!("{name} is not set")))
        };
        let port = variable("KUBERNETES_SERVICE_PORT")?;
        let server = Self {
            host: variable("KUBERNETES_SERVICE_HOST")?,
            port: port.parse().map_err(|_| {
                ApiServerError(format!("KUBERNETES_SERVICE_PORT={port:?} is no port"))
            })?,
            directory: Path::new(DIRECTORY).to_owned(),
        };
        server.read("token").map_err(ApiServerError)?;
        server.tls().map_err(ApiServerError)?;
        Ok(server)
    }

    fn read(&self, name: &str) -> Result<String, String> {
        let path = self.directory.join(name);
        std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))
    }

    fn tls(&self) -> Result<ClientConfig, String> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.read("ca.crt")?.as_bytes()) {
            let certificate = certificate.map_err(|e| format!("ca.crt: {e}"))?;
            roots.add(certificate).map_err(|e| format!("ca.crt: {e}"))?;
        }
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?;
        Ok(config.with_root_certificates(roots).with_no_client_auth())
    }

    async fn ask(&self, token: String) -> Verdict {
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [AUDIENCE]},
        });
        let host = &self.host;
        let request = Request::post(PATH)
            .header(HOST, format!("{}:{}", bracketed(host), self.port))
            .header(
                AUTHORIZATION,
                format!("Bearer {}", self.read("token")?.trim()),
            )
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|e| e.to_string())?;

        let failed = |e: &dyn std::fmt::Display| format!("API server {host}:{}: {e}", self.port);
        let name = ServerName::try_from(host.clone()).map_err(|e| failed(&e))?;
        let tcp = TcpStream::connect((host.as_str(), self.port))
            .await
            .map_err(|e| failed(&e))?;
        let connector = TlsConnector::from(Arc::new(self.tls()?));
        let stream = connector.connect(name, tcp).await.map_err(|e| failed(&e))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| failed(&e))?;
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(|e| failed(&e))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER);
            let body = body.collect().await.map_err(|e| failed(&e))?.to_bytes();
            Ok::<_, String>((status, body))
        };
        // The connection is driven here and dropped with the answer: nothing is left behind.
        let mut connection = std::pin::pin!(connection.fuse());
        let mut exchange = std::pin::pin!(exchange.fuse());
        let (status, body) = loop {
            tokio::select! {
                biased;
                done = &mut exchange => break done?,
                _ = &mut connection => {}
            }
        };
        if status != StatusCode::CREATED && status != StatusCode::OK {
            return Err(failed(&format!("it answered {status} to a TokenReview")));
        }
        read_review(&body).map_err(|e| failed(&e))
    }
}

impl Reviewer for ApiServer {
    fn review(self: Arc<Self>, token: String) -> BoxFuture<'static, Verdict> {
        async move { self.ask(token).await }.boxed()
    }
}

#[derive(Deserialize)]
struct Review {
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize, Default)]
struct Status {
    #[serde(default)]
    authenticated: bool,
    #[serde(default)]
    audiences: Vec<String>,
    #[serde(default)]
    user: User,
}

#[derive(Deserialize, Default)]
struct User {
    #[serde(default)]
    username: String,
}

/// Reads a `TokenReview` with its status. A user that is no `ServiceAccount` is nobody here.
fn read_review(body: &[u8]) -> Result<Option<Principal>, serde_json::Error> {
    let Review { status } = serde_json::from_slice(body)?;
    // An API server that does not know audiences leaves the list empty: the token may be for it.
    if !status.authenticated || !status.audiences.iter().any(|audience| audience == AUDIENCE) {
        return Ok(None);
    }
    let account = status.user.username.strip_prefix("system:serviceaccount:");
    let names = account.and_then(|names| names.split_once(':'));
    Ok(names.map(|(namespace, name)| Principal::ServiceAccount {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }))
}

fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_authenticated_service_accounts_of_the_audience_are_somebody() {
        let shop = Principal::ServiceAccount {
            namespace: "shop".into(),
            name: "worker".into(),
        };
        let user = r#""user":{"username":"system:serviceaccount:shop:worker"}"#;
        let table = [
            (
                format!(r#"{{"authenticated":true,"audiences":["roadstead"],{user}}}"#),
                Some(shop),
            ),
            (
                format!(r#"{{"authenticated":false,"audiences":["roadstead"],{user}}}"#),
                None,
            ),
            (format!(r#"{{"authenticated":true,{user}}}"#), None),
            (
                format!(r#"{{"authenticated":true,"audiences":["vault"],{user}}}"#),
                None,
            ),
            (
                r#"{"authenticated":true,"audiences":["roadstead"],"user":{"username":"ada"}}"#
                    .into(),
                None,
            ),
            ("{}".into(), None),
        ];
        for (status, expected) in table {
            let body = format!(r#"{{"status":{status}}}"#);
            assert_eq!(read_review(body.as_bytes()).unwrap(), expected, "{status}");
        }
        assert!(read_review(b"<html>").is_err());
    }
}
