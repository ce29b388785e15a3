//! Values of formulas ([`Formula`]) for points.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use crate::model::{
    Condition, Decay, DecayKind, Expression, Filter, Formula, GeoPoint, Payload, PointId,
};

use super::error::EngineError;
use super::filter::{CompiledFilter, Subject, datetime, geo};
use super::path::Path;

/// A formula whose paths and conditions are parsed, ready to be evaluated many times.
#[derive(Debug)]
pub(crate) struct CompiledFormula {
    root: Node,
    keys: Vec<String>,
    scores: Vec<HashMap<PointId, f32>>,
    default_scores: BTreeMap<usize, f64>,
}

/// A value in a payload, or what stands in for it.
#[derive(Debug)]
struct Place {
    text: String,
    path: Path,
    default: Option<Value>,
}

#[derive(Debug)]
enum Node {
    Constant(f64),
    Score(usize),
    Number(Place),
    Condition(CompiledFilter),
    GeoDistance(GeoPoint, Place),
    Datetime(Place),
    Multiply(Vec<Node>),
    Sum(Vec<Node>),
    Max(Vec<Node>),
    Min(Vec<Node>),
    Negative(Box<Node>),
    Absolute(Box<Node>),
    Divide(Box<Node>, Box<Node>, Option<f64>),
    SquareRoot(Box<Node>),
    Power(Box<Node>, Box<Node>),
    Exponential(Box<Node>),
    Log10(Box<Node>),
    Ln(Box<Node>),
    Acosh(Box<Node>),
    Decay {
        kind: DecayKind,
        x: Box<Node>,
        target: Option<Box<Node>>,
        midpoint: f64,
        scale: f64,
    },
}

/// The point that a formula is evaluated for.
struct Point<'p> {
    subject: Subject<'p>,
    payload: &'p Payload,
}

fn invalid(reason: impl Into<String>) -> EngineError {
    EngineError::invalid("the formula", reason)
}

fn not_finite(what: &str) -> EngineError {
    invalid(format!("{what} is not a finite number"))
}

fn finite(value: f64, what: impl Fn() -> String) -> Result<f64, EngineError> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(not_finite(&what()))
    }
}

impl CompiledFormula {
    /// Parses the paths and conditions of a formula.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for a path that cannot be read.
    pub(crate) fn new(formula: &Formula) -> Result<Self, EngineError> {
        let Formula {
            expression,
            defaults,
            default_scores,
            scores,
        } = formula;
        let mut keys = Vec::new();
        let root = Compiler {
            defaults,
            keys: &mut keys,
        }
        .node(expression)?;
        keys.sort_unstable();
        keys.dedup();
        Ok(Self {
            root,
            keys,
            scores: scores
                .iter()
                .map(|list| list.iter().copied().collect())
                .collect(),
            default_scores: default_scores.clone(),
        })
    }

    /// Top-level payload keys that [`Self::value`] looks at.
    pub(crate) fn keys(&self) -> &[String] {
        &self.keys
    }

    /// The value for a point, finite. Only [`Self::keys`] of the payload matter.
    ///
    /// # Errors
    /// [`EngineError::Invalid`]: a value that is missing or of another kind, or a result that is no finite number.
    pub(crate) fn value(
        &self,
        subject: Subject<'_>,
        payload: &Payload,
    ) -> Result<f32, EngineError> {
        let id = subject.id;
        let value = self
            .evaluate(&self.root, &Point { subject, payload })
            .map_err(|e| match e {
                EngineError::Invalid { what, reason } => {
                    EngineError::invalid(what, format!("for the point with id {id}: {reason}"))
                }
                other => other,
            })?;
        let value = value as f32;
        if value.is_finite() {
            Ok(value)
        } else {
            Err(not_finite(&format!(
                "the result for the point with id {id}"
            )))
        }
    }

