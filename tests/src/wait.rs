//! Waiting for a condition.

use std::time::{Duration, Instant};

use crate::HarnessError;

/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(40);

/// Looks until `look` gives a value; its error says what is there instead and ends up in the message when time is over.
///
/// # Errors
/// [`HarnessError::Late`].
pub async fn until<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T, HarnessError> {
    let deadline = Instant::now() + within;
    loop {
        let seen = match look().await {
            Ok(value) => return Ok(value),
            Err(seen) => seen,
        };
        if Instant::now() >= deadline {
            return Err(HarnessError::Late {
                what: what.to_owned(),
                within,
                seen,
            });
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// `Ok` if `condition` holds, else `seen` in words; for the closures of [`until`].
///
/// # Errors
/// What was seen.
pub fn holds(condition: bool, seen: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(seen()) }
}
