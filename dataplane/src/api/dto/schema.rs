//! Vectors of a collection to create.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{Given, in_range, refuse};
use crate::error::ServiceError;
use crate::model::{DenseParams, Distance, Quantization, SparseParams, Tuning};
use crate::service::Limits;

objects!(
    VectorParamsDto,
    MultivectorDto,
    HnswDto,
    QuantizationDto,
    TurboDto,
    ScalarDto,
    BinaryDto,
    SparseParamsDto,
    SparseIndexDto
);

/// A dense vector. Fields with an underscore tune Qdrant's storage and have no meaning here.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
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
pub(crate) enum DistanceDto {
    Cosine,
    Dot,
    Euclid,
    Manhattan,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
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
#[serde(remote = "Self", default, deny_unknown_fields)]
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
    /// Its shape, and what it has of its own; `field` is what to call these parameters.
    pub(crate) fn into_model(
        self,
        field: &str,
        limits: &Limits,
    ) -> Result<(DenseParams, Tuning), ServiceError> {
        check_datatype(&format!("{field}.datatype"), self.datatype.as_deref())?;
        let multivector = self.multivector_config.is_some();
        let size = format!("{field}.size");
        let params = dense(&size, self.size, self.distance, multivector, limits)?;
        let codes = self
            .quantization_config
            .map(|value| quantization(&format!("{field}.quantization_config"), value))
            .transpose()?;
        let own = Tuning {
            quantization: codes,
            ..self.hnsw_config.unwrap_or_default().tuning()?
        };
        Ok((params, own))
    }
}

impl HnswDto {
    /// The parameters that have a meaning here.
    pub(crate) fn tuning(&self) -> Result<Tuning, ServiceError> {
        refuse(&[(
            "hnsw_config.m = 0 (collections without a graph)",
            self.m == Some(0),
        )])?;
        Ok(Tuning {
            m: self.m,
            ef_construct: self.ef_construct,
            quantization: None,
        })
    }
}

/// A dense vector of this shape; `field` is what to call its size.
pub(crate) fn dense(
    field: &str,
    size: usize,
    distance: Distance,
    multivector: bool,
    limits: &Limits,
) -> Result<DenseParams, ServiceError> {
    in_range(field, size, 1, limits.max_dimension)?;
    let size = u32::try_from(size)
        .map_err(|_| ServiceError::BadRequest(format!("{field} does not fit 32 bits")))?;
    Ok(DenseParams {
        multivector,
        ..DenseParams::new(size, distance)
    })
}

/// Vectors are stored as 32-bit numbers.
pub(crate) fn check_datatype(field: &str, datatype: Option<&str>) -> Result<(), ServiceError> {
    if datatype.is_some_and(|t| t != "float32") {
        return Err(ServiceError::Unsupported(format!(
            "{field} other than 'float32'"
        )));
    }
    Ok(())
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schemars(rename = "QuantizationCodes")]
pub(crate) struct QuantizationDto {
    pub(crate) scalar: Option<ScalarDto>,
    pub(crate) binary: Option<BinaryDto>,
    pub(crate) product: Given,
    pub(crate) turbo: Option<TurboDto>,
}

/// Codes of rotated vectors.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schemars(rename = "TurboQuantization")]
pub(crate) struct TurboDto {
    pub(crate) bits: Option<String>,
    #[serde(rename = "always_ram")]
    pub(crate) _always_ram: Given,
    #[serde(rename = "memory")]
    pub(crate) _memory: Given,
}

impl TurboDto {
    fn into_model(self, field: &str) -> Result<Quantization, ServiceError> {
        match self.bits.as_deref() {
            None | Some("bits4") => Ok(Quantization::Int4),
            Some(bits @ ("bits1" | "bits1_5" | "bits2" | "bits8")) => Err(
                ServiceError::Unsupported(format!("turbo quantization with {bits} (bits4 is)")),
            ),
            Some(_) => Err(ServiceError::BadRequest(format!(
                "{field}.turbo.bits must be 'bits4'"
            ))),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
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
#[serde(remote = "Self", deny_unknown_fields)]
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

/// Codes as Qdrant's API names them: `{"scalar": {"type": "int8"}}`, `{"turbo": {"bits": "bits4"}}`, `{"binary": {}}` or
/// `"Disabled"`. `{"scalar": {"type": "int4"}}` is the same as the second: vectors rotated, 4 bits a dimension.
pub(crate) fn quantization(field: &str, value: Value) -> Result<Quantization, ServiceError> {
    if value == "Disabled" {
        return Ok(Quantization::Disabled);
    }
    let dto: QuantizationDto = serde_json::from_value(value)
        .map_err(|e| ServiceError::BadRequest(format!("{field}: {e}")))?;
    refuse(&[("product quantization", dto.product.is_some())])?;
    match (dto.scalar, dto.binary, dto.turbo) {
        (Some(scalar), None, None) => Ok(match scalar.r#type {
            ScalarType::Int8 => Quantization::Int8,
            ScalarType::Int4 => Quantization::Int4,
        }),
        (None, Some(binary), None) => match binary.encoding.as_deref() {
            None | Some("one_bit") => Ok(Quantization::Binary),
            Some(encoding @ ("two_bits" | "one_and_half_bits")) => Err(ServiceError::Unsupported(
                format!("binary quantization with encoding '{encoding}'"),
            )),
            Some(_) => Err(ServiceError::BadRequest(format!(
                "{field}.binary.encoding must be 'one_bit'"
            ))),
        },
        (None, None, Some(turbo)) => turbo.into_model(field),
        _ => Err(ServiceError::BadRequest(format!(
            "{field}: exactly one of 'scalar', 'binary' and 'turbo' is needed"
        ))),
    }
}

/// A sparse vector.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
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
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct SparseIndexDto {
    pub(crate) datatype: Option<String>,
    #[serde(rename = "full_scan_threshold")]
    pub(crate) _full_scan_threshold: Given,
    #[serde(rename = "on_disk")]
    pub(crate) _on_disk: Given,
    #[serde(rename = "memory")]
    pub(crate) _memory: Given,
}

impl ModifierDto {
    /// Whether terms have weights.
    pub(crate) fn is_idf(&self) -> bool {
        matches!(self, Self::Idf)
    }
}

impl SparseParamsDto {
    pub(crate) fn into_model(self, field: &str) -> Result<SparseParams, ServiceError> {
        let datatype = self.index.and_then(|index| index.datatype);
        check_datatype(&format!("{field}.index.datatype"), datatype.as_deref())?;
        Ok(SparseParams {
            idf: self.modifier.as_ref().is_some_and(ModifierDto::is_idf),
            ..SparseParams::default()
        })
    }
}
