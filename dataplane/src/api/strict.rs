//! Limits that collections set to their requests (Qdrant's strict mode), checked where a request has become what the service is
//! asked.

use std::collections::BTreeMap;
use std::fmt::Display;

use brainy_coordination::manifest::Collection;
use serde_json::Value;

use super::extract::Call;
use super::plan::Step;
use crate::engine::payload_index::FieldKind;
use crate::error::ServiceError;
use crate::model::{
    CollectionSettings, Condition, FieldCondition, Filter, GeoArea, MatchValue, Scalar,
    SearchRequest, Selector, StrictMode, Vector, Vectors, WriteOp,
};

/// The limits of one collection.
pub(super) struct Strict<'c> {
    limits: StrictMode,
    indexes: &'c BTreeMap<String, Value>,
}

fn refused(text: String, help: &str) -> ServiceError {
    ServiceError::BadRequest(format!("Bad request: {text}. Help: {help}"))
}

/// `value` is not over `limit`.
fn at_most<T: PartialOrd + Display>(
    name: &str,
    value: T,
    limit: Option<T>,
) -> Result<(), ServiceError> {
    match limit {
        Some(limit) if value > limit => Err(refused(
            format!("Limit exceeded {value} > {limit} for \"{name}\""),
            &format!("Reduce the \"{name}\" parameter to or below {limit}."),
        )),
        _ => Ok(()),
    }
}

impl<'c> Strict<'c> {
    /// Those of `collection`, if they hold. The time-out that the request asks for is checked at once.
    pub(super) fn of(
        call: &Call,
        collection: &'c Collection,
    ) -> Result<Option<Self>, ServiceError> {
        let enabled = collection.spec.extra.pointer("/strict_mode/enabled");
        if enabled != Some(&Value::Bool(true)) {
            return Ok(None);
        }
        let settings = CollectionSettings::of(collection)?;
        let strict = Self {
            limits: settings.strict_mode.unwrap_or_default(),
            indexes: &collection.payload_indexes,
        };
        if let Some(timeout) = call.params.timeout {
            at_most("timeout", timeout.as_secs(), strict.limits.max_timeout)?;
        }
        Ok(Some(strict))
    }

    /// A read of at most `limit` points that match.
    pub(super) fn read(
        &self,
        limit: Option<usize>,
        filter: Option<&Filter>,
    ) -> Result<(), ServiceError> {
        if let Some(limit) = limit {
            at_most("limit", limit, self.limits.max_query_limit)?;
        }
        self.filter(filter, self.limits.unindexed_filtering_retrieve)
    }

    /// Queries that come together.
    pub(super) fn batch(&self, queries: usize) -> Result<(), ServiceError> {
        at_most(
            "search batch size",
            queries,
            self.limits.search_max_batchsize,
        )
    }

    /// A query with all that it prefetches.
    pub(super) fn query(&self, plan: &Step) -> Result<(), ServiceError> {
        let (limit, offset, filter, sources) = match plan {
            Step::Search(search, sources) => {
                let request = &search.request;
                self.search(request)?;
                (
                    request.limit,
                    search.finish.offset,
                    request.filter.as_ref(),
                    sources,
                )
            }
            Step::List(list, sources) => {
                let request = &list.request;
                (request.limit, list.offset, request.filter.as_ref(), sources)
            }
            Step::Fuse(fusion, sources) => (fusion.limit, fusion.finish.offset, None, sources),
            Step::Done(_) => return Ok(()),
        };
        self.read(Some(limit.saturating_sub(offset)), filter)?;
        sources.iter().try_for_each(|source| self.query(source))
    }

    /// A query that is grouped by a field: of `groups`, whose members the limits of the query count.
    pub(super) fn grouped(
        &self,
        plan: &Step,
        groups: usize,
        field: &str,
    ) -> Result<(), ServiceError> {
        at_most("limit", groups, self.limits.max_query_limit)?;
        if self.limits.unindexed_filtering_retrieve == Some(false) {
            let key = field.to_owned();
            self.indexed("", &Condition::IsEmpty(key))?;
        }
        match plan {
            Step::Search(search, sources) => {
                self.search(&search.request)?;
                self.read(None, search.request.filter.as_ref())?;
                sources.iter().try_for_each(|source| self.query(source))
            }
            Step::List(list, sources) => {
                self.read(None, list.request.filter.as_ref())?;
                sources.iter().try_for_each(|source| self.query(source))
            }
            Step::Fuse(_, sources) => sources.iter().try_for_each(|source| self.query(source)),
            Step::Done(_) => Ok(()),
        }
    }

