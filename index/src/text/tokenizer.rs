//! Text to tokens.

use super::folding::fold_to_ascii;
use super::stop_words;
use rust_stemmers::{Algorithm, Stemmer};
use std::borrow::Cow;
use std::collections::BTreeSet;
use unicode_segmentation::UnicodeSegmentation;

/// Where a text is cut into words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Splitter {
    /// At everything that is neither letter nor digit: `don't` gives `don` and `t`. What Qdrant calls `word`.
    #[default]
    Word,
    /// At white space only; punctuation stays.
    Whitespace,
    /// At the word boundaries of Unicode (UAX #29): `don't` and `3.14` stay whole, each Chinese character is a word.
    Unicode,
}

/// A language: which stems and which stop words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Language {
    /// Words stay as they are, none is left out.
    None,
    /// Arabic.
    Arabic,
    /// Danish.
    Danish,
    /// Dutch.
    Dutch,
    /// English, the only one with stop words of its own.
    #[default]
    English,
    /// Finnish.
    Finnish,
    /// French.
    French,
    /// German.
    German,
    /// Greek.
    Greek,
    /// Hungarian.
    Hungarian,
    /// Italian.
    Italian,
    /// Norwegian.
    Norwegian,
    /// Portuguese.
    Portuguese,
    /// Romanian.
    Romanian,
    /// Russian.
    Russian,
    /// Spanish.
    Spanish,
    /// Swedish.
    Swedish,
    /// Tamil.
    Tamil,
    /// Turkish.
    Turkish,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::None,
        Self::Arabic,
        Self::Danish,
        Self::Dutch,
        Self::English,
        Self::Finnish,
        Self::French,
        Self::German,
        Self::Greek,
        Self::Hungarian,
        Self::Italian,
        Self::Norwegian,
        Self::Portuguese,
        Self::Romanian,
        Self::Russian,
        Self::Spanish,
        Self::Swedish,
        Self::Tamil,
        Self::Turkish,
    ];

    /// Its English name in lower case; `none` for none.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Arabic => "arabic",
            Self::Danish => "danish",
            Self::Dutch => "dutch",
            Self::English => "english",
            Self::Finnish => "finnish",
            Self::French => "french",
            Self::German => "german",
            Self::Greek => "greek",
            Self::Hungarian => "hungarian",
            Self::Italian => "italian",
            Self::Norwegian => "norwegian",
            Self::Portuguese => "portuguese",
            Self::Romanian => "romanian",
            Self::Russian => "russian",
            Self::Spanish => "spanish",
            Self::Swedish => "swedish",
            Self::Tamil => "tamil",
            Self::Turkish => "turkish",
        }
    }

    /// The language of that [`name`](Self::name).
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|language| language.name() == name)
    }

    /// Whether there are stop words for it.
    #[must_use]
    pub fn has_stop_words(self) -> bool {
        matches!(self, Self::English)
    }

    fn algorithm(self) -> Option<Algorithm> {
        Some(match self {
            Self::None => return None,
            Self::Arabic => Algorithm::Arabic,
            Self::Danish => Algorithm::Danish,
            Self::Dutch => Algorithm::Dutch,
            Self::English => Algorithm::English,
            Self::Finnish => Algorithm::Finnish,
            Self::French => Algorithm::French,
            Self::German => Algorithm::German,
            Self::Greek => Algorithm::Greek,
            Self::Hungarian => Algorithm::Hungarian,
            Self::Italian => Algorithm::Italian,
            Self::Norwegian => Algorithm::Norwegian,
            Self::Portuguese => Algorithm::Portuguese,
            Self::Romanian => Algorithm::Romanian,
            Self::Russian => Algorithm::Russian,
            Self::Spanish => Algorithm::Spanish,
            Self::Swedish => Algorithm::Swedish,
            Self::Tamil => Algorithm::Tamil,
            Self::Turkish => Algorithm::Turkish,
        })
    }
}

/// Cuts text into tokens. Each word goes through these steps, any of which can be off: folding to ASCII, lower case, stop
/// words, stem (Snowball), length.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    /// Where to cut.
    pub splitter: Splitter,
    /// Whether letters with marks become plain ones, see [`fold_to_ascii`].
    pub ascii_folding: bool,
    /// Whether words become lower case.
    pub lowercase: bool,
    /// The language of the stems.
    pub stemmer: Language,
    /// The language of the stop words; see [`Language::has_stop_words`].
    pub stop_words: Language,
    /// Further stop words, as they look after the step to lower case.
    pub more_stop_words: BTreeSet<String>,
    /// Tokens with fewer characters are left out.
    pub min_len: usize,
    /// Tokens with more characters are left out.
    pub max_len: usize,
}

impl Default for Tokenizer {
    /// Words in lower case, English stop words and stems, any length: the defaults of Qdrant's server.
    fn default() -> Self {
        Self {
            splitter: Splitter::default(),
            ascii_folding: false,
            lowercase: true,
            stemmer: Language::English,
            stop_words: Language::English,
            more_stop_words: BTreeSet::new(),
            min_len: 0,
            max_len: usize::MAX,
        }
    }
}

