//! Cutting texts into words and comparing them.

use std::sync::{Arc, LazyLock};

use brainy_index::text::{Language, Splitter, Tokenizer};

use super::params::{TextParams, TokenizerKind};

static PLAIN: LazyLock<Arc<Analyzer>> =
    LazyLock::new(|| Arc::new(Analyzer::new(TextParams::default())));

/// [`TextParams`] at work.
#[derive(Clone, Debug)]
pub struct Analyzer {
    params: TextParams,
    /// Of words without regard to beginnings.
    tokenizer: Tokenizer,
}

impl PartialEq for Analyzer {
    fn eq(&self, other: &Self) -> bool {
        self.params == other.params
    }
}

impl Eq for Analyzer {}

/// The first `count` characters.
fn beginning(word: &str, count: usize) -> &str {
    match word.char_indices().nth(count) {
        Some((end, _)) => &word[..end],
        None => word,
    }
}

impl Analyzer {
    /// Cuts as `params` say.
    #[must_use]
    pub fn new(params: TextParams) -> Self {
        let language = |name: &String| Language::of_name(name);
        let lower = |word: &String| match params.lowercase {
            true => word.to_lowercase(),
            false => word.clone(),
        };
        let stop_words = &params.stop_words;
        let tokenizer = Tokenizer {
            splitter: match params.tokenizer {
                TokenizerKind::Word | TokenizerKind::Prefix => Splitter::Word,
                TokenizerKind::Whitespace => Splitter::Whitespace,
            },
            ascii_folding: params.ascii_folding,
            lowercase: params.lowercase,
            stemmer: params
                .stemmer
                .as_ref()
                .and_then(language)
                .unwrap_or(Language::None),
            // Only one language has a list, so at most one counts.
            stop_words: stop_words
                .languages
                .iter()
                .find_map(language)
                .unwrap_or(Language::None),
            more_stop_words: stop_words.custom.iter().map(lower).collect(),
            min_len: params.min_token_len.unwrap_or(0),
            // A long word still has beginnings.
            max_len: match params.tokenizer {
                TokenizerKind::Prefix => usize::MAX,
                _ => params.max_token_len.unwrap_or(usize::MAX),
            },
        };
        Self { params, tokenizer }
    }

    /// Runs of letters and digits in lower case.
    #[must_use]
    pub fn plain() -> Arc<Self> {
        Arc::clone(&PLAIN)
    }

    /// The settings.
    #[must_use]
    pub fn params(&self) -> &TextParams {
        &self.params
    }

    fn is_prefix(&self) -> bool {
        self.params.tokenizer == TokenizerKind::Prefix
    }

    fn longest(&self) -> usize {
        self.params.max_token_len.unwrap_or(usize::MAX)
    }

    /// Calls `term` with everything that a stored text can be found by, in no particular order, also several times.
    pub fn each_term(&self, text: &str, mut term: impl FnMut(&str)) {
        if !self.is_prefix() {
            self.tokenizer.each(text, term);
            return;
        }
        let shortest = self.params.min_token_len.unwrap_or(1).max(1);
        self.tokenizer.each(text, |word| {
            for count in shortest..=self.longest() {
                let part = beginning(word, count);
                term(part);
                if part.len() == word.len() {
                    break;
                }
            }
        });
    }

    /// The words that a condition looks for, in order.
    #[must_use]
    pub fn asked(&self, text: &str) -> Vec<String> {
        let mut words = self.tokenizer.tokens(text);
        if self.is_prefix() {
            for word in &mut words {
                let end = beginning(word, self.longest()).len();
                word.truncate(end);
            }
        }
        words
    }

    /// Whether all of `wanted`, which are sorted, each once, are in `text`; nothing is not.
    #[must_use]
    pub fn has_all(&self, text: &str, wanted: &[String]) -> bool {
        let mut seen = vec![false; wanted.len()];
        self.each_term(text, |term| {
            if let Ok(i) = wanted.binary_search_by(|word| word.as_str().cmp(term)) {
                seen[i] = true;
            }
        });
        !seen.is_empty() && !seen.contains(&false)
    }

    /// Whether one of `wanted`, which are sorted, is in `text`.
    #[must_use]
    pub fn has_any(&self, text: &str, wanted: &[String]) -> bool {
        let mut found = false;
        self.each_term(text, |term| {
            found = found
                || wanted
                    .binary_search_by(|word| word.as_str().cmp(term))
                    .is_ok();
        });
        found
    }

