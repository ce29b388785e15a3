//! What every store agrees on: which keys exist, which ranges make sense, how content is tagged.

use std::ops::Range;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;

use super::{ETag, StoreError};

/// Longest key that S3 accepts, in bytes, the cluster's prefix included.
pub(super) const MAX_KEY_BYTES: usize = 1024;

/// Most rows in one page of a listing, as in S3.
pub(super) const MAX_PAGE: usize = 1000;

/// Tag of `content`, from nothing but its bytes: equal bytes have equal tags, as S3's MD5 tags do.
pub(super) fn content_etag(content: &[u8]) -> ETag {
    etag_from_hash(xxh3_128(content))
}

/// Tag in the form that goes over the wire, quotes included.
pub(super) fn etag_from_hash(hash: u128) -> ETag {
    ETag(format!("\"{hash:032x}\""))
}

/// Refuses keys that some store would refuse, sort differently or confuse with a folder (design section 9).
pub(super) fn check_key(what: &'static str, key: &str) -> Result<(), StoreError> {
    let rule = if key.is_empty() {
        "a key must not be empty"
    } else if key.len() > MAX_KEY_BYTES {
        "a key has at most 1024 bytes"
    } else if key.split('/').any(str::is_empty) {
        "a key has no '/' at its ends and no '//'"
    } else if key.split('/').any(|part| part == "." || part == "..") {
        "a key has no '.' or '..' between its slashes"
    } else if key.chars().any(char::is_control) {
        "a key has no control characters"
    } else {
        return Ok(());
    };
    Err(StoreError::Refused {
        what,
        key: key.escape_debug().take(200).collect(),
        message: "invalid key".to_owned(),
        remedy: rule.to_owned(),
    })
}

/// Both `x` and `x/...` cannot exist: they would be a file and a folder of one name.
pub(super) fn file_and_folder(what: &'static str, key: &str, other: &str) -> StoreError {
    StoreError::Refused {
        what,
        key: key.to_owned(),
        message: format!("'{other}' exists, and a key cannot be both an object and a folder"),
        remedy: "Use a key that is neither the beginning of another key's path nor below an object"
            .to_owned(),
    }
}

/// The error for a range that does not lie inside an object. `size` is `None` where the store did not tell it.
pub(super) fn bad_range(key: &str, range: &Range<u64>, size: Option<u64>) -> StoreError {
    let size = size.map_or_else(|| "fewer".to_owned(), |s| s.to_string());
    StoreError::Refused {
        what: "get-range",
        key: key.to_owned(),
        message: format!(
            "bytes {}..{} asked of an object of {size} bytes",
            range.start, range.end
        ),
        remedy: "Ask for a range that is not empty and lies inside the object".to_owned(),
    }
}

/// Refuses a range that is empty, which no store can express.
pub(super) fn check_range(key: &str, range: &Range<u64>) -> Result<(), StoreError> {
    if range.start < range.end {
        return Ok(());
    }
    Err(bad_range(key, range, None))
}

/// Bytes `range` of a body that is in memory.
pub(super) fn slice_range(
    key: &str,
    body: &Bytes,
    range: &Range<u64>,
) -> Result<Bytes, StoreError> {
    check_range(key, range)?;
    let size = body.len() as u64;
    match (usize::try_from(range.start), usize::try_from(range.end)) {
        (Ok(start), Ok(end)) if range.end <= size => Ok(body.slice(start..end)),
        _ => Err(bad_range(key, range, Some(size))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_stores_disagree_on_are_refused() {
        for good in [
            "a",
            "a/b",
            "_brainy/wal/c-1/00000/000000000001",
            "a b/ä%+",
            "..a/b..",
        ] {
            check_key("put", good).unwrap();
        }
        let long = "a".repeat(MAX_KEY_BYTES + 1);
        for bad in [
            "", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\0b", "a\nb", &long,
        ] {
            let refused = check_key("put", bad).unwrap_err();
            assert!(matches!(refused, StoreError::Refused { .. }), "{bad:?}");
        }
    }

    #[test]
    fn ranges_must_be_inside() {
        let body = Bytes::from_static(b"0123456789");
        assert_eq!(slice_range("k", &body, &(2..5)).unwrap(), "234");
        assert_eq!(slice_range("k", &body, &(9..10)).unwrap(), "9");
        for bad in [3..3, 5..11, 10..11, 10..10] {
            assert!(slice_range("k", &body, &bad).is_err(), "{bad:?}");
        }
    }
}
