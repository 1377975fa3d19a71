//! Picks a testbed.

use crate::{compose::ComposeTestbed, engine, processes::ProcessTestbed};
use herd_experiment::testbed::{Progress, Testbed, TestbedError};
use std::str::FromStr;

/// What the person asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Containers where a Docker engine answers, else local processes.
    #[default]
    Auto,
    /// Containers.
    Compose,
    /// Local processes.
    Processes,
}

/// Not the name of a backend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no backend; there are auto, compose and processes")]
pub struct UnknownChoice(String);

impl FromStr for Choice {
    type Err = UnknownChoice;

    fn from_str(name: &str) -> Result<Self, UnknownChoice> {
        match name {
            "auto" => Ok(Self::Auto),
            "compose" => Ok(Self::Compose),
            "processes" => Ok(Self::Processes),
            other => Err(UnknownChoice(other.to_owned())),
        }
    }
}

/// A testbed with nothing up yet. For [`Choice::Auto`], a line says what was taken and why.
///
/// # Errors
/// Containers were asked for and no engine answers.
pub async fn choose(choice: Choice, progress: &dyn Progress) -> Result<Box<dyn Testbed>, TestbedError> {
    if choice == Choice::Processes {
        return Ok(Box::new(ProcessTestbed::new()));
    }
    match engine::connect().await {
        Ok(_) if choice == Choice::Compose => Ok(Box::new(ComposeTestbed::new())),
        Err(error) if choice == Choice::Compose => Err(error),
        Ok(_) => {
            progress
                .note("a Docker engine answers: the fleet runs in containers (--backend processes for none)");
            Ok(Box::new(ComposeTestbed::new()))
        }
        Err(error) => {
            tracing::debug!(%error, "no engine");
            progress.note("no Docker engine answers: the fleet runs as local processes");
            Ok(Box::new(ProcessTestbed::new()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: every backend has a name, and a wrong one is answered with the right ones.
    #[test]
    fn names_backends() {
        assert_eq!("auto".parse(), Ok(Choice::Auto));
        assert_eq!("compose".parse(), Ok(Choice::Compose));
        assert_eq!("processes".parse(), Ok(Choice::Processes));
        let error = "docker".parse::<Choice>().expect_err("no such backend");
        assert!(error.to_string().contains("compose and processes"), "{error}");
    }
}
