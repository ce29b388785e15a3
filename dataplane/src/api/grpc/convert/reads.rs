//! Reads other than those of the universal query API. Who asks, and how fresh and how soon the answer is to be, has been taken out
//! of the messages before.

use super::filter::filter;
use super::order::order_by;
use super::queries::params;
use super::select::{with_payload, with_vectors};
use super::vectors::{id, ids, searched};
use super::{count, given};
use crate::api::dto::query::{CountDto, RetrieveDto, ScrollDto, SearchDto};
use crate::api::dto::vector::SearchVector;
use crate::api::grpc::proto;
use crate::error::ServiceError;

/// Points by id.
pub(in crate::api::grpc) fn retrieve(
    message: proto::GetPoints,
) -> Result<RetrieveDto, ServiceError> {
    let proto::GetPoints {
        collection_name: _,
        ids,
        with_payload,
        with_vectors,
        read_consistency: _,
        shard_key_selector,
        timeout: _,
    } = message;
    Ok(RetrieveDto {
        ids: self::ids("ids", ids)?,
        with_payload: self::with_payload(with_payload)?,
        with_vector: self::with_vectors(with_vectors)?,
        shard_key: given(&shard_key_selector),
    })
}

/// A page of points.
pub(in crate::api::grpc) fn scroll(
    message: proto::ScrollPoints,
) -> Result<ScrollDto, ServiceError> {
    let proto::ScrollPoints {
        collection_name: _,
        filter,
        offset,
        limit,
        with_payload,
        with_vectors,
        read_consistency: _,
        shard_key_selector,
        order_by,
        timeout: _,
    } = message;
    Ok(ScrollDto {
        filter: self::filter(filter)?,
        limit: limit.map(|n| count(n.into())),
        offset: offset.map(|point| id("offset", Some(point))).transpose()?,
        with_payload: self::with_payload(with_payload)?,
        with_vector: self::with_vectors(with_vectors)?,
        order_by: order_by.map(self::order_by).transpose()?,
        shard_key: given(&shard_key_selector),
    })
}

/// How many points.
pub(in crate::api::grpc) fn how_many(
    message: proto::CountPoints,
) -> Result<CountDto, ServiceError> {
    let proto::CountPoints {
        collection_name: _,
        filter,
        exact,
        read_consistency: _,
        shard_key_selector,
        timeout: _,
    } = message;
    Ok(CountDto {
        filter: self::filter(filter)?,
        _exact: exact,
        shard_key: given(&shard_key_selector),
    })
}

/// A query of the older API.
pub(in crate::api::grpc) fn search(
    message: proto::SearchPoints,
) -> Result<SearchDto, ServiceError> {
    let proto::SearchPoints {
        collection_name: _,
        vector,
        filter,
        limit,
        with_payload,
        params,
        score_threshold,
        offset,
        vector_name,
        with_vectors,
        read_consistency: _,
        timeout: _,
        shard_key_selector,
        sparse_indices,
    } = message;
    Ok(SearchDto {
        vector: SearchVector {
            name: vector_name.unwrap_or_default(),
            input: searched(vector, sparse_indices),
        },
        filter: self::filter(filter)?,
        params: params.map(self::params).transpose()?,
        score_threshold: score_threshold.map(f64::from),
        limit: count(limit),
        offset: offset.map(count),
        with_vector: self::with_vectors(with_vectors)?,
        with_payload: self::with_payload(with_payload)?,
        shard_key: given(&shard_key_selector),
    })
}
