//! The id of a term: a hash that never changes.

/// The id of a token: the absolute value of its 32-bit `MurmurHash3`, as in Qdrant's BM25. Two tokens share an id with
/// probability 2^-31; they then count as the same term.
///
/// Source: A. Appleby, `MurmurHash3_x86_32`, seed 0 (public domain).
#[must_use]
pub fn term_id(token: &str) -> u32 {
    murmur3(token.as_bytes()).cast_signed().unsigned_abs()
}

fn murmur3(bytes: &[u8]) -> u32 {
    let scramble = |word: u32| {
        word.wrapping_mul(0xcc9e_2d51)
            .rotate_left(15)
            .wrapping_mul(0x1b87_3593)
    };
    let (words, rest) = bytes.as_chunks::<4>();
    let mut hash = 0u32;
    for word in words {
        hash ^= scramble(u32::from_le_bytes(*word));
        hash = hash
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64);
    }
    let tail = rest
        .iter()
        .rev()
        .fold(0, |word, byte| word << 8 | u32::from(*byte));
    hash ^= scramble(tail);
    // The algorithm counts modulo 2^32.
    hash ^= bytes.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_reference_implementation() {
        // From the Python package mmh3, seed 0.
        for (text, hash) in [
            ("", 0),
            ("test", 0xba6b_d213),
            ("Hello, world!", 0xc036_3e43),
            ("The quick brown fox jumps over the lazy dog", 0x2e4f_f723),
            ("a", 0x3c25_69b2),
            ("aa", 0x3710_91a9),
            ("aaa", 0xb4d0_5fb7),
            ("aaaa", 0x7eee_d987),
        ] {
            assert_eq!(murmur3(text.as_bytes()), hash, "{text}");
        }
    }

    #[test]
    fn ids_are_the_absolute_value_of_the_signed_hash() {
        // 0xba6bd213 is -1167338989 as a signed number.
        assert_eq!(term_id("test"), 1_167_338_989);
        assert_eq!(
            term_id("The quick brown fox jumps over the lazy dog"),
            0x2e4f_f723
        );
    }
}
