//! Text as sparse vectors: tokens, term ids, BM25 weights.
//!
//! Compatible with Qdrant's model `Qdrant/bm25` (FastEmbed on the client, `qdrant/bm25` on the server): the same term ids and
//! weights for the same English text, so vectors made by either side match.
//!
//! | file | what |
//! |---|---|
//! | `tokenizer.rs` | text to tokens: words, folding, lower case, stop words, stems |
//! | `folding.rs` | letters with marks as plain ones |
//! | `stop_words.rs` | English words that say nothing |
//! | `bm25.rs` | tokens to the weights of a document or a query, inverse document frequency |
//! | `term.rs` | token to term id |

mod bm25;
mod folding;
mod stop_words;
mod term;
mod tokenizer;

pub use bm25::{Bm25, idf};
pub use folding::fold_to_ascii;
pub use term::term_id;
pub use tokenizer::{Language, Splitter, Tokenizer};
