//! Queries by examples, of the universal query API and the older ones.

use schemars::JsonSchema;
use serde::Deserialize;

use super::filter::OneOrMany;
use super::points::Checks;
use super::vector::VectorInput;
use super::{Given, at_most, refuse};
use crate::api::asked::{Asked, Example, Naive};
use crate::error::ServiceError;
use crate::model::{Distance, Objective, Pair, VectorSchema};

objects!(
    RecommendDto,
    PairDto,
    DiscoverDto,
    FeedbackDto,
    FeedbackItemDto,
    FeedbackStrategyDto,
    NaiveDto,
    LookupDto
);

/// Most examples of one query: every point is compared with all of them.
const MAX_EXAMPLES: usize = 1_000;

/// `{"positive": [...], "negative": [...], "strategy": ...}`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub(crate) struct RecommendDto {
    pub(crate) positive: Option<Vec<VectorInput>>,
    pub(crate) negative: Option<Vec<VectorInput>>,
    pub(crate) strategy: Option<StrategyDto>,
}

/// How a recommendation uses its examples.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StrategyDto {
    #[default]
    AverageVector,
    BestScore,
    SumScores,
}

/// An example of what is wanted and one of what is not.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schemars(rename = "ContextPair")]
pub(crate) struct PairDto {
    pub(crate) positive: VectorInput,
    pub(crate) negative: VectorInput,
}

/// Pairs.
pub(crate) type ContextDto = OneOrMany<PairDto>;

schema!(OneOrMany<PairDto>, "ContextPairs", generator => {
    "anyOf": [
        generator.subschema_for::<PairDto>(),
        {"type": "array", "items": generator.subschema_for::<PairDto>()},
    ],
});

/// `{"target": ..., "context": [...]}`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct DiscoverDto {
    pub(crate) target: VectorInput,
    pub(crate) context: ContextDto,
}

/// `{"target": ..., "feedback": [...], "strategy": ...}`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct FeedbackDto {
    pub(crate) target: VectorInput,
    pub(crate) feedback: Vec<FeedbackItemDto>,
    pub(crate) strategy: FeedbackStrategyDto,
}

/// An earlier result, and what it was worth.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct FeedbackItemDto {
    pub(crate) example: VectorInput,
    pub(crate) score: f64,
}

/// How feedback is used.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct FeedbackStrategyDto {
    pub(crate) naive: NaiveDto,
}

/// Coefficients of the naive strategy.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct NaiveDto {
    pub(crate) a: f64,
    pub(crate) b: f64,
    pub(crate) c: f64,
}

/// Where the vectors of the points that a query names are, if not in its collection under its name.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct LookupDto {
    pub(crate) collection: String,
    pub(crate) vector: Option<String>,
    #[schemars(with = "Option<super::Refused>")]
    pub(crate) shard_key: Given,
}

impl LookupDto {
    pub(crate) fn check(&self) -> Result<(), ServiceError> {
        refuse(&[("lookup_from.shard_key", self.shard_key.is_some())])
    }
}

/// Reads examples of one query.
#[derive(Clone, Copy)]
pub(super) struct Examples<'a> {
    schema: &'a VectorSchema,
    using: &'a str,
}

impl<'a> Examples<'a> {
    pub(super) fn new(checks: Checks<'a>, using: &'a str) -> Self {
        Self {
            schema: checks.schema,
            using,
        }
    }

    pub(super) fn one(
        self,
        input: VectorInput,
        place: &dyn Fn() -> String,
    ) -> Result<Example, ServiceError> {
        match input {
            VectorInput::Id(id) => Ok(Example::Point(id)),
            other => other
                .prepare_query(self.schema, self.using, place)
                .map(Example::Vector),
        }
    }

    fn list(self, field: &str, inputs: Vec<VectorInput>) -> Result<Vec<Example>, ServiceError> {
        at_most(&format!("'{field}'"), inputs.len(), MAX_EXAMPLES)?;
        let inputs = inputs.into_iter().enumerate();
        inputs
            .map(|(i, input)| self.one(input, &|| format!("{field}[{i}]")))
            .collect()
    }

