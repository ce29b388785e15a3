//! The pods of a role and their volumes.

use brainy_crds::{BrainyCluster, CacheVolume, Role};
use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
    StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::pod_template::CACHE;
use super::{BuildContext, BuildError, labels, revision};

/// Old templates that are kept; the operator never goes back to one, but people compare.
const HISTORY: i32 = 2;

/// How many pods the StatefulSet of a role keeps; `None` if there is none.
///
/// # Errors
/// [`BuildError::UndecidedReplicas`] if the spec asks for the role and the context does not know it.
pub(super) fn replicas(
    cluster: &BrainyCluster,
    role: Role,
    context: &BuildContext<'_>,
) -> Result<Option<i32>, BuildError> {
    let wanted = cluster.spec.role(role).replicas > 0;
    match context.replicas.get(&role) {
        Some(&kept) => Ok((wanted || kept > 0).then_some(kept)),
        None if wanted => Err(BuildError::UndecidedReplicas(role)),
        None => Ok(None),
    }
}

/// The StatefulSet of a role. It only starts pods that are missing: the operator deletes those that are out of date (OnDelete), and
/// lowers `replicas` when the highest ordinals are drained.
pub(super) fn statefulset(
    cluster: &BrainyCluster,
    role: Role,
    replicas: i32,
    context: &BuildContext<'_>,
) -> Result<StatefulSet, BuildError> {
    let claims = cluster.spec.role(role).cache_volume.as_ref();
    Ok(StatefulSet {
        metadata: labels::metadata(
            cluster,
            cluster.role_name(role),
            labels::of_role(cluster, role),
        )?,
        spec: Some(StatefulSetSpec {
            replicas: Some(replicas),
            service_name: Some(labels::headless_name(cluster, role)),
            selector: labels::selecting(labels::match_role(cluster, role)),
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                rolling_update: None,
            }),
            revision_history_limit: Some(HISTORY),
            template: revision::template(cluster, role, context)?,
            volume_claim_templates: claims.map(|volume| vec![claim(cluster, role, volume)]),
            // It is a cache: a new pod fills a new one from the bucket.
            persistent_volume_claim_retention_policy: Some(
                StatefulSetPersistentVolumeClaimRetentionPolicy {
                    when_deleted: Some("Delete".to_owned()),
                    when_scaled: Some("Delete".to_owned()),
                },
            ),
            ..StatefulSetSpec::default()
        }),
        status: None,
    })
}

fn claim(cluster: &BrainyCluster, role: Role, volume: &CacheVolume) -> PersistentVolumeClaim {
    let CacheVolume {
        size,
        storage_class_name,
    } = volume;
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(CACHE.to_owned()),
            labels: Some(labels::of_role(cluster, role)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), Quantity(size.as_str().to_owned()))].into()),
                limits: None,
            }),
            storage_class_name: storage_class_name.clone(),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}
