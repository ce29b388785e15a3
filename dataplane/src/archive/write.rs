//! Streams an archive out of the bucket.

use brainy_coordination::store::retry::Store;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::plan::{Member, Plan, Source, header, padded, sums};
use super::{ArchiveError, hex};

/// Bytes asked for in one request.
const PIECE: u64 = 1 << 20;
/// Requests under way at once.
const AHEAD: usize = 8;

/// Sends the archive piece by piece, verifying what it reads. The end of the channel without an error is the end of the archive.
///
/// # Errors
/// [`ArchiveError`]; what was sent until then is no archive.
pub(crate) async fn write(
    store: &Store,
    plan: &Plan,
    out: &mpsc::Sender<Bytes>,
) -> Result<(), ArchiveError> {
    let mut made: Vec<(String, &str)> = Vec::with_capacity(plan.members.len());
    for member in &plan.members {
        begin(out, &member.path, member.bytes, plan.created).await?;
        let sum = contents(store, member, out).await?;
        pad(out, member.bytes).await?;
        made.push((sum, &member.path));
    }
    let (path, text) = sums(made.iter().map(|(sum, path)| (sum.as_str(), *path)));
    let bytes = text.len() as u64;
    begin(out, path, bytes, plan.created).await?;
    send(out, text.into()).await?;
    pad(out, bytes).await?;
    let end = 2 * super::plan::BLOCK as usize;
    send(out, vec![0; end].into()).await
}

async fn begin(
    out: &mpsc::Sender<Bytes>,
    path: &str,
    bytes: u64,
    created: u64,
) -> Result<(), ArchiveError> {
    let header = header(path, bytes, created)?;
    send(out, Bytes::copy_from_slice(header.as_bytes())).await
}

async fn pad(out: &mpsc::Sender<Bytes>, bytes: u64) -> Result<(), ArchiveError> {
    let rest = (padded(bytes) - bytes) as usize;
    if rest == 0 {
        return Ok(());
    }
    send(out, vec![0; rest].into()).await
}

/// Sends the contents of a member and returns their SHA-256.
async fn contents(
    store: &Store,
    member: &Member,
    out: &mpsc::Sender<Bytes>,
) -> Result<String, ArchiveError> {
    let (key, crc32c) = match &member.source {
        Source::Text(text) => {
            send(out, text.clone()).await?;
            return Ok(hex(&Sha256::digest(text)));
        }
        Source::Object { key, crc32c } => (key, *crc32c),
    };
    let pieces = (0..member.bytes.div_ceil(PIECE)).map(|n| {
        let from = n * PIECE;
        from..(from + PIECE).min(member.bytes)
    });
    let mut pieces = stream::iter(pieces)
        .map(|range| store.get_range(key, range))
        .buffered(AHEAD);
    let (mut sha256, mut found) = (Sha256::new(), 0);
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|e| match e {
            brainy_coordination::store::StoreError::NotFound { key } => {
                ArchiveError::Missing { key }
            }
            other => other.into(),
        })?;
        sha256.update(&piece);
        found = crc32c::crc32c_append(found, &piece);
        send(out, piece).await?;
    }
    if found != crc32c {
        return Err(ArchiveError::Damaged(format!(
            "'{key}' in the bucket has the checksum {found:08x}, {crc32c:08x} was written"
        )));
    }
    Ok(hex(&sha256.finalize()))
}

async fn send(out: &mpsc::Sender<Bytes>, bytes: Bytes) -> Result<(), ArchiveError> {
    out.send(bytes).await.map_err(|_| ArchiveError::Cancelled)
}
