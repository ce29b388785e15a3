//! The bucket: the manifest's, or one of an embedded S3 server.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use brainy_coordination::claim::{self, Claim};
use brainy_coordination::self_coordination::ownership;
use brainy_coordination::store::probe::ProbeOptions;
use brainy_coordination::store::retry::Store;
use brainy_coordination::store::s3::{Credentials, S3Config};
use brainy_crds::{ADOPT_DATA, BrainyCluster, StorageSpec};
use brainy_embedded_s3::{EmbeddedS3, EmbeddedS3Config, EmbeddedS3Error, Running};

use super::data_dir::{DataDir, S3Keys};
use crate::error::OperatorError;
use crate::storage::open;

/// Bucket of the embedded server.
const EMBEDDED_BUCKET: &str = "brainy";
/// Stores other than AWS accept any region.
const EMBEDDED_REGION: &str = "us-east-1";
/// Contenders in each race of the probe: enough to catch a store that decides without a lock.
const CONTENDERS: usize = 8;
const PROBE_DEADLINE: Duration = Duration::from_secs(60);
/// Variables of `brainyd` that the user's shell may hold for another purpose and that flags do not always override.
const UNSET: [&str; 3] = [
    "BRAINY_S3_ENDPOINT",
    "BRAINY_S3_REGION",
    "BRAINY_S3_PATH_STYLE",
];

/// The bucket as operator and instances reach it.
pub(crate) struct Bucket {
    /// The operator's access.
    pub(crate) store: Store,
    /// Flags of `brainyd` that name it.
    pub(crate) arguments: Vec<String>,
    /// Variables that `brainyd` gets.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// For people.
    pub(crate) description: String,
    embedded: Option<Running>,
}

impl Bucket {
    /// Starts the embedded server if the manifest names no bucket, and probes.
    ///
    /// # Errors
    /// Why the bucket cannot be used.
    pub(crate) async fn open(
        cluster: &BrainyCluster,
        data: &DataDir,
        s3_port: u16,
    ) -> Result<Self, OperatorError> {
        let prefix = cluster.storage_prefix();
        let spec = &cluster.spec.storage;
        let Some(bucket) = &spec.bucket else {
            return Self::embedded(prefix, data, s3_port).await;
        };
        let config = S3Config {
            prefix,
            region: spec.region.clone(),
            endpoint: spec.endpoint.clone(),
            path_style: spec.path_style,
            credentials: credentials(spec)?,
            ..S3Config::new(bucket.clone())
        };
        let at = spec.endpoint.as_deref().unwrap_or("AWS");
        let description = format!("bucket {bucket} at {at}");
        Self::connect(config, Vec::new(), description, None).await
    }

    async fn embedded(prefix: String, data: &DataDir, s3_port: u16) -> Result<Self, OperatorError> {
        let S3Keys {
            access_key,
            secret_key,
        } = data.s3_keys()?;
        let port = if s3_port == 0 {
            data.ports()?.take("s3")?
        } else {
            s3_port
        };
        let root = data.join("s3");
        let description = format!("embedded S3 server, {}", root.display());
        let config = EmbeddedS3Config {
            root,
            bucket: EMBEDDED_BUCKET.to_owned(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            access_key: access_key.clone(),
            secret_key: secret_key.clone(),
        };
        let running = EmbeddedS3::start(config)
            .await
            .map_err(|error| match error {
                EmbeddedS3Error::Listen { listen, source } => OperatorError::PortTaken {
                    host: listen.ip().to_string(),
                    port: listen.port(),
                    flag: "--s3-port",
                    source,
                },
                other => OperatorError::EmbeddedS3(other.to_string()),
            })?;
        let environment = vec![
            ("AWS_ACCESS_KEY_ID", access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", secret_key.clone()),
            // What the user's shell holds belongs to other keys.
            ("AWS_SESSION_TOKEN", String::new()),
        ];
        let config = S3Config {
            prefix,
            region: Some(EMBEDDED_REGION.to_owned()),
            endpoint: Some(running.endpoint()),
            path_style: true,
            credentials: Credentials::Static {
                access_key,
                secret_key,
                session_token: None,
            },
            ..S3Config::new(EMBEDDED_BUCKET)
        };
        Self::connect(config, environment, description, Some(running)).await
    }

    async fn connect(
        config: S3Config,
        environment: Vec<(&'static str, String)>,
        description: String,
        embedded: Option<Running>,
    ) -> Result<Self, OperatorError> {
        let arguments = arguments(&config);
        let mut environment = environment;
        environment.extend(UNSET.map(|name| (name, String::new())));
        let options = ProbeOptions {
            contenders: CONTENDERS,
            deadline: PROBE_DEADLINE,
        };
        let store = open(config, options).await?;
        Ok(Self {
            store,
            arguments,
            environment,
            description,
            embedded,
        })
    }

    /// Makes sure that no nodes plan the data by themselves; with the annotation that adopts data they are not to from now on.
    ///
    /// # Errors
    /// They do, and nobody said to take the data over.
    pub(crate) async fn take_from_nodes(
        &self,
        cluster: &BrainyCluster,
    ) -> Result<(), OperatorError> {
        let holder = claim::holder(&self.store).await?;
        if !holder.as_ref().is_some_and(ownership::is_of_nodes) {
            return Ok(());
        }
        if !cluster.has_annotation(ADOPT_DATA) {
            return Err(OperatorError::StorageRefused {
                message: format!(
                    "the nodes of this prefix coordinate themselves, without an operator. Stop them and take the data over with the \
                     annotation {ADOPT_DATA}=true, or choose another spec.storage.prefix"
                ),
            });
        }
        let name = "brainy-operator local".to_owned();
        let mine = Claim {
            uid: name.clone(),
            name,
        };
        // Adopting cannot be refused.
        let _ours = claim::claim(&self.store, &mine, true).await?;
        Ok(())
    }

    /// Stops the embedded server, if there is one.
    pub(crate) async fn close(self) {
        if let Some(server) = self.embedded {
            server.shutdown().await;
        }
    }
}

fn arguments(config: &S3Config) -> Vec<String> {
    let mut arguments = vec!["--s3-bucket".to_owned(), config.bucket.clone()];
    arguments.extend(["--s3-prefix".to_owned(), config.prefix.clone()]);
    for (flag, value) in [
        ("--s3-endpoint", &config.endpoint),
        ("--s3-region", &config.region),
    ] {
        if let Some(value) = value {
            arguments.extend([flag.to_owned(), value.clone()]);
        }
    }
    if config.path_style {
        arguments.push("--s3-path-style".to_owned());
    }
    arguments
}

fn credentials(spec: &StorageSpec) -> Result<Credentials, OperatorError> {
    let secret = spec
        .credentials
        .as_ref()
        .and_then(|c| c.secret_ref.as_ref());
    if secret.is_none() {
        return Ok(Credentials::DefaultChain);
    }
    let variable = |name: &'static str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (id, key) = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY");
    match (variable(id), variable(key)) {
        (Some(access_key), Some(secret_key)) => Ok(Credentials::Static {
            access_key,
            secret_key,
            session_token: variable("AWS_SESSION_TOKEN"),
        }),
        (access_key, secret_key) => {
            let missing: Vec<&str> = [(id, access_key), (key, secret_key)]
                .into_iter()
                .filter_map(|(name, value)| value.is_none().then_some(name))
                .collect();
            Err(OperatorError::NoCredentials {
                missing: missing.join(" and "),
            })
        }
    }
}
