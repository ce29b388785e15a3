//! Other names of collections, which stand for them in every request about points.

use super::body::Body;
use super::dto::alias::{AliasesDto, ChangeAliasesDto};
use super::errors::Answer;
use super::extract::{Call, Path};
use super::guard::Class;
use super::routes::Routes;
use crate::error::ServiceError;

pub(super) fn routes() -> Routes {
    Routes::new("Collections", Class::Read)
        .get(
            "get_collections_aliases",
            "/aliases",
            list,
            "Lists all aliases.",
        )
        .get(
            "get_collection_aliases",
            "/collections/{name}/aliases",
            list_of,
            "Lists the aliases of a collection.",
        )
        .merge(Routes::new("Collections", Class::Change).post(
            "update_aliases",
            "/collections/aliases",
            change,
            "Creates, deletes and renames aliases: all that is asked for at once, or nothing.",
        ))
}

async fn list(call: Call) -> Answer<AliasesDto> {
    call.ok(all(&call).await?)
}

/// All aliases.
pub(super) async fn all(call: &Call) -> Result<AliasesDto, ServiceError> {
    Ok(AliasesDto::new(call.service.aliases().await?, None))
}

async fn list_of(call: Call, Path(name): Path<String>) -> Answer<AliasesDto> {
    call.ok(of_collection(&call, &name).await?)
}

/// Those of one collection, called by its own name or by one of them.
pub(super) async fn of_collection(call: &Call, name: &str) -> Result<AliasesDto, ServiceError> {
    let name = call.service.resolve(name).await?;
    Ok(AliasesDto::new(call.service.aliases().await?, Some(&name)))
}

async fn change(call: Call, Body(dto): Body<ChangeAliasesDto>) -> Answer<bool> {
    call.ok(apply(&call, dto).await?)
}

/// Makes all of the changes or none.
pub(super) async fn apply(call: &Call, dto: ChangeAliasesDto) -> Result<bool, ServiceError> {
    let changes = dto.into_model(&call.limits)?;
    call.service.change_aliases(changes).await?;
    Ok(true)
}
