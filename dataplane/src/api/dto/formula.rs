//! Formulas over scores and payloads.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer};
use serde_json::{Map, Value};

use super::check_paths;
use super::filter::ConditionDto;
use super::geo::PointDto;
use crate::engine::filter::{datetime, geo::is_on_earth};
use crate::error::ServiceError;
use crate::model::{Decay, DecayKind, Expression, Formula, GeoPoint};

objects!(DivDto, PowDto, GeoDistanceDto, DecayDto);

/// Most parts of a formula: it is computed for every point that was prefetched.
const MAX_PARTS: usize = 1_000;

/// A formula and what stands in for what a point does not have.
#[derive(Debug)]
pub(crate) struct FormulaDto {
    pub(crate) formula: ExpressionDto,
    pub(crate) defaults: Map<String, Value>,
}

/// A number, a variable (`$score`, `$score[1]` or a path into payloads), a condition, or an operation.
#[derive(Debug)]
pub(crate) enum ExpressionDto {
    Constant(f64),
    Variable(String),
    Condition(Box<ConditionDto>),
    Operation(Box<OperationDto>),
}

/// `{"name": operands}`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ExpressionOperation")]
pub(crate) enum OperationDto {
    Mult(Vec<ExpressionDto>),
    Sum(Vec<ExpressionDto>),
    Max(Vec<ExpressionDto>),
    Min(Vec<ExpressionDto>),
    Neg(ExpressionDto),
    Abs(ExpressionDto),
    Div(DivDto),
    Sqrt(ExpressionDto),
    Pow(PowDto),
    Exp(ExpressionDto),
    Log10(ExpressionDto),
    Ln(ExpressionDto),
    Acosh(ExpressionDto),
    GeoDistance(GeoDistanceDto),
    Datetime(String),
    DatetimeKey(String),
    LinDecay(DecayDto),
    ExpDecay(DecayDto),
    GaussDecay(DecayDto),
}

