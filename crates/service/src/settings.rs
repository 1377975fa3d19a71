//! Reads flags and environment variables, and reports every bad setting at once.
//!
//! clap stops at the first mistake. A person who starts a process in a container pays a restart for each round of that, so
//! [`parse`] notes the mistake, forgives it, and looks again until nothing is wrong or only a person can help.

use crate::kit::{Role, ServiceArgs};
use clap::{Command, error::ContextKind, error::ContextValue, error::ErrorKind};
use std::ffi::OsString;

/// Exit status for wrong usage (`EX_USAGE`).
pub const EXIT_USAGE: u8 = 64;

/// More mistakes than this in one command line are not worth listing.
const MISTAKES_MAX: usize = 64;

/// The settings of a process: a clap parser with [`ServiceArgs`] flattened into it.
pub trait Settings: clap::Parser {
    /// The settings that every process has.
    fn service(&self) -> &ServiceArgs;

    /// What is wrong between settings that are each fine on their own; one sentence a mistake.
    fn conflicts(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The caller asked for help or the version: the text to print on standard output.
    #[error("{0}")]
    Help(String),
    /// Everything that is wrong, one sentence each.
    #[error("{} bad setting(s)", .0.len())]
    Bad(Vec<String>),
}

/// Parses the settings of `role` from command-line words (the first is the program's name) and the environment.
///
/// # Errors
/// [`SettingsError::Bad`] with every mistake found, or [`SettingsError::Help`].
pub fn parse<A: Settings>(
    role: &Role,
    words: impl IntoIterator<Item = OsString>,
) -> Result<A, SettingsError> {
    let mut words: Vec<OsString> = words.into_iter().collect();
    let mut command = command_of::<A>(role);
    let mut mistakes: Vec<String> = Vec::new();
    while mistakes.len() < MISTAKES_MAX {
        match command.try_get_matches_from_mut(&words) {
            Ok(matches) if mistakes.is_empty() => {
                let settings =
                    A::from_arg_matches(&matches).map_err(|e| SettingsError::Bad(vec![sentence(&e)]))?;
                let conflicts = settings.conflicts();
                return if conflicts.is_empty() { Ok(settings) } else { Err(SettingsError::Bad(conflicts)) };
            }
            Ok(_) => break,
            Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
                return Err(SettingsError::Help(error.to_string()));
            }
            Err(error) => {
                mistakes.push(sentence(&error));
                let Some(forgiving) = forgive(command_of::<A>(role), &command, &error, &mut words) else {
                    break;
                };
                command = forgiving;
            }
        }
    }
    Err(SettingsError::Bad(mistakes))
}

fn command_of<A: Settings>(role: &Role) -> Command {
    // clap wants texts that live as long as the program; these few are made when it starts.
    let lasting = |text: String| -> &'static str { text.leak() };
    let (grpc, admin) = (role.grpc_port, role.admin_port);
    A::command()
        .name(lasting(format!("herd-{}", role.name)))
        .about(role.about)
        .version(env!("CARGO_PKG_VERSION"))
        .args_override_self(true)
        .mut_arg("listen", |arg| arg.default_value(lasting(format!("0.0.0.0:{grpc}"))))
        .mut_arg("admin", |arg| arg.default_value(lasting(format!("0.0.0.0:{admin}"))))
}

/// Makes the parser accept what it just refused, so that the next round finds the next mistake. None: nothing to be done.
fn forgive(
    fresh: Command,
    used: &Command,
    error: &clap::Error,
    words: &mut Vec<OsString>,
) -> Option<Command> {
    let Some(ContextValue::String(culprit)) = error.get(ContextKind::InvalidArg) else { return None };
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let at = words.iter().skip(1).position(|word| {
                word.to_str().is_some_and(|w| w == culprit || w.split('=').next() == Some(culprit.as_str()))
            })? + 1;
            let has_own_value = words[at].to_str().is_some_and(|w| w.contains('='));
            words.remove(at);
            let is_value = |w: &OsString| !w.to_str().is_some_and(|w| w.starts_with('-'));
            if culprit.starts_with('-') && !has_own_value && words.get(at).is_some_and(is_value) {
                words.remove(at);
            }
            Some(keep_forgiven(fresh, used, None))
        }
        ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
            let id = used.get_arguments().find(|arg| arg.to_string() == *culprit)?.get_id().clone();
            Some(keep_forgiven(fresh, used, Some(id.as_str())))
        }
        _ => None,
    }
}

