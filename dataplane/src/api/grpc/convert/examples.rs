//! Queries by example: recommendations, discovery, context, feedback; and the older API of the first two.

use super::filter::filter;
use super::queries::{lookup, params};
use super::select::{with_payload, with_vectors};
use super::vectors::{ids, input, vector};
use super::{bad, count, given, needed, unknown};
use crate::api::dto::examples::{
    ContextDto, DiscoverDto, FeedbackDto, FeedbackItemDto, FeedbackStrategyDto, NaiveDto, PairDto,
    RecommendDto, StrategyDto,
};
use crate::api::dto::filter::OneOrMany;
use crate::api::dto::recommend::{DiscoverRequestDto, RecommendRequestDto};
use crate::api::dto::vector::VectorInput;
use crate::api::grpc::proto;
use crate::error::ServiceError;

fn inputs(name: &str, list: Vec<proto::VectorInput>) -> Result<Vec<VectorInput>, ServiceError> {
    let list = list.into_iter().enumerate();
    list.map(|(i, one)| input(&format!("{name}[{i}]"), Some(one)))
        .collect()
}

pub(super) fn strategy(number: i32) -> Result<StrategyDto, ServiceError> {
    match proto::RecommendStrategy::try_from(number) {
        Ok(proto::RecommendStrategy::AverageVector) => Ok(StrategyDto::AverageVector),
        Ok(proto::RecommendStrategy::BestScore) => Ok(StrategyDto::BestScore),
        Ok(proto::RecommendStrategy::SumScores) => Ok(StrategyDto::SumScores),
        Err(_) => Err(unknown("strategy", number)),
    }
}

pub(super) fn recommend(query: proto::RecommendInput) -> Result<RecommendDto, ServiceError> {
    let proto::RecommendInput {
        positive,
        negative,
        strategy,
    } = query;
    Ok(RecommendDto {
        positive: Some(inputs("positive", positive)?),
        negative: Some(inputs("negative", negative)?),
        strategy: strategy.map(self::strategy).transpose()?,
    })
}

pub(super) fn context(query: proto::ContextInput) -> Result<ContextDto, ServiceError> {
    let pairs = query.pairs.into_iter().map(|pair| {
        let proto::ContextInputPair { positive, negative } = pair;
        Ok(PairDto {
            positive: input("positive", positive)?,
            negative: input("negative", negative)?,
        })
    });
    let pairs = pairs
        .enumerate()
        .map(|(i, pair)| pair.map_err(|e: ServiceError| e.within(&format!("context[{i}]"))));
    pairs.collect::<Result<_, _>>().map(OneOrMany)
}

pub(super) fn discover(query: proto::DiscoverInput) -> Result<DiscoverDto, ServiceError> {
    let proto::DiscoverInput { target, context } = query;
    Ok(DiscoverDto {
        target: input("target", target)?,
        context: self::context(context.unwrap_or_default())?,
    })
}

pub(super) fn feedback(query: proto::RelevanceFeedbackInput) -> Result<FeedbackDto, ServiceError> {
    use proto::feedback_strategy::Variant;
    let proto::RelevanceFeedbackInput {
        target,
        feedback,
        strategy,
    } = query;
    let items = feedback.into_iter().enumerate().map(|(i, item)| {
        let proto::FeedbackItem { example, score } = item;
        Ok(FeedbackItemDto {
            example: input(&format!("feedback[{i}].example"), example)?,
            score: score.into(),
        })
    });
    let items = items.collect::<Result<_, ServiceError>>()?;
    let Variant::Naive(proto::NaiveFeedbackStrategy { a, b, c }) =
        needed("strategy", strategy.and_then(|s| s.variant))?;
    Ok(FeedbackDto {
        target: input("target", target)?,
        feedback: items,
        strategy: FeedbackStrategyDto {
            naive: NaiveDto {
                a: a.into(),
                b: b.into(),
                c: c.into(),
            },
        },
    })
}

/// Ids first, then vectors.
pub(super) fn examples(
    name: &str,
    points: Vec<proto::PointId>,
    vectors: Vec<proto::Vector>,
) -> Result<Option<Vec<VectorInput>>, ServiceError> {
    let points = ids(name, points)?.into_iter().map(VectorInput::Id).map(Ok);
    let vectors = vectors.into_iter().map(vector);
    points.chain(vectors).collect::<Result<_, _>>().map(Some)
}

/// A recommendation of the older API.
pub(in crate::api::grpc) fn recommend_points(
    message: proto::RecommendPoints,
) -> Result<RecommendRequestDto, ServiceError> {
    let proto::RecommendPoints {
        collection_name: _,
        positive,
        negative,
        filter,
        limit,
        with_payload,
        params,
        score_threshold,
        offset,
        using,
        with_vectors,
        lookup_from,
        read_consistency: _,
        strategy,
        positive_vectors,
        negative_vectors,
        timeout: _,
        shard_key_selector,
    } = message;
    Ok(RecommendRequestDto {
        positive: examples("positive", positive, positive_vectors)?,
        negative: examples("negative", negative, negative_vectors)?,
        strategy: strategy.map(self::strategy).transpose()?,
        filter: self::filter(filter)?,
        params: params.map(self::params).transpose()?,
        limit: count(limit),
        offset: offset.map(count),
        with_payload: self::with_payload(with_payload)?,
        with_vector: self::with_vectors(with_vectors)?,
        score_threshold: score_threshold.map(f64::from),
        using,
        lookup_from: lookup_from.map(lookup),
        shard_key: given(&shard_key_selector),
    })
}

fn example(name: &str, example: Option<proto::VectorExample>) -> Result<VectorInput, ServiceError> {
    use proto::vector_example::Example;
    match needed(name, example.and_then(|e| e.example))? {
        Example::Id(id) => super::vectors::id(name, Some(id)).map(VectorInput::Id),
        Example::Vector(one) => vector(one),
    }
}

/// A discovery of the older API.
pub(in crate::api::grpc) fn discover_points(
    message: proto::DiscoverPoints,
) -> Result<DiscoverRequestDto, ServiceError> {
    use proto::target_vector::Target;
    let proto::DiscoverPoints {
        collection_name: _,
        target,
        context,
        filter,
        limit,
        with_payload,
        params,
        offset,
        using,
        with_vectors,
        lookup_from,
        read_consistency: _,
        timeout: _,
        shard_key_selector,
    } = message;
    let target = match target.map(|t| t.target) {
        None => None,
        Some(Some(Target::Single(one))) => Some(example("target", Some(one))?),
        Some(None) => return Err(bad("'target' is empty")),
    };
    let pairs = context.into_iter().enumerate().map(|(i, pair)| {
        let proto::ContextExamplePair { positive, negative } = pair;
        Ok(PairDto {
            positive: example(&format!("context[{i}].positive"), positive)?,
            negative: example(&format!("context[{i}].negative"), negative)?,
        })
    });
    Ok(DiscoverRequestDto {
        target,
        context: Some(pairs.collect::<Result<_, ServiceError>>()?),
        filter: self::filter(filter)?,
        params: params.map(self::params).transpose()?,
        limit: count(limit),
        offset: offset.map(count),
        with_payload: self::with_payload(with_payload)?,
        with_vector: self::with_vectors(with_vectors)?,
        using,
        lookup_from: lookup_from.map(lookup),
        shard_key: given(&shard_key_selector),
    })
}
