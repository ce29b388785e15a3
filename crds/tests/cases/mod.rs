//! Good and bad specs. Checked against the Rust code and the rules of the schema here, and against a real API server in
//! `tests/tests/controlplane.rs`.

use brainy_crds::BrainyCluster;
use serde_json::{Value, json};

/// A spec and what is wrong with it.
pub(crate) struct Case {
    /// What it is about.
    pub(crate) name: &'static str,
    /// Spec before, for what may not change.
    pub(crate) old: Option<Value>,
    /// Spec.
    pub(crate) spec: Value,
    /// Name of the cluster.
    pub(crate) cluster: &'static str,
    /// Fields that must be blamed; none for a good spec.
    pub(crate) blamed: &'static [&'static str],
}

fn case(name: &'static str, spec: Value, blamed: &'static [&'static str]) -> Case {
    Case {
        name,
        old: None,
        spec,
        cluster: "search",
        blamed,
    }
}

fn change(name: &'static str, old: Value, spec: Value, blamed: &'static [&'static str]) -> Case {
    Case {
        old: Some(old),
        ..case(name, spec, blamed)
    }
}

fn named(cluster: &'static str, blamed: &'static [&'static str]) -> Case {
    Case {
        cluster,
        ..case("cluster name", json!({}), blamed)
    }
}

fn bucket(name: &str) -> Value {
    json!({"storage": {"bucket": name}})
}

fn storage(mut fields: Value) -> Value {
    fields["bucket"] = json!("data");
    json!({"storage": fields})
}

/// Three hybrids that all write, with these fields besides.
fn several(fields: Value) -> Value {
    let mut spec = json!({
        "multiWriter": true, "writers": {"replicas": 0}, "readers": {"replicas": 0}, "hybrids": {"replicas": 3},
    });
    for (name, value) in fields.as_object().into_iter().flatten() {
        spec[name] = value.clone();
    }
    spec
}

/// All of them.
pub(crate) fn table() -> Vec<Case> {
    let digest = format!("sha256:{}", "0a".repeat(32));
    let long_name: &'static str = "a-name-of-forty-one-characters-is-1-above";
    assert_eq!(long_name.len(), 41);
    let mut table = vec![
        named("s", &[]),
        named("search-2", &[]),
        named("a-name-of-forty-characters-is-just-right", &[]),
        named(long_name, &["metadata.name"]),
        named("2search", &["metadata.name"]),
        named("search.prod", &["metadata.name"]),
        named("search-", &["metadata.name"]),
        case("empty", json!({}), &[]),
        case(
            "no writer",
            json!({"writers": {"replicas": 0}}),
            &["spec.writers.replicas"],
        ),
        case(
            "no writer but a hybrid",
            json!({"writers": {"replicas": 0}, "hybrids": {"replicas": 1}}),
            &[],
        ),
        case(
            "no writer, stopped",
            json!({"writers": {"replicas": 0}, "stopped": true}),
            &[],
        ),
        case("no reader", json!({"readers": {"replicas": 0}}), &[]),
        // Image.
        case(
            "image in full",
            json!({"image": {"repository": "localhost:5000/a/brainyd", "tag": "0.1.0", "digest": digest, "pullSecrets": [{"name": "a"}]}}),
            &[],
        ),
        case(
            "tag in the repository",
            json!({"image": {"repository": "brainyd:latest"}}),
            &["spec.image.repository"],
        ),
        case(
            "digest in the repository",
            json!({"image": {"repository": "a/b@sha256:00"}}),
            &["spec.image.repository"],
        ),
        case(
            "tag with a colon",
            json!({"image": {"tag": ":1"}}),
            &["spec.image.tag"],
        ),
        case(
            "short digest",
            json!({"image": {"digest": "sha256:00"}}),
            &["spec.image.digest"],
        ),
        case(
            "bad pull secret",
            json!({"image": {"pullSecrets": [{"name": "A_b"}]}}),
            &["spec.image.pullSecrets[0].name"],
        ),
        // Storage.
        case("bucket with dots", bucket("data.example.com"), &[]),
        case("bucket that ends after a dot", bucket("ab.c"), &[]),
        case("shortest bucket", bucket("abc"), &[]),
        case("bucket too short", bucket("ab"), &["spec.storage.bucket"]),
        case(
            "bucket in upper case",
            bucket("Data"),
            &["spec.storage.bucket"],
        ),
        case(
            "bucket with two dots",
            bucket("da..ta"),
            &["spec.storage.bucket"],
        ),
        case(
            "bucket as URL",
            bucket("s3://data"),
            &["spec.storage.bucket"],
        ),
        case(
            "bucket ends with a dash",
            bucket("data-"),
            &["spec.storage.bucket"],
        ),
        case(
            "bucket like an address",
            bucket("10.0.0.1"),
            &["spec.storage.bucket"],
        ),
        case("bucket with five numbers", bucket("10.0.0.1.2"), &[]),
        case(
            "prefix of one segment",
            storage(json!({"prefix": "search"})),
            &[],
        ),
        case(
            "prefix of segments",
            storage(json!({"prefix": "team-a/search_1/v1.0"})),
            &[],
        ),
        case(
            "prefix with leading slash",
            storage(json!({"prefix": "/search"})),
            &["spec.storage.prefix"],
        ),
        case(
            "prefix with trailing slash",
            storage(json!({"prefix": "search/"})),
            &["spec.storage.prefix"],
        ),
        case(
            "prefix with two slashes",
            storage(json!({"prefix": "a//b"})),
            &["spec.storage.prefix"],
        ),
        case(
            "prefix that climbs",
            storage(json!({"prefix": "a/../b"})),
            &["spec.storage.prefix"],
        ),
        case(
            "empty prefix",
            storage(json!({"prefix": ""})),
            &["spec.storage.prefix"],
        ),
        case(
            "endpoint",
            storage(json!({"endpoint": "http://seaweedfs.storage.svc:8333", "pathStyle": true})),
            &[],
        ),
        case(
            "endpoint without scheme",
            storage(json!({"endpoint": "minio:9000"})),
            &["spec.storage.endpoint"],
        ),
        case(
            "endpoint with user",
            storage(json!({"endpoint": "https://me:pw@s3"})),
            &["spec.storage.endpoint"],
        ),
        case(
            "endpoint of another scheme",
            storage(json!({"endpoint": "s3://data"})),
            &["spec.storage.endpoint"],
        ),
        case(
            "endpoint without bucket",
            json!({"storage": {"endpoint": "http://s3"}}),
            &["spec.storage.bucket"],
        ),
        case(
            "credentials without bucket",
            json!({"storage": {"credentials": {"workloadIdentity": {}}}}),
            &["spec.storage.bucket"],
        ),
        case(
            "no credential",
            storage(json!({"credentials": {}})),
            &["spec.storage.credentials"],
        ),
        case(
            "both credentials",
            storage(json!({"credentials": {"secretRef": {"name": "s3"}, "workloadIdentity": {}}})),
            &["spec.storage.credentials"],
        ),
        case(
            "secret",
            storage(json!({"credentials": {"secretRef": {"name": "s3.keys"}}})),
            &[],
        ),
        case(
            "secret of another namespace",
            storage(json!({"credentials": {"secretRef": {"name": "other/s3"}}})),
            &["spec.storage.credentials.secretRef.name"],
        ),
        case(
            "one entry for both keys",
            storage(
                json!({"credentials": {"secretRef": {"name": "s3", "keys": {"accessKeyId": "k", "secretAccessKey": "k"}}}}),
            ),
            &["spec.storage.credentials.secretRef.keys"],
        ),
        case(
            "role",
            storage(
                json!({"credentials": {"workloadIdentity": {"roleArn": "arn:aws:iam::123456789012:role/a/b"}}}),
            ),
            &[],
        ),
        case(
            "user instead of role",
            storage(
                json!({"credentials": {"workloadIdentity": {"roleArn": "arn:aws:iam::123456789012:user/a"}}}),
            ),
            &["spec.storage.credentials.workloadIdentity.roleArn"],
        ),
        case(
            "own service account",
            storage(json!({"credentials": {"workloadIdentity": {"serviceAccountName": "mine"}}})),
            &[],
        ),
        case(
            "own service account, annotated",
            storage(
                json!({"credentials": {"workloadIdentity": {"serviceAccountName": "mine", "serviceAccountAnnotations": {"a": "b"}}}}),
            ),
            &["spec.storage.credentials.workloadIdentity.serviceAccountName"],
        ),
        case(
            "bad service account",
            storage(json!({"credentials": {"workloadIdentity": {"serviceAccountName": "Mine"}}})),
            &["spec.storage.credentials.workloadIdentity.serviceAccountName"],
        ),
        change("bucket set later", json!({}), bucket("data"), &[]),
        change(
            "prefix set with the bucket",
            json!({}),
            storage(json!({"prefix": "a"})),
            &[],
        ),
        change(
            "bucket changed",
            bucket("data"),
            bucket("other"),
            &["spec.storage.bucket"],
        ),
        change(
            "bucket removed",
            bucket("data"),
            json!({}),
            &["spec.storage.bucket"],
        ),
        change(
            "endpoint moved",
            storage(json!({"endpoint": "http://a"})),
            storage(json!({"endpoint": "http://b"})),
            &[],
        ),
        change(
            "prefix changed",
            storage(json!({"prefix": "a"})),
            storage(json!({"prefix": "b"})),
            &["spec.storage.prefix"],
        ),
        change(
            "prefix removed",
            storage(json!({"prefix": "a"})),
            bucket("data"),
            &["spec.storage.prefix"],
        ),
        change(
            "prefix added",
            bucket("data"),
            storage(json!({"prefix": "a"})),
            &["spec.storage.prefix"],
        ),
        change(
            "prefix changed before the bucket",
            json!({"storage": {"prefix": "a"}}),
            json!({"storage": {"prefix": "b"}}),
            &[],
        ),
        // Coordination.
        case(
            "websocket",
            json!({"coordination": {"method": "websocket"}}),
            &[],
        ),
        case(
            "pubsub",
            json!({"coordination": {"method": "pubsub", "natsUrl": "nats://nats:4222"}}),
            &[],
        ),
        case(
            "pubsub without server",
            json!({"coordination": {"method": "pubsub"}}),
            &["spec.coordination.natsUrl"],
        ),
        case(
            "server without pubsub",
            json!({"coordination": {"natsUrl": "tls://nats"}}),
            &["spec.coordination.natsUrl"],
        ),
        case(
            "server of another scheme",
            json!({"coordination": {"method": "pubsub", "natsUrl": "http://nats"}}),
            &["spec.coordination.natsUrl"],
        ),
        case(
            "pubsub with credentials",
            json!({"coordination": {"method": "pubsub", "natsUrl": "tls://nats", "natsSecretRef": {"name": "nats", "keys": {"token": "t"}}}}),
            &[],
        ),
        case(
            "credentials without pubsub",
            json!({"coordination": {"natsSecretRef": {"name": "nats"}}}),
            &["spec.coordination.natsSecretRef"],
        ),
        case(
            "credentials of no Secret",
            json!({"coordination": {"method": "pubsub", "natsUrl": "tls://nats", "natsSecretRef": {"name": "No_Name"}}}),
            &["spec.coordination.natsSecretRef.name"],
        ),
        case(
            "none with many",
            json!({"coordination": {"method": "none"}}),
            &["spec.coordination.method"],
        ),
        case(
            "none with one",
            json!({"coordination": {"method": "none"}, "writers": {"replicas": 0}, "readers": {"replicas": 0}, "hybrids": {}}),
            &[],
        ),
        case(
            "none, stopped",
            json!({"coordination": {"method": "none"}, "stopped": true}),
            &[],
        ),
        case(
            "shortest poll",
            json!({"coordination": {"pollInterval": "50ms"}}),
            &[],
        ),
        case(
            "poll too short",
            json!({"coordination": {"pollInterval": "49ms"}}),
            &["spec.coordination.pollInterval"],
        ),
        case(
            "poll too long",
            json!({"coordination": {"pollInterval": "1m1s"}}),
            &["spec.coordination.pollInterval"],
        ),
        case(
            "heartbeat too short",
            json!({"coordination": {"heartbeatInterval": "99ms"}}),
            &["spec.coordination.heartbeatInterval"],
        ),
        case(
            "lease of three heartbeats",
            json!({"coordination": {"heartbeatInterval": "5s", "leaseTtl": "15s"}}),
            &[],
        ),
        case(
            "lease too short for its heartbeat",
            json!({"coordination": {"leaseTtl": "14999ms"}}),
            &["spec.coordination.leaseTtl"],
        ),
        case(
            "lease too short",
            json!({"coordination": {"heartbeatInterval": "100ms", "leaseTtl": "999ms"}}),
            &["spec.coordination.leaseTtl"],
        ),
        // Others.
        case(
            "no grace",
            json!({"rebalance": {"unreadyGracePeriod": "0s"}}),
            &[],
        ),
        case(
            "endless grace",
            json!({"rebalance": {"unreadyGracePeriod": "24h1s"}}),
            &["spec.rebalance.unreadyGracePeriod"],
        ),
        case(
            "no time to drain",
            json!({"rebalance": {"drainTimeout": "0s"}}),
            &["spec.rebalance.drainTimeout"],
        ),
        case(
            "bad key secret",
            json!({"apiKeys": {"secretRef": {"name": "-"}}}),
            &["spec.apiKeys.secretRef.name"],
        ),
        case(
            "two rights under one key",
            json!({"apiKeys": {"secretRef": {"name": "k", "keys": {"readOnly": "admin"}}}}),
            &["spec.apiKeys.secretRef.keys"],
        ),
        case(
            "bad TLS secret",
            json!({"tls": {"secretRef": {"name": "a b"}}}),
            &["spec.tls.secretRef.name"],
        ),
        case(
            "two ports of one number",
            json!({"service": {"port": 6334}}),
            &["spec.service"],
        ),
        case(
            "scrape without pause",
            json!({"monitoring": {"serviceMonitor": {"interval": "0s"}}}),
            &["spec.monitoring.serviceMonitor.interval"],
        ),
        case(
            "stuck at once",
            json!({"updateStrategy": {"stuckPodTimeout": "1s"}}),
            &["spec.updateStrategy.stuckPodTimeout"],
        ),
        change(
            "other conflict resolution",
            several(json!({})),
            several(json!({"conflictResolution": "crdt"})),
            &["spec.conflictResolution"],
        ),
        case("several writers", several(json!({})), &[]),
        case(
            "several writers, vector clocks",
            several(json!({"conflictResolution": "vector-clock"})),
            &[],
        ),
        case(
            "conflicts of one writer",
            json!({"conflictResolution": "crdt"}),
            &["spec.conflictResolution"],
        ),
        case(
            "several writers that are not hybrids",
            several(json!({"writers": {"replicas": 2}})),
            &["spec.multiWriter"],
        ),
        case(
            "several writers beside a reader",
            several(json!({"readers": {"replicas": 1}})),
            &["spec.multiWriter"],
        ),
        case(
            "several writers by default",
            json!({"multiWriter": true}),
            &["spec.multiWriter"],
        ),
        change(
            "several writers, scaled",
            several(json!({})),
            several(json!({"hybrids": {"replicas": 5}})),
            &[],
        ),
        change(
            "several writers, later",
            several(json!({"multiWriter": false})),
            several(json!({})),
            &["spec.multiWriter"],
        ),
        change(
            "several writers, while they stop",
            several(json!({"multiWriter": false})),
            several(json!({"stopped": true})),
            &["spec.multiWriter"],
        ),
        change(
            "several writers, while stopped",
            several(json!({"multiWriter": false, "stopped": true})),
            several(json!({"stopped": true})),
            &[],
        ),
        change(
            "several writers no more",
            several(json!({"stopped": true})),
            several(json!({"multiWriter": false, "stopped": true})),
            &["spec.multiWriter"],
        ),
        change(
            "same conflict resolution",
            several(json!({"conflictResolution": "crdt"})),
            several(json!({"conflictResolution": "crdt"})),
            &[],
        ),
        change(
            "scaled to nothing",
            json!({}),
            json!({"writers": {"replicas": 0}}),
            &["spec.writers.replicas"],
        ),
    ];
    for (role, fields) in [
        (
            "writers",
            [
                "spec.writers.memoryBudget",
                "spec.writers.cacheVolume.size",
                "spec.writers.podTemplate.metadata.labels",
                "spec.writers.podTemplate.metadata.annotations",
                "spec.writers.podTemplate.env",
                "spec.writers.cacheVolume.storageClassName",
            ],
        ),
        (
            "readers",
            [
                "spec.readers.memoryBudget",
                "spec.readers.cacheVolume.size",
                "spec.readers.podTemplate.metadata.labels",
                "spec.readers.podTemplate.metadata.annotations",
                "spec.readers.podTemplate.env",
                "spec.readers.cacheVolume.storageClassName",
            ],
        ),
        (
            "hybrids",
            [
                "spec.hybrids.memoryBudget",
                "spec.hybrids.cacheVolume.size",
                "spec.hybrids.podTemplate.metadata.labels",
                "spec.hybrids.podTemplate.metadata.annotations",
                "spec.hybrids.podTemplate.env",
                "spec.hybrids.cacheVolume.storageClassName",
            ],
        ),
    ] {
        let fields: &'static [&'static str] = Box::leak(Box::new(fields));
        let of = |fields: Value| json!({ role: fields });
        table.extend([
            case(
                "role in full",
                of(json!({
                    "resources": {"limits": {"memory": "8Gi", "cpu": 4}}, "memoryBudget": "8Gi", "cacheVolume": {"size": "1G"},
                    "podTemplate": {"metadata": {"labels": {"a.b/c": "d"}, "annotations": {"e": "f"}}, "env": [{"name": "TZ", "value": "UTC"}]},
                })),
                &[],
            ),
            case("budget without memory limit", of(json!({"resources": {"limits": {"cpu": "1"}}, "memoryBudget": "1Ti"})), &[]),
            case(
                "budget above the limit",
                of(json!({"resources": {"limits": {"memory": "1Gi"}}, "memoryBudget": "1025Mi"})),
                &fields[0..1],
            ),
            case("limit as a number", of(json!({"resources": {"limits": {"memory": 1024}}, "memoryBudget": 2048})), &fields[0..1]),
            case("budget of nothing", of(json!({"memoryBudget": "0"})), &fields[0..1]),
            case("volume of less than nothing", of(json!({"cacheVolume": {"size": "-1Gi"}})), &fields[1..2]),
            case("reserved label", of(json!({"podTemplate": {"metadata": {"labels": {"brainy.io/role": "x"}}}})), &fields[2..3]),
            case(
                "selector label",
                of(json!({"podTemplate": {"metadata": {"labels": {"app.kubernetes.io/name": "x"}}}})),
                &fields[2..3],
            ),
            case(
                "reserved annotation",
                of(json!({"podTemplate": {"metadata": {"annotations": {"brainy.io/a": "x"}}}})),
                &fields[3..4],
            ),
            case("reserved variable", of(json!({"podTemplate": {"env": [{"name": "BRAINY_ROLE"}]}})), &fields[4..5]),
            change("volume grows", of(json!({"cacheVolume": {"size": "1Gi"}})), of(json!({"cacheVolume": {"size": "1.5Gi"}})), &[]),
            change("volume removed", of(json!({"cacheVolume": {"size": "1Gi"}})), of(json!({})), &[]),
            change(
                "volume shrinks",
                of(json!({"cacheVolume": {"size": "1Gi"}})),
                of(json!({"cacheVolume": {"size": "1G"}})),
                &fields[1..2],
            ),
            change(
                "other storage class",
                of(json!({"cacheVolume": {"size": "1Gi"}})),
                of(json!({"cacheVolume": {"size": "1Gi", "storageClassName": "fast"}})),
                &fields[5..6],
            ),
        ]);
    }
    table
}

/// A resource in the namespace `default`.
pub(crate) fn cluster(name: &str, spec: &Value) -> BrainyCluster {
    let spec =
        serde_json::from_value(spec.clone()).unwrap_or_else(|error| panic!("{spec}: {error}"));
    let mut cluster = BrainyCluster::new(name, spec);
    cluster.metadata.namespace = Some("default".to_owned());
    cluster
}
