//! Filters.

use prost_types::Timestamp;

use super::vectors::ids;
use super::{bad, count, needed};
use crate::api::dto::filter::{
    Bound, ConditionDto, CountDto, Emptiness, FilterDto, MatchDto, MinShouldDto, NestedDto,
    OneOrMany, PayloadField, RangeDto, ScalarDto, SliceDto,
};
use crate::api::dto::geo::{GeoBoxDto, GeoPolygonDto, GeoRadiusDto, PointDto, RingDto};
use crate::api::grpc::proto;
use crate::error::ServiceError;
use crate::model::Scalar;

/// A filter, if there is one.
pub(super) fn filter(filter: Option<proto::Filter>) -> Result<Option<FilterDto>, ServiceError> {
    filter.map(filter_dto).transpose()
}

fn filter_dto(filter: proto::Filter) -> Result<FilterDto, ServiceError> {
    let proto::Filter {
        should,
        must,
        must_not,
        min_should,
    } = filter;
    Ok(FilterDto {
        must: clause(must)?,
        should: clause(should)?,
        must_not: clause(must_not)?,
        min_should: min_should.map(least).transpose()?,
    })
}

fn least(least: proto::MinShould) -> Result<MinShouldDto, ServiceError> {
    Ok(MinShouldDto {
        conditions: least
            .conditions
            .into_iter()
            .map(condition)
            .collect::<Result<_, _>>()?,
        min_count: count(least.min_count),
    })
}

fn clause(
    conditions: Vec<proto::Condition>,
) -> Result<Option<OneOrMany<ConditionDto>>, ServiceError> {
    if conditions.is_empty() {
        return Ok(None);
    }
    let conditions = conditions.into_iter().map(condition);
    conditions
        .collect::<Result<_, _>>()
        .map(|c| Some(OneOrMany(c)))
}

/// One condition.
pub(super) fn condition(condition: proto::Condition) -> Result<ConditionDto, ServiceError> {
    use proto::condition::ConditionOneOf as Kind;
    let of_field = |key| Some(Emptiness::Field(PayloadField { key }));
    let mut dto = ConditionDto::default();
    match condition.condition_one_of {
        None => return Err(bad("filter: a condition is empty")),
        Some(Kind::Field(field)) => return self::field(field),
        Some(Kind::IsEmpty(test)) => dto.is_empty = of_field(test.key),
        Some(Kind::IsNull(test)) => dto.is_null = of_field(test.key),
        Some(Kind::HasId(test)) => dto.has_id = Some(ids("has_id", test.has_id)?),
        Some(Kind::HasVector(test)) => dto.has_vector = Some(test.has_vector),
        Some(Kind::Slice(test)) => {
            dto.slice = Some(SliceDto {
                total: u64::from(test.total),
                index: u64::from(test.index),
            });
        }
        Some(Kind::Nested(nested)) => {
            let proto::NestedCondition { key, filter } = nested;
            let filter = filter_dto(needed("nested.filter", filter)?)?;
            dto.nested = Some(Box::new(NestedDto { key, filter }));
        }
        Some(Kind::Filter(filter)) => {
            let FilterDto {
                must,
                should,
                must_not,
                min_should,
            } = filter_dto(filter)?;
            dto.must = must;
            dto.should = should;
            dto.must_not = must_not;
            dto.min_should = min_should;
        }
    }
    Ok(dto)
}

fn field(field: proto::FieldCondition) -> Result<ConditionDto, ServiceError> {
    let proto::FieldCondition {
        key,
        r#match,
        range,
        geo_bounding_box,
        geo_radius,
        values_count,
        geo_polygon,
        datetime_range,
        is_empty,
        is_null,
    } = field;
    let range = match (range, datetime_range) {
        (Some(_), Some(_)) => {
            return Err(bad(
                "filter: a condition has exactly one test; put several into 'must'",
            ));
        }
        (Some(numbers), None) => Some(number_range(numbers)?),
        (None, Some(dates)) => Some(date_range(dates)?),
        (None, None) => None,
    };
    Ok(ConditionDto {
        key: Some(key),
        r#match: r#match.map(match_value),
        range,
        values_count: values_count.map(values),
        geo_bounding_box: geo_bounding_box.map(area).transpose()?,
        geo_radius: geo_radius.map(circle).transpose()?,
        geo_polygon: geo_polygon.map(polygon).transpose()?,
        is_empty: is_empty.map(Emptiness::Flag),
        is_null: is_null.map(Emptiness::Flag),
        ..ConditionDto::default()
    })
}

