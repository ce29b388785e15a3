//! How much memory a write takes, estimated: what queues are bounded by.

use serde_json::Value;

use super::{FieldChange, Payload, Point, Selector, Vector, Vectors, WriteOp};

/// An allocation's share of bookkeeping, and the word that points to it.
const NODE: usize = 32;

fn value(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::String(text) => NODE + text.len(),
            Value::Array(items) => NODE + items.iter().map(self::value).sum::<usize>(),
            Value::Object(fields) => payload(fields),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
}

fn payload(fields: &Payload) -> usize {
    let fields = fields
        .iter()
        .map(|(key, field)| 2 * NODE + key.len() + value(field));
    NODE + fields.sum::<usize>()
}

fn vectors(vectors: &Vectors) -> usize {
    let vectors = vectors.iter().map(|(name, vector)| {
        2 * NODE
            + name.len()
            + match vector {
                Vector::Dense(data) => size_of_val(data.as_slice()),
                Vector::Sparse(sparse) => 8 * sparse.indices().len(),
                Vector::Multi(list) => list.rows().map(size_of_val).sum(),
            }
    });
    vectors.sum()
}

fn selector(selector: &Selector) -> usize {
    match selector {
        Selector::Ids(ids) => size_of_val(ids.as_slice()),
        // Small: its lists are bounded.
        Selector::Filter(_) => NODE,
    }
}

fn point(point: &Point) -> usize {
    size_of::<Point>() + vectors(&point.vectors) + payload(&point.payload)
}

impl WriteOp {
    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let body = match self {
            WriteOp::Upsert(points) | WriteOp::UpsertIf { points, .. } => {
                points.iter().map(point).sum()
            }
            WriteOp::UpdateVectors(updates) | WriteOp::UpdateVectorsIf { updates, .. } => {
                updates.iter().map(|u| NODE + vectors(&u.vectors)).sum()
            }
            WriteOp::Delete(s) | WriteOp::ClearPayload(s) => selector(s),
            WriteOp::SetPayload {
                selector: s,
                payload: p,
                ..
            }
            | WriteOp::OverwritePayload {
                selector: s,
                payload: p,
            } => selector(s) + payload(p),
            WriteOp::DeletePayload { selector: s, keys }
            | WriteOp::DeleteVectors {
                selector: s,
                names: keys,
            } => selector(s) + keys.iter().map(|k| NODE + k.len()).sum::<usize>(),
            WriteOp::Adjust { selector: s, ops } => {
                let op = |op: &FieldChange| match op {
                    FieldChange::Increment { path, .. } => path.len(),
                    FieldChange::Add { path, elements }
                    | FieldChange::Remove { path, elements } => {
                        path.len() + elements.iter().map(value).sum::<usize>()
                    }
                };
                selector(s) + ops.iter().map(|o| NODE + op(o)).sum::<usize>()
            }
            WriteOp::Seeing { context, op } => context.0.len() * NODE + op.memory_bytes(),
        };
        NODE + body
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PointId;

    #[test]
    fn what_is_large_counts() {
        let point = |size: usize, text: usize| Point {
            id: PointId::Num(1),
            vectors: Vectors::unnamed(vec![0.5; size]),
            payload: [("text".to_owned(), "x".repeat(text).into())]
                .into_iter()
                .collect(),
        };
        let bytes = |point| WriteOp::Upsert(vec![point]).memory_bytes();
        let small = bytes(point(0, 0));
        assert!(small < 512);
        assert_eq!(bytes(point(1000, 0)), small + 4000);
        assert_eq!(bytes(point(0, 1000)), small + 1000);
    }
}
