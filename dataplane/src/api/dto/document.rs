//! Texts that the node itself makes into sparse vectors: `{"text": ..., "model": "qdrant/bm25", "options": {...}}`.

use brainy_index::sparse::SparseVector;
use brainy_index::text::{Bm25, Language, Splitter, Tokenizer};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::error::ServiceError;

objects!(Options, StopWordSet);

/// The model, in lower case.
const BM25: &str = "qdrant/bm25";

/// A text, and what is to make it into a vector.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Document {
    pub(crate) text: String,
    pub(crate) model: String,
    pub(crate) options: Option<Value>,
}

schema!(Document, "Document", generator => {
    "type": "object",
    "description": "A text that the server makes into a sparse vector.",
    "required": ["text", "model"],
    "properties": {
        "text": {"type": "string"},
        "model": {"type": "string", "examples": [BM25]},
        "options": generator.subschema_for::<Option<Options>>(),
    },
    "additionalProperties": false,
});

impl Document {
    /// The vector of a point: the weight of each term of the text. `place` is where it stood.
    pub(crate) fn stored(&self, place: &dyn Fn() -> String) -> Result<SparseVector, ServiceError> {
        let bad = |e| ServiceError::BadRequest(format!("{}: {e}", place()));
        self.bm25(place)?.document(&self.text).map_err(bad)
    }

    /// The vector of a query: 1 for each term of the text.
    pub(crate) fn asked(&self, place: &dyn Fn() -> String) -> Result<SparseVector, ServiceError> {
        Ok(self.bm25(place)?.query(&self.text))
    }

    fn bm25(&self, place: &dyn Fn() -> String) -> Result<Bm25, ServiceError> {
        if !self.model.eq_ignore_ascii_case(BM25) {
            let model: String = self.model.chars().take(64).collect();
            return Err(ServiceError::Unsupported(format!(
                "server-side inference with model '{model}', only '{BM25}' runs here (at {})",
                place()
            )));
        }
        let options = match &self.options {
            None => Options::default(),
            Some(options) => Options::deserialize(options)
                .map_err(|e| ServiceError::BadRequest(format!("{}.options: {e}", place())))?,
        };
        options
            .bm25()
            .map_err(|e| e.within(&format!("{}.options", place())))
    }
}

/// Options of the model, as Qdrant has them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", default, deny_unknown_fields)]
#[schemars(rename = "Bm25Options")]
pub(crate) struct Options {
    pub(crate) k: Option<f64>,
    pub(crate) b: Option<f64>,
    pub(crate) avg_len: Option<f64>,
    pub(crate) tokenizer: Option<String>,
    pub(crate) language: Option<String>,
    pub(crate) lowercase: Option<bool>,
    pub(crate) ascii_folding: Option<bool>,
    pub(crate) stopwords: Option<StopWords>,
    pub(crate) stemmer: Option<Stemmer>,
    pub(crate) min_token_len: Option<usize>,
    pub(crate) max_token_len: Option<usize>,
}