    fn pairs(self, pairs: ContextDto) -> Result<Vec<Pair<Example>>, ServiceError> {
        at_most("'context'", pairs.0.len(), MAX_EXAMPLES)?;
        let pairs = pairs.0.into_iter().enumerate();
        pairs
            .map(|(i, PairDto { positive, negative })| {
                Ok(Pair {
                    positive: self.one(positive, &|| format!("context[{i}].positive"))?,
                    negative: self.one(negative, &|| format!("context[{i}].negative"))?,
                })
            })
            .collect()
    }

    pub(super) fn recommend(self, dto: RecommendDto) -> Result<Asked, ServiceError> {
        let RecommendDto {
            positive,
            negative,
            strategy,
        } = dto;
        let strategy = strategy.unwrap_or_default();
        // Averages are taken of vectors as they are given.
        let raw = matches!(strategy, StrategyDto::AverageVector).then(|| unscaled(self.schema));
        let examples = Examples {
            schema: raw.as_ref().unwrap_or(self.schema),
            using: self.using,
        };
        let positive = examples.list("positive", positive.unwrap_or_default())?;
        let negative = examples.list("negative", negative.unwrap_or_default())?;
        if positive.is_empty() && (negative.is_empty() || raw.is_some()) {
            return Err(ServiceError::BadRequest(
                match strategy {
                    StrategyDto::AverageVector => {
                        "'positive' is empty: the strategy average_vector needs an example there"
                    }
                    _ => "'positive' and 'negative' are empty: at least one example is needed",
                }
                .to_owned(),
            ));
        }
        Ok(match strategy {
            StrategyDto::AverageVector => Asked::Average { positive, negative },
            StrategyDto::BestScore => Asked::Objective(Objective::BestScore { positive, negative }),
            StrategyDto::SumScores => {
                let positive = positive.into_iter().map(|example| (example, 1.0));
                let negative = negative.into_iter().map(|example| (example, -1.0));
                Asked::Objective(Objective::Weighted(positive.chain(negative).collect()))
            }
        })
    }

    pub(super) fn discover(self, dto: DiscoverDto) -> Result<Asked, ServiceError> {
        let target = self.one(dto.target, &|| "target".to_owned())?;
        let context = self.pairs(dto.context)?;
        Ok(Asked::Objective(Objective::Discover { target, context }))
    }

    pub(super) fn context(self, pairs: ContextDto) -> Result<Asked, ServiceError> {
        if pairs.0.is_empty() {
            return Err(ServiceError::BadRequest(
                "'context' is empty: at least one pair is needed".to_owned(),
            ));
        }
        Ok(Asked::Objective(Objective::Context(self.pairs(pairs)?)))
    }

    pub(super) fn feedback(self, dto: FeedbackDto) -> Result<Asked, ServiceError> {
        let FeedbackDto {
            target,
            feedback,
            strategy:
                FeedbackStrategyDto {
                    naive: NaiveDto { a, b, c },
                },
        } = dto;
        at_most("'feedback'", feedback.len(), MAX_EXAMPLES)?;
        let target = self.one(target, &|| "target".to_owned())?;
        let items = feedback.into_iter().enumerate();
        let items = items
            .map(|(i, FeedbackItemDto { example, score })| {
                let example = self.one(example, &|| format!("feedback[{i}].example"))?;
                Ok((example, score))
            })
            .collect::<Result<_, ServiceError>>()?;
        Naive { a, b, c }.asked(target, items).map(Asked::Objective)
    }
}

/// The same vectors, of any length.
fn unscaled(schema: &VectorSchema) -> VectorSchema {
    let mut schema = schema.clone();
    for params in schema.vectors.values_mut() {
        if params.distance == Distance::Cosine {
            params.distance = Distance::Dot;
        }
    }
    schema
}