    fn evaluate(&self, node: &Node, point: &Point<'_>) -> Result<f64, EngineError> {
        let of = |node: &Node| self.evaluate(node, point);
        Ok(match node {
            Node::Constant(value) => *value,
            Node::Score(list) => {
                let scores = self.scores.get(*list);
                let score = scores.and_then(|scores| scores.get(&point.subject.id));
                let default = || self.default_scores.get(list).copied().unwrap_or(0.0);
                score.map_or_else(default, |score| f64::from(*score))
            }
            Node::Number(place) => place
                .value(point)?
                .as_f64()
                .ok_or_else(|| place.expected("a number"))?,
            Node::Condition(filter) => {
                f64::from(u8::from(filter.matches(point.subject, point.payload)))
            }
            Node::GeoDistance(origin, place) => {
                let to = geo::point(place.value(point)?);
                geo::metres(
                    *origin,
                    to.ok_or_else(|| place.expected("a place on Earth"))?,
                )
            }
            Node::Datetime(place) => {
                let time = place.value(point)?.as_str().and_then(datetime::parse);
                datetime::seconds(time.ok_or_else(|| place.expected("a date and time"))?)
            }
            Node::Multiply(factors) => {
                let mut product = 1.0;
                for factor in factors {
                    let factor = of(factor)?;
                    if factor == 0.0 {
                        return Ok(0.0);
                    }
                    product *= factor;
                }
                product
            }
            Node::Sum(terms) => {
                let mut sum = 0.0;
                for term in terms {
                    sum += of(term)?;
                }
                sum
            }
            Node::Max(nodes) => nodes.iter().try_fold(f64::NEG_INFINITY, |max, node| {
                Ok::<_, EngineError>(max.max(of(node)?))
            })?,
            Node::Min(nodes) => nodes.iter().try_fold(f64::INFINITY, |min, node| {
                Ok::<_, EngineError>(min.min(of(node)?))
            })?,
            Node::Negative(inner) => -of(inner)?,
            Node::Absolute(inner) => of(inner)?.abs(),
            Node::Divide(left, right, by_zero) => {
                let left = of(left)?;
                if left == 0.0 {
                    return Ok(0.0);
                }
                let right = of(right)?;
                if right == 0.0
                    && let Some(value) = by_zero
                {
                    return Ok(*value);
                }
                finite(left / right, || format!("{left} / {right}"))?
            }
            Node::SquareRoot(inner) => {
                let x = of(inner)?;
                finite(x.sqrt(), || format!("the square root of {x}"))?
            }
            Node::Power(base, exponent) => {
                let (base, exponent) = (of(base)?, of(exponent)?);
                finite(base.powf(exponent), || {
                    format!("{base} to the power of {exponent}")
                })?
            }
            Node::Exponential(inner) => {
                let x = of(inner)?;
                finite(x.exp(), || format!("exp({x})"))?
            }
            Node::Log10(inner) => {
                let x = of(inner)?;
                finite(x.log10(), || format!("log10({x})"))?
            }
            Node::Ln(inner) => {
                let x = of(inner)?;
                finite(x.ln(), || format!("ln({x})"))?
            }
            Node::Acosh(inner) => {
                let x = of(inner)?;
                finite(x.acosh(), || format!("acosh({x})"))?
            }
            Node::Decay {
                kind,
                x,
                target,
                midpoint,
                scale,
            } => {
                let target = target.as_ref().map_or(Ok(0.0), |target| of(target))?;
                let distance = (of(x)? - target).abs() / scale;
                match kind {
                    DecayKind::Linear => (1.0 - (1.0 - midpoint) * distance).max(0.0),
                    DecayKind::Exponential => (midpoint.ln() * distance).exp(),
                    DecayKind::Gauss => (midpoint.ln() * distance * distance).exp(),
                }
            }
        })
    }
}

