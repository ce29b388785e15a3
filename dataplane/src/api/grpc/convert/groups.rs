//! Grouped queries, and matrices of distances.

use super::answers::{hits, record};
use super::examples::{examples, strategy};
use super::filter::filter;
use super::queries::{lookup, params, prefetches, variant};
use super::select::{with_payload, with_vectors};
use super::vectors::{from_id, searched};
use super::{count, given};
use crate::api::dto::groups::{
    GroupsDto, PointGroupDto, QueryGroupsDto, RecommendGroupsDto, SearchGroupsDto, WithLookupDto,
};
use crate::api::dto::matrix::{MatrixDto, OffsetsDto, PairsDto};
use crate::api::dto::vector::SearchVector;
use crate::api::grouping::GroupId;
use crate::api::grpc::proto;
use crate::error::ServiceError;

fn with_lookup(lookup: proto::WithLookup) -> Result<WithLookupDto, ServiceError> {
    let proto::WithLookup {
        collection,
        with_payload,
        with_vectors,
    } = lookup;
    Ok(WithLookupDto {
        collection,
        with_payload: self::with_payload(with_payload)?,
        with_vectors: self::with_vectors(with_vectors)?,
    })
}

/// A query whose hits come in groups.
pub(in crate::api::grpc) fn query(
    message: proto::QueryPointGroups,
) -> Result<QueryGroupsDto, ServiceError> {
    let proto::QueryPointGroups {
        collection_name: _,
        prefetch,
        query,
        using,
        filter,
        params,
        score_threshold,
        with_payload,
        with_vectors,
        lookup_from,
        limit,
        group_size,
        group_by,
        read_consistency: _,
        with_lookup,
        timeout: _,
        shard_key_selector,
    } = message;
    Ok(QueryGroupsDto {
        query: query.map(variant).transpose()?,
        filter: self::filter(filter)?,
        params: params.map(self::params).transpose()?,
        score_threshold: score_threshold.map(f64::from),
        with_vector: self::with_vectors(with_vectors)?,
        with_payload: self::with_payload(with_payload)?,
        using,
        prefetch: prefetches(prefetch)?,
        lookup_from: lookup_from.map(lookup),
        shard_key: given(&shard_key_selector),
        group_by,
        group_size: group_size.map(count),
        limit: limit.map(count),
        with_lookup: with_lookup.map(self::with_lookup).transpose()?,
    })
}

/// As [`query`], of the older API.
pub(in crate::api::grpc) fn search(
    message: proto::SearchPointGroups,
) -> Result<SearchGroupsDto, ServiceError> {
    let proto::SearchPointGroups {
        collection_name: _,
        vector,
        filter,
        limit,
        with_payload,
        params,
        score_threshold,
        vector_name,
        with_vectors,
        group_by,
        group_size,
        read_consistency: _,
        with_lookup,
        timeout: _,
        shard_key_selector,
        sparse_indices,
    } = message;
    Ok(SearchGroupsDto {
        vector: SearchVector {
            name: vector_name.unwrap_or_default(),
            input: searched(vector, sparse_indices),
        },
        filter: self::filter(filter)?,
        params: params.map(self::params).transpose()?,
        score_threshold: score_threshold.map(f64::from),
        with_vector: self::with_vectors(with_vectors)?,
        with_payload: self::with_payload(with_payload)?,
        shard_key: given(&shard_key_selector),
        group_by,
        group_size: Some(count(group_size.into())),
        limit: Some(count(limit.into())),
        with_lookup: with_lookup.map(self::with_lookup).transpose()?,
    })
}

/// As [`query`], of recommendations of the older API.
pub(in crate::api::grpc) fn recommend(
    message: proto::RecommendPointGroups,
) -> Result<RecommendGroupsDto, ServiceError> {
    let proto::RecommendPointGroups {
        collection_name: _,
        positive,
        negative,
        filter,
        limit,
        with_payload,
        params,
        score_threshold,
        using,
        with_vectors,
        lookup_from,
        group_by,
        group_size,
        read_consistency: _,
        with_lookup,
        strategy,
        positive_vectors,
        negative_vectors,
        timeout: _,
        shard_key_selector,
    } = message;
    Ok(RecommendGroupsDto {
        positive: examples("positive", positive, positive_vectors)?,
        negative: examples("negative", negative, negative_vectors)?,
        strategy: strategy.map(self::strategy).transpose()?,
        filter: self::filter(filter)?,
        params: params.map(self::params).transpose()?,
        score_threshold: score_threshold.map(f64::from),
        with_vector: self::with_vectors(with_vectors)?,
        with_payload: self::with_payload(with_payload)?,
        using,
        lookup_from: lookup_from.map(lookup),
        shard_key: given(&shard_key_selector),
        group_by,
        group_size: Some(count(group_size.into())),
        limit: Some(count(limit.into())),
        with_lookup: with_lookup.map(self::with_lookup).transpose()?,
    })
}

/// Groups, best first.
pub(in crate::api::grpc) fn groups(found: GroupsDto) -> proto::GroupsResult {
    let groups = found.groups.into_iter().map(group);
    proto::GroupsResult {
        groups: groups.collect(),
    }
}

fn group(group: PointGroupDto) -> proto::PointGroup {
    use proto::group_id::Kind;
    let PointGroupDto { hits, id, lookup } = group;
    let kind = match id.0 {
        GroupId::Int(n) => u64::try_from(n).map_or(Kind::IntegerValue(n), Kind::UnsignedValue),
        GroupId::Large(n) => Kind::UnsignedValue(n),
        GroupId::Text(text) => Kind::StringValue(text),
    };
    proto::PointGroup {
        id: Some(proto::GroupId { kind: Some(kind) }),
        hits: self::hits(hits),
        lookup: lookup.map(record),
    }
}

/// Which points, and how many neighbours of each.
pub(in crate::api::grpc) fn matrix(
    message: proto::SearchMatrixPoints,
) -> Result<MatrixDto, ServiceError> {
    let proto::SearchMatrixPoints {
        collection_name: _,
        filter,
        sample,
        limit,
        using,
        timeout: _,
        read_consistency: _,
        shard_key_selector,
    } = message;
    Ok(MatrixDto {
        filter: self::filter(filter)?,
        sample: sample.map(count),
        limit: limit.map(count),
        using,
        shard_key: given(&shard_key_selector),
    })
}

/// A matrix as pairs.
pub(in crate::api::grpc) fn pairs(matrix: PairsDto) -> proto::SearchMatrixPairs {
    let pairs = matrix.pairs.into_iter();
    proto::SearchMatrixPairs {
        pairs: pairs
            .map(|pair| proto::SearchMatrixPair {
                a: Some(from_id(pair.a)),
                b: Some(from_id(pair.b)),
                score: pair.score,
            })
            .collect(),
    }
}

/// A matrix as rows, columns and values.
pub(in crate::api::grpc) fn offsets(matrix: OffsetsDto) -> proto::SearchMatrixOffsets {
    let OffsetsDto {
        offsets_row,
        offsets_col,
        scores,
        ids,
    } = matrix;
    proto::SearchMatrixOffsets {
        offsets_row,
        offsets_col,
        scores,
        ids: ids.into_iter().map(from_id).collect(),
    }
}
