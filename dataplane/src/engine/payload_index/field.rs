//! The index of one field of one segment.
//!
//! Sections of its image: `[u64 rows, points, most entries of a row]`, then postings of four keys, which every kind has,
//! then those of the kind. The four keys are rows where the field is *present* (neither null nor an empty array),
//! where it is or has a *null*, where it has an *other* value than the indexed kind, and where it has *several* values.

use std::ops::Range;

use crate::engine::filter::{ScalarSet, Test, Wanted};
use crate::engine::path::Path;
use crate::engine::values;
use crate::model::{
    DateRange, FacetValue, FacetValues, GeoArea, OrderedValues, Range as NumberRange,
};

use super::entries::Entries;
use super::estimate::Estimate;
use super::image::{Image, Section};
use super::places::{self, Places};
use super::postings::{self, Postings};
use super::row_set::RowSet;
use super::sorted::{self, Sorted};
use super::terms::{self, Terms};
use super::{Answer, FieldKind, Indexed};

/// First section after those that every kind has.
const OWN: usize = 1 + postings::SECTIONS;
/// Keys of the flags.
const FLAGS: usize = 4;
/// See the module.
const PRESENT: usize = 0;
const NULL: usize = 1;
const OTHER: usize = 2;
const SEVERAL: usize = 3;

/// See the module.
#[derive(Debug)]
pub(crate) struct FieldIndex {
    pub(super) of: Indexed,
    pub(super) path: Path,
    image: Image,
    rows: usize,
    points: usize,
    per_row: usize,
    flags: Postings,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Terms(Terms, Postings),
    Words(Terms, Postings),
    Bools(Postings),
    Integers(Sorted<i64>, Sorted<f64>),
    Floats(Sorted<f64>),
    Dates(Sorted<i64>),
    Places(Places),
}

/// Where the rows of a condition are in the index.
pub(super) enum Found<'t> {
    /// Rows that have one of the keys, and, if so, those with other values.
    Keys(Vec<u32>, bool),
    /// Rows that have all keys, and perhaps more is asked of them.
    Together { keys: Vec<u32>, more: bool },
    /// Entries of the first and the second sorted list, and, if so, rows with other values.
    Spans(Vec<Range<usize>>, Vec<Range<usize>>, bool),
    /// Those of these entries that lie in the area.
    Within(&'t GeoArea, Vec<Range<usize>>),
}

