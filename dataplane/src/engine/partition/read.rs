//! Reading points: by id, in id order, by filter, by distance.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use brainy_coordination::types::LogPosition;
use brainy_index::near::{Near, TopK};

use crate::engine::error::EngineError;
use crate::engine::filter::CompiledFilter;
use crate::engine::formula::CompiledFormula;
use crate::engine::interrupt;
use crate::engine::memtable::Memtable;
use crate::engine::payload::{self, Selection};
use crate::engine::payload_index::Answer;
use crate::engine::query::{Query, is_similarity, passes};
use crate::engine::resolve::PointView;
use crate::engine::segment::Explanation;
use crate::engine::stored;
use crate::model::{
    CountRequest, Filter, Payload, Point, PointId, Record, RetrieveRequest, ScoredPoint,
    ScrollPage, ScrollRequest, SearchQuery, SearchRequest, VectorSelector, Vectors,
};

use super::PartitionState;
use super::layers::{SegmentView, Snapshot};

/// A point as its layer holds it.
pub(super) struct Found {
    pub(super) version: LogPosition,
    payload: Option<Payload>,
    vectors: Option<Vectors>,
}

impl Found {
    pub(super) fn into_record(self, id: PointId) -> Record {
        Record {
            id,
            payload: self.payload,
            vectors: self.vectors,
            order_value: None,
        }
    }
}

impl Snapshot {
    /// The live version of a point, of which `selection` and the `wanted` vectors are read.
    pub(super) fn find(
        &self,
        id: PointId,
        selection: &Selection,
        wanted: &VectorSelector,
    ) -> Result<Option<Found>, EngineError> {
        let cut = |bytes: &[u8]| match selection.wants_any() {
            true => Ok::<_, EngineError>(selection.apply(payload::decode(bytes)?)),
            false => Ok(None),
        };
        for memtable in self.layers.memtables() {
            if let Some(point) = memtable.get(id, self.tick, wanted) {
                return Ok(Some(Found {
                    version: point.version,
                    payload: cut(&point.payload)?,
                    vectors: wanted.wants_any().then_some(point.vectors),
                }));
            }
        }
        for view in &self.layers.segments {
            let segment = &view.segment;
            if let Some(row) = segment
                .find_row(id)
                .filter(|row| view.is_live(*row, self.tick))
            {
                let vectors = wanted
                    .wants_any()
                    .then(|| stored::collect(segment.schema(), &segment.vectors(row), wanted));
                let payload = match selection.wants_any() {
                    true => segment.payload(row),
                    false => Cow::default(),
                };
                interrupt::check_reads()?;
                return Ok(Some(Found {
                    version: segment.version(row),
                    payload: cut(&payload)?,
                    vectors,
                }));
            }
        }
        Ok(None)
    }

    /// Ids of live, matching points from `from` on, ascending, of which about `limit` will be asked for.
    pub(super) fn ids_from<'s>(
        &'s self,
        from: Option<PointId>,
        filter: Option<&'s CompiledFilter>,
        limit: usize,
    ) -> Result<Ids<'s>, EngineError> {
        let start = from.map_or(Bound::Unbounded, Bound::Included);
        let memtables = self.layers.memtables().map(|memtable| Cursor::Memtable {
            memtable,
            page: VecDeque::new(),
            next: Some(start),
        });
        let segments = self.layers.segments.iter().map(|view| Cursor::Segment {
            view,
            row: from.map_or(0, |id| view.segment.first_row_from(id)),
            candidates: filter.and_then(|f| view.segment.candidates_for_page(f, limit)),
        });
        let mut ids = Ids {
            tick: self.tick,
            filter,
            cursors: memtables.chain(segments).collect(),
            heads: BinaryHeap::new(),
        };
        for i in 0..ids.cursors.len() {
            ids.advance(i)?;
        }
        Ok(ids)
    }
}

/// Where a walk in id order stands in one layer.
enum Cursor<'s> {
    Memtable {
        memtable: &'s Arc<Memtable>,
        page: VecDeque<PointId>,
        next: Option<Bound<PointId>>,
    },
    Segment {
        view: &'s SegmentView,
        row: u32,
        /// Rows among which all that match are, if they are known.
        candidates: Option<Answer>,
    },
}

/// A walk over all layers in id order. A live point is in one layer only, so no id comes twice.
pub(super) struct Ids<'s> {
    tick: u64,
    filter: Option<&'s CompiledFilter>,
    cursors: Vec<Cursor<'s>>,
    heads: BinaryHeap<Reverse<(PointId, usize)>>,
}