impl Place {
    /// The only value at the path, or the default.
    fn value<'v>(&'v self, point: &Point<'v>) -> Result<&'v Value, EngineError> {
        let (mut first, mut more) = (None, false);
        let mut found = |value: &'v Value| {
            more = first.is_some();
            first.get_or_insert(value);
            more
        };
        self.path.any(point.payload, &mut |value| match value {
            Value::Array(items) => items.iter().any(&mut found),
            single => found(single),
        });
        let value = first.or(match &self.default {
            Some(Value::Array(items)) => {
                more = items.len() > 1;
                items.first()
            }
            default => default.as_ref(),
        });
        match value {
            Some(_) if more => Err(self.expected("one value, not several,")),
            Some(value) => Ok(value),
            None => Err(invalid(format!(
                "there is no value at '{}', neither in the payload nor in 'defaults'",
                self.text
            ))),
        }
    }

    fn expected(&self, what: &str) -> EngineError {
        invalid(format!(
            "{what} is needed at '{}', in the payload or in 'defaults'",
            self.text
        ))
    }
}

struct Compiler<'f> {
    defaults: &'f BTreeMap<String, Value>,
    keys: &'f mut Vec<String>,
}

impl Compiler<'_> {
    fn place(&mut self, text: &str) -> Result<Place, EngineError> {
        let path = Path::parse(text)?;
        self.keys.push(path.first.clone());
        Ok(Place {
            text: text.to_owned(),
            path,
            default: self.defaults.get(text).filter(|v| !v.is_null()).cloned(),
        })
    }

    fn condition(&mut self, condition: &Condition) -> Result<CompiledFilter, EngineError> {
        let filter = CompiledFilter::new(&Filter {
            must: vec![condition.clone()],
            ..Filter::default()
        })?;
        self.keys.extend_from_slice(filter.keys());
        Ok(filter)
    }

    fn nodes(&mut self, expressions: &[Expression]) -> Result<Vec<Node>, EngineError> {
        expressions.iter().map(|e| self.node(e)).collect()
    }

    fn boxed(&mut self, expression: &Expression) -> Result<Box<Node>, EngineError> {
        self.node(expression).map(Box::new)
    }

    fn node(&mut self, expression: &Expression) -> Result<Node, EngineError> {
        Ok(match expression {
            Expression::Constant(value) => Node::Constant(*value),
            Expression::Score(list) => Node::Score(*list),
            Expression::Payload(path) => Node::Number(self.place(path)?),
            Expression::Condition(condition) => Node::Condition(self.condition(condition)?),
            Expression::GeoDistance { origin, to } => Node::GeoDistance(*origin, self.place(to)?),
            Expression::DatetimeKey(path) => Node::Datetime(self.place(path)?),
            Expression::Multiply(factors) => Node::Multiply(self.nodes(factors)?),
            Expression::Sum(terms) => Node::Sum(self.nodes(terms)?),
            Expression::Max(of) => Node::Max(self.nodes(of)?),
            Expression::Min(of) => Node::Min(self.nodes(of)?),
            Expression::Negative(of) => Node::Negative(self.boxed(of)?),
            Expression::Absolute(of) => Node::Absolute(self.boxed(of)?),
            Expression::Divide {
                left,
                right,
                by_zero_default,
            } => Node::Divide(self.boxed(left)?, self.boxed(right)?, *by_zero_default),
            Expression::SquareRoot(of) => Node::SquareRoot(self.boxed(of)?),
            Expression::Power { base, exponent } => {
                Node::Power(self.boxed(base)?, self.boxed(exponent)?)
            }
            Expression::Exponential(of) => Node::Exponential(self.boxed(of)?),
            Expression::Log10(of) => Node::Log10(self.boxed(of)?),
            Expression::Ln(of) => Node::Ln(self.boxed(of)?),
            Expression::Acosh(of) => Node::Acosh(self.boxed(of)?),
            Expression::Decay(decay) => {
                let Decay {
                    kind,
                    x,
                    target,
                    midpoint,
                    scale,
                } = decay.as_ref();
                Node::Decay {
                    kind: *kind,
                    x: self.boxed(x)?,
                    target: target.as_ref().map(|t| self.boxed(t)).transpose()?,
                    midpoint: *midpoint,
                    scale: *scale,
                }
            }
        })
    }
}
