//! What restarts pods and what does not.

use brainy_crds::{
    BrainyCluster, ByteQuantity, ConflictResolution, ConsistencyLevel, CoordinationMethod,
    DeletionPolicy, LogLevel, NatsSecretKeys, NatsSecretRef, RESTARTED_AT, Role, SecretName,
    ServiceType, TlsSpec, UpdateType,
};
use kube::ResourceExt;

use super::fixtures::{context, hybrid, production, replicas, stored};
use super::{BuildContext, labels, revision};

/// Made when the pods of existing clusters were last changed on purpose. They depend on manifests in this file alone.
const PINNED: [(&str, Role, &str); 3] = [
    (MINIMAL, Role::Writer, "59490346602de205"),
    (MINIMAL, Role::Reader, "2424207be177fbaa"),
    (HYBRID, Role::Hybrid, "3a2101cd92a7eaf9"),
];

const MINIMAL: &str = "
apiVersion: brainy.io/v1alpha1
kind: BrainyCluster
metadata:
  name: pinned
  namespace: default
spec:
  storage:
    bucket: pinned
";
const HYBRID: &str = include_str!("golden/hybrid.in.yaml");

fn of(cluster: &BrainyCluster, role: Role) -> String {
    revision(cluster, role, &context(&replicas(cluster))).unwrap()
}

#[test]
fn an_operator_upgrade_rolls_no_pods() {
    let is: Vec<(&str, Role, String)> = PINNED
        .iter()
        .map(|(manifest, role, _)| (*manifest, *role, of(&stored(manifest), *role)))
        .collect();
    let changed: Vec<String> = is
        .iter()
        .zip(PINNED)
        .filter(|((_, _, now), (_, _, pinned))| now != pinned)
        .map(|((_, role, now), (_, _, pinned))| format!("{role}: {pinned} became {now}"))
        .collect();
    assert!(
        changed.is_empty(),
        "an upgrade to this operator would restart every pod of every cluster: {changed:?}. The golden files show what \
         changed in the pod templates. Undo it, or make it depend on a field of the spec; if a restart is wanted, pin the new \
         values here and say so in the release notes"
    );
}

#[test]
fn pods_carry_the_revision() {
    for (name, cluster) in super::fixtures::clusters() {
        let objects = super::fixtures::objects(&cluster);
        for set in super::fixtures::of_kind(&objects, "StatefulSet") {
            let role = set["metadata"]["labels"]["brainy.io/role"]
                .as_str()
                .unwrap();
            let role = Role::ALL.into_iter().find(|r| r.as_str() == role).unwrap();
            let annotations = &set["spec"]["template"]["metadata"]["annotations"];
            assert_eq!(
                annotations[labels::REVISION],
                of(&cluster, role),
                "{name} {role}"
            );
        }
    }
}

