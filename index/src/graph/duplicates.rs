//! Rows with equal vectors.

use xxhash_rust::xxh3::xxh3_64;

use crate::vectors::Vectors;

/// (first row with the vector, other row with it) of every row that is not the first with its vector, ascending. Vectors are
/// equal if their bits are.
pub(crate) fn find(vectors: &Vectors) -> Vec<(u32, u32)> {
    let bytes = |row: u32| bytemuck::cast_slice::<f32, u8>(vectors.row(row));
    let mut hashed: Vec<(u64, u32)> = (0..vectors.len() as u32)
        .map(|row| (xxh3_64(bytes(row)), row))
        .collect();
    hashed.sort_unstable();
    let mut copies = Vec::new();
    // One hash is nearly always one vector; where it is not, bytes tell them apart.
    let mut different: Vec<u32> = Vec::new();
    for run in hashed
        .chunk_by(|a, b| a.0 == b.0)
        .filter(|run| run.len() > 1)
    {
        different.clear();
        for (_, row) in run {
            match different.iter().find(|other| bytes(**other) == bytes(*row)) {
                Some(standing) => copies.push((*standing, *row)),
                None => different.push(*row),
            }
        }
    }
    copies.sort_unstable();
    copies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_rows_stands_for_the_others() {
        let rows = [[1.0], [2.0], [1.0], [0.0], [-0.0], [2.0], [1.0]];
        let vectors = Vectors::from_rows(1, rows.iter().map(<[f32; 1]>::as_slice)).unwrap();
        assert_eq!(find(&vectors), [(0, 2), (0, 6), (1, 5)]);
    }
}
