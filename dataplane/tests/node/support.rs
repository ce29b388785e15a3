//! Nodes in this process around one directory in place of a bucket, and certificates for them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use brainy_conflict::Policy;
use brainy_coordination::assignment::{AssignmentTable, Member, MemberState, Role};
use brainy_coordination::config::{ConfigWatcher, SharedConfig};
use brainy_coordination::lease::Identity;
use brainy_coordination::rebalance::{self, StepOutcome};
use brainy_coordination::store::dir::DirStore;
use brainy_coordination::store::retry::{RetryPolicy, Store};
use brainy_coordination::types::{InstanceId, Nonce};
use brainy_dataplane::api::{self, ApiConfig, ApiKeys};
use brainy_dataplane::engine::BuildOptions;
use brainy_dataplane::model::{
    Consistency, CountRequest, DenseParams, Distance, Point, PointId, ReadOptions, VectorSchema,
    Vectors, WriteOp, WriteOptions,
};
use brainy_dataplane::node::{Coordination, ExchangeConfig, Node, NodeConfig, rpc};
use brainy_dataplane::service::{CreateCollection, DataService};
use brainy_http_server::tls::{self, ServerTls};
use brainy_http_server::{serve, serve_tls};
use prometheus_client::registry::Registry;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::proxy::Proxy;

/// Longest time for anything that is waited for.
pub(crate) const WITHIN: Duration = Duration::from_secs(60);
/// The admin key of nodes that have keys.
pub(crate) const KEY: &str = "admin-key";

/// An authority and what it signed for `localhost`, as files.
pub(crate) struct Certificates(TempDir);

impl Certificates {
    pub(crate) fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Authorities are looked up by their names: each has its own.
        let name = files.0.path().display().to_string();
        params.distinguished_name.push(DnType::CommonName, name);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        std::fs::write(files.ca(), authority.pem()).unwrap();
        std::fs::write(files.cert(), certificate.pem()).unwrap();
        std::fs::write(files.key(), key.serialize_pem()).unwrap();
        files
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.0.path().join("ca.crt")
    }

    pub(crate) fn cert(&self) -> PathBuf {
        self.0.path().join("tls.crt")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.0.path().join("tls.key")
    }
}

/// What a node is, where it differs from a hybrid one that polls, in plain HTTP.
pub(crate) struct Kind<'a> {
    pub(crate) role: Role,
    pub(crate) certificates: Option<&'a Certificates>,
    pub(crate) coordination: Coordination,
    /// Settings that the shared ones do not change.
    pub(crate) settings: SharedConfig,
    /// What other nodes reach it through.
    pub(crate) behind: Option<&'a Proxy>,
    /// With several writers, and this access to the bucket.
    pub(crate) lanes: Option<Store>,
    /// What becomes of concurrent writes.
    pub(crate) policy: Policy,
    /// Other clusters.
    pub(crate) exchange: ExchangeConfig,
    pub(crate) memory_budget: u64,
}

impl Default for Kind<'_> {
    fn default() -> Self {
        Self {
            role: Role::Hybrid,
            certificates: None,
            coordination: Coordination::default(),
            settings: SharedConfig::default(),
            behind: None,
            lanes: None,
            policy: Policy::default(),
            exchange: ExchangeConfig::default(),
            memory_budget: 256 << 20,
        }
    }
}

/// A cluster whose members this test declares.
pub(crate) struct Cluster {
    dir: TempDir,
    pub(crate) store: Store,
}