/// Rebuilds the command (clap's parsers cannot be run twice with other arguments), forgiving what was forgiven before.
fn keep_forgiven(fresh: Command, used: &Command, also: Option<&str>) -> Command {
    let anything = clap::builder::ValueParser::os_string();
    let forgiven: Vec<String> = used
        .get_arguments()
        .filter(|arg| arg.get_value_parser().type_id() == anything.type_id())
        .map(|arg| arg.get_id().to_string())
        .chain(also.map(str::to_owned))
        .collect();
    forgiven.into_iter().fold(fresh, |command, id| {
        command.mut_arg(id, |arg| arg.value_parser(clap::builder::ValueParser::os_string()).num_args(0..=1))
    })
}

/// One line of what clap says, without its usage text.
fn sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    let said = text.split("\n\nUsage:").next().unwrap_or(&text).split("\n\nFor more").next().unwrap_or(&text);
    let words: Vec<&str> = said.trim_start_matches("error:").split_whitespace().collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser, Debug)]
    struct Args {
        #[command(flatten)]
        service: ServiceArgs,
        /// Where to go.
        #[arg(long, env = "HERD_TEST_PEER_URL")]
        peer_url: crate::rpc::PeerUrl,
        #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=9))]
        rows: u32,
        #[arg(long)]
        must: String,
    }

    impl Settings for Args {
        fn service(&self) -> &ServiceArgs {
            &self.service
        }
        fn conflicts(&self) -> Vec<String> {
            if self.must == "clash" { vec!["must and rows clash".to_owned()] } else { Vec::new() }
        }
    }

    const ROLE: Role = Role { name: "test", about: "A test.", grpc_port: 7001, admin_port: 9001 };

    fn parse_words(words: &[&str]) -> Result<Args, SettingsError> {
        parse::<Args>(&ROLE, std::iter::once("herd-test").chain(words.iter().copied()).map(OsString::from))
    }

    /// Every mistake of a command line is named in one go, whatever kind it is.
    #[test]
    fn all_mistakes_at_once() {
        let bad = [
            "--listen",
            "nowhere",
            "--rows=77",
            "--colour",
            "red",
            "--peer-url",
            "ftp://x",
            "--drain-ms",
            "soon",
        ];
        let Err(SettingsError::Bad(mistakes)) = parse_words(&bad) else { panic!("must be refused") };
        let all = mistakes.join("\n");
        for word in ["--listen", "--rows", "--colour", "--peer-url", "--drain-ms", "--must"] {
            assert!(all.contains(word), "{word} is missing in:\n{all}");
        }
        assert_eq!(mistakes.len(), 6, "{all}");
    }

    /// Good settings come through with the role's own ports, and conflicts between them are found.
    #[test]
    fn good_settings_and_conflicts() {
        let args = parse_words(&["--must", "x", "--peer-url", "http://localhost:1"]).unwrap();
        assert_eq!(args.service.listen.port(), 7001);
        assert_eq!(args.service.admin.port(), 9001);
        let clash = parse_words(&["--must", "clash", "--peer-url", "http://localhost:1"]);
        assert!(matches!(clash, Err(SettingsError::Bad(m)) if m == ["must and rows clash"]));
        assert!(
            matches!(parse_words(&["--help"]), Err(SettingsError::Help(text)) if text.contains("HERD_TEST_PEER_URL"))
        );
        let _ = Args::try_parse_from(["x"]);
    }
}
