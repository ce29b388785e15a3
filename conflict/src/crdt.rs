//! A point whose fields merge one by one.
//!
//! The payload is a map from paths to leaves. A leaf is a last-writer register, by hybrid logical clock, and on top of it
//! - a counter: what each writer added and took, as a PN-counter, added to the register's number (0 if it has none);
//! - a set: additions and removals, as an add-wins set, applied to the register's list (empty if it has none). An element is there
//!   if some writer added it after the last removal that had seen that addition.
//!
//! Both belong to the register's *base*, the stamp of the write that set it: writing the field starts them anew. Fields that
//! are taken out leave a register without a value behind, until the point is deleted. Named vectors are registers.
//!
//! A deletion takes away everything with a base before it. The point exists while its last upsert is later than its last
//! deletion: edits that did not know of a deletion bring nothing back.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value as Json};

use crate::hlc::{Hlc, Stamp, Writer};
use crate::value::{Blob, Held, Value};
use crate::vector_clock::VectorClock;

/// Keys from the payload's top down to a field.
pub type FieldPath = Vec<String>;

/// A change of a field that loses nothing to concurrent ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FieldOp {
    /// Adds to a number.
    Increment {
        /// Which field.
        path: FieldPath,
        /// How much; may be below 0.
        by: i64,
    },
    /// Adds elements to a list that is a set.
    Add {
        /// Which field.
        path: FieldPath,
        /// Texts, numbers, booleans.
        elements: Vec<Json>,
    },
    /// Takes elements out of it.
    Remove {
        /// Which field.
        path: FieldPath,
        /// As they were added.
        elements: Vec<Json>,
    },
}

impl FieldOp {
    /// Which field.
    #[must_use]
    pub fn path(&self) -> &FieldPath {
        match self {
            Self::Increment { path, .. } | Self::Add { path, .. } | Self::Remove { path, .. } => {
                path
            }
        }
    }
}

/// Why a field cannot be changed so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// A counter that is something else.
    #[error("field '{0}' is not a number: only numbers are incremented")]
    NotANumber(String),
    /// A set that is something else.
    #[error("field '{0}' is not a list: elements are added to and removed from lists only")]
    NotAList(String),
    /// A part of the path is not an object.
    #[error("field '{0}' lies below a value that is not an object")]
    NotAnObject(String),
    /// No path.
    #[error("a field has no name")]
    NoPath,
    /// An element that has no one way to be written.
    #[error("field '{0}': elements of a set are texts, whole numbers or booleans")]
    Element(String),
    /// The point is not there, or not of this kind.
    #[error("counters and sets need --conflict-resolution crdt, this cluster has {0}")]
    Policy(crate::Policy),
}

/// What a writer added to a counter and took from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Count {
    plus: u64,
    minus: u64,
}

/// When a writer last added an element, and up to which of its additions it was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Element {
    added: Hlc,
    removed: Hlc,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Field {
    /// The write that set the register; that of the deletion or path above if none did.
    base: Stamp,
    value: Held<Json>,
    counts: BTreeMap<Writer, Count>,
    /// By their JSON.
    elements: BTreeMap<String, BTreeMap<Writer, Element>>,
}

impl Field {
    fn new(base: Stamp, value: Held<Json>) -> Self {
        Self {
            base,
            value,
            counts: BTreeMap::new(),
            elements: BTreeMap::new(),
        }
    }

    fn merge(self, other: Self) -> Self {
        match self.base.cmp(&other.base) {
            std::cmp::Ordering::Less => return other,
            std::cmp::Ordering::Greater => return self,
            std::cmp::Ordering::Equal => {}
        }
        let mut merged = self;
        // A delta of a counter or set does not repeat the register.
        if merged.value.is_gone() {
            merged.value = other.value;
        }
        for (writer, count) in other.counts {
            let own = merged.counts.entry(writer).or_default();
            own.plus = own.plus.max(count.plus);
            own.minus = own.minus.max(count.minus);
        }
        for (element, writers) in other.elements {
            let own = merged.elements.entry(element).or_default();
            for (writer, times) in writers {
                let own = own.entry(writer).or_default();
                own.added = own.added.max(times.added);
                own.removed = own.removed.max(times.removed);
            }
        }
        merged
    }