/// A node that serves until it is dropped.
pub(crate) struct Served {
    pub(crate) node: Node,
    pub(crate) id: InstanceId,
    role: Role,
    /// `localhost:port`.
    pub(crate) address: String,
    closing: CancellationToken,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = DirStore::open(dir.path().join("bucket")).unwrap();
        Self::over(Store::new(store, RetryPolicy::default()), dir)
    }

    /// One in the bucket `store`, with local files in `dir`.
    pub(crate) fn over(store: Store, dir: TempDir) -> Self {
        Self { dir, store }
    }

    /// Starts a hybrid node that needs [`KEY`], over TLS if there are `certificates`.
    pub(crate) async fn start(&self, name: &str, certificates: Option<&Certificates>) -> Served {
        let kind = Kind {
            certificates,
            ..Kind::default()
        };
        self.start_as(name, kind).await
    }

    /// Starts a node that needs [`KEY`].
    pub(crate) async fn start_as(&self, name: &str, kind: Kind<'_>) -> Served {
        let Kind {
            role,
            certificates,
            coordination,
            settings,
            behind,
            lanes,
            policy,
            exchange,
            memory_budget,
        } = kind;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = match behind {
            Some(proxy) => proxy.lead_to(port),
            None => format!("localhost:{port}"),
        };
        let id = InstanceId::new(name).unwrap();
        let multi_writer = lanes.is_some();
        let store = lanes.unwrap_or_else(|| self.store.clone());
        let config = NodeConfig {
            identity: Identity::new(id.clone()),
            role: Some(role),
            self_coordination: None,
            advertise: address.clone(),
            data_dir: self.dir.path().join(name),
            store: store.clone(),
            gc_grace: Duration::from_secs(600),
            partitions: 4,
            memory_budget,
            disk_budget: None,
            read_threads: 2,
            multi_writer,
            conflict_resolution: policy,
            exchange,
            build: BuildOptions::default(),
            cluster_key: Some(KEY.to_owned()),
            coordination,
            tls: certificates.map(|c| tls::client(Some(&c.ca())).unwrap().into()),
        };
        let watcher = ConfigWatcher::new(store, settings).unwrap();
        let node = Node::start(config, watcher, Registry::default())
            .await
            .unwrap();
        let keys = ApiKeys::new(Some(KEY.to_owned()), None, None).unwrap();
        let config = ApiConfig {
            api_keys: keys,
            ..ApiConfig::default()
        };
        let app = api::router(Arc::new(node.clone()), config).merge(rpc::router(node.clone()));
        let closing = CancellationToken::new();
        let ends = closing.clone();
        match certificates {
            Some(files) => {
                let tls = ServerTls::load(&files.cert(), &files.key()).unwrap();
                tokio::spawn(serve_tls(listener, tls, app, ends, Duration::ZERO));
            }
            None => {
                tokio::spawn(serve(listener, app, ends, Duration::ZERO));
            }
        }
        Served {
            node,
            id,
            role,
            address,
            closing,
        }
    }

    /// Declares these nodes the members, in these states, and takes a step towards balance.
    pub(crate) async fn members(&self, members: &[(&Served, MemberState)]) -> StepOutcome {
        rebalance::step(&self.store, |table| {
            table.members.clear();
            for (served, state) in members {
                let member = Member {
                    state: *state,
                    ..Member::new(served.role, &served.address)
                };
                table.members.insert(served.id.clone(), member);
            }
        })
        .await
        .unwrap()
    }

    /// As [`Cluster::members`], again and again until nothing is left to do.
    pub(crate) async fn settle(&self, members: &[(&Served, MemberState)]) -> AssignmentTable {
        let settled = async {
            loop {
                let outcome = self.members(members).await;
                if outcome.status.is_settled() {
                    return outcome.table.body.clone();
                }
                let there = members.iter().filter(|(_, s)| *s != MemberState::Gone);
                for (served, _) in there {
                    served.node.assignments().await.unwrap();
                }
            }
        };
        tokio::time::timeout(WITHIN, settled).await.unwrap()
    }
}

impl Served {
    /// Answers nobody any more.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }

    /// Creates `things`, of dimension 2, in 4 partitions.
    pub(crate) async fn create(&self) {
        let spec = CreateCollection {
            schema: VectorSchema::unnamed(DenseParams::new(2, Distance::Dot)),
            partitions: Some(4),
            settings: Default::default(),
        };
        self.node.create_collection("things", spec).await.unwrap();
    }

    /// Writes points of `things` with these ids.
    pub(crate) async fn write(&self, ids: std::ops::Range<u64>) {
        let point = |id| Point {
            id: PointId::Num(id),
            vectors: Vectors::unnamed(vec![1.0, 2.0]),
            payload: Default::default(),
        };
        let options = WriteOptions {
            request_id: Nonce::random(),
        };
        let op = WriteOp::Upsert(ids.map(point).collect());
        self.node.write("things", op, options).await.unwrap();
    }

    /// Points in `things`.
    pub(crate) async fn count(&self) -> u64 {
        self.count_with(ReadOptions::default()).await
    }

    /// Points in `things` that this node has heard of.
    pub(crate) async fn count_here(&self) -> u64 {
        let options = ReadOptions {
            consistency: Some(Consistency::Eventual),
            ..ReadOptions::default()
        };
        self.count_with(options).await
    }

    async fn count_with(&self, options: ReadOptions) -> u64 {
        let all = CountRequest { filter: None };
        self.node.count("things", all, options).await.unwrap()
    }
}
