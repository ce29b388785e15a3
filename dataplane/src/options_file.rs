//! Follows the file with options while the process runs.

use std::io;
use std::time::Duration;

use brainy_coordination::config::ConfigWatcher;
use brainy_dataplane::cli::OptionsFile;
use tokio::signal::unix::{SignalKind, signal};

/// How often the file is compared with what it was. Mounted files are replaced in ways that notifications miss.
const EVERY: Duration = Duration::from_secs(2);

/// Takes up what changes in `file`, for as long as the process runs; at once on SIGHUP.
///
/// # Errors
/// The signal cannot be watched.
pub(crate) fn follow(mut file: OptionsFile, watcher: ConfigWatcher) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        let mut unreadable = None;
        loop {
            tokio::select! {
                _ = hangup.recv() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
            let path = file.path().display().to_string();
            match file.reread() {
                Ok(None) => {}
                Ok(Some(now)) => {
                    if !now.need_restart.is_empty() {
                        tracing::warn!(
                            path,
                            options = now.need_restart.join(", "),
                            "changed options take effect at the next start only"
                        );
                    }
                    // A refusal is kept and logged by the watcher.
                    let _refused = watcher.set_local(now.cli.local_config()).await;
                }
                Err(reason) if unreadable.as_ref() == Some(&reason) => continue,
                Err(reason) => {
                    watcher.refuse_local(reason.clone());
                    unreadable = Some(reason);
                    continue;
                }
            }
            unreadable = None;
        }
    });
    Ok(())
}
