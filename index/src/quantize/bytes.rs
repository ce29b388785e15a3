//! The stored parameters of a codec, little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `BQC` and the version, 1 |
//! | 4 | bits per dimension; measure (0 cosine, 1 dot, 2 Euclid, 3 Manhattan); 0; 0 |
//! | 4 | dimensions |
//! | 8 | seed of the rotation, or the step of the grid as a float and 4 zeros |
//! | 4 per dimension | the mean |

use super::{Codec, Grid, Measure, Method, Quantization, QuantizeError, Rotated, check};

const MAGIC: [u8; 3] = *b"BQC";
const VERSION: u8 = 1;
const HEADER: usize = 20;

impl Codec {
    /// The parameters, for [`Codec::from_bytes`].
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let bits = match self.quantization {
            Quantization::Int8 => 8,
            Quantization::Int4 => 4,
            Quantization::Binary => 1,
        };
        let measure = match self.measure {
            Measure::Cosine => 0,
            Measure::Dot => 1,
            Measure::Euclid => 2,
            Measure::Manhattan => 3,
        };
        let (parameter, mean) = match &self.method {
            Method::Grid(grid) => (u64::from(grid.step().to_bits()), grid.mean()),
            Method::Rotated(rotated) => (rotated.seed(), rotated.mean()),
        };
        let mut bytes = Vec::with_capacity(HEADER + 4 * mean.len());
        bytes.extend(MAGIC);
        bytes.extend([VERSION, bits, measure, 0, 0]);
        bytes.extend((mean.len() as u32).to_le_bytes());
        bytes.extend(parameter.to_le_bytes());
        bytes.extend(mean.iter().flat_map(|x| x.to_le_bytes()));
        bytes
    }

    /// The codec whose [`Codec::to_bytes`] these are: its codes, queries and distances are the same.
    ///
    /// # Errors
    /// Bytes of another version, and bytes that no codec has written.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, QuantizeError> {
        let damaged = QuantizeError::Damaged;
        let (header, rest) = bytes
            .split_first_chunk::<HEADER>()
            .ok_or(damaged("they are cut short"))?;
        let [
            m0,
            m1,
            m2,
            version,
            bits,
            measure,
            0,
            0,
            d0,
            d1,
            d2,
            d3,
            parameter @ ..,
        ] = *header
        else {
            return Err(damaged("reserved bytes are not zero"));
        };
        if [m0, m1, m2] != MAGIC {
            return Err(damaged("they do not start as such parameters do"));
        }
        if version != VERSION {
            return Err(QuantizeError::UnknownFormat {
                found: version,
                supported: VERSION,
            });
        }
        let quantization = match bits {
            8 => Quantization::Int8,
            4 => Quantization::Int4,
            1 => Quantization::Binary,
            _ => return Err(damaged("an unknown number of bits")),
        };
        let measure = match measure {
            0 => Measure::Cosine,
            1 => Measure::Dot,
            2 => Measure::Euclid,
            3 => Measure::Manhattan,
            _ => return Err(damaged("an unknown measure")),
        };
        let dim = u32::from_le_bytes([d0, d1, d2, d3]) as usize;
        check(quantization, measure, dim)?;
        if rest.len() != 4 * dim {
            return Err(damaged("the mean has another length than the vectors"));
        }
        let mean: Vec<f32> = rest
            .as_chunks::<4>()
            .0
            .iter()
            .map(|x| f32::from_le_bytes(*x))
            .collect();
        if !mean.iter().all(|x| x.is_finite()) {
            return Err(damaged("the mean is not finite"));
        }
        let parameter = u64::from_le_bytes(parameter);
        let method = match (quantization, measure) {
            (Quantization::Int8, _) | (Quantization::Int4, Measure::Manhattan) => {
                let step = u32::try_from(parameter)
                    .map(f32::from_bits)
                    .unwrap_or_default();
                if !(step >= f32::MIN_POSITIVE && step.is_finite()) {
                    return Err(damaged("the step of the grid is no positive number"));
                }
                Method::Grid(Grid::new(u32::from(bits), measure, &mean, step))
            }
            (Quantization::Int4 | Quantization::Binary, _) => {
                Method::Rotated(Rotated::new(u32::from(bits), measure, &mean, parameter))
            }
        };
        Ok(Self {
            quantization,
            measure,
            dim,
            method,
        })
    }
}