impl Ids<'_> {
    pub(super) fn next(&mut self) -> Result<Option<PointId>, EngineError> {
        let Some(Reverse((id, cursor))) = self.heads.pop() else {
            return Ok(None);
        };
        self.advance(cursor)?;
        Ok(Some(id))
    }

    fn advance(&mut self, cursor: usize) -> Result<(), EngineError> {
        let (tick, filter) = (self.tick, self.filter);
        let id = match &mut self.cursors[cursor] {
            Cursor::Memtable {
                memtable,
                page,
                next,
            } => loop {
                if let Some(id) = page.pop_front() {
                    break Some(id);
                }
                let Some(from) = next.take() else { break None };
                let (ids, rest) = memtable.page(from, tick, filter)?;
                page.extend(ids);
                *next = rest;
            },
            Cursor::Segment {
                view,
                row,
                candidates,
            } => loop {
                let current = match candidates {
                    None => Some(*row).filter(|row| (*row as usize) < view.segment.rows()),
                    Some(known) => known.rows.next_from(*row),
                };
                let Some(current) = current else { break None };
                *row = current + 1;
                let residual = filter.filter(|_| !candidates.as_ref().is_some_and(|c| c.exact));
                if is_match(view, current, tick, residual)? {
                    break Some(view.segment.row_id(current));
                }
            },
        };
        if let Some(id) = id {
            self.heads.push(Reverse((id, cursor)));
        }
        Ok(())
    }
}

pub(super) fn is_match(
    view: &SegmentView,
    row: u32,
    tick: u64,
    filter: Option<&CompiledFilter>,
) -> Result<bool, EngineError> {
    interrupt::check_at(row)?;
    if !view.is_live(row, tick) {
        return Ok(false);
    }
    filter.map_or(Ok(true), |filter| view.segment.matches(row, filter))
}

/// Live rows that match.
fn count_in(
    view: &SegmentView,
    tick: u64,
    filter: Option<&CompiledFilter>,
) -> Result<usize, EngineError> {
    let candidates = filter.and_then(|filter| view.segment.candidates(filter));
    let mut count = 0;
    match candidates {
        Some(Answer { rows, exact }) => {
            let residual = filter.filter(|_| !exact);
            for row in rows.iter() {
                count += usize::from(is_match(view, row, tick, residual)?);
            }
        }
        None => {
            for row in 0..view.segment.rows() as u32 {
                count += usize::from(is_match(view, row, tick, filter)?);
            }
        }
    }
    Ok(count)
}

impl PartitionState {
    /// The requested points that exist, in the order of the request.
    ///
    /// # Errors
    /// Unreadable paths, or a payload that does not decode.
    pub fn retrieve(&self, request: &RetrieveRequest) -> Result<Vec<Record>, EngineError> {
        let selection = Selection::new(&request.with_payload)?;
        let snapshot = self.snapshot();
        let mut records = Vec::new();
        for id in &request.ids {
            interrupt::check()?;
            if let Some(found) = snapshot.find(*id, &selection, &request.with_vector)? {
                records.push(found.into_record(*id));
            }
        }
        Ok(records)
    }

    /// A page of matching points in id order.
    ///
    /// # Errors
    /// Unreadable paths, or a payload that does not decode.
    pub fn scroll(&self, request: &ScrollRequest) -> Result<ScrollPage, EngineError> {
        let selection = Selection::new(&request.with_payload)?;
        let filter = self.compiled(request.filter.as_ref())?;
        let snapshot = self.snapshot();
        let mut ids = snapshot.ids_from(request.offset, filter.as_ref(), request.limit)?;
        let mut page = ScrollPage::default();
        while let Some(id) = ids.next()? {
            if page.records.len() == request.limit {
                page.next = Some(id);
                break;
            }
            if let Some(found) = snapshot.find(id, &selection, &request.with_vector)? {
                page.records.push(found.into_record(id));
            }
        }
        Ok(page)
    }

    /// How many points match.
    ///
    /// # Errors
    /// Unreadable paths, or a payload that does not decode.
    pub fn count(&self, request: &CountRequest) -> Result<usize, EngineError> {
        let filter = self.compiled(request.filter.as_ref())?;
        let snapshot = self.snapshot();
        let mut count = 0;
        for memtable in snapshot.layers.memtables() {
            count += memtable.count(snapshot.tick, filter.as_ref())?;
        }
        for view in &snapshot.layers.segments {
            count += count_in(view, snapshot.tick, filter.as_ref())?;
        }
        Ok(count)
    }

