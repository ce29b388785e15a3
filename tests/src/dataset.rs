//! The WordNet sample of `examples/wordnet`: texts, their vectors, queries and exact neighbours.

use std::path::Path;

use serde::Deserialize;

use crate::HarnessError;
use crate::manifest::repository;

/// The data set in memory. Vectors are of length 1.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Dimensions of a vector.
    pub dimensions: usize,
    /// Texts of the base, by row.
    pub texts: Vec<String>,
    /// Vectors of the base, by row.
    pub vectors: Vec<Vec<f32>>,
    /// Texts of the queries.
    pub query_texts: Vec<String>,
    /// Vectors of the queries.
    pub queries: Vec<Vec<f32>>,
    /// For each query its nearest rows of the base, best first.
    pub neighbors: Vec<Vec<u32>>,
    /// Queries that read well.
    pub showcase: Vec<usize>,
}

#[derive(Deserialize)]
struct Description {
    dimensions: usize,
    showcase: Vec<usize>,
}

impl Dataset {
    /// Reads `examples/wordnet`.
    ///
    /// # Errors
    /// A file is missing or its size does not fit the others.
    pub fn wordnet() -> Result<Self, HarnessError> {
        let dir = repository().join("examples/wordnet");
        let file = dir.join("dataset.json");
        let Description {
            dimensions,
            showcase,
        } = serde_json::from_slice(&bytes(&file)?).map_err(|e| wrong(&file, &e.to_string()))?;
        let texts = lines(&dir.join("base.txt"))?;
        let query_texts = lines(&dir.join("queries.txt"))?;
        let vectors = vectors(&dir.join("base.f16"), dimensions, texts.len())?;
        let queries = self::vectors(&dir.join("queries.f16"), dimensions, query_texts.len())?;
        let file = dir.join("neighbors.u32");
        let flat: Vec<u32> = bytes(&file)?
            .chunks_exact(4)
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        if queries.is_empty() || flat.is_empty() || !flat.len().is_multiple_of(queries.len()) {
            return Err(wrong(
                &file,
                "not the same number of neighbours for each query",
            ));
        }
        let neighbors = flat
            .chunks(flat.len() / queries.len())
            .map(<[u32]>::to_vec)
            .collect();
        Ok(Self {
            dimensions,
            texts,
            vectors,
            query_texts,
            queries,
            neighbors,
            showcase,
        })
    }
}

fn wrong(path: &Path, message: &str) -> HarnessError {
    HarnessError::Content {
        path: path.to_owned(),
        message: message.to_owned(),
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, HarnessError> {
    std::fs::read(path).map_err(HarnessError::io("read", path))
}

fn lines(path: &Path) -> Result<Vec<String>, HarnessError> {
    let text = std::fs::read_to_string(path).map_err(HarnessError::io("read", path))?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn vectors(path: &Path, dimensions: usize, rows: usize) -> Result<Vec<Vec<f32>>, HarnessError> {
    let bytes = bytes(path)?;
    if bytes.len() != rows * dimensions * 2 {
        return Err(wrong(path, "its size is not rows x dimensions x 2 bytes"));
    }
    let vector = |row: &[u8]| {
        let values = row.chunks_exact(2);
        let values: Vec<f32> = values.map(|b| f16([b[0], b[1]])).collect();
        let length = values.iter().map(|v| v * v).sum::<f32>().sqrt();
        values.into_iter().map(|v| v / length).collect()
    };
    Ok(bytes.chunks_exact(dimensions * 2).map(vector).collect())
}

/// A little-endian half-precision number (IEEE 754-2008, binary16).
fn f16(bytes: [u8; 2]) -> f32 {
    let bits = u16::from_le_bytes(bytes);
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from((bits >> 10) & 0x1f);
    let fraction = f32::from(bits & 0x3ff) / 1024.0;
    sign * match exponent {
        0 => fraction * 2.0f32.powi(-14),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1.0 + fraction) * 2.0f32.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_is_widened_exactly() {
        for (bits, value) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3555, 0.333_251_95),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
            (0x0000, 0.0),
            (0x7c00, f32::INFINITY),
        ] {
            assert_eq!(f16(u16::to_le_bytes(bits)), value, "{bits:04x}");
        }
        assert!(f16(u16::to_le_bytes(0x7e00)).is_nan());
    }

    #[test]
    fn the_stored_neighbours_are_the_nearest() {
        let data = Dataset::wordnet().unwrap();
        assert_eq!((data.texts.len(), data.queries.len()), (4000, 100));
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
        for (query, neighbors) in data.queries.iter().zip(&data.neighbors).take(5) {
            let best = dot(query, &data.vectors[neighbors[0] as usize]);
            let nearest = data
                .vectors
                .iter()
                .map(|v| dot(query, v))
                .fold(f32::MIN, f32::max);
            assert!((best - nearest).abs() < 1e-6, "{best} {nearest}");
        }
    }
}