    fn search(&self, request: &SearchRequest) -> Result<(), ServiceError> {
        let limits = &self.limits;
        self.read(None, request.idf_corpus.as_ref())?;
        if request.exact && limits.search_allow_exact == Some(false) {
            return Err(refused(
                "Exact search disabled!".to_owned(),
                "Set exact=false.",
            ));
        }
        if let Some(ef) = request.ef {
            at_most("hnsw_ef", ef, limits.search_max_hnsw_ef)?;
        }
        if let Some(oversampling) = request.codes.oversampling {
            let limit = limits.search_max_oversampling.map(|x| x as f32);
            at_most("oversampling", oversampling, limit)?;
        }
        Ok(())
    }

    /// One more indexed field, of the name `field`.
    pub(super) fn index(&self, field: &str) -> Result<(), ServiceError> {
        let more = usize::from(!self.indexes.contains_key(field));
        let limit = self.limits.max_payload_index_count;
        at_most("payload index count", self.indexes.len() + more, limit)
    }

    /// A write.
    pub(super) fn write(&self, op: &WriteOp) -> Result<(), ServiceError> {
        let selected = |selector: &Selector| match selector {
            Selector::Ids(_) => Ok(()),
            Selector::Filter(filter) => self.update_filter(Some(filter)),
        };
        let size = self.limits.upsert_max_batchsize;
        match op {
            WriteOp::Upsert(points) => {
                at_most("upsert limit", points.len(), size)?;
                points.iter().try_for_each(|p| self.vectors(&p.vectors))
            }
            WriteOp::UpsertIf { points, filter, .. } => {
                at_most("upsert limit", points.len(), size)?;
                self.update_filter(filter.as_ref())?;
                points.iter().try_for_each(|p| self.vectors(&p.vectors))
            }
            WriteOp::UpdateVectors(updates) => {
                at_most("update limit", updates.len(), size)?;
                updates.iter().try_for_each(|u| self.vectors(&u.vectors))
            }
            WriteOp::UpdateVectorsIf { updates, filter } => {
                at_most("update limit", updates.len(), size)?;
                self.update_filter(Some(filter))?;
                updates.iter().try_for_each(|u| self.vectors(&u.vectors))
            }
            WriteOp::Delete(selector)
            | WriteOp::ClearPayload(selector)
            | WriteOp::SetPayload { selector, .. }
            | WriteOp::OverwritePayload { selector, .. }
            | WriteOp::DeletePayload { selector, .. }
            | WriteOp::Adjust { selector, .. }
            | WriteOp::DeleteVectors { selector, .. } => selected(selector),
            WriteOp::Seeing { op, .. } => self.write(op),
        }
    }

    fn update_filter(&self, filter: Option<&Filter>) -> Result<(), ServiceError> {
        self.filter(filter, self.limits.unindexed_filtering_update)
    }

    fn vectors(&self, vectors: &Vectors) -> Result<(), ServiceError> {
        for (name, vector) in vectors.iter() {
            match vector {
                Vector::Dense(_) => {}
                Vector::Multi(list) => {
                    let own = self.limits.multivector_config.as_ref();
                    let limit = own.and_then(|own| own.get(name)?.max_vectors);
                    at_most("multivector length", list.rows().len(), limit)?;
                }
                Vector::Sparse(sparse) => {
                    let own = self.limits.sparse_config.as_ref();
                    let limit = own.and_then(|own| own.get(name)?.max_length);
                    at_most("sparse vector length", sparse.indices().len(), limit)?;
                }
            }
        }
        Ok(())
    }