    /// What it looks like.
    fn shown(&self) -> Option<Json> {
        match self.value.get() {
            None if !self.elements.is_empty() => Some(self.list(&[])),
            Some(Json::Array(base)) if !self.elements.is_empty() => Some(self.list(base)),
            None if !self.counts.is_empty() => Some(self.number(&Number::from(0))),
            Some(Json::Number(base)) if !self.counts.is_empty() => Some(self.number(base)),
            other => other.cloned(),
        }
    }

    fn number(&self, base: &Number) -> Json {
        let added: i128 = self
            .counts
            .values()
            .map(|c| i128::from(c.plus) - i128::from(c.minus))
            .sum();
        let whole = base
            .as_i64()
            .map(i128::from)
            .or_else(|| base.as_u64().map(i128::from));
        let Some(whole) = whole else {
            return Json::from(base.as_f64().unwrap_or_default() + added as f64);
        };
        let sum = whole + added;
        match (i64::try_from(sum), u64::try_from(sum)) {
            (Ok(sum), _) => Json::from(sum),
            (_, Ok(sum)) => Json::from(sum),
            _ => Json::from(sum as f64),
        }
    }

    fn has(&self, element: &str, in_base: bool) -> bool {
        let writers = self.elements.get(element);
        let later = writers.is_some_and(|w| w.values().any(|e| e.added > e.removed));
        // The register's own elements count as added by its write.
        let removed = writers
            .and_then(|w| w.get(&self.base.writer))
            .is_some_and(|e| e.removed >= self.base.hlc);
        later || (in_base && !removed)
    }

    fn list(&self, base: &[Json]) -> Json {
        let mut seen = BTreeSet::new();
        let mut list: Vec<Json> = Vec::new();
        for value in base {
            let name = value.to_string();
            if self.has(&name, true) {
                list.push(value.clone());
            }
            seen.insert(name);
        }
        let added = self
            .elements
            .keys()
            .filter(|name| !seen.contains(*name) && self.has(name, false));
        list.extend(added.filter_map(|name| serde_json::from_str::<Json>(name).ok()));
        Json::Array(list)
    }
}

/// What there is to judge of a field.
pub(crate) struct FieldFacts<'f> {
    /// The write that set its register.
    pub(crate) base: Stamp,
    pub(crate) register: &'f Held<Json>,
    /// Whether it only changes a counter or set whose register is elsewhere.
    pub(crate) refers: bool,
    /// How many writers its counter or set has.
    pub(crate) writers: usize,
    /// The newest time in its set.
    pub(crate) newest: Hlc,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fields {
    /// Writes that were seen.
    pub(crate) clock: VectorClock,
    /// Last upsert.
    pub(crate) alive: Stamp,
    /// Last deletion.
    pub(crate) removed: Stamp,
    fields: BTreeMap<FieldPath, Field>,
    pub(crate) vectors: BTreeMap<String, (Stamp, Held<Blob>)>,
}

impl Fields {
    pub(crate) fn exists(&self) -> bool {
        self.alive > self.removed
    }

    pub(crate) fn merge(self, other: Self) -> Self {
        let mut merged = self;
        merged.clock.join(&other.clock);
        merged.alive = merged.alive.max(other.alive);
        merged.removed = merged.removed.max(other.removed);
        let removed = merged.removed;
        for (path, field) in other.fields {
            let own = match merged.fields.remove(&path) {
                Some(own) => own.merge(field),
                None => field,
            };
            merged.fields.insert(path, own);
        }
        for (name, (stamp, held)) in other.vectors {
            let newer = match merged.vectors.remove(&name) {
                Some((own, kept)) => match own.cmp(&stamp) {
                    std::cmp::Ordering::Less => (stamp, held),
                    std::cmp::Ordering::Greater => (own, kept),
                    std::cmp::Ordering::Equal => (own, kept.or(held)),
                },
                None => (stamp, held),
            };
            merged.vectors.insert(name, newer);
        }
        merged.fields.retain(|_, field| field.base >= removed);
        merged.vectors.retain(|_, (stamp, _)| *stamp >= removed);
        merged
    }

