//! Counts of values.

use super::body::Body;
use super::dto::facet::{FacetDto, FacetHitDto, FacetHitsDto};
use super::errors::Answer;
use super::extract::{Call, Path};
use super::guard::Class;
use super::routes::Routes;
use super::strict::Strict;
use crate::error::ServiceError;
use crate::model::FacetCount;

pub(super) fn routes() -> Routes {
    Routes::new("Points", Class::Read).post(
        "facet",
        "/collections/{name}/facet",
        facet,
        "Counts in how many points each value of an indexed payload field occurs.",
    )
}

async fn facet(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<FacetDto>,
) -> Answer<FacetHitsDto> {
    call.ok(most_frequent(&call, &name, dto).await?)
}

/// The most frequent values of a field.
pub(super) async fn most_frequent(
    call: &Call,
    name: &str,
    dto: FacetDto,
) -> Result<FacetHitsDto, ServiceError> {
    let (name, collection) = call.collection(name).await?;
    let name = name.as_str();
    let (request, limit) = dto.into_model(&collection.payload_indexes, &call.limits)?;
    if let Some(strict) = Strict::of(call, &collection)? {
        strict.read(Some(limit), request.filter.as_ref())?;
    }
    let read = call.params.read.clone();
    let mut counts = call.service.facet(name, request, read).await?;
    counts.sort_unstable_by(|a, b| (b.count, &a.value).cmp(&(a.count, &b.value)));
    counts.truncate(limit);
    let hits = counts
        .into_iter()
        .map(|count: FacetCount| FacetHitDto::from(count));
    Ok(FacetHitsDto {
        hits: hits.collect(),
    })
}
