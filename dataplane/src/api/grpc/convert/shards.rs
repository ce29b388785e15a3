//! Where the partitions of a collection are, as shards.

use crate::api::dto::cluster::{CollectionClusterDto, LocalShardDto, RemoteShardDto, TransferDto};
use crate::api::grpc::proto;

/// The answer, after `time` seconds.
pub(in crate::api::grpc) fn places(
    all: CollectionClusterDto,
    time: f64,
) -> proto::CollectionClusterInfoResponse {
    let CollectionClusterDto {
        peer_id,
        shard_count,
        local_shards,
        remote_shards,
        shard_transfers,
    } = all;
    proto::CollectionClusterInfoResponse {
        peer_id,
        shard_count: shard_count.into(),
        local_shards: local_shards.into_iter().map(local).collect(),
        remote_shards: remote_shards.into_iter().map(remote).collect(),
        shard_transfers: shard_transfers.into_iter().map(transfer).collect(),
        resharding_operations: Vec::new(),
        time,
    }
}

fn state(name: &str) -> i32 {
    match name {
        "Active" => proto::ReplicaState::Active,
        _ => proto::ReplicaState::Initializing,
    }
    .into()
}

fn local(shard: LocalShardDto) -> proto::LocalShardInfo {
    let LocalShardDto {
        shard_id,
        points_count,
        state,
    } = shard;
    proto::LocalShardInfo {
        shard_id,
        points_count,
        state: self::state(state),
        shard_key: None,
    }
}

fn remote(shard: RemoteShardDto) -> proto::RemoteShardInfo {
    let RemoteShardDto {
        shard_id,
        peer_id,
        state,
    } = shard;
    proto::RemoteShardInfo {
        shard_id,
        peer_id,
        state: self::state(state),
        shard_key: None,
    }
}

fn transfer(transfer: TransferDto) -> proto::ShardTransferInfo {
    let TransferDto {
        shard_id,
        from,
        to,
        sync,
    } = transfer;
    proto::ShardTransferInfo {
        shard_id,
        to_shard_id: None,
        from,
        to,
        sync,
    }
}
