//! Settings of a text index.

use std::collections::BTreeSet;

use brainy_index::text::Language;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where texts are cut into words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenizerKind {
    /// At everything that is neither letter nor digit.
    #[default]
    Word,
    /// At white space.
    Whitespace,
    /// As [`Self::Word`]; a word is found by each of its beginnings.
    Prefix,
}

/// Words that are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopWords {
    /// Languages whose stop words are left out, in lower case.
    pub languages: BTreeSet<String>,
    /// Further words.
    pub custom: BTreeSet<String>,
}

/// How texts become words. A word goes through these steps, in this order: folding, lower case, stop words, stem, length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextParams {
    /// Where words end.
    pub tokenizer: TokenizerKind,
    /// Letters with marks become plain ones.
    pub ascii_folding: bool,
    /// Words become lower case.
    pub lowercase: bool,
    /// Words that are left out.
    pub stop_words: StopWords,
    /// Language by whose rules words are cut to their stems (Snowball); none: they stay whole.
    pub stemmer: Option<String>,
    /// Words with fewer characters are left out.
    pub min_token_len: Option<usize>,
    /// Words with more characters are left out; of beginnings, those with more.
    pub max_token_len: Option<usize>,
}

impl Default for TextParams {
    fn default() -> Self {
        Self {
            tokenizer: TokenizerKind::Word,
            ascii_folding: false,
            lowercase: true,
            stop_words: StopWords::default(),
            stemmer: None,
            min_token_len: None,
            max_token_len: None,
        }
    }
}

/// Why settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// They mean nothing.
    #[error("{0}")]
    Bad(String),
    /// They mean something that Brainy lacks.
    #[error("{0}")]
    Unsupported(String),
}

fn bad<T>(name: &str, rule: &str) -> Result<T, ParamError> {
    Err(ParamError::Bad(format!("'{name}' must be {rule}")))
}

impl TextParams {
    /// The settings in what the manifest holds for a field: its kind by name, or an object with parameters. Parameters of other
    /// names are not looked at.
    ///
    /// # Errors
    /// The first parameter that cannot be used.
    pub fn of(schema: &Value) -> Result<Self, ParamError> {
        let get = |name: &str| schema.get(name).filter(|value| !value.is_null());
        let flag = |name: &str, default: bool| match get(name) {
            None => Ok(default),
            Some(Value::Bool(b)) => Ok(*b),
            Some(_) => bad(name, "true or false"),
        };
        let length = |name: &str| match get(name) {
            None => Ok(None),
            Some(value) => match value.as_u64().and_then(|n| usize::try_from(n).ok()) {
                Some(n) => Ok(Some(n)),
                None => bad(name, "a number of characters"),
            },
        };
        let tokenizer = match get("tokenizer").map(Value::as_str) {
            None | Some(Some("word")) => TokenizerKind::Word,
            Some(Some("whitespace")) => TokenizerKind::Whitespace,
            Some(Some("prefix")) => TokenizerKind::Prefix,
            Some(Some(known @ ("multilingual" | "code"))) => {
                return Err(ParamError::Unsupported(format!("tokenizer '{known}'")));
            }
            Some(_) => return bad("tokenizer", "'word', 'whitespace' or 'prefix'"),
        };
        let own = Self {
            tokenizer,
            ascii_folding: flag("ascii_folding", false)?,
            lowercase: flag("lowercase", true)?,
            stop_words: get("stopwords").map_or(Ok(StopWords::default()), stop_words)?,
            stemmer: get("stemmer").map_or(Ok(None), stemmer)?,
            min_token_len: length("min_token_len")?,
            max_token_len: length("max_token_len")?,
        };
        if own
            .max_token_len
            .is_some_and(|max| max < own.min_token_len.unwrap_or(1))
        {
            return bad("max_token_len", "at least 1 and at least 'min_token_len'");
        }
        Ok(own)
    }
}