fn match_value(test: proto::Match) -> MatchDto {
    use proto::r#match::MatchValue as Kind;
    let text = |text| ScalarDto(Scalar::Text(text));
    let texts = |list: proto::RepeatedStrings| Some(list.strings.into_iter().map(text).collect());
    let integers = |list: proto::RepeatedIntegers| {
        let integers = list.integers.into_iter();
        Some(integers.map(|n| ScalarDto(Scalar::Int(n))).collect())
    };
    let mut dto = MatchDto::default();
    match test.match_value {
        // Refused where the test is read.
        None => {}
        Some(Kind::Keyword(value)) => dto.value = Some(text(value)),
        Some(Kind::Integer(n)) => dto.value = Some(ScalarDto(Scalar::Int(n))),
        Some(Kind::Boolean(truth)) => dto.value = Some(ScalarDto(Scalar::Bool(truth))),
        Some(Kind::Text(words)) => dto.text = Some(words),
        Some(Kind::Keywords(list)) => dto.any = texts(list),
        Some(Kind::Integers(list)) => dto.any = integers(list),
        Some(Kind::ExceptIntegers(list)) => dto.except = integers(list),
        Some(Kind::ExceptKeywords(list)) => dto.except = texts(list),
        Some(Kind::Phrase(words)) => dto.phrase = Some(words),
        Some(Kind::TextAny(words)) => dto.text_any = Some(words),
        Some(Kind::Prefix(start)) => dto.prefix = Some(start),
        Some(Kind::Substring(part)) => dto.substring = Some(part),
    }
    dto
}

fn number_range(range: proto::Range) -> Result<RangeDto, ServiceError> {
    let bound = |bound: Option<f64>| match bound {
        Some(x) if x.is_nan() => Err(bad("filter: a bound of 'range' is not a number")),
        bound => Ok(bound.map(Bound::Number)),
    };
    let proto::Range { lt, gt, gte, lte } = range;
    Ok(RangeDto {
        gt: bound(gt)?,
        gte: bound(gte)?,
        lt: bound(lt)?,
        lte: bound(lte)?,
    })
}

fn date_range(range: proto::DatetimeRange) -> Result<RangeDto, ServiceError> {
    let bound = |bound: Option<Timestamp>| {
        let micros = bound.map(|at| micros("datetime_range", &at)).transpose()?;
        Ok::<_, ServiceError>(micros.map(Bound::DateTime))
    };
    let proto::DatetimeRange { lt, gt, gte, lte } = range;
    Ok(RangeDto {
        gt: bound(gt)?,
        gte: bound(gte)?,
        lt: bound(lt)?,
        lte: bound(lte)?,
    })
}

/// Microseconds since 1970.
pub(super) fn micros(name: &str, at: &Timestamp) -> Result<i64, ServiceError> {
    let whole = at.seconds.checked_mul(1_000_000);
    whole
        .and_then(|micros| micros.checked_add(i64::from(at.nanos / 1000)))
        .ok_or_else(|| bad(format!("a time of '{name}' is out of range")))
}

/// No list is as long as the largest 32-bit number.
fn values(values: proto::ValuesCount) -> CountDto {
    let bound = |bound: Option<u64>| bound.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    let proto::ValuesCount { lt, gt, gte, lte } = values;
    CountDto {
        gt: bound(gt),
        gte: bound(gte),
        lt: bound(lt),
        lte: bound(lte),
    }
}

/// A place on Earth.
pub(super) fn place(name: &str, point: Option<proto::GeoPoint>) -> Result<PointDto, ServiceError> {
    let proto::GeoPoint { lon, lat } = needed(name, point)?;
    Ok(PointDto { lon, lat })
}

fn area(area: proto::GeoBoundingBox) -> Result<GeoBoxDto, ServiceError> {
    Ok(GeoBoxDto {
        top_left: place("top_left", area.top_left)?,
        bottom_right: place("bottom_right", area.bottom_right)?,
    })
}

fn circle(circle: proto::GeoRadius) -> Result<GeoRadiusDto, ServiceError> {
    Ok(GeoRadiusDto {
        center: place("center", circle.center)?,
        radius: circle.radius.into(),
    })
}

fn polygon(polygon: proto::GeoPolygon) -> Result<GeoPolygonDto, ServiceError> {
    let holes: Vec<_> = polygon.interiors.into_iter().map(ring).collect();
    Ok(GeoPolygonDto {
        exterior: ring(needed("exterior", polygon.exterior)?),
        interiors: Some(holes),
    })
}

fn ring(ring: proto::GeoLineString) -> RingDto {
    let points = ring.points.into_iter();
    RingDto {
        points: points
            .map(|proto::GeoPoint { lon, lat }| PointDto { lon, lat })
            .collect(),
    }
}
