//! Aliases.

use std::collections::BTreeMap;

use brainy_coordination::manifest::AliasChange;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::at_most;
use crate::error::ServiceError;
use crate::service::Limits;

objects!(
    ChangeAliasesDto,
    CreateAliasDto,
    DeleteAliasDto,
    RenameAliasDto
);

/// Changes of aliases, made together.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct ChangeAliasesDto {
    pub(crate) actions: Vec<AliasActionDto>,
}

/// One of them.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) enum AliasActionDto {
    #[serde(rename = "create_alias")]
    Create(CreateAliasDto),
    #[serde(rename = "delete_alias")]
    Delete(DeleteAliasDto),
    #[serde(rename = "rename_alias")]
    Rename(RenameAliasDto),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct CreateAliasDto {
    pub(crate) collection_name: String,
    pub(crate) alias_name: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct DeleteAliasDto {
    pub(crate) alias_name: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct RenameAliasDto {
    pub(crate) old_alias_name: String,
    pub(crate) new_alias_name: String,
}

impl ChangeAliasesDto {
    pub(crate) fn into_model(self, limits: &Limits) -> Result<Vec<AliasChange>, ServiceError> {
        at_most("'actions'", self.actions.len(), limits.max_batch_points)?;
        Ok(self.actions.into_iter().map(AliasChange::from).collect())
    }
}

impl From<AliasActionDto> for AliasChange {
    fn from(action: AliasActionDto) -> Self {
        match action {
            AliasActionDto::Create(dto) => Self::Create {
                collection: dto.collection_name,
                alias: dto.alias_name,
            },
            AliasActionDto::Delete(dto) => Self::Delete {
                alias: dto.alias_name,
            },
            AliasActionDto::Rename(dto) => Self::Rename {
                from: dto.old_alias_name,
                to: dto.new_alias_name,
            },
        }
    }
}

/// Aliases and what they stand for.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AliasesDto {
    pub(crate) aliases: Vec<AliasDto>,
}

/// One of them.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AliasDto {
    pub(crate) alias_name: String,
    pub(crate) collection_name: String,
}

impl AliasesDto {
    /// All, or those of one collection.
    pub(crate) fn new(aliases: BTreeMap<String, String>, of: Option<&str>) -> Self {
        let all = aliases.into_iter();
        let wanted = all.filter(|(_, collection)| of.is_none_or(|of| of == collection));
        Self {
            aliases: wanted
                .map(|(alias_name, collection_name)| AliasDto {
                    alias_name,
                    collection_name,
                })
                .collect(),
        }
    }
}
