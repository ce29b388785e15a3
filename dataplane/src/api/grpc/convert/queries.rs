//! The universal query API.

use brainy_index::fusion::DEFAULT_RRF_K;

use super::examples::{context, discover, feedback, recommend};
use super::filter::filter;
use super::formula::formula;
use super::order::{order_by, sample};
use super::select::{with_payload, with_vectors};
use super::vectors::input;
use super::{count, given, needed, unknown};
use crate::api::dto::examples::LookupDto;
use crate::api::dto::prefetch::{PrefetchDto, Prefetches};
use crate::api::dto::query::{
    IdfCorpusDto, IdfDto, IdfScopeDto, QuantizationDto, QueryDto, SearchParamsDto,
};
use crate::api::dto::query_input::{MmrDto, QueryInput};
use crate::api::grpc::proto;
use crate::api::plan::Fusion;
use crate::error::ServiceError;

/// A query.
pub(in crate::api::grpc) fn query(message: proto::QueryPoints) -> Result<QueryDto, ServiceError> {
    let proto::QueryPoints {
        collection_name: _,
        prefetch,
        query,
        using,
        filter,
        params,
        score_threshold,
        limit,
        offset,
        with_vectors,
        with_payload,
        read_consistency: _,
        shard_key_selector,
        lookup_from,
        timeout: _,
    } = message;
    Ok(QueryDto {
        query: query.map(variant).transpose()?,
        filter: self::filter(filter)?,
        params: params.map(self::params).transpose()?,
        score_threshold: score_threshold.map(f64::from),
        limit: limit.map(count),
        offset: offset.map(count),
        with_vector: self::with_vectors(with_vectors)?,
        with_payload: self::with_payload(with_payload)?,
        using,
        prefetch: prefetches(prefetch)?,
        lookup_from: lookup_from.map(lookup),
        shard_key: given(&shard_key_selector),
    })
}

/// Queries whose results another one takes.
pub(super) fn prefetches(list: Vec<proto::PrefetchQuery>) -> Result<Prefetches, ServiceError> {
    let list = list.into_iter().enumerate().map(|(i, message)| {
        let place = |e: ServiceError| e.within(&format!("prefetch[{i}]"));
        prefetch(message).map_err(place)
    });
    list.collect::<Result<_, _>>().map(Prefetches)
}

fn prefetch(message: proto::PrefetchQuery) -> Result<PrefetchDto, ServiceError> {
    let proto::PrefetchQuery {
        prefetch,
        query,
        using,
        filter,
        params,
        score_threshold,
        limit,
        lookup_from,
    } = message;
    Ok(PrefetchDto {
        query: query.map(variant).transpose()?,
        using,
        filter: self::filter(filter)?,
        params: params.map(self::params).transpose()?,
        score_threshold: score_threshold.map(f64::from),
        limit: limit.map(count),
        prefetch: prefetches(prefetch)?,
        lookup_from: lookup_from.map(lookup),
    })
}

/// What is asked for.
pub(super) fn variant(query: proto::Query) -> Result<QueryInput, ServiceError> {
    use proto::query::Variant;
    match needed("query", query.variant)? {
        Variant::Nearest(nearest) => {
            let nearest = input("query", Some(nearest))?;
            Ok(QueryInput::Nearest(nearest, None))
        }
        Variant::NearestWithMmr(proto::NearestInputWithMmr { nearest, mmr }) => {
            let nearest = input("query.nearest", nearest)?;
            let proto::Mmr {
                diversity,
                candidates_limit,
            } = needed("query.mmr", mmr)?;
            let mmr = MmrDto {
                diversity,
                candidates_limit: candidates_limit.map(|n| count(n.into())),
            };
            Ok(QueryInput::Nearest(nearest, Some(mmr)))
        }
        Variant::Fusion(number) => {
            let fusion = match proto::Fusion::try_from(number) {
                Ok(proto::Fusion::Rrf) => Fusion::Rrf {
                    k: DEFAULT_RRF_K,
                    weights: Vec::new(),
                },
                Ok(proto::Fusion::Dbsf) => Fusion::Dbsf,
                Err(_) => return Err(unknown("fusion", number)),
            };
            Ok(QueryInput::Fusion(fusion))
        }
        Variant::Rrf(proto::Rrf { k, weights }) => Ok(QueryInput::Fusion(Fusion::Rrf {
            k: k.unwrap_or(DEFAULT_RRF_K),
            weights,
        })),
        Variant::Recommend(query) => recommend(query).map(QueryInput::Recommend),
        Variant::Discover(query) => discover(query).map(QueryInput::Discover),
        Variant::Context(query) => context(query).map(QueryInput::Context),
        Variant::OrderBy(by) => order_by(by).map(QueryInput::OrderBy),
        Variant::Sample(kind) => sample(kind).map(QueryInput::Sample),
        Variant::Formula(query) => Ok(QueryInput::Formula(Box::new(formula(query)?))),
        Variant::RelevanceFeedback(query) => Ok(QueryInput::Feedback(Box::new(feedback(query)?))),
        Variant::Text(_) => Ok(QueryInput::Refused("text queries (BM25 over a text index)")),
    }
}

/// How to search.
pub(super) fn params(params: proto::SearchParams) -> Result<SearchParamsDto, ServiceError> {
    let proto::SearchParams {
        hnsw_ef,
        exact,
        quantization,
        indexed_only,
        acorn,
        idf,
    } = params;
    Ok(SearchParamsDto {
        hnsw_ef: hnsw_ef.map(count),
        exact,
        idf: idf.map(self::idf).transpose()?,
        quantization: quantization.map(codes),
        _indexed_only: indexed_only,
        _acorn: given(&acorn),
    })
}

/// Which points decide how rare a term is.
fn idf(params: proto::IdfParams) -> Result<IdfDto, ServiceError> {
    let proto::IdfParams { corpus } = params;
    Ok(match filter(corpus)? {
        Some(corpus) => IdfDto::Corpus(IdfCorpusDto { corpus }),
        None => IdfDto::Scope(IdfScopeDto::Global),
    })
}

/// Where the vectors of named points are.
pub(super) fn lookup(location: proto::LookupLocation) -> LookupDto {
    let proto::LookupLocation {
        collection_name,
        vector_name,
        shard_key_selector,
    } = location;
    LookupDto {
        collection: collection_name,
        vector: vector_name,
        shard_key: given(&shard_key_selector),
    }
}

fn codes(params: proto::QuantizationSearchParams) -> QuantizationDto {
    let proto::QuantizationSearchParams {
        ignore,
        rescore,
        oversampling,
    } = params;
    QuantizationDto {
        ignore,
        rescore,
        oversampling,
    }
}