type Edit = (&'static str, fn(&mut BrainyCluster));

/// Edits that processes take up, or that do not concern them.
const HARMLESS: [Edit; 13] = [
    ("replicas", |c| c.spec.writers.replicas += 1),
    ("no readers", |c| c.spec.readers.replicas = 0),
    ("paused", |c| c.spec.paused = true),
    ("stopped", |c| c.spec.stopped = true),
    ("deletionPolicy", |c| {
        c.spec.deletion_policy = DeletionPolicy::Delete
    }),
    ("service", |c| {
        c.spec.service.type_ = ServiceType::NodePort;
        c.spec.service.port = 80;
        c.spec
            .service
            .annotations
            .insert("a".to_owned(), "b".to_owned());
    }),
    ("sharedConfig", |c| {
        c.spec.shared_config.log_level = Some(LogLevel::Debug);
        c.spec.shared_config.flush_bytes = Some(1 << 20);
    }),
    ("consistency", |c| {
        c.spec.consistency.default = ConsistencyLevel::Eventual
    }),
    ("rebalance", |c| c.spec.rebalance.max_concurrent_moves = 9),
    ("monitoring", |c| {
        c.spec.monitoring.service_monitor.enabled = true;
        c.spec.monitoring.prometheus_rule.enabled = true;
    }),
    ("updateStrategy", |c| {
        c.spec.update_strategy.type_ = UpdateType::OnDelete
    }),
    ("a larger volume", |c| {
        let volume = c.spec.writers.cache_volume.as_mut();
        volume.unwrap().size = ByteQuantity::parse("200Gi").unwrap();
    }),
    ("metadata and status", |c| {
        c.metadata.generation = Some(99);
        c.metadata.resource_version = Some("99".to_owned());
        c.annotations_mut()
            .insert("example.com/a".to_owned(), "b".to_owned());
        c.labels_mut()
            .insert("example.com/a".to_owned(), "b".to_owned());
        c.status.get_or_insert_default().ring_epoch = Some(9);
    }),
];

/// Edits that only a new pod of a writer takes up.
const RESTARTING: [Edit; 18] = [
    ("memoryBudget", |c| {
        c.spec.writers.memory_budget = ByteQuantity::parse("5Gi").ok()
    }),
    ("resources", |c| {
        c.spec.writers.resources.limits = Some([("memory".to_owned(), quantity("7Gi"))].into());
    }),
    ("env", |c| {
        c.spec.writers.pod_template.env = vec![k8s_openapi::api::core::v1::EnvVar {
            name: "A".to_owned(),
            value: Some("b".to_owned()),
            value_from: None,
        }];
    }),
    ("labels", |c| {
        let labels = &mut c.spec.writers.pod_template.metadata.labels;
        labels.insert("example.com/a".to_owned(), "b".to_owned());
    }),
    ("annotations", |c| {
        let annotations = &mut c.spec.writers.pod_template.metadata.annotations;
        annotations.insert("example.com/a".to_owned(), "b".to_owned());
    }),
    ("nodeSelector", |c| {
        let selector = &mut c.spec.writers.scheduling.node_selector;
        selector.insert("example.com/a".to_owned(), "b".to_owned());
    }),
    ("endpoint", |c| {
        c.spec.storage.endpoint = Some("http://other:1".to_owned())
    }),
    ("credentials", |c| c.spec.storage.credentials = None),
    ("apiKeys", |c| c.spec.api_keys = None),
    ("tls", |c| {
        c.spec.tls = Some(TlsSpec {
            secret_ref: SecretName {
                name: "other".to_owned(),
            },
        });
    }),
    ("pollInterval", |c| {
        c.spec.coordination.poll_interval = brainy_crds::DurationString::parse("1s").unwrap();
    }),
    ("coordination.method", |c| {
        c.spec.coordination.method = CoordinationMethod::Websocket
    }),
    ("natsSecretRef", |c| {
        c.spec.coordination.nats_secret_ref = Some(NatsSecretRef {
            name: "nats".to_owned(),
            keys: NatsSecretKeys::default(),
        });
    }),
    ("multiWriter", |c| c.spec.multi_writer = true),
    ("conflictResolution", |c| {
        c.spec.conflict_resolution = ConflictResolution::Crdt
    }),
    ("partitionsPerCollection", |c| {
        c.spec.partitioning.partitions_per_collection = 7
    }),
    ("cacheVolume", |c| c.spec.writers.cache_volume = None),
    ("restarted-at", |c| {
        c.annotations_mut()
            .insert(RESTARTED_AT.to_owned(), "now".to_owned());
    }),
];

fn quantity(text: &str) -> k8s_openapi::apimachinery::pkg::api::resource::Quantity {
    k8s_openapi::apimachinery::pkg::api::resource::Quantity(text.to_owned())
}

#[test]
fn no_combination_of_harmless_edits_restarts_a_pod() {
    let before = production();
    let revisions = [Role::Writer, Role::Reader].map(|role| (role, of(&before, role)));
    for chosen in 0..1u32 << HARMLESS.len() {
        let mut cluster = before.clone();
        for (i, (_, edit)) in HARMLESS.iter().enumerate() {
            if chosen & 1 << i != 0 {
                edit(&mut cluster);
            }
        }
        for (role, revision) in &revisions {
            assert_eq!(
                of(&cluster, *role),
                *revision,
                "{role}, edits {chosen:#b} of HARMLESS"
            );
        }
    }
}

#[test]
fn every_edit_that_needs_a_restart_makes_one_of_the_role_it_concerns() {
    let before = production();
    let mut seen = vec![("before", of(&before, Role::Writer))];
    for (name, edit) in RESTARTING {
        let mut cluster = before.clone();
        edit(&mut cluster);
        let revision = of(&cluster, Role::Writer);
        let same = seen.iter().find(|(_, known)| *known == revision);
        assert_eq!(same, None, "{name}");
        seen.push((name, revision));
        let of_writers = cluster.spec.writers != before.spec.writers;
        assert_eq!(
            of(&cluster, Role::Reader) == of(&before, Role::Reader),
            of_writers,
            "{name}"
        );
    }
}

#[test]
fn image_and_secrets_are_part_of_it_and_the_rest_of_the_context_is_not() {
    let cluster = hybrid();
    let kept = replicas(&cluster);
    let base = context(&kept);
    let of = |context: &BuildContext<'_>| revision(&cluster, Role::Hybrid, context).unwrap();
    let (none, more) = (Default::default(), [(Role::Hybrid, 9)].into());
    for same in [
        BuildContext {
            replicas: &none,
            ..base
        },
        BuildContext {
            replicas: &more,
            ..base
        },
        BuildContext {
            private_ca: false,
            ..base
        },
    ] {
        assert_eq!(of(&same), of(&base), "{same:?}");
    }
    for other in [
        BuildContext {
            image: "b:2",
            ..base
        },
        BuildContext {
            secrets_hash: None,
            ..base
        },
        BuildContext {
            secrets_hash: Some("other"),
            ..base
        },
    ] {
        assert_ne!(of(&other), of(&base), "{other:?}");
    }
}

#[test]
fn secrets_and_the_wish_for_a_restart_are_not_taken_for_each_other() {
    let mut cluster = hybrid();
    let kept = replicas(&cluster);
    let of = |cluster: &BrainyCluster, secrets_hash| {
        let context = BuildContext {
            secrets_hash,
            ..context(&kept)
        };
        revision(cluster, Role::Hybrid, &context).unwrap()
    };
    let by_secret = of(&cluster, Some("x"));
    cluster
        .annotations_mut()
        .insert(RESTARTED_AT.to_owned(), "x".to_owned());
    assert_ne!(of(&cluster, None), by_secret);
}