/// The names of operations; whatever has another field is a condition.
const OPERATIONS: &[&str] = &[
    "mult",
    "sum",
    "max",
    "min",
    "neg",
    "abs",
    "div",
    "sqrt",
    "pow",
    "exp",
    "log10",
    "ln",
    "acosh",
    "geo_distance",
    "datetime",
    "datetime_key",
    "lin_decay",
    "exp_decay",
    "gauss_decay",
];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct DivDto {
    pub(crate) left: ExpressionDto,
    pub(crate) right: ExpressionDto,
    pub(crate) by_zero_default: Option<f64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct PowDto {
    pub(crate) base: ExpressionDto,
    pub(crate) exponent: ExpressionDto,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct GeoDistanceDto {
    pub(crate) origin: PointDto,
    pub(crate) to: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct DecayDto {
    pub(crate) x: ExpressionDto,
    pub(crate) target: Option<ExpressionDto>,
    pub(crate) scale: Option<f64>,
    pub(crate) midpoint: Option<f64>,
}

impl<'de> Deserialize<'de> for ExpressionDto {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = ExpressionDto;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a number, a variable, a condition or an operation such as {\"sum\": [...]}",
                )
            }
            fn visit_f64<E: Error>(self, x: f64) -> Result<ExpressionDto, E> {
                Ok(ExpressionDto::Constant(x))
            }
            fn visit_u64<E: Error>(self, x: u64) -> Result<ExpressionDto, E> {
                Ok(ExpressionDto::Constant(x as f64))
            }
            fn visit_i64<E: Error>(self, x: i64) -> Result<ExpressionDto, E> {
                Ok(ExpressionDto::Constant(x as f64))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<ExpressionDto, E> {
                Ok(ExpressionDto::Variable(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ExpressionDto, A::Error> {
                // Which of the two it is shows in its first field, which must not be read to know it.
                let object = Map::<String, Value>::deserialize(MapAccessDeserializer::new(map))?;
                let operation = object.keys().any(|key| OPERATIONS.contains(&key.as_str()));
                let object = Value::Object(object);
                if operation {
                    let operation = OperationDto::deserialize(object).map_err(A::Error::custom)?;
                    return Ok(ExpressionDto::Operation(Box::new(operation)));
                }
                let condition = ConditionDto::deserialize(object).map_err(A::Error::custom)?;
                Ok(ExpressionDto::Condition(Box::new(condition)))
            }
        }
        deserializer.deserialize_any(V)
    }
}

schema!(ExpressionDto, "Expression", generator => {
    "anyOf": [
        {"type": "number"},
        {"type": "string"},
        generator.subschema_for::<ConditionDto>(),
        generator.subschema_for::<OperationDto>(),
    ],
});

fn bad(text: impl Into<String>) -> ServiceError {
    ServiceError::BadRequest(text.into())
}

/// What a variable stands for.
enum Variable {
    Score(usize),
    Path(String),
}

fn variable(text: String) -> Result<Variable, ServiceError> {
    let Some(index) = text.strip_prefix("$score") else {
        check_paths("formula", [&text])?;
        return Ok(Variable::Path(text));
    };
    if index.is_empty() {
        return Ok(Variable::Score(0));
    }
    let digits = index.strip_prefix('[').and_then(|i| i.strip_suffix(']'));
    digits
        .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .map(Variable::Score)
        .ok_or_else(|| {
            let text: String = text.chars().take(64).collect();
            bad(format!(
                "'{text}' is no variable: scores are '$score' or '$score[1]'"
            ))
        })
}

impl FormulaDto {
    /// The formula, checked, without scores. Lists in its conditions have at most `max_list` entries.
    pub(super) fn into_model(self, max_list: usize) -> Result<Formula, ServiceError> {
        let mut formula = Formula {
            expression: Reader { parts: 0, max_list }.read(self.formula)?,
            defaults: Default::default(),
            default_scores: Default::default(),
            scores: Vec::new(),
        };
        for (name, value) in self.defaults {
            match variable(name).map_err(|e| e.within("defaults"))? {
                Variable::Path(path) => {
                    formula.defaults.insert(path, value);
                }
                Variable::Score(list) => {
                    let score = value.as_f64().ok_or_else(|| {
                        bad(format!("defaults: the score '$score[{list}]' is no number"))
                    })?;
                    formula.default_scores.insert(list, score);
                }
            }
        }
        Ok(formula)
    }
}

/// Checks a formula.
struct Reader {
    parts: usize,
    max_list: usize,
}

impl Reader {
    fn all(&mut self, list: Vec<ExpressionDto>) -> Result<Vec<Expression>, ServiceError> {
        list.into_iter().map(|e| self.read(e)).collect()
    }

    fn some(
        &mut self,
        name: &str,
        list: Vec<ExpressionDto>,
    ) -> Result<Vec<Expression>, ServiceError> {
        if list.is_empty() {
            return Err(bad(format!("'{name}' needs at least one operand")));
        }
        self.all(list)
    }

    fn boxed(&mut self, dto: ExpressionDto) -> Result<Box<Expression>, ServiceError> {
        self.read(dto).map(Box::new)
    }

    fn read(&mut self, dto: ExpressionDto) -> Result<Expression, ServiceError> {
        self.parts += 1;
        if self.parts > MAX_PARTS {
            return Err(bad(format!(
                "the formula has more than {MAX_PARTS} parts, which is the most that are allowed"
            )));
        }
        Ok(match dto {
            ExpressionDto::Constant(x) if x.is_finite() => Expression::Constant(x),
            ExpressionDto::Constant(x) => {
                return Err(bad(format!("{x} is no finite number")));
            }
            ExpressionDto::Variable(text) => match variable(text)? {
                Variable::Score(list) => Expression::Score(list),
                Variable::Path(path) => Expression::Payload(path),
            },
            ExpressionDto::Condition(condition) => {
                Expression::Condition(Box::new(condition.into_model(self.max_list)?))
            }
            ExpressionDto::Operation(operation) => self.operation(*operation)?,
        })
    }

    fn operation(&mut self, dto: OperationDto) -> Result<Expression, ServiceError> {
        Ok(match dto {
            OperationDto::Mult(factors) => Expression::Multiply(self.all(factors)?),
            OperationDto::Sum(terms) => Expression::Sum(self.all(terms)?),
            OperationDto::Max(of) => Expression::Max(self.some("max", of)?),
            OperationDto::Min(of) => Expression::Min(self.some("min", of)?),
            OperationDto::Neg(of) => Expression::Negative(self.boxed(of)?),
            OperationDto::Abs(of) => Expression::Absolute(self.boxed(of)?),
            OperationDto::Div(DivDto {
                left,
                right,
                by_zero_default,
            }) => Expression::Divide {
                left: self.boxed(left)?,
                right: self.boxed(right)?,
                by_zero_default,
            },
            OperationDto::Sqrt(of) => Expression::SquareRoot(self.boxed(of)?),
            OperationDto::Pow(PowDto { base, exponent }) => Expression::Power {
                base: self.boxed(base)?,
                exponent: self.boxed(exponent)?,
            },
            OperationDto::Exp(of) => Expression::Exponential(self.boxed(of)?),
            OperationDto::Log10(of) => Expression::Log10(self.boxed(of)?),
            OperationDto::Ln(of) => Expression::Ln(self.boxed(of)?),
            OperationDto::Acosh(of) => Expression::Acosh(self.boxed(of)?),
            OperationDto::GeoDistance(GeoDistanceDto { origin, to }) => {
                check_paths("'geo_distance.to'", [&to])?;
                let PointDto { lon, lat } = origin;
                let origin = GeoPoint { lon, lat };
                if !is_on_earth(origin) {
                    return Err(bad(format!(
                        "'geo_distance.origin' has longitude {lon}, latitude {lat}: a longitude is from -180 to 180, a latitude from -90 to 90"
                    )));
                }
                Expression::GeoDistance { origin, to }
            }
            OperationDto::Datetime(text) => match datetime::parse(&text) {
                Some(micros) => Expression::Constant(datetime::seconds(micros)),
                None => {
                    let text: String = text.chars().take(64).collect();
                    return Err(bad(format!(
                        "'datetime' is '{text}', which is no date and time such as 2024-05-01T12:00:00Z"
                    )));
                }
            },
            OperationDto::DatetimeKey(path) => {
                check_paths("'datetime_key'", [&path])?;
                Expression::DatetimeKey(path)
            }
            OperationDto::LinDecay(decay) => self.decay(DecayKind::Linear, decay)?,
            OperationDto::ExpDecay(decay) => self.decay(DecayKind::Exponential, decay)?,
            OperationDto::GaussDecay(decay) => self.decay(DecayKind::Gauss, decay)?,
        })
    }

    fn decay(&mut self, kind: DecayKind, dto: DecayDto) -> Result<Expression, ServiceError> {
        let (scale, midpoint) = (dto.scale.unwrap_or(1.0), dto.midpoint.unwrap_or(0.5));
        if !(scale > 0.0 && scale.is_finite()) {
            return Err(bad(format!(
                "'scale' of a decay is {scale}, it must be above 0"
            )));
        }
        let fits = match kind {
            DecayKind::Linear => (0.0..=1.0).contains(&midpoint),
            DecayKind::Exponential | DecayKind::Gauss => midpoint > 0.0 && midpoint < 1.0,
        };
        if !fits {
            return Err(bad(format!(
                "'midpoint' of a decay is {midpoint}, it must be between 0 and 1"
            )));
        }
        Ok(Expression::Decay(Box::new(Decay {
            kind,
            x: self.read(dto.x)?,
            target: dto.target.map(|target| self.read(target)).transpose()?,
            midpoint,
            scale,
        })))
    }
}
