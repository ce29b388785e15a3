//! What is known of a setting besides its value.

/// A setting of [`SharedConfig`](super::SharedConfig).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name in the document; with `-` in place of `_` that of the option.
    pub name: &'static str,
    /// What it does, with its unit; begins with a space where it comes from a doc comment.
    pub about: &'static str,
    /// What it may be.
    pub values: Values,
}

/// What a setting may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// A whole number.
    Number {
        /// Where nobody says.
        default: u64,
        /// Least.
        min: u64,
        /// Greatest.
        max: u64,
    },
    /// A word.
    OneOf {
        /// Where nobody says.
        default: &'static str,
        /// The words.
        allowed: &'static [&'static str],
    },
}

impl Setting {
    /// What it does, in one line.
    #[must_use]
    pub fn summary(&self) -> &'static str {
        self.about.trim()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::super::{EffectiveConfig, SETTINGS, SharedConfig};
    use super::*;

    /// A configuration with one setting.
    fn only(setting: &Setting, value: Value) -> SharedConfig {
        let fields = Map::from_iter([(setting.name.to_owned(), value)]);
        serde_json::from_value(Value::Object(fields)).unwrap()
    }

    #[test]
    fn the_list_is_the_document_with_its_defaults_and_limits() {
        let effective = serde_json::to_value(EffectiveConfig::default()).unwrap();
        let effective = effective.as_object().unwrap();
        assert_eq!(effective.len(), SETTINGS.len());
        for setting in SETTINGS {
            assert!(setting.summary().ends_with('.'), "{setting:?}");
            match setting.values {
                Values::Number { default, min, max } => {
                    assert_eq!(effective[setting.name], json!(default));
                    for outside in [min.checked_sub(1), max.checked_add(1)] {
                        let Some(outside) = outside else { continue };
                        let error = only(setting, json!(outside)).resolve().unwrap_err();
                        assert!(error.to_string().contains(setting.name), "{error}");
                    }
                }
                Values::OneOf { default, allowed } => {
                    assert_eq!(effective[setting.name], json!(default));
                    for word in allowed {
                        only(setting, json!(word)).resolve().unwrap();
                    }
                    only(setting, json!("?")).resolve().unwrap_err();
                }
            }
        }
    }
}
