//! `ListObjectsV2`: pages in byte order, with a delimiter if asked.

use brainy_coordination::store::dir::DirStore;
use s3s::dto::{CommonPrefix, ListObjectsV2Input, ListObjectsV2Output, Object, Timestamp};
use s3s::{S3Result, s3_error};

use crate::backend::refusal;

/// Most rows in a page, as in S3.
const MAX_KEYS: usize = 1000;
/// Continuation tokens name the last row: a key, or a common prefix whose keys are all behind.
const AFTER_KEY: char = 'k';
const AFTER_PREFIX: char = 'p';

/// Answers `input` from `store`. Rows carry no ETag: telling it may mean reading the object.
pub(crate) async fn page(
    store: &DirStore,
    input: ListObjectsV2Input,
) -> S3Result<ListObjectsV2Output> {
    let wanted = input.max_keys.unwrap_or(1000);
    let wanted = usize::try_from(wanted)
        .map_err(|_| s3_error!(InvalidArgument, "max-keys is negative"))?
        .min(MAX_KEYS);
    let prefix = input.prefix.clone().unwrap_or_default();
    let delimiter = input.delimiter.clone().filter(|d| !d.is_empty());
    let (mut after, mut last_prefix) = match input.continuation_token.as_deref() {
        None => (input.start_after.clone(), None),
        Some(token) => match (token.chars().next(), token.get(1..)) {
            (Some(AFTER_KEY), Some(key)) => (Some(key.to_owned()), None),
            (Some(AFTER_PREFIX), Some(p)) => (Some(past(p)), Some(p.to_owned())),
            _ => return Err(s3_error!(InvalidArgument, "Unknown continuation token")),
        },
    };
    let (mut contents, mut prefixes) = (Vec::new(), Vec::new());
    let mut next = None;
    // Zero rows asked: an empty page, not truncated, as in S3.
    let mut more = wanted > 0;
    'pages: while more {
        let left = wanted - contents.len() - prefixes.len();
        let rows = store
            .list_rows(&prefix, after.as_deref(), left + 1)
            .await
            .map_err(refusal)?;
        more = rows.truncated;
        for row in rows.rows {
            let key = row.object.key;
            after = Some(key.clone());
            if last_prefix.as_ref().is_some_and(|p| key.starts_with(p)) {
                continue;
            }
            if contents.len() + prefixes.len() == wanted {
                more = true;
                break 'pages;
            }
            let folder = delimiter.as_deref().and_then(|d| {
                let at = key.get(prefix.len()..)?.find(d)?;
                Some(key[..prefix.len() + at + d.len()].to_owned())
            });
            if let Some(folder) = folder {
                next = Some(format!("{AFTER_PREFIX}{folder}"));
                after = Some(past(&folder));
                last_prefix = Some(folder.clone());
                prefixes.push(CommonPrefix {
                    prefix: Some(folder),
                });
                // Ask again behind the folder: there may be much in it.
                more = true;
                continue 'pages;
            }
            next = Some(format!("{AFTER_KEY}{key}"));
            contents.push(Object {
                key: Some(key),
                size: Some(i64::try_from(row.object.size).unwrap_or(i64::MAX)),
                last_modified: Some(Timestamp::from(row.modified)),
                ..Default::default()
            });
        }
    }
    Ok(ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: input.prefix,
        delimiter: input.delimiter,
        start_after: input.start_after,
        continuation_token: input.continuation_token,
        max_keys: i32::try_from(wanted).ok(),
        key_count: i32::try_from(contents.len() + prefixes.len()).ok(),
        is_truncated: Some(more),
        next_continuation_token: next.filter(|_| more),
        contents: Some(contents),
        common_prefixes: Some(prefixes),
        ..Default::default()
    })
}

/// A position behind (nearly) all keys that begin with `prefix`; the few behind it are skipped by name.
fn past(prefix: &str) -> String {
    format!("{prefix}{}", char::MAX)
}
