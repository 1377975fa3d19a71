//! Which scenario, and what the command line changes about it.

use crate::{cli::FleetArgs, exit::UsageError};
use herd_scenario::{Overrides, PRESETS, Preset, Scenario};
use std::path::Path;

/// A scenario with where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Picked {
    /// Overrides applied.
    pub(crate) scenario: Scenario,
    /// As the user named it.
    pub(crate) file: String,
    /// The file, unchanged.
    pub(crate) text: String,
}

/// How the names of the regression set begin.
pub(crate) const REGRESSION: &str = "regression/";

/// The largest scenario file that is read, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Names that are less alike (0 to 1) are not offered.
const LIKENESS_MIN: f64 = 0.7;

/// A shipped scenario by name.
///
/// # Errors
/// There is no such scenario; the names are listed.
pub(crate) fn preset(name: &str) -> Result<Picked, UsageError> {
    let preset = Preset::named(name).ok_or_else(|| {
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        let hint = nearest(name, &names);
        UsageError(format!("no scenario is shipped as {name:?}{hint}; there are: {}", names.join(", ")))
    })?;
    parsed(preset.file, preset.text)
}

/// A scenario file, or a shipped scenario of that name if there is no such file; one of the regression set also by its bare name.
///
/// # Errors
/// It cannot be read, or has mistakes: all of them are listed.
pub(crate) fn file_or_preset(named: &str) -> Result<Picked, UsageError> {
    let path = Path::new(named);
    let exists = path.exists();
    let shipped = Preset::named(named).or_else(|| Preset::named(&format!("{REGRESSION}{named}")));
    if let (false, Some(preset)) = (exists, shipped) {
        return parsed(preset.file, preset.text);
    }
    let unreadable = |why: String| UsageError(format!("{named} cannot be read: {why}"));
    let hint = if exists { String::new() } else { nearest_shipped(named) };
    let size = std::fs::metadata(path).map_err(|error| unreadable(format!("{error}{hint}")))?.len();
    if size > FILE_BYTES_MAX {
        return Err(unreadable(format!("it is larger than {FILE_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    parsed(named, &text)
}

impl Picked {
    /// Applies what the command line changes.
    ///
    /// # Errors
    /// Every impossible change at once.
    pub(crate) fn with(mut self, args: &FleetArgs) -> Result<Self, UsageError> {
        let overrides = Overrides { nodes: args.nodes, seed: args.seed, rungs: args.rungs.clone() };
        self.scenario.apply(&overrides)?;
        Ok(self)
    }

    /// The same scenario with another text, overrides applied.
    ///
    /// # Errors
    /// Every mistake in it.
    pub(crate) fn rewritten(&self, text: &str, overrides: &Overrides) -> Result<Self, UsageError> {
        let mut other = parsed(&self.file, text)?;
        other.scenario.apply(overrides)?;
        Ok(other)
    }
}

/// `; did you mean "lock"?`, or nothing if no name is near.
pub(crate) fn nearest(found: &str, names: &[&str]) -> String {
    let likeness = |name: &&&str| strsim::jaro_winkler(found, name);
    let best = names.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    best.filter(|name| likeness(name) >= LIKENESS_MIN)
        .map_or_else(String::new, |name| format!("; did you mean {name:?}?"))
}

/// As [`nearest`], among the names of shipped scenarios, the bare ones of the regression set included.
fn nearest_shipped(found: &str) -> String {
    let bare = PRESETS.iter().filter_map(|preset| preset.name.strip_prefix(REGRESSION));
    let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).chain(bare).collect();
    nearest(found, &names)
}

fn parsed(file: &str, text: &str) -> Result<Picked, UsageError> {
    let scenario = Scenario::parse(file, text)?;
    Ok(Picked { scenario, file: file.to_owned(), text: text.to_owned() })
}
