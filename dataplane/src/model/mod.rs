//! What users store and ask for: points, filters, requests and answers. Pure data, shared by the HTTP API, the wire
//! between nodes, the log and the engine.

mod collection;
mod filter;
mod formula;
mod le_bytes;
mod listing;
mod point;
mod query;
mod request;
mod size;
mod strict;
mod token;
mod vector;
mod versions;

pub use collection::{
    ChangeError, CollectionChange, CollectionPatch, CollectionSettings, NewVector, Tuning,
    VectorPatch,
};
pub use filter::{
    Condition, DateRange, FieldCondition, Filter, GeoArea, GeoPoint, MatchValue, MinShould, Nested,
    Range, Scalar, Slice, Words, WordsNeed,
};
pub use formula::{Decay, DecayKind, Expression, Formula};
pub use listing::{
    FacetCount, FacetRequest, FacetValue, FacetValues, FieldOrder, ListOrder, ListRequest,
    OrderValue, OrderedValues, Place,
};
pub use point::{Payload, Point, PointId, PointIdError};
pub use query::{Objective, Pair, SearchQuery};
pub use request::{
    CodeUse, Consistency, CountRequest, FieldChange, PayloadSelector, ReadOptions, Record,
    RetrieveRequest, ScoredPoint, ScrollPage, ScrollRequest, SearchRequest, Selector, UpdateMode,
    VectorSelector, VectorUpdate, WriteOp, WriteOptions, WriteReceipt,
};
pub use strict::{MultivectorLimit, SparseLimit, StrictMode};
pub use token::{Seen, Token, TokenError};
pub use vector::{MultiVector, Vector, VectorError, Vectors};
pub use versions::{PointVersions, SiblingVersion, VersionContents};

pub use brainy_index::sparse::SparseVector;

pub use brainy_coordination::manifest::{
    DenseParams, Distance, HnswParams, Quantization, SparseParams, VectorSchema,
};
