//! Archives of snapshots. An input is read as an archive; then an archive is made of it whose checksums hold: of members, each
//! a path, the byte 1f and contents, with the byte 1e between them.

use std::fmt::Write;

use brainy_dataplane::archive::{ArchiveError, verify};
use sha2::{Digest, Sha256};

/// Reads both; a refusal is of the archive, not of this machine.
pub fn run(bytes: &[u8]) {
    read(bytes);
    read(&made(bytes));
}

fn read(bytes: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.snapshot");
    std::fs::write(&path, bytes).unwrap();
    match verify(&path) {
        Ok(())
        | Err(
            ArchiveError::Foreign(_)
            | ArchiveError::Damaged(_)
            | ArchiveError::UnknownVersion { .. },
        ) => {}
        Err(other) => panic!("{other}"),
    }
}

fn made(bytes: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut sums = String::new();
    let mut add = |path: &str, contents: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, contents).is_ok()
    };
    for member in bytes.split(|b| *b == 0x1e) {
        let mut parts = member.splitn(2, |b| *b == 0x1f);
        let path = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
        let contents = parts.next().unwrap_or_default();
        // Paths that no archive can have are left out.
        if add(&path, contents) {
            for byte in Sha256::digest(contents) {
                write!(sums, "{byte:02x}").unwrap();
            }
            writeln!(sums, "  {path}").unwrap();
        }
    }
    add("SHA256SUMS", sums.as_bytes());
    tar.into_inner().unwrap()
}

const MEMBERS: [(&str, &str); 6] = [
    (
        "brainy-snapshot.json",
        r#"{"format":"brainy-snapshot","version":1,"snapshot":"s","created":1767322245,"collections":["things"]}"#,
    ),
    (
        "collections/0/collection.json",
        r#"{"uid":"things-0000002a","created":"0000000000000000000000000000002a","partitions":2,"vectors":{"":{"size":2,"distance":"Dot","multivector":false,"hnsw":{"m":16,"ef_construct":100},"quantization":"disabled"}},"sparse_vectors":{"words":{"idf":true}},"extra":null}"#,
    ),
    (
        "collections/0/partitions/00000.json",
        r#"{"epoch":3,"applied":{"epoch":2,"seq":9},"segments":[{"id":"000000000002-01ARZ3NDEKTSV4RRFFQ69G5FAV","rows":1,"tombstones":0,"newest":{"epoch":2,"seq":9},"files":[{"name":"rows.bin","bytes":5,"crc32c":2591144780},{"name":"payload.bin","bytes":0,"crc32c":0}]}]}"#,
    ),
    (
        "collections/0/partitions/00001.json",
        r#"{"epoch":1,"applied":{"epoch":1,"seq":0},"segments":[]}"#,
    ),
    (
        "collections/0/segments/00000/000000000002-01ARZ3NDEKTSV4RRFFQ69G5FAV/rows.bin",
        "hello",
    ),
    (
        "collections/0/segments/00000/000000000002-01ARZ3NDEKTSV4RRFFQ69G5FAV/payload.bin",
        "",
    ),
];

/// Members of a whole archive, and that archive.
pub fn seeds() -> Vec<Vec<u8>> {
    let members = MEMBERS.map(|(path, contents)| format!("{path}\u{1f}{contents}"));
    let members = members.join("\u{1e}").into_bytes();
    let archive = made(&members);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.snapshot");
    std::fs::write(&path, &archive).unwrap();
    verify(&path).unwrap();
    vec![members, archive]
}
