//! Distances between points of a sample.

use super::body::Body;
use super::dto::matrix::{Matrix, MatrixDto, OffsetsDto, PairDto, PairsDto};
use super::errors::Answer;
use super::extract::{Call, Path};
use super::guard::Class;
use super::query::checks;
use super::routes::Routes;
use super::strict::Strict;
use crate::error::ServiceError;
use crate::model::{
    ListOrder, ListRequest, PayloadSelector, PointId, SearchRequest, Vector, VectorSelector,
};

/// Ids that the searches of one call may name together.
const IDS_PER_CALL: usize = 100_000;

pub(super) fn routes() -> Routes {
    Routes::new("Search", Class::Read)
        .post(
            "search_matrix_pairs",
            "/collections/{name}/points/search/matrix/pairs",
            pairs,
            "Chooses points at random and returns the nearest neighbours of each among them, as pairs.",
        )
        .post(
            "search_matrix_offsets",
            "/collections/{name}/points/search/matrix/offsets",
            offsets,
            "Chooses points at random and returns the nearest neighbours of each among them, as a sparse matrix.",
        )
}

async fn pairs(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<MatrixDto>,
) -> Answer<PairsDto> {
    call.ok(matrix_pairs(&call, &name, dto).await?)
}

async fn offsets(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<MatrixDto>,
) -> Answer<OffsetsDto> {
    call.ok(matrix_offsets(&call, &name, dto).await?)
}

/// The matrix as pairs.
pub(super) async fn matrix_pairs(
    call: &Call,
    name: &str,
    dto: MatrixDto,
) -> Result<PairsDto, ServiceError> {
    let (ids, rows) = rows(call, name, dto).await?;
    let pairs = ids.into_iter().zip(rows).flat_map(|(a, row)| {
        let pair = move |(b, score)| PairDto { a, b, score };
        row.into_iter().map(pair)
    });
    Ok(PairsDto {
        pairs: pairs.collect(),
    })
}

/// The matrix as offsets.
pub(super) async fn matrix_offsets(
    call: &Call,
    name: &str,
    dto: MatrixDto,
) -> Result<OffsetsDto, ServiceError> {
    let (ids, rows) = rows(call, name, dto).await?;
    let mut matrix = OffsetsDto::default();
    for (i, row) in rows.into_iter().enumerate() {
        for (id, score) in row {
            // Neighbours are of the sample, which is in order.
            let Ok(column) = ids.binary_search(&id) else {
                continue;
            };
            matrix.offsets_row.push(i as u64);
            matrix.offsets_col.push(column as u64);
            matrix.scores.push(score);
        }
    }
    matrix.ids = ids;
    Ok(matrix)
}

/// The points of the sample by id, and the nearest others of the sample for each.
async fn rows(
    call: &Call,
    name: &str,
    dto: MatrixDto,
) -> Result<(Vec<PointId>, Vec<Vec<(PointId, f32)>>), ServiceError> {
    let (name, collection) = call.collection(name).await?;
    let name = name.as_str();
    let matrix = dto.into_model(checks(call, &collection))?;
    if let Some(strict) = Strict::of(call, &collection)? {
        strict.read(Some(matrix.limit), Some(&matrix.filter))?;
    }
    let sample = sample(call, name, &matrix).await?;
    if sample.len() < 2 {
        return Ok((Vec::new(), Vec::new()));
    }
    let ids: Vec<PointId> = sample.iter().map(|(id, _)| *id).collect();
    let requests = sample.into_iter().map(|(id, vector)| SearchRequest {
        using: matrix.using.clone(),
        among: Some(ids.iter().copied().filter(|other| *other != id).collect()),
        ..SearchRequest::new(vector, matrix.limit)
    });
    let mut requests = requests.peekable();
    let mut rows = Vec::with_capacity(ids.len());
    while requests.peek().is_some() {
        let some = requests.by_ref().take((IDS_PER_CALL / ids.len()).max(1));
        let some: Vec<SearchRequest> = some.collect();
        let read = call.params.read.clone();
        for hits in call.service.search(name, some, read).await? {
            let hits = hits.into_iter();
            rows.push(hits.map(|hit| (hit.record.id, hit.score)).collect());
        }
    }
    Ok((ids, rows))
}

/// Points chosen at random with their vectors, by id.
async fn sample(
    call: &Call,
    name: &str,
    matrix: &Matrix,
) -> Result<Vec<(PointId, Vector)>, ServiceError> {
    let request = ListRequest {
        order: ListOrder::Random(rand::random()),
        filter: Some(matrix.filter.clone()),
        limit: matrix.sample,
        with_payload: PayloadSelector::None,
        with_vector: VectorSelector::Names(vec![matrix.using.clone()]),
    };
    let read = call.params.read.clone();
    let lists = call.service.list(name, vec![request], read).await?;
    let records = lists.into_iter().flatten().map(|point| point.record);
    let mut sample: Vec<(PointId, Vector)> = records
        .filter_map(|record| Some((record.id, record.vectors?.get(&matrix.using)?.clone())))
        .collect();
    sample.sort_by_key(|(id, _)| *id);
    Ok(sample)
}
