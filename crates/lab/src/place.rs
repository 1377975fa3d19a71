//! Where things are kept.

use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// The folder where fleets note what they started, the same for every lab of this user: `HERD_STATE_DIR`, else
/// `herdproof` under the user's state folder.
#[must_use]
pub(crate) fn state_dir() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("HERD_STATE_DIR")
        .or_else(|| set("XDG_STATE_HOME").map(|dir| dir.join("herdproof")))
        .or_else(|| set("HOME").map(|dir| dir.join(".local/state/herdproof")))
        .unwrap_or_else(|| std::env::temp_dir().join("herdproof"))
}

/// A run's folder: the one asked for, or `runs/<time>-<scenario>`. An empty folder that is there already is removed, as the
/// history makes its own.
///
/// # Errors
/// The folder asked for is there and not empty.
pub(crate) fn run_dir(
    asked: Option<&Path>,
    above: &Path,
    scenario: &str,
) -> Result<PathBuf, crate::exit::UsageError> {
    let Some(asked) = asked else {
        return Ok(above.join(format!("{}-{scenario}", utc_stamp(SystemTime::now()))));
    };
    if asked.exists() && std::fs::remove_dir(asked).is_err() {
        let message = format!("--out {}: there is something already", asked.display());
        return Err(crate::exit::UsageError(message));
    }
    Ok(asked.to_path_buf())
}

/// `20260131T235959Z`
fn utc_stamp(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// The date of a day counted from 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms").
const fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Stamps are right on leap days and sort by time.
    #[test]
    fn stamps() {
        let stamp = |seconds| utc_stamp(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(stamp(0), "19700101T000000Z");
        assert_eq!(stamp(951_782_400), "20000229T000000Z");
        assert_eq!(stamp(1_772_323_199), "20260228T235959Z");
        assert!(stamp(1_772_323_199) < stamp(1_772_323_200));
    }
}
