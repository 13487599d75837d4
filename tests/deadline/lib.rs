//! How a test says that something came late, as opposed to wrong or not at all.
//!
//! A late arrival may be the fault of a slow machine: its error begins with [`MARKER`], and `tests/run` runs a test that
//! failed by such errors alone once more (`tests/driver/driver.py`). Every other failure is a fault. A wait therefore goes
//! on for [`OVERTIME`] after its limit: what comes by then was late, what doesn't is lost.

use std::time::Duration;

use tokio::time::{Instant, timeout};

/// Text that an error or a panic begins with if all that went wrong is that something came late.
pub const MARKER: &str = "deadline passed: ";

/// Time after a limit in which an arrival is late. After it, what was waited for counts as lost.
pub const OVERTIME: Duration = Duration::from_secs(60);

/// Waits for what should come within `limit`.
///
/// # Errors
///
/// It came late, within [`OVERTIME`] after the limit: the text begins with [`MARKER`]. Or it did not come by then.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> Result<T, String> {
    let began = Instant::now();
    let arrived = timeout(limit + OVERTIME, future).await;
    let arrived = arrived.map_err(|_| format!("{what}: did not come in {:?}", limit + OVERTIME))?;
    took(what, began.elapsed(), limit)?;
    Ok(arrived)
}

/// Checks the time that something took against its limit.
///
/// # Errors
///
/// It took longer; the text begins with [`MARKER`].
pub fn took(what: &str, time: Duration, limit: Duration) -> Result<(), String> {
    if time <= limit {
        Ok(())
    } else {
        Err(format!("{MARKER}{what}: took {time:.1?}, the limit is {limit:?}"))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    async fn after(time: Duration) -> Result<u8, String> {
        within(LIMIT, "a word", async {
            sleep(time).await;
            7
        })
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_in_time_is_handed_on() {
        assert_eq!(after(LIMIT - Duration::from_millis(1)).await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_late_has_the_marker() {
        let error = after(LIMIT + OVERTIME / 2).await.expect_err("it is late");
        assert_eq!(error, "deadline passed: a word: took 40.0s, the limit is 10s");
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_come_has_none() {
        let error = after(LIMIT + OVERTIME + Duration::from_millis(2)).await.expect_err("it is lost");
        assert_eq!(error, "a word: did not come in 70s");
    }
}
