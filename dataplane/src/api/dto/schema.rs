//! Vectors of a collection to create.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{Given, in_range, refuse};
use crate::error::ServiceError;
use crate::model::{DenseParams, Distance, HnswParams, Quantization, SparseParams};
use crate::service::Limits;

/// A dense vector. Fields with an underscore tune Qdrant's storage and have no meaning here.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VectorParamsDto {
    pub(crate) size: usize,
    #[schemars(with = "DistanceDto")]
    pub(crate) distance: Distance,
    pub(crate) hnsw_config: Option<HnswDto>,
    #[schemars(with = "Option<QuantizationInput>")]
    pub(crate) quantization_config: Option<Value>,
    pub(crate) multivector_config: Option<MultivectorDto>,
    pub(crate) datatype: Option<String>,
    #[serde(rename = "on_disk")]
    pub(crate) _on_disk: Given,
    #[serde(rename = "memory")]
    pub(crate) _memory: Given,
}

/// What `Distance` reads.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes a type of another crate")]
enum DistanceDto {
    Cosine,
    Dot,
    Euclid,
    Manhattan,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MultivectorDto {
    #[serde(rename = "comparator")]
    pub(crate) _comparator: ComparatorDto,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ComparatorDto {
    MaxSim,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HnswDto {
    pub(crate) m: Option<u32>,
    pub(crate) ef_construct: Option<u32>,
    #[serde(rename = "full_scan_threshold")]
    pub(crate) _full_scan_threshold: Given,
    #[serde(rename = "max_indexing_threads")]
    pub(crate) _max_indexing_threads: Given,
    #[serde(rename = "on_disk")]
    pub(crate) _on_disk: Given,
    #[serde(rename = "memory")]
    pub(crate) _memory: Given,
    #[serde(rename = "payload_m")]
    pub(crate) _payload_m: Given,
    #[serde(rename = "inline_storage")]
    pub(crate) _inline_storage: Given,
}

impl VectorParamsDto {
    /// `field` is what to call these parameters; `hnsw` and `codes` hold where they say nothing themselves.
    pub(crate) fn into_model(
        self,
        field: &str,
        hnsw: &HnswDto,
        codes: Option<Quantization>,
        limits: &Limits,
    ) -> Result<DenseParams, ServiceError> {
        if self.datatype.is_some_and(|t| t != "float32") {
            return Err(ServiceError::Unsupported(format!(
                "{field}.datatype other than 'float32'"
            )));
        }
        let size_field = format!("{field}.size");
        in_range(&size_field, self.size, 1, limits.max_dimension)?;
        let size = u32::try_from(self.size)
            .map_err(|_| ServiceError::BadRequest(format!("{size_field} does not fit 32 bits")))?;
        let own = self.hnsw_config.unwrap_or_default();
        let m = own.m.or(hnsw.m);
        refuse(&[(
            "hnsw_config.m = 0 (collections without a graph)",
            m == Some(0),
        )])?;
        let defaults = HnswParams::default();
        let own_codes = self
            .quantization_config
            .map(|value| quantization(&format!("{field}.quantization_config"), value))
            .transpose()?;
        Ok(DenseParams {
            size,
            distance: self.distance,
            multivector: self.multivector_config.is_some(),
            hnsw: HnswParams {
                m: m.unwrap_or(defaults.m),
                ef_construct: own
                    .ef_construct
                    .or(hnsw.ef_construct)
                    .unwrap_or(defaults.ef_construct),
            },
            quantization: own_codes
                .or(codes)
                .unwrap_or_else(|| Quantization::default_for(size)),
        })
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "QuantizationCodes")]
pub(crate) struct QuantizationDto {
    pub(crate) scalar: Option<ScalarDto>,
    pub(crate) binary: Option<BinaryDto>,
    pub(crate) product: Given,
    pub(crate) turbo: Given,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ScalarQuantization")]
pub(crate) struct ScalarDto {
    pub(crate) r#type: ScalarType,
    // The engine chooses the range of its codes by itself.
    #[serde(rename = "quantile")]
    pub(crate) _quantile: Option<f64>,
    #[serde(rename = "always_ram")]
    pub(crate) _always_ram: Given,
    #[serde(rename = "memory")]
    pub(crate) _memory: Given,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ScalarType {
    Int8,
    /// An addition of Brainy's.
    Int4,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "BinaryQuantization")]
pub(crate) struct BinaryDto {
    pub(crate) encoding: Option<String>,
    // Queries are always compared at more bits than stored vectors.
    #[serde(rename = "query_encoding")]
    pub(crate) _query_encoding: Given,
    #[serde(rename = "always_ram")]
    pub(crate) _always_ram: Given,
    #[serde(rename = "memory")]
    pub(crate) _memory: Given,
}

/// What [`quantization`] reads.
pub(crate) enum QuantizationInput {}

schema!(QuantizationInput, "QuantizationConfig", generator => {
    "anyOf": [{"const": "Disabled"}, generator.subschema_for::<QuantizationDto>()],
});

/// Codes as Qdrant's API names them: `{"scalar": {"type": "int8" | "int4"}}`, `{"binary": {}}` or `"Disabled"`.
pub(crate) fn quantization(field: &str, value: Value) -> Result<Quantization, ServiceError> {
    if value == "Disabled" {
        return Ok(Quantization::Disabled);
    }
    let dto: QuantizationDto = serde_json::from_value(value)
        .map_err(|e| ServiceError::BadRequest(format!("{field}: {e}")))?;
    refuse(&[
        ("product quantization", dto.product.is_some()),
        ("turbo quantization", dto.turbo.is_some()),
    ])?;
    match (dto.scalar, dto.binary) {
        (Some(scalar), None) => Ok(match scalar.r#type {
            ScalarType::Int8 => Quantization::Int8,
            ScalarType::Int4 => Quantization::Int4,
        }),
        (None, Some(binary)) => match binary.encoding.as_deref() {
            None | Some("one_bit") => Ok(Quantization::Binary),
            Some(encoding @ ("two_bits" | "one_and_half_bits")) => Err(ServiceError::Unsupported(
                format!("binary quantization with encoding '{encoding}'"),
            )),
            Some(_) => Err(ServiceError::BadRequest(format!(
                "{field}.binary.encoding must be 'one_bit'"
            ))),
        },
        _ => Err(ServiceError::BadRequest(format!(
            "{field}: exactly one of 'scalar' and 'binary' is needed"
        ))),
    }
}

/// A sparse vector.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SparseParamsDto {
    pub(crate) modifier: Option<ModifierDto>,
    pub(crate) index: Option<SparseIndexDto>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ModifierDto {
    None,
    Idf,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SparseIndexDto {
    pub(crate) datatype: Option<String>,
    #[serde(rename = "full_scan_threshold")]
    pub(crate) _full_scan_threshold: Given,
    #[serde(rename = "on_disk")]
    pub(crate) _on_disk: Given,
    #[serde(rename = "memory")]
    pub(crate) _memory: Given,
}

impl SparseParamsDto {
    pub(crate) fn into_model(self, field: &str) -> Result<SparseParams, ServiceError> {
        let datatype = self.index.and_then(|index| index.datatype);
        if datatype.is_some_and(|t| t != "float32") {
            return Err(ServiceError::Unsupported(format!(
                "{field}.index.datatype other than 'float32'"
            )));
        }
        Ok(SparseParams {
            idf: matches!(self.modifier, Some(ModifierDto::Idf)),
        })
    }
}