    /// The best matching points, best first; equally good ones by id.
    ///
    /// # Errors
    /// A vector that does not fit or that the collection does not have, a formula without points or without a value for one of
    /// them, unreadable paths, or a payload that does not decode.
    pub fn search(&self, request: &SearchRequest) -> Result<Vec<ScoredPoint>, EngineError> {
        let selection = Selection::new(&request.with_payload)?;
        let filter = self.compiled(request.filter.as_ref())?;
        let snapshot = self.snapshot();
        let schema = &snapshot.layers.schema;
        let corpus = self.compiled(request.idf_corpus.as_ref())?;
        let found = find_best(&snapshot, request, filter.as_ref(), corpus.as_ref())?;
        let similarity = is_similarity(schema, request);
        let mut points = Vec::new();
        for (id, score) in found {
            let good = |threshold| passes(similarity, score, threshold);
            if !request.score_threshold.is_none_or(good) {
                break;
            }
            if let Some(found) = snapshot.find(id, &selection, &request.with_vector)? {
                points.push(ScoredPoint {
                    version: found.version,
                    record: found.into_record(id),
                    score,
                });
            }
        }
        Ok(points)
    }
}

/// Points and their scores, best first.
fn find_best(
    snapshot: &Snapshot,
    request: &SearchRequest,
    filter: Option<&CompiledFilter>,
    corpus: Option<&CompiledFilter>,
) -> Result<Vec<(PointId, f32)>, EngineError> {
    if let SearchQuery::Formula(formula) = &request.query {
        let ids = request.among.as_deref().ok_or_else(|| {
            EngineError::invalid("the formula", "there is nothing found that it could rank")
        })?;
        let formula = CompiledFormula::new(formula)?;
        let found = snapshot.rank(ids, &formula, filter, request.limit)?;
        return Ok(found
            .into_iter()
            .map(|near| (near.key, 0.0 - near.distance))
            .collect());
    }
    let schema = &snapshot.layers.schema;
    let mut query = Query::new(schema, request, filter)?;
    query.target = snapshot.weigh(schema, query.target, corpus)?;
    let found = match &request.among {
        Some(ids) => snapshot.compare(ids, &query)?,
        None => nearest(snapshot, &query)?,
    };
    Ok(found
        .into_iter()
        .map(|near| (near.key, query.score(near.distance)))
        .collect())
}

impl PartitionState {
    /// A filter as the text indexes of the collection say.
    pub(super) fn compiled(
        &self,
        filter: Option<&Filter>,
    ) -> Result<Option<CompiledFilter>, EngineError> {
        filter.map(|filter| self.compile(filter)).transpose()
    }

    /// How a search would go about each segment.
    ///
    /// # Errors
    /// Those of [`Self::search`].
    pub fn explain(&self, request: &SearchRequest) -> Result<Vec<Explanation>, EngineError> {
        let filter = self.compiled(request.filter.as_ref())?;
        let snapshot = self.snapshot();
        let query = Query::new(&snapshot.layers.schema, request, filter.as_ref())?;
        let explain = |view: &Arc<SegmentView>| {
            let live = |row| view.is_live(row, snapshot.tick);
            let live = view.has_dead().then_some(&live as &dyn Fn(u32) -> bool);
            view.segment.explain(&query, live)
        };
        snapshot.layers.segments.iter().map(explain).collect()
    }
}

fn nearest(snapshot: &Snapshot, query: &Query<'_>) -> Result<Vec<Near<PointId>>, EngineError> {
    let mut top = TopK::new(query.limit);
    for view in &snapshot.layers.segments {
        interrupt::check()?;
        let live = |row| view.is_live(row, snapshot.tick);
        let live = view.has_dead().then_some(&live as &dyn Fn(u32) -> bool);
        for near in view.segment.search(query, live)? {
            top.push(Near {
                distance: near.distance,
                key: view.segment.row_id(near.key),
            });
        }
    }
    for memtable in snapshot.layers.memtables() {
        for near in memtable.search(query, snapshot.tick)? {
            top.push(near);
        }
    }
    Ok(top.into_sorted())
}

impl PointView for PartitionState {
    fn get(&self, id: PointId) -> Result<Option<Point>, EngineError> {
        let found = self
            .snapshot()
            .find(id, &Selection::All, &VectorSelector::All)?;
        Ok(found.map(|f| Point {
            id,
            vectors: f.vectors.unwrap_or_default(),
            payload: f.payload.unwrap_or_default(),
        }))
    }

    fn matching(&self, filter: &Filter) -> Result<Vec<PointId>, EngineError> {
        let filter = self.compile(filter)?;
        let snapshot = self.snapshot();
        let mut walk = snapshot.ids_from(None, Some(&filter), usize::MAX)?;
        let mut ids = Vec::new();
        while let Some(id) = walk.next()? {
            ids.push(id);
        }
        Ok(ids)
    }

    fn compile(&self, filter: &Filter) -> Result<CompiledFilter, EngineError> {
        CompiledFilter::with_texts(filter, self.payload_schema().texts())
    }
}
