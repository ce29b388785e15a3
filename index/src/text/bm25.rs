//! BM25 as a dot product of sparse vectors.
//!
//! ```text
//! score(q, d) = sum over terms t of q:   idf(t) * tf (k1 + 1) / (tf + k1 (1 - b + b len / avg_len))
//! ```
//!
//! The fraction depends on the document alone and is what its vector holds; a query's vector holds 1 for each of its terms;
//! `idf` depends on the collection and is multiplied in when a query is answered, so documents need not be written again.
//!
//! Source: S. Robertson, H. Zaragoza: The Probabilistic Relevance Framework: BM25 and Beyond (2009). Parameters and
//! rounding as in Qdrant's BM25.

use super::term::term_id;
use super::tokenizer::Tokenizer;
use crate::sparse::{SparseError, SparseVector};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Text to the vectors of documents and queries.
#[derive(Clone, Debug)]
pub struct Bm25 {
    /// How soon repeating a term stops to matter; at least 0.
    pub k1: f64,
    /// How much a long document is held against it: 0 not at all, 1 fully.
    pub b: f64,
    /// What is taken for the usual length of a document, in tokens; above 0.
    pub avg_len: f64,
    /// What counts as a token.
    pub tokenizer: Tokenizer,
}

impl Default for Bm25 {
    fn default() -> Self {
        Self {
            k1: 1.2,
            b: 0.75,
            avg_len: 256.0,
            tokenizer: Tokenizer::default(),
        }
    }
}

impl Bm25 {
    /// The vector of a document: the saturated frequency of each term.
    ///
    /// # Errors
    /// If the parameters are so far out of range that a weight is not finite.
    pub fn document(&self, text: &str) -> Result<SparseVector, SparseError> {
        let mut counts: HashMap<String, u32> = HashMap::new();
        let mut len = 0u32;
        self.tokenizer.each(text, |token| {
            len += 1;
            match counts.get_mut(token) {
                Some(count) => *count += 1,
                None => drop(counts.insert(token.to_owned(), 1)),
            }
        });
        let norm = self.k1 * (1.0 - self.b + self.b * f64::from(len) / self.avg_len);
        // Tokens whose ids collide: the heavier one counts, whatever the order of the map.
        let mut weights: BTreeMap<u32, f32> = BTreeMap::new();
        for (token, count) in &counts {
            let tf = f64::from(*count);
            let weight = (tf * (self.k1 + 1.0) / (tf + norm)) as f32;
            let slot = weights.entry(term_id(token)).or_insert(weight);
            *slot = slot.max(weight);
        }
        let (indices, values) = weights.into_iter().unzip();
        SparseVector::new(indices, values)
    }

    /// The vector of a query: 1 for each of its terms, however often it occurs.
    #[must_use]
    pub fn query(&self, text: &str) -> SparseVector {
        let mut terms = BTreeSet::new();
        self.tokenizer.each(text, |token| {
            terms.insert(term_id(token));
        });
        SparseVector::ones(terms)
    }
}

/// Inverse document frequency of a term that `having` of `all` vectors have: `ln((all - having + 0.5) / (having + 0.5) + 1)`,
/// always above 0. The formula of Qdrant's modifier `idf` and of Lucene.
#[must_use]
pub fn idf(all: u64, having: u64) -> f32 {
    let (all, having) = (all.max(having) as f64, having as f64);
    ((all - having + 0.5) / (having + 0.5)).ln_1p() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_has_the_weights_of_the_formula() {
        let bm25 = Bm25 {
            avg_len: 4.0,
            ..Bm25::default()
        };
        let vector = bm25
            .document("A cat, a cat and another dog: cats!")
            .unwrap();
        let weights: BTreeMap<u32, f32> = vector.iter().collect();
        // Tokens: cat cat anoth dog cat, so len 5 and k1 (1 - b + b len/avg_len) = 1.2 * (0.25 + 0.75 * 1.25) = 1.425.
        let weight = |tf: f64| (tf * 2.2 / (tf + 1.425)) as f32;
        assert_eq!(weights.len(), 3);
        assert_eq!(weights[&term_id("cat")], weight(3.0));
        assert_eq!(weights[&term_id("anoth")], weight(1.0));
        assert_eq!(weights[&term_id("dog")], weight(1.0));
    }

    #[test]
    fn vectors_are_those_of_fastembed() {
        // From FastEmbed 0.9.1, `Qdrant/bm25`.
        let text = "Les naïves façades; running, 3.5 miles & running!";
        let expected = [
            (243_905_464, 1.889_933),
            (264_741_300, 1.656_471),
            (323_807_359, 1.656_471),
            (756_638_508, 1.656_471),
            (1_394_226_660, 1.656_471),
            (1_548_713_000, 1.656_471),
            (1_681_038_935, 1.656_471),
        ];
        let vector = Bm25::default().document(text).unwrap();
        assert_eq!(vector.len(), expected.len());
        for ((index, value), (id, weight)) in vector.iter().zip(expected) {
            assert_eq!(index, id);
            assert!((value - weight).abs() < 1e-6, "{value} {weight}");
        }
        assert_eq!(Bm25::default().query(text).indices(), vector.indices());
    }

    #[test]
    fn a_query_counts_each_term_once() {
        let vector = Bm25::default().query("cats and cats and dogs");
        assert_eq!(vector.len(), 2);
        assert_eq!(vector.values(), [1.0, 1.0]);
        assert!(vector.indices().contains(&term_id("cat")));
    }

    #[test]
    fn text_without_words_is_an_empty_vector() {
        assert!(Bm25::default().document("... the!").unwrap().is_empty());
        assert!(Bm25::default().query("").is_empty());
    }

    #[test]
    fn parameters_out_of_range_are_an_error() {
        let bm25 = Bm25 {
            k1: f64::INFINITY,
            ..Bm25::default()
        };
        assert!(bm25.document("cat").is_err());
    }

    #[test]
    fn rare_terms_weigh_more_and_none_weighs_nothing() {
        assert_eq!(idf(10, 3), ((10.0f64 - 3.0 + 0.5) / 3.5 + 1.0).ln() as f32);
        let weights: Vec<f32> = (0..=1000).map(|having| idf(1000, having)).collect();
        assert!(weights.is_sorted_by(|a, b| a > b));
        assert!(weights[1000] > 0.0);
        assert!(
            idf(3, 5) > 0.0,
            "counts of different moments need not fit together"
        );
    }
}