fn stop_words(value: &Value) -> Result<StopWords, ParamError> {
    let rule = "a language or {\"languages\": [...], \"custom\": [...]}";
    let list = |value: Option<&Value>| -> Result<Vec<String>, ParamError> {
        match value.filter(|value| !value.is_null()) {
            None => Ok(Vec::new()),
            Some(value) => match Vec::deserialize(value) {
                Ok(list) => Ok(list),
                Err(_) => bad("stopwords", rule),
            },
        }
    };
    let (languages, custom) = match value {
        Value::String(language) => (vec![language.clone()], Vec::new()),
        Value::Object(parts) => {
            if parts
                .keys()
                .any(|key| key != "languages" && key != "custom")
            {
                return bad("stopwords", rule);
            }
            (list(parts.get("languages"))?, list(parts.get("custom"))?)
        }
        _ => return bad("stopwords", rule),
    };
    let languages = languages.into_iter().map(|name| {
        let name = name.to_lowercase();
        match Language::of_name(&name) {
            Some(language) if language.has_stop_words() => Ok(name),
            // Without a list texts would silently have other words than in Qdrant.
            _ => {
                let name: String = name.chars().take(64).collect();
                Err(ParamError::Unsupported(format!(
                    "'stopwords' of language '{name}' (give the words: {{\"custom\": [...]}})"
                )))
            }
        }
    });
    Ok(StopWords {
        languages: languages.collect::<Result<_, _>>()?,
        custom: custom.into_iter().collect(),
    })
}

fn stemmer(value: &Value) -> Result<Option<String>, ParamError> {
    let rule = "{\"type\": \"snowball\", \"language\": ...} or {\"type\": \"none\"}";
    let kind = value.get("type").and_then(Value::as_str);
    let language = value.get("language").and_then(Value::as_str);
    let only = |keys: &[&str]| {
        let fields = value.as_object();
        fields.is_some_and(|fields| fields.keys().all(|key| keys.contains(&key.as_str())))
    };
    match (kind, language) {
        (Some("none"), None) if only(&["type"]) => Ok(None),
        (Some("snowball"), Some(name)) if only(&["type", "language"]) => {
            let name = name.to_lowercase();
            match Language::of_name(&name) {
                Some(language) if language != Language::None => Ok(Some(name)),
                _ if name == "armenian" => Err(ParamError::Unsupported(
                    "'stemmer' of language 'armenian'".to_owned(),
                )),
                _ => bad(
                    "stemmer.language",
                    "one of Snowball's languages, such as 'english'",
                ),
            }
        }
        _ => bad("stemmer", rule),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_are_read_from_what_users_write() {
        assert_eq!(TextParams::of(&json!("text")), Ok(TextParams::default()));
        let plain =
            json!({"type": "text", "tokenizer": "word", "lowercase": true, "on_disk": true});
        assert_eq!(TextParams::of(&plain), Ok(TextParams::default()));
        let all = json!({
            "type": "text", "tokenizer": "prefix", "min_token_len": 2, "max_token_len": 9, "lowercase": false,
            "ascii_folding": true, "stopwords": {"languages": ["English"], "custom": ["foo"]},
            "stemmer": {"type": "snowball", "language": "german"}
        });
        let read = TextParams::of(&all).unwrap();
        assert_eq!(read.tokenizer, TokenizerKind::Prefix);
        assert_eq!((read.min_token_len, read.max_token_len), (Some(2), Some(9)));
        assert!(!read.lowercase && read.ascii_folding);
        assert_eq!(read.stemmer.as_deref(), Some("german"));
        assert!(
            read.stop_words.languages.contains("english") && read.stop_words.custom.contains("foo")
        );
        let none = TextParams::of(&json!({"stemmer": {"type": "none"}, "stopwords": null}));
        assert_eq!(none, Ok(TextParams::default()));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (schema, word, unsupported) in [
            (json!({"tokenizer": "multilingual"}), "multilingual", true),
            (json!({"tokenizer": "code"}), "code", true),
            (json!({"tokenizer": "letters"}), "tokenizer", false),
            (json!({"lowercase": 1}), "lowercase", false),
            (json!({"min_token_len": -1}), "min_token_len", false),
            (
                json!({"min_token_len": 4, "max_token_len": 3}),
                "max_token_len",
                false,
            ),
            (json!({"max_token_len": 0}), "max_token_len", false),
            (json!({"stopwords": "french"}), "french", true),
            (json!({"stopwords": {"custom": "a"}}), "stopwords", false),
            (json!({"stopwords": {"words": []}}), "stopwords", false),
            (json!({"stemmer": "english"}), "stemmer", false),
            (
                json!({"stemmer": {"type": "snowball", "language": "klingon"}}),
                "stemmer",
                false,
            ),
            (
                json!({"stemmer": {"type": "snowball", "language": "armenian"}}),
                "armenian",
                true,
            ),
            (
                json!({"stemmer": {"type": "none", "language": "english"}}),
                "stemmer",
                false,
            ),
        ] {
            let error = TextParams::of(&schema).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
            assert_eq!(
                matches!(error, ParamError::Unsupported(_)),
                unsupported,
                "{schema}"
            );
        }
    }
}
