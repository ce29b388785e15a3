//! Rows with equal vectors.

use xxhash_rust::xxh3::xxh3_64;

use crate::vectors::Vectors;

/// (first row with the vector, other row with it) of every row that is not the first with its vector, ascending. Vectors are
/// equal if their bits are; zeros have no sign in [`Vectors`].
pub(crate) fn find(vectors: &Vectors) -> Vec<(u32, u32)> {
    let bytes = |row: u32| bytemuck::cast_slice::<f32, u8>(vectors.row(row));
    let mut hashed: Vec<(u64, u32)> = (0..vectors.len() as u32)
        .map(|row| (xxh3_64(bytes(row)), row))
        .collect();
    hashed.sort_unstable();
    let mut copies = Vec::new();
    // One hash is nearly always one vector; where it is not, sorting by bytes tells them apart in time that no choice of
    // vectors can blow up.
    for run in hashed.chunk_by_mut(|a, b| a.0 == b.0) {
        if run.len() > 1 {
            run.sort_unstable_by(|a, b| bytes(a.1).cmp(bytes(b.1)).then(a.1.cmp(&b.1)));
        }
        for equal in run.chunk_by(|a, b| bytes(a.1) == bytes(b.1)) {
            if let [(_, standing), others @ ..] = equal {
                copies.extend(others.iter().map(|(_, row)| (*standing, *row)));
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
        assert_eq!(find(&vectors), [(0, 2), (0, 6), (1, 5), (3, 4)]);
    }
}
