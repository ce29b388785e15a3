//! How each program of the control plane is run.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::audit;
use super::credentials::{Credentials, User, write};
use crate::HarnessError;

/// Who the tests are to the API server: somebody who may do everything.
pub const ADMIN: &str = "test-admin";
/// Who the nodes of the tests are; apart from [`ADMIN`], so that their requests are counted apart.
pub const KUBELET: &str = "test-kubelet";

const CONTROLLERS: User = User {
    name: "system:kube-controller-manager",
    group: "system:masters",
};
const SCHEDULER: User = User {
    name: "system:kube-scheduler",
    group: "system:authenticated",
};
const USERS: [User; 4] = [
    User {
        name: ADMIN,
        group: "system:masters",
    },
    User {
        name: KUBELET,
        group: "system:masters",
    },
    CONTROLLERS,
    SCHEDULER,
];

/// Controllers that something here needs. Volumes, nodes' addresses, certificates, jobs and quotas are left out.
const CONTROLLER_NAMES: &str = "clusterrole-aggregation-controller,deployment-controller,disruption-controller,\
    endpointslice-controller,garbage-collector-controller,namespace-controller,node-lifecycle-controller,\
    pod-garbage-collector-controller,replicaset-controller,root-ca-certificate-publisher-controller,\
    serviceaccount-controller,statefulset-controller,taint-eviction-controller";

/// Below the ports that Linux gives to outgoing connections: one that was free stays free while its owner restarts.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A port of this machine's loopback for each of N listeners.
fn free_ports<const N: usize>() -> Result<[u16; N], HarnessError> {
    let mut held: Vec<TcpListener> = Vec::new();
    for _ in 0..1000 {
        let port = rand::random_range(PORTS);
        held.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
        if held.len() == N {
            let ports: Result<Vec<u16>, _> = held
                .iter()
                .map(|l| l.local_addr().map(|address| address.port()))
                .collect();
            let ports = ports.ok().and_then(|ports| ports.try_into().ok());
            return ports.ok_or_else(|| no_port("its address is not known"));
        }
    }
    Err(no_port("1000 tries found too few"))
}

fn no_port(message: &str) -> HarnessError {
    let source = std::io::Error::other(message.to_owned());
    HarnessError::io("find", "a free port")(source)
}

/// The files and addresses of one control plane, and the arguments that follow from them.
#[derive(Debug)]
pub(super) struct Components {
    pub(super) dir: PathBuf,
    pub(super) url: String,
    pub(super) credentials: Credentials,
    port: u16,
    etcd_port: u16,
    etcd_peer_port: u16,
}

impl Components {
    /// Chooses ports and writes all configuration into `dir`.
    pub(super) fn prepare(dir: &Path) -> Result<Self, HarnessError> {
        let [port, etcd_port, etcd_peer_port] = free_ports()?;
        let url = format!("https://127.0.0.1:{port}");
        let credentials = Credentials::make(dir, &url, &USERS)?;
        let made = Self {
            dir: dir.to_owned(),
            url,
            credentials,
            port,
            etcd_port,
            etcd_peer_port,
        };
        write(&made.audit_policy(), audit::POLICY)?;
        // Unschedulable pods are tried again within a second, and tests ask for many at once.
        let scheduler = json!({
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "clientConnection": {
                "kubeconfig": made.credentials.kubeconfig(SCHEDULER.name), "qps": 1000, "burst": 1000
            },
            "leaderElection": {"leaderElect": false},
            "parallelism": 2,
            "podInitialBackoffSeconds": 1,
            "podMaxBackoffSeconds": 1,
        });
        write(&made.scheduler_config(), &scheduler.to_string())?;
        Ok(made)
    }

    pub(super) fn audit_log(&self) -> PathBuf {
        self.dir.join("audit.log")
    }

    fn audit_policy(&self) -> PathBuf {
        self.dir.join("audit-policy.json")
    }

    fn scheduler_config(&self) -> PathBuf {
        self.dir.join("scheduler.json")
    }

    pub(super) fn log(&self, program: &str) -> PathBuf {
        self.dir.join(format!("{program}.log"))
    }

    /// The store. Its data is not safe from a crash of the machine, only from one of processes.
    pub(super) fn etcd(&self) -> Vec<OsString> {
        let client = format!("http://127.0.0.1:{}", self.etcd_port);
        let peer = format!("http://127.0.0.1:{}", self.etcd_peer_port);
        Arguments::default()
            .path("data-dir", &self.dir.join("etcd"))
            .set("name", "test")
            .set("listen-client-urls", &client)
            .set("advertise-client-urls", &client)
            .set("listen-peer-urls", &peer)
            .set("initial-advertise-peer-urls", &peer)
            .set("initial-cluster", &format!("test={peer}"))
            .set("unsafe-no-fsync", "true")
            .set("log-level", "warn")
            .0
    }

    pub(super) fn api_server(&self) -> Vec<OsString> {
        let files = &self.credentials;
        Arguments::default()
            .set("etcd-servers", &format!("http://127.0.0.1:{}", self.etcd_port))
            .set("bind-address", "127.0.0.1")
            .set("secure-port", &self.port.to_string())
            // Endpoints of the service `kubernetes` may not be a loopback address.
            .set("endpoint-reconciler-type", "none")
            // Nor may those of any other: services are IPv6, and pods that run at loopback addresses have a second one
            // that leads nowhere but may be named (see `kubelet::reachable`).
            .set("service-cluster-ip-range", "fd00:10:96::/112")
            .set("advertise-address", "fd00::1")
            .path("tls-cert-file", &files.server_certificate())
            .path("tls-private-key-file", &files.server_key())
            .path("token-auth-file", &files.tokens())
            .set("service-account-issuer", "https://kubernetes.default.svc")
            .path("service-account-signing-key-file", &files.signing_key())
            .path("service-account-key-file", &files.verification_key())
            .set("authorization-mode", "RBAC")
            .set("allow-privileged", "true")
            .path("audit-policy-file", &self.audit_policy())
            .path("audit-log-path", &self.audit_log())
            // Whole, in one file: requests are counted by place. In MB.
            .set("audit-log-maxsize", "10000")
            // One machine, few clients: requests need not be ordered by fairness nor the store be tidied.
            .set("enable-priority-and-fairness", "false")
            .set("etcd-compaction-interval", "0")
            .set("profiling", "false")
            .0
    }

    pub(super) fn controller_manager(&self) -> Vec<OsString> {
        let files = &self.credentials;
        Arguments::default()
            .path("kubeconfig", &files.kubeconfig(CONTROLLERS.name))
            .set("controllers", CONTROLLER_NAMES)
            .path("root-ca-file", &files.ca())
            .set("leader-elect", "false")
            .set("secure-port", "0")
            .set("kube-api-qps", "1000")
            .set("kube-api-burst", "1000")
            .set("concurrent-gc-syncs", "4")
            // A node whose kubelet is silent this long is not ready.
            .set("node-monitor-period", "1s")
            .set("node-monitor-grace-period", "16s")
            .set("profiling", "false")
            .0
    }

    pub(super) fn scheduler(&self) -> Vec<OsString> {
        Arguments::default()
            .path("config", &self.scheduler_config())
            .set("secure-port", "0")
            .0
    }
}

/// Flags in the form `--name=value`.
#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn set(mut self, flag: &str, value: &str) -> Self {
        self.0.push(format!("--{flag}={value}").into());
        self
    }

    fn path(mut self, flag: &str, value: &Path) -> Self {
        let mut argument = OsString::from(format!("--{flag}="));
        argument.push(value);
        self.0.push(argument);
        self
    }
}
