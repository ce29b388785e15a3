//! Queries on the results of queries.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::examples::LookupDto;
use super::filter::FilterDto;
use super::query::SearchParamsDto;
use super::query_input::QueryInput;

objects!(PrefetchDto);

/// A query whose results the one around it takes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct PrefetchDto {
    pub(crate) query: Option<QueryInput>,
    pub(crate) using: Option<String>,
    pub(crate) filter: Option<FilterDto>,
    pub(crate) params: Option<SearchParamsDto>,
    pub(crate) score_threshold: Option<f64>,
    pub(crate) limit: Option<usize>,
    #[serde(default)]
    pub(crate) prefetch: Prefetches,
    pub(crate) lookup_from: Option<LookupDto>,
}

/// One, a list, or none.
#[derive(Debug, Default)]
pub(crate) struct Prefetches(pub(crate) Vec<PrefetchDto>);

impl Prefetches {
    /// How many there are, and how many levels of them.
    pub(crate) fn size(&self) -> (usize, usize) {
        self.0.iter().fold((0, 0), |(count, depth), prefetch| {
            let (inner_count, inner_depth) = prefetch.prefetch.size();
            (count + 1 + inner_count, depth.max(1 + inner_depth))
        })
    }
}

impl<'de> Deserialize<'de> for Prefetches {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Prefetches;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a prefetch or a list of them")
            }
            fn visit_unit<E>(self) -> Result<Prefetches, E> {
                Ok(Prefetches::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Prefetches, A::Error> {
                let one = PrefetchDto::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Prefetches(vec![one]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Prefetches, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(Prefetches)
            }
        }
        deserializer.deserialize_any(V)
    }
}

schema!(Prefetches, "Prefetches", generator => {
    "anyOf": [
        generator.subschema_for::<PrefetchDto>(),
        {"type": "array", "items": generator.subschema_for::<PrefetchDto>()},
        {"type": "null"},
    ],
});
