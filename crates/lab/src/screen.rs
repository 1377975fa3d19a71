//! What a person sees while the lab works: a moving line on a terminal, plain lines elsewhere.

use crate::out;
use herd_experiment::testbed::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    io::IsTerminal,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

/// Where there is no terminal, a step of the same kind is told again only after this time.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Progress on stderr. Results go to stdout.
#[derive(Debug)]
pub(crate) struct Screen {
    bar: Option<ProgressBar>,
    plain: Mutex<Plain>,
}

#[derive(Debug, Default)]
struct Plain {
    kind: String,
    told: Option<Instant>,
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

impl Screen {
    /// A moving line if stderr is a terminal.
    #[must_use]
    pub(crate) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            bar.set_style(style(false));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar, plain: Mutex::default() }
    }

    /// Ends the moving line.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn plain(&self) -> MutexGuard<'_, Plain> {
        self.plain.lock().expect("nothing panics while it holds the line")
    }
}

impl Progress for Screen {
    fn note(&self, line: &str) {
        match &self.bar {
            // `println` of a finished bar goes nowhere.
            Some(bar) if !bar.is_finished() => bar.println(line),
            _ => out::warn(line),
        }
    }

    fn step(&self, what: &str, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_style(style(total > 0));
            bar.set_length(total);
            bar.set_position(done.min(total));
            bar.set_message(what.to_owned());
            return;
        }
        // The text up to the first digit or colon tells steps of one kind from others.
        let kind: String = what.chars().take_while(|c| !c.is_ascii_digit() && *c != ':').collect();
        let mut plain = self.plain();
        let due = plain.told.is_none_or(|told| told.elapsed() >= TELL_EVERY);
        if plain.kind != kind || due {
            let of = if total > 0 { format!(" ({done}/{total})") } else { String::new() };
            out::warn(format_args!("{what}{of}"));
            *plain = Plain { kind, told: Some(Instant::now()) };
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.clear();
    }
}

fn style(counts: bool) -> ProgressStyle {
    let template =
        if counts { "{spinner} {msg} [{bar:24}] {pos}/{len} {elapsed}" } else { "{spinner} {msg} {elapsed}" };
    ProgressStyle::with_template(template).expect("the templates are right").progress_chars("=> ")
}
