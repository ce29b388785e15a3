//! What a caller of each method needs to be allowed, and what happens when there is no answer in time.

use crate::api::guard::Class;

/// The class of the method at this path of a request; none if there is no such method.
pub(super) fn class(path: &str) -> Option<Class> {
    let (service, method) = path.strip_prefix("/qdrant.")?.split_once('/')?;
    Some(match (service, method) {
        ("Qdrant", "HealthCheck")
        | (
            "Collections",
            "Get"
            | "List"
            | "ListCollectionAliases"
            | "ListAliases"
            | "CollectionClusterInfo"
            | "CollectionExists"
            | "ListShardKeys",
        )
        | (
            "Points",
            "Get"
            | "Search"
            | "SearchBatch"
            | "SearchGroups"
            | "Scroll"
            | "Recommend"
            | "RecommendBatch"
            | "RecommendGroups"
            | "Discover"
            | "DiscoverBatch"
            | "Count"
            | "Query"
            | "QueryBatch"
            | "QueryGroups"
            | "Facet"
            | "SearchMatrixPairs"
            | "SearchMatrixOffsets",
        ) => Class::Read,
        (
            "Points",
            "Upsert" | "Delete" | "UpdateVectors" | "DeleteVectors" | "SetPayload"
            | "OverwritePayload" | "DeletePayload" | "ClearPayload" | "UpdateBatch"
            | "CreateFieldIndex" | "DeleteFieldIndex",
        ) => Class::Write,
        ("Points", "CreateVectorName" | "DeleteVectorName")
        | (
            "Collections",
            "Create"
            | "Update"
            | "Delete"
            | "UpdateAliases"
            | "UpdateCollectionClusterSetup"
            | "CreateShardKey"
            | "DeleteShardKey",
        ) => Class::Change,
        ("Snapshots", "List" | "ListFull") => Class::Read,
        ("Snapshots", "Create" | "Delete" | "CreateFull" | "DeleteFull") => Class::Transfer,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_a_class() {
        let definitions = include_str!("../../../proto/services.proto");
        let mut service = "";
        let mut methods = 0;
        for line in definitions.lines() {
            if let Some(rest) = line.strip_prefix("service ") {
                service = rest.split_whitespace().next().unwrap();
            }
            if let Some(rest) = line.trim().strip_prefix("rpc ") {
                let (method, _) = rest.split_once('(').unwrap();
                let path = format!("/qdrant.{service}/{method}");
                assert!(class(&path).is_some(), "{path}");
                methods += 1;
            }
        }
        assert!(methods > 50, "{methods}");
        assert_eq!(class("/qdrant.Points/Nothing"), None);
        assert_eq!(class("/grpc.health.v1.Health/Check"), None);
    }
}
