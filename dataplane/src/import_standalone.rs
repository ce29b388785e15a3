//! `brainyd import-standalone`: opens both ends, copies, says how far it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use brainy_coordination::import::{ImportError, Imported, Progress, import};
use brainy_coordination::store::ObjectStore;
use brainy_coordination::store::dir::DirStore;
use brainy_coordination::store::retry::{RetryPolicy, Store};
use brainy_dataplane::cli::ImportStandalone;
use parking_lot::Mutex;

use crate::start::{self, Failure, INTERNAL, UNUSABLE, failure};

/// How often it is said how far the import is.
const EVERY: Duration = Duration::from_secs(2);
/// Where a standalone node keeps its objects, in its data directory.
const OBJECTS: &str = "store";

/// Imports, and says on standard error how far it is and what to do next.
///
/// # Errors
/// What cannot be used and why; what was copied stays.
pub(crate) async fn run(args: &ImportStandalone) -> Result<(), Failure> {
    let dir = &args.data_dir;
    if !dir.join(OBJECTS).join("objects").is_dir() {
        return Err(failure(UNUSABLE)(format!(
            "{} is no data directory of a standalone brainyd: it has no {OBJECTS}/objects. Name it with --data-dir",
            dir.display()
        )));
    }
    // Held until the end: a brainyd that uses the directory has it, and none can take it meanwhile.
    let _held = start::take_data_dir(dir)?;
    let source = DirStore::open(dir.join(OBJECTS)).map_err(|e| start::store_failure(&e))?;
    let source = Store::new(source as Arc<dyn ObjectStore>, RetryPolicy::default());
    let target = start::open_bucket(args.s3()).await?;
    let from = std::path::absolute(dir).unwrap_or_else(|_| dir.clone());
    let said = Mutex::new(Instant::now());
    let report = |progress: Progress| {
        let mut said = said.lock();
        if said.elapsed() >= EVERY {
            *said = Instant::now();
            eprintln!("brainyd import-standalone: {}", far(&progress));
        }
    };
    let imported = import(&source, &target, &from.display().to_string(), report)
        .await
        .map_err(|error| refused(args, &error))?;
    eprintln!("brainyd import-standalone: {}", done(args, &imported));
    Ok(())
}

fn place(args: &ImportStandalone) -> String {
    let prefix = args.s3_prefix.trim_matches('/');
    format!("s3://{}/{prefix}", args.s3_bucket)
}

fn far(progress: &Progress) -> String {
    let Progress {
        objects,
        of_objects,
        bytes,
        of_bytes,
    } = progress;
    let mib = |bytes: &u64| *bytes as f64 / f64::from(1 << 20);
    format!(
        "{objects} of {of_objects} objects, {:.1} of {:.1} MiB",
        mib(bytes),
        mib(of_bytes)
    )
}

fn done(args: &ImportStandalone, imported: &Imported) -> String {
    let Imported {
        cluster,
        collections,
        partitions,
        snapshots,
        copied,
        already,
    } = imported;
    let place = place(args);
    if *already {
        return format!(
            "{place} has the data of this directory already (cluster {cluster}); nothing was done"
        );
    }
    format!(
        "{collections} collections with {partitions} partitions and {snapshots} snapshots are in {place} as cluster {cluster}: {}. \
         Start nodes there now. {} is as it was; do not write to it any more, the cluster would not see that",
        far(copied),
        args.data_dir.display()
    )
}

fn refused(args: &ImportStandalone, error: &ImportError) -> Failure {
    match error {
        ImportError::Store(e) => start::store_failure(e),
        ImportError::Document(_) => failure(INTERNAL)(error.to_string()),
        ImportError::NoData | ImportError::Damaged { .. } => failure(UNUSABLE)(format!(
            "cannot import {}: {error}",
            args.data_dir.display()
        )),
        ImportError::NotEmpty { .. } | ImportError::OtherImport { .. } => {
            failure(UNUSABLE)(format!("cannot import to {}: {error}", place(args)))
        }
    }
}