    /// Whether `wanted` stand one after the other in `text`; nothing does not.
    #[must_use]
    pub fn has_phrase(&self, text: &str, wanted: &[String]) -> bool {
        let there = self.tokenizer.tokens(text);
        let same = |(word, wanted): (&String, &String)| match self.is_prefix() {
            true => word.starts_with(wanted.as_str()),
            false => word == wanted,
        };
        let mut places = there.windows(wanted.len().max(1));
        !wanted.is_empty() && places.any(|place| place.iter().zip(wanted).all(same))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn analyzer(schema: Value) -> Analyzer {
        Analyzer::new(TextParams::of(&schema).unwrap())
    }

    fn terms(analyzer: &Analyzer, text: &str) -> Vec<String> {
        let mut terms = Vec::new();
        analyzer.each_term(text, |term| terms.push(term.to_owned()));
        terms
    }

    fn sorted(analyzer: &Analyzer, text: &str) -> Vec<String> {
        let mut list = analyzer.asked(text);
        list.sort_unstable();
        list.dedup();
        list
    }

    #[test]
    fn words_are_runs_of_letters_and_digits_unless_something_else_is_said() {
        let plain = Analyzer::plain();
        let text = "Don't panic_now: 42 ÄPFEL!";
        assert_eq!(
            terms(&plain, text),
            ["don", "t", "panic", "now", "42", "äpfel"]
        );
        assert!(terms(&plain, " .,_ ").is_empty());
        let folded =
            analyzer(json!({"ascii_folding": true, "min_token_len": 2, "lowercase": false}));
        assert_eq!(terms(&folded, text), ["Don", "panic", "now", "42", "APFEL"]);
        let white = analyzer(json!({"tokenizer": "whitespace", "max_token_len": 5}));
        assert_eq!(terms(&white, text), ["don't", "42"]);
        let english = analyzer(json!({
            "stopwords": {"languages": ["english"], "custom": ["PANIC"]}, "stemmer": {"type": "snowball", "language": "english"}
        }));
        assert_eq!(terms(&english, "Do panic, the runners"), ["runner"]);
    }

    #[test]
    fn beginnings_of_words_are_found() {
        let prefix =
            analyzer(json!({"tokenizer": "prefix", "min_token_len": 2, "max_token_len": 4}));
        assert_eq!(
            terms(&prefix, "a über fox"),
            ["üb", "übe", "über", "fo", "fox"]
        );
        assert_eq!(prefix.asked("a überall f"), ["über"]);
        assert!(prefix.has_all("the quick fox", &sorted(&prefix, "fo qui")));
        assert!(!prefix.has_all("the quick fox", &sorted(&prefix, "ox")));
        assert!(prefix.has_phrase("the quick fox", &prefix.asked("qui fo")));
        assert!(!prefix.has_phrase("the quick fox", &prefix.asked("fo qui")));
    }

    #[test]
    fn all_any_and_phrases() {
        let plain = Analyzer::plain();
        let text = "the quick brown fox; the lazy dog";
        let sorted = |words: &str| sorted(&plain, words);
        assert!(plain.has_all(text, &sorted("fox THE quick")));
        assert!(!plain.has_all(text, &sorted("fox cat")));
        assert!(
            !plain.has_all(text, &sorted("fo")),
            "a part of a word is no word"
        );
        assert!(!plain.has_all(text, &[]));
        assert!(plain.has_any(text, &sorted("cat dog")));
        assert!(!plain.has_any(text, &[]));
        assert!(plain.has_phrase(text, &plain.asked("Brown, fox the")));
        assert!(!plain.has_phrase(text, &plain.asked("fox brown")));
        assert!(!plain.has_phrase(text, &[]));
    }

    proptest! {
        /// A text has its own words, whatever the settings.
        #[test]
        fn texts_are_found_by_themselves(
            text in "\\PC{0,40}",
            kind in proptest::sample::select(vec!["word", "whitespace", "prefix"]),
            folding in any::<bool>(),
            max in proptest::option::of(2usize..6),
        ) {
            let analyzer = analyzer(json!({
                "tokenizer": kind, "ascii_folding": folding, "max_token_len": max, "stemmer": {"type": "snowball", "language": "english"}
            }));
            let asked = analyzer.asked(&text);
            prop_assert_eq!(analyzer.has_phrase(&text, &asked), !asked.is_empty());
            let wanted = sorted(&analyzer, &text);
            prop_assert_eq!(analyzer.has_all(&text, &wanted), !wanted.is_empty());
            prop_assert_eq!(analyzer.has_any(&text, &wanted), !wanted.is_empty());
        }
    }
}
