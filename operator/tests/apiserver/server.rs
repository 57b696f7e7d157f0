//! A kube-apiserver with its etcd on loopback ports, in a temporary folder. Both end with the test,
//! also when that is killed.
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};

/// Three API servers at a time are more than two cores start in time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// A running API server.
pub struct ApiServer {
    folder: tempfile::TempDir,
    port: u16,
    children: Vec<Child>,
    _turn: MutexGuard<'static, ()>,
}

impl ApiServer {
    /// Starts one; fails where there are no binaries.
    pub async fn start() -> Self {
        let binaries = binaries().expect(
            "no kube-apiserver in ~/.cache/roadstead/*/bin: \
             ROADSTEAD_E2E_PROVIDER=local e2e/cluster build",
        );
        let turn = ONE_AT_A_TIME.lock().await;
        let folder = tempfile::tempdir().unwrap();
        certificates(folder.path());
        let [etcd, peer, port] = free_ports();
        let mut server = Self {
            folder,
            port,
            children: Vec::new(),
            _turn: turn,
        };
        server.spawn(
            &binaries.join("etcd"),
            &etcd_flags(server.folder.path(), etcd, peer),
        );
        server.spawn(
            &binaries.join("kube-apiserver"),
            &api_flags(server.folder.path(), etcd, port),
        );
        server.wait().await;
        server
    }

    /// A client that may do everything, or acts as this user.
    pub async fn client(&self, user: Option<&str>) -> Client {
        let file = |name: &str| self.folder.path().join(name);
        let config: Kubeconfig = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "clusters": [{"name": "it", "cluster": {
                "server": format!("https://127.0.0.1:{}", self.port),
                "certificate-authority": file("ca.crt"),
            }}],
            "users": [{"name": "it", "user": {
                "client-certificate": file("admin.crt"),
                "client-key": file("admin.key"),
                "as": user,
            }}],
        }))
        .unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(config, &options)
            .await
            .unwrap();
        Client::try_from(config).unwrap()
    }

    fn spawn(&mut self, program: &Path, flags: &[String]) {
        let name = program.file_name().unwrap().to_string_lossy().into_owned();
        let log = std::fs::File::create(self.folder.path().join(format!("{name}.log"))).unwrap();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.children.push(child);
    }

    async fn wait(&self) {
        let begin = Instant::now();
        let client = self.client(None).await;
        loop {
            let request = http::Request::get("/readyz").body(Vec::new()).unwrap();
            if client.request_text(request).await.is_ok() {
                return;
            }
            let log = std::fs::read_to_string(self.folder.path().join("kube-apiserver.log"));
            let late = begin.elapsed() > Duration::from_mins(3);
            assert!(
                !late,
                "the API server did not start: {}",
                log.unwrap_or_default()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn binaries() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    let versions = std::fs::read_dir(cache.join("roadstead")).ok()?;
    let mut folders: Vec<_> = versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("kube-apiserver").is_file() && bin.join("etcd").is_file())
        .collect();
    folders.sort();
    folders.pop()
}

fn free_ports() -> [u16; 3] {
    let listeners = [0; 3].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn etcd_flags(folder: &Path, client: u16, peer: u16) -> Vec<String> {
    let (client, peer) = (
        format!("http://127.0.0.1:{client}"),
        format!("http://127.0.0.1:{peer}"),
    );
    [
        ("data-dir", folder.join("etcd").display().to_string()),
        ("listen-client-urls", client.clone()),
        ("advertise-client-urls", client),
        ("listen-peer-urls", peer.clone()),
        ("initial-advertise-peer-urls", peer.clone()),
        ("initial-cluster", format!("default={peer}")),
        ("unsafe-no-fsync", "true".to_owned()),
    ]
    .map(|(flag, value)| format!("--{flag}={value}"))
    .into()
}

fn api_flags(folder: &Path, etcd: u16, port: u16) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    [
        ("etcd-servers", format!("http://127.0.0.1:{etcd}")),
        ("bind-address", "127.0.0.1".to_owned()),
        ("secure-port", port.to_string()),
        ("client-ca-file", file("ca.crt")),
        ("tls-cert-file", file("server.crt")),
        ("tls-private-key-file", file("server.key")),
        ("service-account-key-file", file("sa.pub")),
        ("service-account-signing-key-file", file("sa.key")),
        (
            "service-account-issuer",
            "https://kubernetes.default.svc".to_owned(),
        ),
        ("service-cluster-ip-range", "10.96.0.0/16".to_owned()),
        ("authorization-mode", "RBAC".to_owned()),
        ("endpoint-reconciler-type", "none".to_owned()),
    ]
    .map(|(flag, value)| format!("--{flag}={value}"))
    .into()
}

fn certificates(folder: &Path) {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    write("ca.crt", &ca.self_signed(&ca_key).unwrap().pem());
    let issuer = Issuer::new(ca, ca_key);
    for name in ["server", "admin"] {
        let mut params = CertificateParams::default();
        params
            .subject_alt_names
            .push(SanType::IpAddress([127, 0, 0, 1].into()));
        params.distinguished_name.push(DnType::CommonName, name);
        params
            .distinguished_name
            .push(DnType::OrganizationName, "system:masters");
        let key = KeyPair::generate().unwrap();
        write(
            &format!("{name}.crt"),
            &params.signed_by(&key, &issuer).unwrap().pem(),
        );
        write(&format!("{name}.key"), &key.serialize_pem());
    }
    let account = KeyPair::generate().unwrap();
    write("sa.key", &account.serialize_pem());
    write("sa.pub", &account.public_key_pem());
}
