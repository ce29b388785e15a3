//! Texts as words, as the settings of a text index say: what conditions on words compare, with an index and without.
//!
//! Without a text index of its field, words are runs of letters and digits in lower case, which are the default settings
//! too.

mod analyzer;
mod params;
mod texts;

pub use analyzer::Analyzer;
pub use params::{ParamError, StopWords, TextParams, TokenizerKind};
pub use texts::Texts;
