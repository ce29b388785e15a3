//! Certificates, keys and tokens of one control plane, made here and known to nobody else.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;

use crate::HarnessError;

/// Where the files are.
#[derive(Debug)]
pub(super) struct Credentials {
    dir: PathBuf,
}

/// Somebody whom the API server knows by a static token.
#[derive(Clone, Copy, Debug)]
pub(super) struct User {
    pub(super) name: &'static str,
    pub(super) group: &'static str,
}

impl Credentials {
    /// Makes everything in `dir` and a kubeconfig for each user.
    pub(super) fn make(dir: &Path, url: &str, users: &[User]) -> Result<Self, HarnessError> {
        let made = Self {
            dir: dir.to_owned(),
        };
        made.certificates().map_err(|e| HarnessError::Content {
            path: dir.to_owned(),
            message: format!("a certificate cannot be made: {e}"),
        })??;
        let mut tokens = String::new();
        for user in users {
            let token = token();
            tokens += &format!("{token},{0},{0},{1}\n", user.name, user.group);
            made.write_kubeconfig(user.name, url, &token)?;
        }
        write(&made.tokens(), &tokens)?;
        Ok(made)
    }

    /// The API server's certificate under a CA of its own, and the key that signs the tokens of ServiceAccounts. The
    /// outer error is the certificate library's, the inner one the file system's.
    fn certificates(&self) -> Result<Result<(), HarnessError>, rcgen::Error> {
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        ca.distinguished_name
            .push(DnType::CommonName, "test control plane");
        let ca_key = KeyPair::generate()?;
        let ca_certificate = ca.self_signed(&ca_key)?.pem();
        let issuer = Issuer::new(ca, ca_key);

        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc"].map(String::from);
        let mut server = CertificateParams::new(names)?;
        server
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.use_authority_key_identifier_extension = true;
        let server_key = KeyPair::generate()?;
        let certificate = server.signed_by(&server_key, &issuer)?.pem();

        let signer = KeyPair::generate()?;
        let files = [
            (self.ca(), ca_certificate),
            (self.server_certificate(), certificate),
            (self.server_key(), server_key.serialize_pem()),
            (self.signing_key(), signer.serialize_pem()),
            (self.verification_key(), signer.public_key_pem()),
        ];
        let written = files.iter().try_for_each(|(path, text)| write(path, text));
        Ok(written)
    }

    /// Writes a kubeconfig for who holds `token`; JSON, which is YAML too.
    pub(super) fn write_kubeconfig(
        &self,
        name: &str,
        url: &str,
        token: &str,
    ) -> Result<PathBuf, HarnessError> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": self.ca()}}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
        });
        let path = self.kubeconfig(name);
        write(&path, &config.to_string())?;
        Ok(path)
    }

    pub(super) fn kubeconfig(&self, name: &str) -> PathBuf {
        self.dir
            .join(format!("{}.kubeconfig", name.replace([':', '/'], "-")))
    }

    pub(super) fn ca(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    pub(super) fn server_certificate(&self) -> PathBuf {
        self.dir.join("apiserver.crt")
    }

    pub(super) fn server_key(&self) -> PathBuf {
        self.dir.join("apiserver.key")
    }

    pub(super) fn signing_key(&self) -> PathBuf {
        self.dir.join("service-accounts.key")
    }

    pub(super) fn verification_key(&self) -> PathBuf {
        self.dir.join("service-accounts.pub")
    }

    pub(super) fn tokens(&self) -> PathBuf {
        self.dir.join("tokens.csv")
    }
}

fn token() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Writes a file of the control plane's directory, which only we can enter.
pub(super) fn write(path: &Path, text: &str) -> Result<(), HarnessError> {
    std::fs::write(path, text).map_err(HarnessError::io("write", path))
}
