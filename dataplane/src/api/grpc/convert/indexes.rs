//! Payload indexes, by way of the JSON that describes them: it is what is kept of them.

use serde_json::{Map, Value, json};

use super::parameters::{Doc, memory};
use super::{bad, unknown};
use crate::api::dto::index::CreateIndexDto;
use crate::api::grpc::proto;
use crate::api::grpc::proto::payload_index_params::IndexParams;
use crate::error::ServiceError;

/// A payload index to create.
pub(in crate::api::grpc) fn create(
    field_name: String,
    field_type: Option<i32>,
    params: Option<proto::PayloadIndexParams>,
) -> Result<CreateIndexDto, ServiceError> {
    let named = field_type.map(type_name).transpose()?;
    let field_schema = match (params.and_then(|p| p.index_params), named) {
        (None, None) => None,
        (None, Some(name)) => Some(json!(name)),
        (Some(params), named) => {
            let (name, mut own) = self::params(params)?;
            if named.is_some_and(|named| named != name) {
                return Err(bad(
                    "'field_type' and 'field_index_params' are of two types",
                ));
            }
            own.insert("type".to_owned(), json!(name));
            Some(Value::Object(own))
        }
    };
    Ok(CreateIndexDto {
        field_name,
        field_schema,
    })
}

fn type_name(number: i32) -> Result<&'static str, ServiceError> {
    use proto::FieldType as Kind;
    Ok(match Kind::try_from(number) {
        Ok(Kind::Keyword) => "keyword",
        Ok(Kind::Integer) => "integer",
        Ok(Kind::Float) => "float",
        Ok(Kind::Geo) => "geo",
        Ok(Kind::Text) => "text",
        Ok(Kind::Bool) => "bool",
        Ok(Kind::Datetime) => "datetime",
        Ok(Kind::Uuid) => "uuid",
        Err(_) => return Err(unknown("field_type", number)),
    })
}

type Params = (&'static str, Map<String, Value>);

fn params(params: IndexParams) -> Result<Params, ServiceError> {
    let mut doc = Doc::default();
    let name = match params {
        IndexParams::KeywordIndexParams(params) => {
            let proto::KeywordIndexParams {
                is_tenant,
                on_disk,
                enable_hnsw,
                prefix,
                memory,
                nested,
            } = params;
            doc.put("is_tenant", is_tenant);
            doc.put("prefix", prefix.map(|_| true));
            common(&mut doc, on_disk, enable_hnsw, memory, nested)?;
            "keyword"
        }
        IndexParams::IntegerIndexParams(params) => {
            let proto::IntegerIndexParams {
                lookup,
                range,
                is_principal,
                on_disk,
                enable_hnsw,
                memory,
                nested,
            } = params;
            doc.put("lookup", lookup);
            doc.put("range", range);
            doc.put("is_principal", is_principal);
            common(&mut doc, on_disk, enable_hnsw, memory, nested)?;
            "integer"
        }
        IndexParams::FloatIndexParams(params) => {
            let proto::FloatIndexParams {
                on_disk,
                is_principal,
                enable_hnsw,
                memory,
                nested,
            } = params;
            doc.put("is_principal", is_principal);
            common(&mut doc, on_disk, enable_hnsw, memory, nested)?;
            "float"
        }
        IndexParams::GeoIndexParams(params) => {
            let proto::GeoIndexParams {
                on_disk,
                enable_hnsw,
                memory,
                nested,
            } = params;
            common(&mut doc, on_disk, enable_hnsw, memory, nested)?;
            "geo"
        }
        IndexParams::TextIndexParams(params) => {
            text(&mut doc, params)?;
            "text"
        }
        IndexParams::BoolIndexParams(params) => {
            let proto::BoolIndexParams {
                on_disk,
                enable_hnsw,
                memory,
                nested,
            } = params;
            common(&mut doc, on_disk, enable_hnsw, memory, nested)?;
            "bool"
        }
        IndexParams::DatetimeIndexParams(params) => {
            let proto::DatetimeIndexParams {
                on_disk,
                is_principal,
                enable_hnsw,
                memory,
                nested,
            } = params;
            doc.put("is_principal", is_principal);
            common(&mut doc, on_disk, enable_hnsw, memory, nested)?;
            "datetime"
        }
        IndexParams::UuidIndexParams(params) => {
            let proto::UuidIndexParams {
                is_tenant,
                on_disk,
                enable_hnsw,
                memory,
                nested,
            } = params;
            doc.put("is_tenant", is_tenant);
            common(&mut doc, on_disk, enable_hnsw, memory, nested)?;
            "uuid"
        }
    };
    Ok((name, doc.into_map()))
}

fn common(
    doc: &mut Doc,
    on_disk: Option<bool>,
    enable_hnsw: Option<bool>,
    place: Option<i32>,
    nested: Option<String>,
) -> Result<(), ServiceError> {
    doc.put("on_disk", on_disk);
    doc.put("enable_hnsw", enable_hnsw);
    doc.put("memory", memory(place)?);
    doc.put("nested", nested);
    Ok(())
}

fn text(doc: &mut Doc, params: proto::TextIndexParams) -> Result<(), ServiceError> {
    use proto::TokenizerType as Kind;
    use proto::stemming_algorithm::StemmingParams;
    let proto::TextIndexParams {
        tokenizer,
        lowercase,
        min_token_len,
        max_token_len,
        on_disk,
        stopwords,
        phrase_matching,
        stemmer,
        ascii_folding,
        enable_hnsw,
        memory,
        scoring,
        nested,
    } = params;
    let tokenizer = match Kind::try_from(tokenizer) {
        Ok(Kind::Unknown) => None,
        Ok(Kind::Prefix) => Some("prefix"),
        Ok(Kind::Whitespace) => Some("whitespace"),
        Ok(Kind::Word) => Some("word"),
        Ok(Kind::Multilingual) => Some("multilingual"),
        Ok(Kind::Code) => Some("code"),
        Err(_) => return Err(unknown("tokenizer", tokenizer)),
    };
    let stemmer = match stemmer.map(|s| s.stemming_params) {
        None => None,
        Some(Some(StemmingParams::Snowball(snowball))) => {
            Some(json!({"type": "snowball", "language": snowball.language}))
        }
        Some(Some(StemmingParams::Disabled(_))) => Some(json!({"type": "none"})),
        Some(None) => return Err(bad("'stemmer' is empty")),
    };
    doc.put("tokenizer", tokenizer);
    doc.put("lowercase", lowercase);
    doc.put("min_token_len", min_token_len);
    doc.put("max_token_len", max_token_len);
    doc.put("phrase_matching", phrase_matching);
    doc.put("ascii_folding", ascii_folding);
    doc.put("stemmer", stemmer);
    if let Some(proto::StopwordsSet { languages, custom }) = stopwords {
        let mut set = Doc::default();
        set.put("languages", Some(languages).filter(|l| !l.is_empty()));
        set.put("custom", Some(custom).filter(|c| !c.is_empty()));
        doc.put("stopwords", Some(set.into_map()));
    }
    doc.put("scoring", scoring.map(|_| json!({"type": "bm25"})));
    common(doc, on_disk, enable_hnsw, memory, nested)
}