/// A language's, or those of some languages and more.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum StopWords {
    Language(String),
    Set(StopWordSet),
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub(crate) struct StopWordSet {
    pub(crate) languages: Option<Vec<String>>,
    pub(crate) custom: Option<Vec<String>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Stemmer {
    Snowball { language: String },
    None {},
}

impl Options {
    fn bm25(self) -> Result<Bm25, ServiceError> {
        let default = Bm25::default();
        let lowercase = self.lowercase.unwrap_or(default.tokenizer.lowercase);
        let language = match &self.language {
            Some(name) => language("language", name)?,
            None => Language::English,
        };
        let stemmer = match &self.stemmer {
            Some(Stemmer::Snowball { language: name }) => language_of_stems(name)?,
            Some(Stemmer::None {}) => Language::None,
            None => language,
        };
        let (stop_words, custom) = match self.stopwords {
            None => (with_stop_words(language)?, Vec::new()),
            Some(StopWords::Language(name)) => {
                (with_stop_words(language_of_stop_words(&name)?)?, Vec::new())
            }
            Some(StopWords::Set(set)) => {
                // Only one language has a list, so at most one counts.
                let mut listed = Language::None;
                for name in set.languages.unwrap_or_default() {
                    listed = with_stop_words(language_of_stop_words(&name)?)?;
                }
                (listed, set.custom.unwrap_or_default())
            }
        };
        let custom = custom.into_iter();
        Ok(Bm25 {
            k1: number("k", self.k, default.k1, 0.0..=1e6)?,
            b: number("b", self.b, default.b, 0.0..=1.0)?,
            avg_len: number("avg_len", self.avg_len, default.avg_len, 1e-6..=1e9)?,
            tokenizer: Tokenizer {
                splitter: splitter(self.tokenizer.as_deref())?,
                ascii_folding: self.ascii_folding.unwrap_or(false),
                lowercase,
                stemmer,
                stop_words,
                more_stop_words: custom
                    .map(|word| if lowercase { word.to_lowercase() } else { word })
                    .collect(),
                min_len: self.min_token_len.unwrap_or(0),
                max_len: self.max_token_len.unwrap_or(usize::MAX),
            },
        })
    }
}

fn number(
    name: &str,
    given: Option<f64>,
    default: f64,
    range: std::ops::RangeInclusive<f64>,
) -> Result<f64, ServiceError> {
    let value = given.unwrap_or(default);
    if range.contains(&value) {
        return Ok(value);
    }
    let (from, to) = (range.start(), range.end());
    Err(ServiceError::BadRequest(format!(
        "{name} is {value}, it must be from {from:e} to {to:e}"
    )))
}

fn splitter(name: Option<&str>) -> Result<Splitter, ServiceError> {
    match name {
        None | Some("word") => Ok(Splitter::Word),
        Some("whitespace") => Ok(Splitter::Whitespace),
        Some(known @ ("prefix" | "multilingual" | "code")) => {
            Err(ServiceError::Unsupported(format!("tokenizer '{known}'")))
        }
        Some(_) => Err(ServiceError::BadRequest(
            "tokenizer must be 'word' or 'whitespace'".to_owned(),
        )),
    }
}

fn language(field: &str, name: &str) -> Result<Language, ServiceError> {
    Language::of_name(&name.to_lowercase()).ok_or_else(|| {
        let known: Vec<_> = Language::ALL.iter().map(|l| l.name()).collect();
        let name: String = name.chars().take(64).collect();
        ServiceError::BadRequest(format!(
            "{field} '{name}' is not known, there are {}",
            known.join(", ")
        ))
    })
}

fn language_of_stems(name: &str) -> Result<Language, ServiceError> {
    language("stemmer.language", name)
}

fn language_of_stop_words(name: &str) -> Result<Language, ServiceError> {
    language("stopwords", name)
}

/// The language, if its stop words are known: without them a text would silently have other terms than in Qdrant.
fn with_stop_words(language: Language) -> Result<Language, ServiceError> {
    if language == Language::None || language.has_stop_words() {
        return Ok(language);
    }
    Err(ServiceError::Unsupported(format!(
        "stop words of {} (give your own: 'stopwords': {{\"custom\": [...]}})",
        language.name()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use brainy_index::text::term_id;
    use serde_json::json;

    fn document(text: &str, options: Value) -> Document {
        Document {
            text: text.to_owned(),
            model: "Qdrant/BM25".to_owned(),
            options: Some(options),
        }
    }

    fn terms(text: &str, options: Value) -> Vec<u32> {
        let vector = document(text, options).asked(&|| "query".to_owned());
        vector.unwrap().indices().to_vec()
    }

    fn ids(tokens: &[&str]) -> Vec<u32> {
        let mut ids: Vec<u32> = tokens.iter().map(|t| term_id(t)).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn options_choose_the_terms() {
        let text = "The Running foxes";
        assert_eq!(terms(text, json!({})), ids(&["run", "fox"]));
        let plain = json!({"stemmer": {"type": "none"}, "stopwords": {"custom": ["FOXES"]}});
        assert_eq!(terms(text, plain), ids(&["the", "running"]));
        let german = json!({"language": "german", "stopwords": {}});
        assert_eq!(terms("Häuser", german), ids(&["haus"]));
        let long = json!({"min_token_len": 5, "lowercase": false, "stemmer": {"type": "none"}});
        assert_eq!(terms(text, long), ids(&["Running", "foxes"]));
        let folded = json!({"ascii_folding": true, "stemmer": {"type": "none"}});
        assert_eq!(terms("Ação", folded), ids(&["acao"]));
        let cut = json!({"tokenizer": "whitespace", "stemmer": {"type": "none"}});
        assert_eq!(terms("a-b c", cut), ids(&["a-b", "c"]));
    }

    #[test]
    fn stored_texts_weigh_their_terms_by_frequency() {
        let place = || "points[0]".to_owned();
        let stored = |options| document("fox fox hen", options).stored(&place).unwrap();
        let vector = stored(json!({"k": 1.0, "b": 0.0}));
        let weight = |term| {
            let at = vector.indices().binary_search(&term_id(term)).unwrap();
            vector.values()[at]
        };
        assert!((weight("fox") - 4.0 / 3.0).abs() < 1e-6);
        assert!((weight("hen") - 1.0).abs() < 1e-6);
    }

    #[test]
    fn options_that_cannot_be_honoured_are_named() {
        let place = || "query".to_owned();
        for (options, word) in [
            (json!({"b": 1.5}), "b is 1.5"),
            (json!({"avg_len": 0}), "avg_len"),
            (json!({"language": "klingon"}), "klingon"),
            (json!({"language": "german"}), "stop words of german"),
            (
                json!({"stopwords": {"languages": ["french"]}}),
                "stop words of french",
            ),
            (json!({"tokenizer": "multilingual"}), "multilingual"),
            (json!({"tokenizer": 5}), "query.options"),
            (json!({"bm": 1}), "bm"),
        ] {
            let error = document("x", options).asked(&place).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
