//! What instances write to the bucket, where there are none: a collection, and that its readers are warm.

use std::time::Duration;

use brainy_coordination::assignment::AssignmentTable;
use brainy_coordination::document::{self, DocumentError, Update, Versioned};
use brainy_coordination::keys;
use brainy_coordination::manifest::{
    CollectionSpec, DenseParams, Distance, VectorSchema, create_collection,
};
use brainy_coordination::rebalance;
use brainy_coordination::store::retry::{RetryPolicy, Store};
use brainy_coordination::store::s3::{Connector, Credentials, S3Config, S3Store};
use brainy_coordination::types::{InstanceId, Nonce, PartitionId};

use crate::HarnessError;
use crate::kubernetes::{ACCESS_KEY, BUCKET, SECRET_KEY};

/// Partitions of the collection of each cluster: the default.
pub(super) const PARTITIONS: u32 = 12;
/// The operator has assigned the partitions of one cluster within this time, when it has many to look after.
const ASSIGNED_WITHIN: Duration = Duration::from_secs(900);
/// Between two looks at a table.
const LOOK: Duration = Duration::from_millis(500);

/// Creates a collection in the cluster with this prefix.
///
/// # Errors
/// What the bucket said.
pub(super) async fn create(
    endpoint: &str,
    prefix: &str,
    connector: &Connector,
) -> Result<(), HarnessError> {
    let store = store(endpoint, prefix, connector).await?;
    let spec = CollectionSpec {
        partitions: PARTITIONS,
        schema: VectorSchema::unnamed(DenseParams::new(4, Distance::Cosine)),
        extra: serde_json::Value::Null,
    };
    let created = create_collection(&store, "points", &spec, Nonce::random()).await;
    created.map(drop).map_err(|e| failed(prefix, &e))
}

/// Says for each reader that it is warm, until nothing of the table is under way.
///
/// # Errors
/// The bucket's, or that the operator has not assigned the partitions in time.
pub(super) async fn serve(
    endpoint: &str,
    prefix: &str,
    connector: &Connector,
) -> Result<(), HarnessError> {
    let store = store(endpoint, prefix, connector).await?;
    let since = tokio::time::Instant::now();
    loop {
        let updated = document::update(
            &store,
            keys::ASSIGNMENTS,
            |current: Option<&Versioned<AssignmentTable>>| {
                let Some(current) = current else {
                    return Ok(Update::Keep(false));
                };
                let mut table = current.body.clone();
                let slots: Vec<(PartitionId, InstanceId)> = table
                    .partitions
                    .iter()
                    .flat_map(|(id, entry)| {
                        entry
                            .readers
                            .iter()
                            .map(|slot| (id.clone(), slot.instance.clone()))
                    })
                    .collect();
                let mut changed = false;
                for (partition, reader) in &slots {
                    changed |= table.reader_serving([partition], reader);
                }
                let whole = table.partitions.len() == PARTITIONS as usize && !slots.is_empty();
                let settled = whole && rebalance::status(&table).is_settled();
                Ok::<_, DocumentError>(if changed {
                    Update::Write(table, settled)
                } else {
                    Update::Keep(settled)
                })
            },
        );
        if updated.await.map_err(|e| failed(prefix, &e))?.outcome {
            return Ok(());
        }
        if since.elapsed() > ASSIGNED_WITHIN {
            return Err(HarnessError::Late {
                what: format!("the partitions of {prefix} are assigned"),
                within: ASSIGNED_WITHIN,
                seen: "a table without them".to_owned(),
            });
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn store(endpoint: &str, prefix: &str, connector: &Connector) -> Result<Store, HarnessError> {
    let config = S3Config {
        prefix: prefix.to_owned(),
        region: Some("us-east-1".to_owned()),
        endpoint: Some(endpoint.to_owned()),
        path_style: true,
        credentials: Credentials::Static {
            access_key: ACCESS_KEY.to_owned(),
            secret_key: SECRET_KEY.to_owned(),
            session_token: None,
        },
        connector: Some(connector.clone()),
        ..S3Config::new(BUCKET)
    };
    let store = S3Store::connect(config).await;
    let store = store.map_err(|e| failed(prefix, &e))?;
    Ok(Store::new(store, RetryPolicy::default()))
}

fn failed(prefix: &str, error: &dyn std::fmt::Display) -> HarnessError {
    HarnessError::NoAnswer {
        request: format!("the bucket, {prefix}"),
        message: error.to_string(),
    }
}
