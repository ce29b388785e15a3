//! Keys as paths: one folder per part of the key, bytes that a file system may mangle as `%XX`.

use std::path::{Path, PathBuf};

/// Longest file name that common file systems accept, in bytes.
pub(super) const MAX_NAME_BYTES: usize = 255;

/// Path of `key` below `objects`. The key has passed `check_key`.
pub(super) fn path(objects: &Path, key: &str) -> PathBuf {
    let mut path = objects.to_owned();
    path.extend(key.split('/').map(encode));
    path
}

/// Whether every part of `key` fits into a file name.
pub(super) fn fits(key: &str) -> bool {
    key.split('/')
        .all(|part| encode(part).len() <= MAX_NAME_BYTES)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.=@+,".contains(&byte)
}

/// One part of a key as a file name.
pub(super) fn encode(part: &str) -> String {
    let mut name = String::with_capacity(part.len());
    for byte in part.bytes() {
        if is_plain(byte) {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    name
}

/// The part of a key that a file name stands for; `None` for a name that [`encode`] does not make.
pub(super) fn decode(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    let part = String::from_utf8(bytes).ok()?;
    (encode(&part) == name).then_some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways_and_stay_inside() {
        for part in ["a", "000000000001", "..x", "ä%41 +", "a\\b:c*?", "日本"] {
            let name = encode(part);
            assert!(name.bytes().all(|b| is_plain(b) || b == b'%'), "{name}");
            assert_eq!(decode(&name).as_deref(), Some(part));
        }
        for foreign in ["%", "%4", "%zz", "%41", "a b", "%FF"] {
            assert_eq!(decode(foreign), None, "{foreign}");
        }
        assert_eq!(path(Path::new("/r"), "a b/c"), Path::new("/r/a%20b/c"));
    }
}
