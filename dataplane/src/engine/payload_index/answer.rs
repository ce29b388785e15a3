//! What indexes know about a whole filter.

use crate::engine::filter::{Leaf, Node};
use crate::engine::path::Path;
use crate::engine::segment::reads_instead;
use crate::model::PointId;

use super::estimate::Estimate;
use super::row_set::RowSet;
use super::{FieldIndex, PayloadIndex};

/// Rows among which all that match are; exactly those when `exact`.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) rows: RowSet,
    pub(crate) exact: bool,
}

impl Answer {
    fn exact(rows: RowSet) -> Self {
        Self { rows, exact: true }
    }
}

/// The indexes of a segment and its ids, asked about a filter.
pub(crate) struct Asked<'s> {
    pub(crate) index: &'s PayloadIndex,
    /// Row of an id.
    pub(crate) row_of: &'s dyn Fn(PointId) -> Option<u32>,
    pub(crate) rows: usize,
}

impl Asked<'_> {
    /// How many rows match.
    pub(crate) fn estimate(&self, node: &Node) -> Estimate {
        self.estimate_node(node, None)
    }

    /// Rows among which all that match are; `None` when indexes do not narrow it down.
    pub(crate) fn answer(&self, node: &Node) -> Option<Answer> {
        self.answer_node(node, None)
    }

    /// The index of the field at `path` below `under`.
    fn field(&self, path: &Path, under: Option<&Path>) -> Option<&FieldIndex> {
        let Some(array) = under else {
            return self.index.field(path);
        };
        self.index.field(&below(path, Some(array)))
    }

    fn rows_of(&self, ids: &[PointId], under: Option<&Path>) -> RowSet {
        if under.is_some() {
            // The object in an array is no point.
            return RowSet::empty(self.rows);
        }
        let rows: Vec<u32> = ids.iter().filter_map(|id| (self.row_of)(*id)).collect();
        RowSet::collect(self.rows, rows.len(), rows)
    }

    fn estimate_node(&self, node: &Node, under: Option<&Path>) -> Estimate {
        let each = |leaves: &[Leaf]| -> Vec<Estimate> {
            leaves
                .iter()
                .map(|l| self.estimate_leaf(l, under))
                .collect()
        };
        let mut parts = each(&node.must);
        if !node.should.is_empty() {
            parts.push(Estimate::at_least(1, &each(&node.should), self.rows));
        }
        parts.extend(node.must_not.iter().map(|leaf| match under {
            None => self.estimate_leaf(leaf, under).not(self.rows),
            // One element may lack what another has.
            Some(_) => Estimate::unknown(self.rows),
        }));
        if let Some((leaves, count)) = &node.min_should
            && *count > 0
        {
            parts.push(Estimate::at_least(*count, &each(leaves), self.rows));
        }
        Estimate::all(&parts, self.rows)
    }

    fn estimate_leaf(&self, leaf: &Leaf, under: Option<&Path>) -> Estimate {
        let unknown = Estimate::unknown(self.rows);
        match leaf {
            Leaf::Field(path, test) => self
                .field(path, under)
                .and_then(|field| field.find(test).map(|found| field.estimate(&found)))
                .unwrap_or(unknown),
            Leaf::HasId(ids) => match under {
                Some(_) => Estimate::exact(0),
                None => {
                    let held = ids.iter().filter(|id| (self.row_of)(**id).is_some());
                    Estimate::exact(held.count())
                }
            },
            Leaf::HasVector(_) | Leaf::Slice(_) => unknown,
            Leaf::IsEmpty(_) if under.is_some() => unknown,
            Leaf::IsEmpty(path) => self
                .field(path, under)
                .map_or(unknown, FieldIndex::estimate_empty),
            Leaf::IsNull(path) => self
                .field(path, under)
                .map_or(unknown, FieldIndex::estimate_null),
            Leaf::Filter(node) => self.estimate_node(node, under),
            // Rows that fulfil each part with some element may have none that fulfils all.
            Leaf::Nested(path, node) if says_something(node) => Estimate {
                min: 0,
                ..self.estimate_node(node, Some(&below(path, under)))
            },
            Leaf::Nested(..) => unknown,
        }
    }

    fn answer_node(&self, node: &Node, under: Option<&Path>) -> Option<Answer> {
        let each = |leaves: &[Leaf]| -> Vec<Option<Answer>> {
            leaves.iter().map(|l| self.answer_leaf(l, under)).collect()
        };
        let mut all = Vec::new();
        if !node.should.is_empty() {
            all.push(self.at_least(1, each(&node.should)));
        }
        if let Some((leaves, count)) = &node.min_should
            && *count > 0
        {
            all.push(self.at_least(*count, each(leaves)));
        }
        let mut rest: Vec<(f64, bool, &Leaf)> = Vec::new();
        for (leaves, wanted) in [(&node.must, true), (&node.must_not, false)] {
            let cost = |l| self.estimate_leaf(l, under).expected;
            rest.extend(leaves.iter().map(|l| (cost(l), wanted, l)));
        }
        // The smallest first: once few rows are left, their payloads are read sooner than more rows are listed.
        rest.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut least = all.iter().flatten().map(|a| a.rows.len()).min();
        for (expected, wanted, leaf) in rest {
            if least.is_some_and(|few| reads_instead(few, expected)) {
                all.push(None);
                continue;
            }
            let answer = self.answer_leaf(leaf, under);
            let answer = match wanted {
                true => answer,
                // What may not hold cannot be taken away, nor what holds for one element of several.
                false => answer
                    .filter(|a| a.exact && under.is_none())
                    .map(|a| Answer::exact(a.rows.complement())),
            };
            least = least
                .into_iter()
                .chain(answer.as_ref().map(|a| a.rows.len()))
                .min();
            all.push(answer);
        }
        self.together(all)
    }

    /// All of `parts` hold; a part that is not known may hold for any row.
    fn together(&self, parts: Vec<Option<Answer>>) -> Option<Answer> {
        let known_parts = parts.len();
        let mut known: Vec<Answer> = parts.into_iter().flatten().collect();
        let exact = known.len() == known_parts && known.iter().all(|a| a.exact);
        // The smallest first: what follows only shrinks.
        known.sort_by_key(|a| a.rows.len());
        let rows = known
            .into_iter()
            .map(|a| a.rows)
            .reduce(|all, rows| all.intersect(&rows));
        match rows {
            Some(rows) => Some(Answer { rows, exact }),
            None if known_parts == 0 => Some(Answer::exact(RowSet::all(self.rows))),
            None => None,
        }
    }

    /// At least `count` of `parts` hold.
    fn at_least(&self, count: usize, parts: Vec<Option<Answer>>) -> Option<Answer> {
        if count > parts.len() {
            return Some(Answer::exact(RowSet::empty(self.rows)));
        }
        if count == parts.len() {
            return self.together(parts);
        }
        let unknown = parts.iter().filter(|p| p.is_none()).count();
        let exact = unknown == 0 && parts.iter().flatten().all(|a| a.exact);
        // Parts that are not known may all hold.
        let needed = count.saturating_sub(unknown);
        if needed == 0 {
            return None;
        }
        let known = parts.into_iter().flatten();
        let rows = if needed == 1 {
            known.map(|a| a.rows).reduce(|all, rows| all.union(&rows))?
        } else {
            let mut hits = vec![0u32; self.rows];
            for answer in known {
                for row in answer.rows.iter() {
                    hits[row as usize] += 1;
                }
            }
            let enough = (0u32..)
                .zip(&hits)
                .filter(|(_, n)| **n as usize >= needed)
                .map(|(row, _)| row);
            RowSet::collect(self.rows, self.rows, enough)
        };
        Some(Answer { rows, exact })
    }

    fn answer_leaf(&self, leaf: &Leaf, under: Option<&Path>) -> Option<Answer> {
        match leaf {
            Leaf::Field(path, test) => {
                let field = self.field(path, under)?;
                field.rows(&field.find(test)?)
            }
            Leaf::HasId(ids) => Some(Answer::exact(self.rows_of(ids, under))),
            // Asked of each row, which costs less than a payload.
            Leaf::HasVector(_) | Leaf::Slice(_) => None,
            // In an array, one element may lack what another has.
            Leaf::IsEmpty(_) if under.is_some() => None,
            Leaf::IsEmpty(path) => Some(Answer::exact(self.field(path, under)?.empty())),
            Leaf::IsNull(path) => Some(Answer::exact(self.field(path, under)?.null())),
            Leaf::Filter(node) => self.answer_node(node, under),
            Leaf::Nested(path, node) => {
                let answer = self.answer_node(node, Some(&below(path, under)))?;
                Some(Answer {
                    exact: false,
                    ..answer
                })
            }
        }
    }
}

/// Whether a filter on elements names something that has to be there.
fn says_something(node: &Node) -> bool {
    !node.must.is_empty() || !node.should.is_empty() || node.min_should.is_some()
}

/// The path of something inside the elements of an array.
fn below(path: &Path, under: Option<&Path>) -> Path {
    under.map_or_else(|| path.clone(), |array| path.inside(array))
}
