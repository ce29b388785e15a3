//! From payloads to the image of a field's index.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::engine::filter::{datetime, geo, value};
use crate::engine::path::Path;
use crate::engine::text::Analyzer;
use crate::model::{GeoPoint, Payload};

use super::image::ImageWriter;
use super::{FieldKind, Indexed, places, postings, sorted, terms};

/// Values of one field, gathered row by row.
#[derive(Debug)]
pub(super) struct Collector {
    path: Path,
    flags: Flags,
    values: Values,
    /// Entries of the row that has most.
    per_row: u64,
    /// Rows that have an indexed value.
    points: u64,
}

/// Rows with something particular at the path; see [`super::field`].
#[derive(Debug, Default)]
struct Flags {
    present: Vec<u32>,
    null: Vec<u32>,
    other: Vec<u32>,
    several: Vec<u32>,
}

#[derive(Debug)]
enum Values {
    Terms(BTreeMap<String, Vec<u32>>),
    Words(Arc<Analyzer>, BTreeMap<String, Vec<u32>>),
    Bools([Vec<u32>; 2]),
    Integers(Vec<(i64, u32)>, Vec<(f64, u32)>),
    Floats(Vec<(f64, u32)>),
    Dates(Vec<(i64, u32)>),
    Places(Vec<(GeoPoint, u32)>),
}

/// Adds a row to an ascending list, once.
fn note(rows: &mut Vec<u32>, row: u32) {
    if rows.last() != Some(&row) {
        rows.push(row);
    }
}

impl Values {
    fn new(of: &Indexed) -> Self {
        match of.kind {
            FieldKind::Keyword | FieldKind::Uuid => Self::Terms(BTreeMap::new()),
            FieldKind::Text => Self::Words(Arc::clone(&of.analyzer), BTreeMap::new()),
            FieldKind::Bool => Self::Bools(Default::default()),
            FieldKind::Integer => Self::Integers(Vec::new(), Vec::new()),
            FieldKind::Float => Self::Floats(Vec::new()),
            FieldKind::Datetime => Self::Dates(Vec::new()),
            FieldKind::Geo => Self::Places(Vec::new()),
        }
    }

    /// Takes a value; whether it is of the indexed kind.
    fn take(&mut self, value: &Value, row: u32) -> bool {
        match (self, value) {
            (Self::Terms(terms), Value::String(text)) => match terms.get_mut(text) {
                Some(rows) => note(rows, row),
                None => drop(terms.insert(text.clone(), vec![row])),
            },
            (Self::Words(analyzer, terms), Value::String(text)) => {
                analyzer.each_term(text, |term| match terms.get_mut(term) {
                    Some(rows) => note(rows, row),
                    None => drop(terms.insert(term.to_owned(), vec![row])),
                });
            }
            (Self::Bools(rows), Value::Bool(b)) => note(&mut rows[usize::from(*b)], row),
            (Self::Integers(ints, floats), Value::Number(n)) => match (n.as_i64(), n.as_f64()) {
                (Some(n), _) => ints.push((n, row)),
                (None, Some(n)) => floats.push((n, row)),
                (None, None) => return false,
            },
            (Self::Floats(floats), Value::Number(n)) => match n.as_f64() {
                Some(n) => floats.push((n, row)),
                None => return false,
            },
            (Self::Dates(dates), Value::String(text)) => match datetime::parse(text) {
                Some(micros) => dates.push((micros, row)),
                None => return false,
            },
            (Self::Places(places), value) => match geo::point(value) {
                Some(point) => places.push((point, row)),
                None => return false,
            },
            _ => return false,
        }
        true
    }
}

impl Collector {
    pub(super) fn new(path: Path, of: &Indexed) -> Self {
        Self {
            path,
            flags: Flags::default(),
            values: Values::new(of),
            per_row: 0,
            points: 0,
        }
    }

    /// Takes the values of a row; rows come in ascending order.
    pub(super) fn add(&mut self, row: u32, payload: &Payload) {
        let Self {
            path,
            flags,
            values,
            per_row,
            points,
        } = self;
        let mut taken = 0;
        let mut one = |flags: &mut Flags, value: &Value| {
            if value.is_null() {
                return;
            }
            if values.take(value, row) {
                taken += 1;
            } else {
                note(&mut flags.other, row);
            }
        };
        path.any(payload, &mut |at_path| {
            if value::is_something(at_path) {
                note(&mut flags.present, row);
            }
            if value::has_null(at_path) {
                note(&mut flags.null, row);
            }
            match at_path {
                Value::Array(items) => items.iter().for_each(|item| one(flags, item)),
                single => one(flags, single),
            }
            false
        });
        if taken > 1 {
            flags.several.push(row);
        }
        *points += u64::from(taken > 0);
        *per_row = (*per_row).max(taken);
    }

    /// The image of the index over `rows` rows.
    ///
    /// # Errors
    /// More than an index can hold, in words.
    pub(super) fn finish(self, rows: usize) -> Result<Vec<u64>, String> {
        let mut writer = ImageWriter::default();
        writer.add(&[rows as u64, self.points, self.per_row]);
        let Flags {
            present,
            null,
            other,
            several,
        } = &self.flags;
        let flags = [present, null, other, several];
        postings::write(&mut writer, rows, flags.into_iter().map(Vec::as_slice))?;
        match self.values {
            Values::Terms(terms) | Values::Words(_, terms) => {
                terms::write(&mut writer, terms.keys().map(String::as_str))?;
                postings::write(&mut writer, rows, terms.values().map(Vec::as_slice))?;
            }
            Values::Bools(both) => {
                postings::write(&mut writer, rows, both.iter().map(Vec::as_slice))?;
            }
            Values::Integers(ints, floats) => {
                sorted::write(&mut writer, ints);
                sorted::write(&mut writer, floats);
            }
            Values::Floats(floats) => sorted::write(&mut writer, floats),
            Values::Dates(dates) => sorted::write(&mut writer, dates),
            Values::Places(places) => places::write(&mut writer, places),
        }
        Ok(writer.finish())
    }
}
