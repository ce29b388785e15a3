//! What stands at `query`.

use std::fmt;

use brainy_index::fusion::DEFAULT_RRF_K;
use schemars::JsonSchema;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::examples::{ContextDto, DiscoverDto, FeedbackDto, RecommendDto};
use super::formula::{ExpressionDto, FormulaDto};
use super::order::{OrderByDto, SampleDto};
use super::vector::{Fields, InputVisitor, VectorInput};
use crate::api::plan::Fusion;

objects!(MmrDto, RrfDto);

/// What a query asks for, or a kind of query that Brainy does not have.
#[derive(Debug)]
pub(crate) enum QueryInput {
    /// Nearest points, varied if so asked.
    Nearest(VectorInput, Option<MmrDto>),
    /// Points like some examples and unlike others.
    Recommend(RecommendDto),
    /// Points like a target, on the right side of pairs.
    Discover(DiscoverDto),
    /// Points on the right side of pairs.
    Context(ContextDto),
    /// Points near a target, corrected by what earlier results were worth.
    Feedback(Box<FeedbackDto>),
    /// One list of several.
    Fusion(Fusion),
    /// What was prefetched, by the value of a formula.
    Formula(Box<FormulaDto>),
    /// By a payload field.
    OrderBy(OrderByDto),
    /// Some of all.
    Sample(SampleDto),
    /// What it was instead.
    Refused(&'static str),
}

/// Maximal marginal relevance.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub(crate) struct MmrDto {
    #[schemars(range(min = 0, max = 1))]
    pub(crate) diversity: Option<f32>,
    pub(crate) candidates_limit: Option<usize>,
}

/// Kinds of fusion by name.
#[derive(serde::Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Fusion")]
pub(crate) enum FusionName {
    Rrf,
    Dbsf,
}

/// Parameters of reciprocal-rank fusion.
#[derive(serde::Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct RrfDto {
    #[schemars(range(min = 1))]
    pub(crate) k: Option<u32>,
    pub(crate) weights: Option<Vec<f32>>,
}

impl From<RrfDto> for Fusion {
    fn from(dto: RrfDto) -> Self {
        Self::Rrf {
            k: dto.k.unwrap_or(DEFAULT_RRF_K),
            weights: dto.weights.unwrap_or_default(),
        }
    }
}

impl From<FusionName> for Fusion {
    fn from(name: FusionName) -> Self {
        match name {
            FusionName::Rrf => Self::Rrf {
                k: DEFAULT_RRF_K,
                weights: Vec::new(),
            },
            FusionName::Dbsf => Self::Dbsf,
        }
    }
}

/// Fields that name a kind of query.
const KINDS: &[&str] = &[
    "nearest",
    "recommend",
    "discover",
    "context",
    "relevance_feedback",
    "fusion",
    "rrf",
    "formula",
    "order_by",
    "sample",
];

/// The fields of a query that is an object.
#[derive(Default)]
struct Parts {
    /// What it is, as often as it says so.
    kinds: Vec<QueryInput>,
    nearest: Option<VectorInput>,
    mmr: Option<MmrDto>,
    formula: Option<ExpressionDto>,
    defaults: Option<Map<String, Value>>,
}

