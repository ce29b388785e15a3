//! JSON values.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use super::bad;
use crate::api::grpc::proto;
use crate::api::grpc::proto::value::Kind;
use crate::error::ServiceError;

/// A JSON object.
pub(in crate::api::grpc) fn object(
    fields: BTreeMap<String, proto::Value>,
) -> Result<Map<String, Value>, ServiceError> {
    fields
        .into_iter()
        .map(|(name, field)| Ok((name, value(field)?)))
        .collect()
}

/// A JSON value; without a kind it is null.
pub(in crate::api::grpc) fn value(value: proto::Value) -> Result<Value, ServiceError> {
    Ok(match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::DoubleValue(x)) => Number::from_f64(x)
            .map(Value::Number)
            .ok_or_else(|| bad(format!("payload: {x} is not a number of JSON")))?,
        Some(Kind::IntegerValue(n)) => n.into(),
        Some(Kind::StringValue(text)) => text.into(),
        Some(Kind::BoolValue(truth)) => truth.into(),
        Some(Kind::StructValue(fields)) => object(fields.fields)?.into(),
        Some(Kind::ListValue(list)) => list
            .values
            .into_iter()
            .map(self::value)
            .collect::<Result<Vec<_>, _>>()?
            .into(),
    })
}

/// The fields of an object.
pub(in crate::api::grpc) fn from_object(
    object: Map<String, Value>,
) -> BTreeMap<String, proto::Value> {
    object
        .into_iter()
        .map(|(name, field)| (name, from_value(field)))
        .collect()
}

/// A value; integers beyond 64 bits with sign become floats.
pub(in crate::api::grpc) fn from_value(value: Value) -> proto::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(proto::NullValue::NullValue.into()),
        Value::Bool(truth) => Kind::BoolValue(truth),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(n), _) => Kind::IntegerValue(n),
            (None, x) => Kind::DoubleValue(x.unwrap_or(f64::NAN)),
        },
        Value::String(text) => Kind::StringValue(text),
        Value::Array(values) => Kind::ListValue(proto::ListValue {
            values: values.into_iter().map(from_value).collect(),
        }),
        Value::Object(fields) => Kind::StructValue(proto::Struct {
            fields: from_object(fields),
        }),
    };
    proto::Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            prop::num::f64::NORMAL.prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_comes_back_as_it_was(json in any_json()) {
            prop_assert_eq!(value(from_value(json.clone())).unwrap(), json);
        }
    }

    #[test]
    fn what_json_cannot_hold_is_refused() {
        for x in [f64::NAN, f64::INFINITY] {
            let kind = Some(Kind::DoubleValue(x));
            assert!(value(proto::Value { kind }).is_err());
        }
    }
}
