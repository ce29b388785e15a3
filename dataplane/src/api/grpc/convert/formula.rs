//! Score formulas.

use super::filter::{condition, place};
use super::json::object;
use super::needed;
use crate::api::dto::formula::{
    DecayDto, DivDto, ExpressionDto, FormulaDto, GeoDistanceDto, OperationDto, PowDto,
};
use crate::api::grpc::proto;
use crate::error::ServiceError;

/// A formula with the values of variables that a point lacks.
pub(super) fn formula(formula: proto::Formula) -> Result<FormulaDto, ServiceError> {
    let proto::Formula {
        expression,
        defaults,
    } = formula;
    Ok(FormulaDto {
        formula: self::expression("formula", expression)?,
        defaults: object(defaults)?,
    })
}

fn expression(
    name: &str,
    expression: Option<proto::Expression>,
) -> Result<ExpressionDto, ServiceError> {
    use proto::expression::Variant;
    let variant = needed(name, expression.and_then(|e| e.variant))?;
    let inner = |name: &str, inner: Box<proto::Expression>| expression_of(name, *inner);
    let operation = match variant {
        Variant::Constant(x) => return Ok(ExpressionDto::Constant(x.into())),
        Variant::Variable(name) => return Ok(ExpressionDto::Variable(name)),
        Variant::Condition(test) => {
            return Ok(ExpressionDto::Condition(Box::new(condition(test)?)));
        }
        Variant::GeoDistance(proto::GeoDistance { origin, to }) => {
            OperationDto::GeoDistance(GeoDistanceDto {
                origin: place("geo_distance.origin", origin)?,
                to,
            })
        }
        Variant::Datetime(text) => OperationDto::Datetime(text),
        Variant::DatetimeKey(key) => OperationDto::DatetimeKey(key),
        Variant::Mult(list) => OperationDto::Mult(all("mult", list.mult)?),
        Variant::Sum(list) => OperationDto::Sum(all("sum", list.sum)?),
        Variant::Max(list) => OperationDto::Max(all("max", list.max)?),
        Variant::Min(list) => OperationDto::Min(all("min", list.min)?),
        Variant::Div(div) => {
            let proto::DivExpression {
                left,
                right,
                by_zero_default,
            } = *div;
            OperationDto::Div(DivDto {
                left: boxed("div.left", left)?,
                right: boxed("div.right", right)?,
                by_zero_default: by_zero_default.map(f64::from),
            })
        }
        Variant::Neg(of) => OperationDto::Neg(inner("neg", of)?),
        Variant::Abs(of) => OperationDto::Abs(inner("abs", of)?),
        Variant::Sqrt(of) => OperationDto::Sqrt(inner("sqrt", of)?),
        Variant::Pow(pow) => {
            let proto::PowExpression { base, exponent } = *pow;
            OperationDto::Pow(PowDto {
                base: boxed("pow.base", base)?,
                exponent: boxed("pow.exponent", exponent)?,
            })
        }
        Variant::Exp(of) => OperationDto::Exp(inner("exp", of)?),
        Variant::Log10(of) => OperationDto::Log10(inner("log10", of)?),
        Variant::Ln(of) => OperationDto::Ln(inner("ln", of)?),
        Variant::Acosh(of) => OperationDto::Acosh(inner("acosh", of)?),
        Variant::ExpDecay(decay) => OperationDto::ExpDecay(self::decay("exp_decay", *decay)?),
        Variant::GaussDecay(decay) => OperationDto::GaussDecay(self::decay("gauss_decay", *decay)?),
        Variant::LinDecay(decay) => OperationDto::LinDecay(self::decay("lin_decay", *decay)?),
    };
    Ok(ExpressionDto::Operation(Box::new(operation)))
}

fn expression_of(name: &str, inner: proto::Expression) -> Result<ExpressionDto, ServiceError> {
    expression(name, Some(inner))
}

fn boxed(name: &str, inner: Option<Box<proto::Expression>>) -> Result<ExpressionDto, ServiceError> {
    expression(name, inner.map(|inner| *inner))
}

fn all(name: &str, list: Vec<proto::Expression>) -> Result<Vec<ExpressionDto>, ServiceError> {
    let list = list.into_iter().enumerate();
    list.map(|(i, one)| expression_of(&format!("{name}[{i}]"), one))
        .collect()
}

fn decay(name: &str, decay: proto::DecayParamsExpression) -> Result<DecayDto, ServiceError> {
    let proto::DecayParamsExpression {
        x,
        target,
        scale,
        midpoint,
    } = decay;
    let target = target.map(|target| expression_of(&format!("{name}.target"), *target));
    Ok(DecayDto {
        x: boxed(&format!("{name}.x"), x)?,
        target: target.transpose()?,
        scale: scale.map(f64::from),
        midpoint: midpoint.map(f64::from),
    })
}