impl Tokenizer {
    /// Words in lower case and nothing else: what a filter for words wants.
    #[must_use]
    pub fn plain() -> Self {
        Self {
            stemmer: Language::None,
            stop_words: Language::None,
            ..Self::default()
        }
    }

    /// Calls `token` with each token of `text`, in order, repeated ones too.
    pub fn each(&self, text: &str, mut token: impl FnMut(&str)) {
        let stemmer = self.stemmer.algorithm().map(Stemmer::create);
        let mut word = |word: &str| self.word(word, stemmer.as_ref(), &mut token);
        match self.splitter {
            Splitter::Word => text
                .split(|c: char| !c.is_alphanumeric())
                .filter(|w| !w.is_empty())
                .for_each(&mut word),
            Splitter::Whitespace => text.split_whitespace().for_each(&mut word),
            Splitter::Unicode => text.unicode_words().for_each(&mut word),
        }
    }

    /// The tokens of `text`, in order, repeated ones too.
    #[must_use]
    pub fn tokens(&self, text: &str) -> Vec<String> {
        let mut tokens = Vec::new();
        self.each(text, |token| tokens.push(token.to_owned()));
        tokens
    }

    fn word(&self, word: &str, stemmer: Option<&Stemmer>, token: &mut impl FnMut(&str)) {
        let word = if self.ascii_folding {
            fold_to_ascii(word)
        } else {
            Cow::Borrowed(word)
        };
        let word = if self.lowercase {
            Cow::Owned(word.to_lowercase())
        } else {
            word
        };
        if self.is_stop_word(&word) {
            return;
        }
        let stem = match stemmer {
            Some(stemmer) => stemmer.stem(&word),
            None => Cow::Borrowed(&*word),
        };
        // Bytes bound characters from above: most tokens need no counting.
        let long_enough = self.min_len <= 1 || stem.chars().count() >= self.min_len;
        let short_enough = stem.len() <= self.max_len || stem.chars().count() <= self.max_len;
        if !stem.is_empty() && long_enough && short_enough {
            token(&stem);
        }
    }

    fn is_stop_word(&self, word: &str) -> bool {
        self.stop_words.has_stop_words() && stop_words::ENGLISH.binary_search(&word).is_ok()
            || self.more_stop_words.contains(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn english_words_are_stemmed_and_stop_words_left_out() {
        assert_eq!(
            Tokenizer::default().tokens("The Runners weren't running: they RAN, 3.5 miles!"),
            ["runner", "run", "ran", "3", "5", "mile"]
        );
    }

    #[test]
    fn splitters_differ_in_what_a_word_is() {
        let text = "Don't pay 3.14 €: 今天!";
        let with = |splitter| Tokenizer {
            splitter,
            ..Tokenizer::plain()
        };
        assert_eq!(
            with(Splitter::Word).tokens(text),
            ["don", "t", "pay", "3", "14", "今天"]
        );
        assert_eq!(
            with(Splitter::Whitespace).tokens(text),
            ["don't", "pay", "3.14", "€:", "今天!"]
        );
        assert_eq!(
            with(Splitter::Unicode).tokens(text),
            ["don't", "pay", "3.14", "今", "天"]
        );
    }

    #[test]
    fn steps_can_be_chosen() {
        let tokenizer = Tokenizer {
            lowercase: false,
            stemmer: Language::None,
            more_stop_words: BTreeSet::from(["Foo".to_owned()]),
            min_len: 2,
            max_len: 4,
            ..Tokenizer::default()
        };
        assert_eq!(
            tokenizer.tokens("Foo foo the The été b barbar"),
            ["foo", "The", "été"]
        );
        let german = Tokenizer {
            stemmer: Language::German,
            stop_words: Language::German,
            ..Tokenizer::default()
        };
        assert_eq!(german.tokens("die Häuser"), ["die", "haus"]);
    }

    #[test]
    fn languages_are_found_by_their_names() {
        for language in Language::ALL {
            assert_eq!(Language::of_name(language.name()), Some(language));
        }
        assert_eq!(Language::of_name("klingon"), None);
    }

    proptest! {
        #[test]
        fn any_text_in_any_language_gives_tokens_within_the_limits(
            text in "\\PC{0,60}",
            language in 0..Language::ALL.len(),
            splitter in 0..3usize,
        ) {
            let tokenizer = Tokenizer {
                splitter: [Splitter::Word, Splitter::Whitespace, Splitter::Unicode][splitter],
                stemmer: Language::ALL[language],
                min_len: 2,
                max_len: 5,
                ..Tokenizer::default()
            };
            for token in tokenizer.tokens(&text) {
                prop_assert!((2..=5).contains(&token.chars().count()), "{token}");
            }
        }

        #[test]
        fn plain_words_are_the_same_when_cut_again(text in "\\PC{0,60}") {
            let tokenizer = Tokenizer::plain();
            for token in tokenizer.tokens(&text) {
                // Lower case may bring in combining marks, which are not letters.
                if token.chars().all(char::is_alphanumeric) {
                    prop_assert_eq!(tokenizer.tokens(&token), [token]);
                }
            }
        }
    }
}