impl Parts {
    fn read<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let kind = match key {
            "nearest" => {
                self.nearest = Some(map.next_value()?);
                return Ok(());
            }
            "mmr" => {
                self.mmr = map.next_value()?;
                return Ok(());
            }
            "formula" => {
                self.formula = Some(map.next_value()?);
                return Ok(());
            }
            "defaults" => {
                self.defaults = map.next_value()?;
                return Ok(());
            }
            "recommend" => QueryInput::Recommend(map.next_value()?),
            "discover" => QueryInput::Discover(map.next_value()?),
            "context" => QueryInput::Context(map.next_value()?),
            "relevance_feedback" => QueryInput::Feedback(map.next_value()?),
            "fusion" => QueryInput::Fusion(map.next_value::<FusionName>()?.into()),
            "rrf" => QueryInput::Fusion(map.next_value::<RrfDto>()?.into()),
            "order_by" => QueryInput::OrderBy(map.next_value()?),
            "sample" => QueryInput::Sample(map.next_value()?),
            other => return Err(A::Error::unknown_field(other, KINDS)),
        };
        self.kinds.push(kind);
        Ok(())
    }

    fn into_input<E: Error>(mut self, vector: Fields) -> Result<QueryInput, E> {
        let has_vector = !vector.is_empty();
        let others = !self.kinds.is_empty() || self.nearest.is_some() || self.formula.is_some();
        if has_vector && others {
            return Err(several());
        }
        if vector.is_search() {
            self.kinds
                .push(QueryInput::Refused("text queries (BM25 over a text index)"));
        } else if has_vector {
            let input = vector.into_input()?;
            self.kinds.push(QueryInput::Nearest(input, None));
        }
        if let Some(input) = self.nearest {
            self.kinds.push(QueryInput::Nearest(input, self.mmr.take()));
        }
        if let Some(formula) = self.formula {
            let defaults = self.defaults.take().unwrap_or_default();
            self.kinds.push(QueryInput::Formula(Box::new(FormulaDto {
                formula,
                defaults,
            })));
        }
        if self.mmr.is_some() {
            return Err(E::custom("'mmr' stands beside 'nearest'"));
        }
        if self.defaults.is_some() {
            return Err(E::custom("'defaults' stands beside 'formula'"));
        }
        match (self.kinds.pop(), self.kinds.is_empty()) {
            (Some(kind), true) => Ok(kind),
            (Some(_), false) => Err(several()),
            (None, _) => Err(E::missing_field("nearest")),
        }
    }
}

fn several<E: Error>() -> E {
    E::custom(format!(
        "a query is of one kind: a vector, or exactly one of {}",
        KINDS.join(", ")
    ))
}

impl<'de> Deserialize<'de> for QueryInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = QueryInput;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vector, a point id or an object such as {\"nearest\": ...}")
            }

            fn visit_u64<E: Error>(self, n: u64) -> Result<QueryInput, E> {
                let input = InputVisitor.visit_u64(n)?;
                Ok(QueryInput::Nearest(input, None))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<QueryInput, E> {
                let input = InputVisitor.visit_str(text)?;
                Ok(QueryInput::Nearest(input, None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<QueryInput, A::Error> {
                let input = InputVisitor.visit_seq(seq)?;
                Ok(QueryInput::Nearest(input, None))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<QueryInput, A::Error> {
                let (mut fields, mut parts) = (Fields::default(), Parts::default());
                fields.read(map, |key, map| parts.read(key, map))?;
                parts.into_input(fields)
            }
        }
        deserializer.deserialize_any(V)
    }
}

schema!(QueryInput, "Query", generator => {
    "anyOf": [
        generator.subschema_for::<VectorInput>(),
        {
            "type": "object",
            "properties": {
                "nearest": generator.subschema_for::<VectorInput>(),
                "mmr": generator.subschema_for::<Option<MmrDto>>(),
            },
            "required": ["nearest"],
            "additionalProperties": false,
        },
        {
            "type": "object",
            "properties": {"recommend": generator.subschema_for::<RecommendDto>()},
            "required": ["recommend"],
            "additionalProperties": false,
        },
        {
            "type": "object",
            "properties": {"discover": generator.subschema_for::<DiscoverDto>()},
            "required": ["discover"],
            "additionalProperties": false,
        },
        {
            "type": "object",
            "properties": {"context": generator.subschema_for::<ContextDto>()},
            "required": ["context"],
            "additionalProperties": false,
        },
        {
            "type": "object",
            "properties": {"relevance_feedback": generator.subschema_for::<FeedbackDto>()},
            "required": ["relevance_feedback"],
            "additionalProperties": false,
        },
        {
            "type": "object",
            "properties": {"fusion": generator.subschema_for::<FusionName>()},
            "required": ["fusion"],
            "additionalProperties": false,
        },
        {
            "type": "object",
            "properties": {"rrf": generator.subschema_for::<RrfDto>()},
            "required": ["rrf"],
            "additionalProperties": false,
        },
        {
            "type": "object",
            "properties": {
                "formula": generator.subschema_for::<ExpressionDto>(),
                "defaults": generator.subschema_for::<Option<Map<String, Value>>>(),
            },
            "required": ["formula"],
            "additionalProperties": false,
        },
        {
            "type": "object",
            "properties": {"order_by": generator.subschema_for::<OrderByDto>()},
            "required": ["order_by"],
            "additionalProperties": false,
        },
        {
            "type": "object",
            "properties": {"sample": generator.subschema_for::<SampleDto>()},
            "required": ["sample"],
            "additionalProperties": false,
        },
    ],
});