impl FieldIndex {
    /// Checks an image over `rows` rows.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub(super) fn open(of: Indexed, words: Vec<u64>, rows: usize) -> Result<Self, String> {
        let kind = of.kind;
        let path = Path::parse(&of.field).map_err(|e| e.to_string())?;
        let own = match kind {
            FieldKind::Keyword | FieldKind::Uuid | FieldKind::Text => {
                terms::SECTIONS + postings::SECTIONS
            }
            FieldKind::Bool => postings::SECTIONS,
            FieldKind::Integer => 2 * sorted::SECTIONS,
            FieldKind::Float | FieldKind::Datetime => sorted::SECTIONS,
            FieldKind::Geo => places::SECTIONS,
        };
        let image = Image::open(words, OWN + own)?;
        let head: Section<u64> = image.section(0)?;
        let [for_rows, points, per_row] = image.get(&head) else {
            return Err("its first section has another length".into());
        };
        if *for_rows != rows as u64 || *points > *for_rows {
            return Err(format!("it is about {for_rows} rows, not {rows}"));
        }
        let (points, per_row) = (*points as usize, (*per_row).min(u64::from(u32::MAX)));
        let flags = Postings::open(&image, 1, rows)?;
        let keyed = |keys: usize, postings: &Postings| match postings.len(&image) {
            found if found == keys => Ok(()),
            found => Err(format!("it has rows for {found} keys, not {keys}")),
        };
        keyed(FLAGS, &flags)?;
        let values = match kind {
            FieldKind::Keyword | FieldKind::Uuid | FieldKind::Text => {
                let terms = Terms::open(&image, OWN)?;
                let rows = Postings::open(&image, OWN + terms::SECTIONS, rows)?;
                keyed(terms.len(&image), &rows)?;
                match kind {
                    FieldKind::Text => Values::Words(terms, rows),
                    _ => Values::Terms(terms, rows),
                }
            }
            FieldKind::Bool => {
                let both = Postings::open(&image, OWN, rows)?;
                keyed(2, &both)?;
                Values::Bools(both)
            }
            FieldKind::Integer => Values::Integers(
                Sorted::open(&image, OWN, rows)?,
                Sorted::open(&image, OWN + sorted::SECTIONS, rows)?,
            ),
            FieldKind::Float => Values::Floats(Sorted::open(&image, OWN, rows)?),
            FieldKind::Datetime => Values::Dates(Sorted::open(&image, OWN, rows)?),
            FieldKind::Geo => Values::Places(Places::open(&image, OWN, rows)?),
        };
        Ok(Self {
            of,
            path,
            rows,
            points,
            per_row: (per_row as usize).max(1),
            flags,
            values,
            image,
        })
    }

    /// Rows that have an indexed value.
    pub(crate) fn points(&self) -> usize {
        self.points
    }

    pub(super) fn words(&self) -> &[u64] {
        self.image.words()
    }

    /// The values in order, if this index has all values that `wanted` names.
    pub(crate) fn in_order(&self, wanted: OrderedValues) -> Option<Entries<'_>> {
        let image = &self.image;
        match (&self.values, wanted) {
            (Values::Integers(ints, _), OrderedValues::Integers)
            | (Values::Dates(ints), OrderedValues::Dates) => Some(Entries::of_ints(ints, image)),
            (Values::Floats(floats), OrderedValues::Numbers) => {
                Some(Entries::of_floats(floats, image))
            }
            _ => None,
        }
    }

    /// Calls `each` with every value that some row of `within` (all rows, without) has and how many of them have it; false,
    /// and no call, if this index does not have all values that `wanted` names.
    pub(crate) fn count_values(
        &self,
        wanted: FacetValues,
        within: Option<&RowSet>,
        each: &mut dyn FnMut(FacetValue, usize),
    ) -> bool {
        let image = &self.image;
        let mut keyed = |rows: &Postings, key: usize, value: &dyn Fn() -> Option<FacetValue>| {
            let count = match within {
                None => rows.count(image, key),
                Some(set) => rows.count_within(image, key, set),
            };
            if count > 0
                && let Some(value) = value()
            {
                each(value, count);
            }
        };
        match (&self.values, wanted) {
            (Values::Terms(terms, rows), FacetValues::Texts | FacetValues::Uuids) => {
                for key in 0..terms.len(image) {
                    keyed(rows, key, &|| {
                        values::counted_text(terms.text(image, key)?, wanted)
                    });
                }
            }
            (Values::Bools(rows), FacetValues::Bools) => {
                keyed(rows, 0, &|| Some(FacetValue::Bool(false)));
                keyed(rows, 1, &|| Some(FacetValue::Bool(true)));
            }
            (Values::Integers(ints, _), FacetValues::Integers) => {
                Entries::of_ints(ints, image).count(within, each);
            }
            _ => return false,
        }
        true
    }

    /// How many rows have nothing at the path.
    pub(super) fn estimate_empty(&self) -> Estimate {
        Estimate::exact(self.rows - self.flags.count(&self.image, PRESENT))
    }

    /// Rows that have nothing at the path.
    pub(super) fn empty(&self) -> RowSet {
        self.flags.rows(&self.image, PRESENT).complement()
    }

    /// How many rows have a null at the path.
    pub(super) fn estimate_null(&self) -> Estimate {
        Estimate::exact(self.flags.count(&self.image, NULL))
    }

    /// Rows that have a null at the path.
    pub(super) fn null(&self) -> RowSet {
        self.flags.rows(&self.image, NULL)
    }

    /// Where the rows are for which `test` holds; `None` if this kind of index does not tell.
    pub(super) fn find<'t>(&self, test: &'t Test) -> Option<Found<'t>> {
        let image = &self.image;
        match (&self.values, test) {
            (Values::Terms(terms, _), Test::Any(set)) => {
                let keys = set.texts.iter().filter_map(|t| terms.find(image, t));
                only_texts(set).then(|| Found::Keys(keys.collect(), false))
            }
            (Values::Terms(terms, _), Test::Except(set)) if only_texts(set) => {
                let out: Vec<u32> = set
                    .texts
                    .iter()
                    .filter_map(|t| terms.find(image, t))
                    .collect();
                let all = 0..terms.len(image) as u32;
                let keys = all.filter(|k| out.binary_search(k).is_err()).collect();
                Some(Found::Keys(keys, true))
            }
            (Values::Terms(terms, _), Test::Prefix(start)) => Some(Found::Keys(
                terms.with_prefix(image, start).collect(),
                false,
            )),
            (Values::Terms(terms, _), Test::Substring(part)) => {
                Some(Found::Keys(terms.containing(image, part), false))
            }
            (Values::Words(terms, _), Test::Words(test)) if test.analyzer == self.of.analyzer => {
                let find = |list: &[String]| -> Vec<Option<u32>> {
                    list.iter().map(|word| terms.find(image, word)).collect()
                };
                let together = |list: &[String], more: bool| {
                    let keys: Option<Vec<u32>> = find(list).into_iter().collect();
                    match keys {
                        Some(keys) if !keys.is_empty() => Found::Together { keys, more },
                        _ => Found::Keys(Vec::new(), false),
                    }
                };
                // Words of one row may be those of several texts.
                let several = self.flags.count(image, SEVERAL) > 0;
                Some(match &test.wanted {
                    Wanted::All(list) => together(list, several && list.len() > 1),
                    Wanted::Any(list) => {
                        Found::Keys(find(list).into_iter().flatten().collect(), false)
                    }
                    Wanted::Phrase(list) => together(list, list.len() > 1),
                })
            }
            (Values::Bools(_), Test::Any(set)) => {
                let keys = set.bools.iter().map(|b| u32::from(*b)).collect();
                only_bools(set).then_some(Found::Keys(keys, false))
            }
            (Values::Bools(_), Test::Except(set)) => {
                let keys = [false, true].into_iter().filter(|b| !set.bools.contains(b));
                only_bools(set).then(|| Found::Keys(keys.map(u32::from).collect(), true))
            }
            (Values::Integers(ints, _), Test::Any(set)) => {
                let spans = set.ints.iter().map(|n| ints.equal(image, n));
                only_ints(set).then(|| Found::Spans(spans.collect(), Vec::new(), false))
            }
            (Values::Integers(ints, floats), Test::Except(set)) if only_ints(set) => {
                let mut spans = Vec::new();
                let mut from = 0;
                for n in &set.ints {
                    let equal = ints.equal(image, n);
                    spans.push(from..equal.start);
                    from = equal.end;
                }
                spans.push(from..ints.len(image));
                let all = 0..floats.len(image);
                Some(Found::Spans(spans, vec![all], true))
            }
            (Values::Integers(ints, floats), Test::Range(range)) => {
                let spans = ints.between(
                    image,
                    |n| below(range, *n as f64),
                    |n| above(range, *n as f64),
                );
                let others = floats.between(image, |n| below(range, *n), |n| above(range, *n));
                Some(Found::Spans(vec![spans], vec![others], false))
            }
            (Values::Floats(floats), Test::Range(range)) => {
                let span = floats.between(image, |n| below(range, *n), |n| above(range, *n));
                Some(Found::Spans(vec![span], Vec::new(), false))
            }
            (Values::Dates(dates), Test::Dates(range)) => {
                let span = dates.between(image, |t| before(range, *t), |t| after(range, *t));
                Some(Found::Spans(vec![span], Vec::new(), false))
            }
            (Values::Places(places), Test::Geo(area)) => {
                Some(Found::Within(area, places.candidates(image, area)))
            }
            _ => None,
        }
    }

    /// How many rows that is.
    pub(super) fn estimate(&self, found: &Found<'_>) -> Estimate {
        let image = &self.image;
        match (found, &self.values) {
            (
                Found::Keys(keys, others),
                Values::Terms(_, rows) | Values::Words(_, rows) | Values::Bools(rows),
            ) => {
                let counts = || keys.iter().map(|k| rows.count(image, *k as usize));
                let widest = counts().max().unwrap_or(0);
                // A row has a key once: one key tells exactly.
                let per_row = match (&self.values, keys.len()) {
                    (Values::Words(..), 2..) => keys.len(),
                    (_, 0 | 1) => 1,
                    _ => self.per_row,
                };
                self.entries(counts().sum(), per_row, widest, *others)
            }
            (Found::Together { keys, more }, Values::Words(_, rows)) => {
                let parts: Vec<Estimate> = keys
                    .iter()
                    .map(|k| Estimate::exact(rows.count(image, *k as usize)))
                    .collect();
                let all = Estimate::all(&parts, self.rows);
                let min = if *more { 0 } else { all.min };
                Estimate { min, ..all }
            }
            (Found::Spans(first, second, others), _) => {
                let total = first.iter().chain(second).map(ExactSizeIterator::len).sum();
                self.entries(total, self.per_row, 0, *others)
            }
            (Found::Within(area, candidates), Values::Places(places)) => {
                let total: usize = candidates.iter().map(ExactSizeIterator::len).sum();
                let share = places.share(image, area, candidates);
                let all = self.entries(total, self.per_row, 0, false);
                Estimate {
                    min: 0,
                    expected: all.expected * share,
                    ..all
                }
            }
            _ => Estimate::unknown(self.rows),
        }
    }

    /// Rows of `entries` entries, of which a row has up to `per_row`, and at least `widest` rows one each.
    fn entries(&self, entries: usize, per_row: usize, widest: usize, others: bool) -> Estimate {
        let min = entries.div_ceil(per_row).max(widest);
        let max = entries.min(self.points);
        let own = Estimate {
            min: min.min(max),
            expected: if per_row == 1 {
                max as f64
            } else {
                // Between no row twice and each as often as can be.
                (min.min(max) + max) as f64 / 2.0
            },
            max,
            informed: true,
        };
        if !others {
            return own;
        }
        let other = Estimate::exact(self.flags.count(&self.image, OTHER));
        Estimate::at_least(1, &[own, other], self.rows)
    }

    /// The rows.
    pub(super) fn rows(&self, found: &Found<'_>) -> Option<Answer> {
        let image = &self.image;
        let mut exact = true;
        let own = match (found, &self.values) {
            (
                Found::Keys(keys, _),
                Values::Terms(_, rows) | Values::Words(_, rows) | Values::Bools(rows),
            ) => rows.union(image, keys),
            (Found::Together { keys, more }, Values::Words(_, rows)) => {
                exact = !more;
                let mut keys: Vec<usize> = keys.iter().map(|k| *k as usize).collect();
                keys.sort_by_key(|k| rows.count(image, *k));
                let mut sets = keys.iter().map(|k| rows.rows(image, *k));
                let first = sets.next()?;
                sets.fold(first, |all, set| all.intersect(&set))
            }
            (Found::Spans(first, second, _), values) => {
                let total = first.iter().chain(second).map(ExactSizeIterator::len).sum();
                let (of_first, of_second): (Vec<&[u32]>, Vec<&[u32]>) = match values {
                    Values::Integers(ints, floats) => (
                        first.iter().map(|s| ints.rows(image, s)).collect(),
                        second.iter().map(|s| floats.rows(image, s)).collect(),
                    ),
                    Values::Floats(floats) => (
                        first.iter().map(|s| floats.rows(image, s)).collect(),
                        Vec::new(),
                    ),
                    Values::Dates(dates) => (
                        first.iter().map(|s| dates.rows(image, s)).collect(),
                        Vec::new(),
                    ),
                    _ => return None,
                };
                let rows = of_first.into_iter().chain(of_second).flatten().copied();
                RowSet::collect(self.rows, total, rows)
            }
            (Found::Within(area, candidates), Values::Places(places)) => {
                let total: usize = candidates.iter().map(ExactSizeIterator::len).sum();
                RowSet::collect(self.rows, total, places.rows(image, area, candidates))
            }
            _ => return None,
        };
        let with_others = matches!(found, Found::Keys(_, true) | Found::Spans(_, _, true));
        let rows = if with_others {
            own.union(&self.flags.rows(image, OTHER))
        } else {
            own
        };
        Some(Answer { rows, exact })
    }
}

fn only_texts(set: &ScalarSet) -> bool {
    set.bools.is_empty() && set.ints.is_empty()
}

fn only_ints(set: &ScalarSet) -> bool {
    set.bools.is_empty() && set.texts.is_empty()
}

fn only_bools(set: &ScalarSet) -> bool {
    set.ints.is_empty() && set.texts.is_empty()
}

/// Not high enough for the range.
fn below(range: &NumberRange, n: f64) -> bool {
    range.gt.is_some_and(|b| n <= b) || range.gte.is_some_and(|b| n < b)
}

/// Too high for the range.
fn above(range: &NumberRange, n: f64) -> bool {
    range.lt.is_some_and(|b| n >= b) || range.lte.is_some_and(|b| n > b)
}

fn before(range: &DateRange, t: i64) -> bool {
    range.gt.is_some_and(|b| t <= b) || range.gte.is_some_and(|b| t < b)
}

fn after(range: &DateRange, t: i64) -> bool {
    range.lt.is_some_and(|b| t >= b) || range.lte.is_some_and(|b| t > b)
}
