//! Mistakes are collected, not met one by one.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

#[derive(Default)]
pub(super) struct Mistakes(Vec<String>);

impl Mistakes {
    pub(super) fn into_inner(self) -> Vec<String> {
        self.0
    }

    pub(super) fn note(&mut self, mistake: impl fmt::Display) {
        self.0.push(mistake.to_string());
    }

    pub(super) fn unnamed<T>(&mut self, field: &str, stand_in: T) -> T {
        self.note(format_args!("{field} is unspecified or unknown"));
        stand_in
    }

    pub(super) fn millis(&mut self, field: &str, value: u32, range: &RangeInclusive<u32>) -> Duration {
        Duration::from_millis(self.within(field, value, range).into())
    }

    /// What is no number is out of every range, too.
    pub(super) fn share(&mut self, field: &str, value: f64, range: &RangeInclusive<f64>) -> f64 {
        self.within(field, value, range)
    }

    pub(super) fn within<T: PartialOrd + fmt::Display>(
        &mut self,
        field: &str,
        value: T,
        range: &RangeInclusive<T>,
    ) -> T {
        if !range.contains(&value) {
            self.note(format_args!("{field} is {value}, not within {} to {}", range.start(), range.end()));
        }
        value
    }
}
