//! Slices of all points by a hash of their ids: SipHash-2-4 (Aumasson and Bernstein, 2012) with a zero key over the bytes of
//! the id, as Qdrant documents it. Clients may count on which points are in a slice, so it never changes.

use crate::model::PointId;

/// In which of `total` slices a point is; `total` is at least 1.
pub(super) fn slice_of(id: PointId, total: u64) -> u64 {
    let hash = match id {
        PointId::Num(n) => siphash(&n.to_le_bytes(), [0, 0]),
        PointId::Uuid(u) => siphash(u.as_bytes(), [0, 0]),
    };
    hash % total.max(1)
}

fn siphash(data: &[u8], [k0, k1]: [u64; 2]) -> u64 {
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let mut absorb = |word: u64| {
        v[3] ^= word;
        round(&mut v);
        round(&mut v);
        v[0] ^= word;
    };
    let (words, rest) = data.as_chunks::<8>();
    words
        .iter()
        .for_each(|word| absorb(u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    absorb(u64::from_le_bytes(last) | (data.len() as u64) << 56);
    v[2] ^= 0xff;
    for _ in 0..4 {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of the reference implementation: key 00 01 .. 0f, messages 00 01 .. of growing length.
    #[test]
    fn the_hash_is_siphash() {
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let message: Vec<u8> = (0..16).collect();
        for (length, hash) in [
            (0, 0x726f_db47_dd0e_0e31u64),
            (1, 0x74f8_39c5_93dc_67fd),
            (7, 0xab02_00f5_8b01_d137),
            (8, 0x93f5_f579_9a93_2462),
            (15, 0xa129_ca61_49be_45e5),
        ] {
            assert_eq!(siphash(&message[..length], key), hash, "{length} bytes");
        }
    }

    #[test]
    fn slices_are_even_and_nest() {
        let ids = || (0..4000).map(PointId::Num);
        for total in [1, 3, 8] {
            for index in 0..total {
                let count = ids().filter(|id| slice_of(*id, total) == index).count() as u64;
                let mean = 4000 / total;
                assert!((mean * 8 / 10..=mean * 12 / 10).contains(&count));
            }
        }
        assert!(ids().all(|id| slice_of(id, 4) % 2 == slice_of(id, 2)));
    }
}
