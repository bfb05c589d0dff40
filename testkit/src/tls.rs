//! Servers that speak TLS, with certificates of an authority that nobody else knows.
//!
//! `scripts/tls-servers.sh` runs them. It stops them when its standard input ends, so they never outlive the test,
//! however that ends.

use std::{path::PathBuf, process::Stdio};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// The name in the servers' certificate. They listen on 127.0.0.1, so by that address the name is a wrong one.
pub const SERVER_NAME: &str = "localhost";

/// A PostgreSQL and a RabbitMQ, stopped when this is dropped.
#[derive(Debug)]
pub struct TlsServers {
    /// The port of PostgreSQL.
    pub postgres_port: u16,
    /// The port of RabbitMQ for TLS.
    pub broker_port: u16,
    folder: TempDir,
    script: Child,
}

impl TlsServers {
    /// Starts them. `None` when the tests use no servers (`TEST_DATABASE_URL`, `TEST_BROKER_URL`), or when this
    /// machine has no programs for them; in CI the latter is a failure.
    pub async fn start() -> Option<Self> {
        if ["TEST_DATABASE_URL", "TEST_BROKER_URL"].iter().any(|name| std::env::var_os(name).is_none()) {
            eprintln!("skipped: TEST_DATABASE_URL and TEST_BROKER_URL are not set");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let (certificate, key) = authority.certify(SERVER_NAME);
        for (name, content) in [
            ("ca.pem", authority.pem()),
            ("stranger.pem", Authority::new().pem()),
            ("server.pem", certificate),
            ("server.key", key),
        ] {
            std::fs::write(folder.path().join(name), content).unwrap();
        }

        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/tls-servers.sh");
        let mut script = Command::new(program);
        script.arg(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = script.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(script.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
        let [postgres, _, broker_port] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            let status = script.wait().await.unwrap();
            assert_eq!(status.code(), Some(3), "{program} did not start the servers");
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "PostgreSQL or RabbitMQ are not installed");
            eprintln!("skipped: PostgreSQL or RabbitMQ are not installed");
            return None;
        };
        let postgres_port = postgres.parse::<reqwest::Url>().unwrap().port().unwrap();
        let broker_port = broker_port.parse().unwrap();
        Some(Self { postgres_port, broker_port, folder, script })
    }

    /// The certificate of the authority that has certified the servers.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The certificate of an authority that has not.
    pub fn stranger(&self) -> PathBuf {
        self.folder.path().join("stranger.pem")
    }
}

impl Drop for TlsServers {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        // The folder goes next, and the servers should be gone by then.
        while matches!(self.script.try_wait(), Ok(None)) {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// A certificate authority with a key of its own.
struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        // Authorities are told apart by their names.
        params.distinguished_name.push(DnType::CommonName, uuid::Uuid::now_v7().to_string());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// A certificate for a server of this name, and its key, in PEM form.
    fn certify(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}