    fn filter(&self, filter: Option<&Filter>, unindexed: Option<bool>) -> Result<(), ServiceError> {
        let Some(filter) = filter else { return Ok(()) };
        let mut conditions = Vec::new();
        leaves(filter, "", &mut conditions);
        let most = self.limits.filter_max_conditions;
        at_most("filter conditions", conditions.len(), most)?;
        for (prefix, condition) in conditions {
            let size = self.limits.condition_max_size;
            at_most("condition size", size_of_condition(condition), size)?;
            if let Condition::Field(FieldCondition { key, test }) = condition
                && matches!(test, MatchValue::Substring(_))
            {
                return Err(refused(
                    format!("Substring matching is not allowed, used for \"{prefix}{key}\""),
                    "Use a prefix match or a full-text match instead.",
                ));
            }
            if unindexed == Some(false) {
                self.indexed(prefix.as_str(), condition)?;
            }
        }
        Ok(())
    }

    /// There is an index that answers the condition.
    fn indexed(&self, prefix: &str, condition: &Condition) -> Result<(), ServiceError> {
        let (key, kinds) = match condition {
            Condition::Field(FieldCondition { key, test }) => (key, kinds(test)),
            Condition::IsEmpty(key) | Condition::IsNull(key) => (key, FieldKind::ALL),
            _ => return Ok(()),
        };
        // With and without the brackets of lists it is one field.
        let plain = |path: &str| path.replace("[]", "");
        let key = format!("{prefix}{key}");
        let found = self.indexes.iter().any(|(field, schema)| {
            let kind = FieldKind::of(schema);
            plain(field) == plain(&key) && kind.is_some_and(|kind| kinds.contains(&kind))
        });
        if found {
            return Ok(());
        }
        let kinds: Vec<String> = kinds.iter().map(ToString::to_string).collect();
        Err(refused(
            format!(
                "Index required but not found for \"{key}\" of one of the following types: [{}]",
                kinds.join(", ")
            ),
            "Create an index for this key or use a different filter.",
        ))
    }
}

/// Kinds of indexes that answer a test.
fn kinds(test: &MatchValue) -> &'static [FieldKind] {
    use FieldKind::{Bool, Datetime, Float, Geo, Integer, Keyword, Text, Uuid};
    let of_scalar = |scalar: &Scalar| -> &'static [FieldKind] {
        match scalar {
            Scalar::Bool(_) => &[Bool],
            Scalar::Int(_) => &[Integer],
            Scalar::Text(_) => &[Keyword, Uuid],
        }
    };
    match test {
        MatchValue::Value(scalar) => of_scalar(scalar),
        MatchValue::Any(list) | MatchValue::Except(list) => {
            list.first().map_or(FieldKind::ALL, of_scalar)
        }
        MatchValue::Range(_) => &[Integer, Float],
        MatchValue::DateRange(_) => &[Datetime],
        MatchValue::Geo(_) => &[Geo],
        MatchValue::Words(_) => &[Text],
        MatchValue::Prefix(_) | MatchValue::Substring(_) => &[Keyword],
        MatchValue::ValuesCount(_) => FieldKind::ALL,
    }
}

/// Values in a condition.
fn size_of_condition(condition: &Condition) -> usize {
    match condition {
        Condition::HasId(ids) => ids.len(),
        Condition::Field(FieldCondition { test, .. }) => match test {
            MatchValue::Any(list) | MatchValue::Except(list) => list.len(),
            MatchValue::Geo(GeoArea::Polygon {
                exterior,
                interiors,
            }) => exterior.len() + interiors.iter().map(Vec::len).sum::<usize>(),
            _ => 0,
        },
        _ => 0,
    }
}

/// Conditions that are no combinations, with what their keys begin with.
fn leaves<'f>(filter: &'f Filter, prefix: &str, found: &mut Vec<(String, &'f Condition)>) {
    let at_least = filter.min_should.iter().flat_map(|m| &m.conditions);
    let all = filter.must.iter().chain(&filter.should);
    for condition in all.chain(&filter.must_not).chain(at_least) {
        match condition {
            Condition::Filter(inner) => leaves(inner, prefix, found),
            Condition::Nested(nested) => {
                leaves(&nested.filter, &format!("{prefix}{}.", nested.key), found);
            }
            leaf => found.push((prefix.to_owned(), leaf)),
        }
    }
}