    /// The payload, whether the point exists or not: writes in the order of their stamps.
    fn payload(&self) -> Map<String, Json> {
        let mut order: Vec<(Stamp, bool, &FieldPath, Option<Json>)> = self
            .fields
            .iter()
            .map(|(path, field)| {
                let shown = field.shown();
                (field.base, shown.is_some(), path, shown)
            })
            .collect();
        order.sort_by(|a, b| (a.0, a.1, a.2).cmp(&(b.0, b.1, b.2)));
        let mut root = Map::new();
        for (_, _, path, value) in order {
            match value {
                Some(value) => set(&mut root, path, value),
                None => remove(&mut root, path),
            }
        }
        root
    }

    pub(crate) fn value(&self) -> Option<Value> {
        self.exists().then(|| Value {
            payload: self.payload(),
            vectors: self
                .vectors
                .iter()
                .filter_map(|(name, (_, held))| Some((name.clone(), held.get()?.clone())))
                .collect(),
        })
    }

    /// Shows `see` each field with its path.
    pub(crate) fn each_field<E>(
        &self,
        mut see: impl FnMut(&FieldPath, FieldFacts<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for (path, field) in &self.fields {
            let sets = field.elements.values();
            let writers = sets.clone().map(BTreeMap::len).max().unwrap_or_default();
            let times = sets.flat_map(BTreeMap::values);
            let newest = times.map(|t| t.added.max(t.removed)).max();
            let changes = !(field.counts.is_empty() && field.elements.is_empty());
            let facts = FieldFacts {
                base: field.base,
                register: &field.value,
                refers: changes && field.value.is_gone(),
                writers: writers.max(field.counts.len()),
                newest: newest.unwrap_or_default(),
            };
            see(path, facts)?;
        }
        Ok(())
    }

    fn delta(stamp: Stamp) -> Self {
        let mut delta = Self::default();
        delta.clock.add(stamp);
        delta
    }

    /// The write that makes the point `value`. `whole`: it is written as a whole, so that it exists even if it is deleted
    /// concurrently; else only what differs is written.
    pub(crate) fn put(&self, value: &Value, stamp: Stamp, whole: bool) -> Self {
        let mut delta = Self::delta(stamp);
        if whole {
            delta.alive = stamp;
        }
        let (before, after) = (leaves(&self.payload()), leaves(&value.payload));
        for (path, leaf) in &after {
            if whole || before.get(path) != Some(leaf) {
                delta
                    .fields
                    .insert(path.clone(), Field::new(stamp, Held::Here(leaf.clone())));
            }
        }
        for path in before.keys().filter(|path| !after.contains_key(*path)) {
            // An object that was empty and is not any more stays.
            let below = after
                .range(path.clone()..)
                .next()
                .is_some_and(|(other, _)| other.starts_with(path));
            if !below {
                delta
                    .fields
                    .insert(path.clone(), Field::new(stamp, Held::Gone));
            }
        }
        for (name, blob) in &value.vectors {
            let same = self
                .vectors
                .get(name)
                .is_some_and(|(_, held)| held.get() == Some(blob));
            if whole || !same {
                delta
                    .vectors
                    .insert(name.clone(), (stamp, Held::Here(blob.clone())));
            }
        }
        for (name, (_, held)) in &self.vectors {
            if !held.is_gone() && !value.vectors.contains_key(name) {
                delta.vectors.insert(name.clone(), (stamp, Held::Gone));
            }
        }
        delta
    }

    pub(crate) fn delete(&self, stamp: Stamp) -> Self {
        Self {
            removed: stamp,
            ..Self::delta(stamp)
        }
    }

    /// The write that changes fields as counters and sets, one after the other.
    pub(crate) fn adjust(&self, ops: &[FieldOp], stamp: Stamp) -> Result<Self, FieldError> {
        let mut now = self.clone();
        let mut delta = Self::delta(stamp);
        for op in ops {
            let step = now.step(op, stamp)?;
            now = now.merge(step.clone());
            delta = delta.merge(step);
        }
        Ok(delta)
    }

    fn step(&self, op: &FieldOp, stamp: Stamp) -> Result<Self, FieldError> {
        let path = op.path();
        let name = || path.join(".");
        let shown = find(&self.payload(), path)?;
        // What was written above the field, or took it away, comes first.
        let above = (1..=path.len()).filter_map(|n| self.fields.get(&path[..n]));
        let base = above.map(|field| field.base).max().unwrap_or_default();
        let base = base.max(self.removed);
        let own = self.fields.get(path).filter(|field| field.base == base);
        let mut field = Field::new(base, Held::Gone);
        match op {
            FieldOp::Increment { by, .. } => {
                if shown.is_some_and(|value| !value.is_number()) {
                    return Err(FieldError::NotANumber(name()));
                }
                let mut count = own
                    .and_then(|own| own.counts.get(&stamp.writer).copied())
                    .unwrap_or_default();
                let side = if *by < 0 {
                    &mut count.minus
                } else {
                    &mut count.plus
                };
                *side = side.saturating_add(by.unsigned_abs());
                field.counts.insert(stamp.writer, count);
            }
            FieldOp::Add { elements, .. } | FieldOp::Remove { elements, .. } => {
                if shown.is_some_and(|value| !value.is_array()) {
                    return Err(FieldError::NotAList(name()));
                }
                for element in elements {
                    if !(element.is_string()
                        || element.is_boolean()
                        || element.is_i64()
                        || element.is_u64())
                    {
                        return Err(FieldError::Element(name()));
                    }
                    let key = element.to_string();
                    let known = own.and_then(|own| own.elements.get(&key));
                    let times = field.elements.entry(key).or_default();
                    if matches!(op, FieldOp::Add { .. }) {
                        let removed = Hlc::default();
                        let added = stamp.hlc;
                        times.insert(stamp.writer, Element { added, removed });
                        continue;
                    }
                    for (writer, seen) in known.into_iter().flatten() {
                        times.insert(
                            *writer,
                            Element {
                                added: Hlc::default(),
                                removed: seen.added,
                            },
                        );
                    }
                    let of_base = times.entry(base.writer).or_default();
                    of_base.removed = of_base.removed.max(base.hlc);
                }
            }
        }
        let mut delta = Self::delta(stamp);
        delta.fields.insert(path.clone(), field);
        Ok(delta)
    }
}

/// The value at a path, if there is one; objects on the way.
fn find(root: &Map<String, Json>, path: &[String]) -> Result<Option<Json>, FieldError> {
    let Some((last, above)) = path.split_last() else {
        return Err(FieldError::NoPath);
    };
    let mut map = root;
    for key in above {
        match map.get(key) {
            None => return Ok(None),
            Some(Json::Object(below)) => map = below,
            Some(_) => return Err(FieldError::NotAnObject(path.join("."))),
        }
    }
    Ok(map.get(last).cloned())
}

/// Sets a leaf; what is not an object on the way becomes one. An empty object only sees to it that there is one.
fn set(root: &mut Map<String, Json>, path: &[String], value: Json) {
    let Some((last, above)) = path.split_last() else {
        return;
    };
    let mut map = root;
    for key in above {
        let below = map.entry(key.clone()).or_insert(Json::Null);
        if !below.is_object() {
            *below = Json::Object(Map::new());
        }
        match below {
            Json::Object(below) => map = below,
            _ => return,
        }
    }
    let empty = value.as_object().is_some_and(Map::is_empty);
    if !(empty && map.get(last).is_some_and(Json::is_object)) {
        map.insert(last.clone(), value);
    }
}

fn remove(root: &mut Map<String, Json>, path: &[String]) {
    let Some((last, above)) = path.split_last() else {
        return;
    };
    let mut map = root;
    for key in above {
        match map.get_mut(key) {
            Some(Json::Object(below)) => map = below,
            _ => return,
        }
    }
    map.remove(last);
}

/// Everything that is not an object with keys, by its path.
fn leaves(payload: &Map<String, Json>) -> BTreeMap<FieldPath, Json> {
    fn walk(map: &Map<String, Json>, at: &mut FieldPath, out: &mut BTreeMap<FieldPath, Json>) {
        for (key, value) in map {
            at.push(key.clone());
            match value {
                Json::Object(below) if !below.is_empty() => walk(below, at, out),
                leaf => drop(out.insert(at.clone(), leaf.clone())),
            }
            at.pop();
        }
    }
    let mut out = BTreeMap::new();
    walk(payload, &mut Vec::new(), &mut out);
    out
}
