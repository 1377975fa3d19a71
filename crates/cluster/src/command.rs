//! Runs helper programs (cargo, docker, apt): bounded in time, killed when nobody waits any more, and with the end of
//! their output at hand when they fail.

use herd_experiment::testbed::TestbedError;
use std::{collections::VecDeque, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    process::Command,
};

/// Lines of output that are kept for an error.
const TAIL_LINES: usize = 40;
/// Most bytes of standard output that are kept.
const STDOUT_MAX: u64 = 4 << 20;

/// A command that asks nothing of the terminal.
pub(crate) fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

/// Runs to the end and gives the standard output. `on_line` hears each line of the standard error.
///
/// # Errors
/// `Missing` when there is no such program, `Build` (naming `what`) when it fails or takes longer than `limit`.
pub(crate) async fn run(
    mut command: Command,
    what: &str,
    limit: Duration,
    mut on_line: impl FnMut(&str),
) -> Result<String, TestbedError> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => TestbedError::Missing {
            what: program.clone(),
            remedy: format!("install {program}, or put it on PATH"),
        },
        _ => TestbedError::Io { doing: format!("starting {program}"), source },
    })?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut tail = VecDeque::new();
    let whole = async {
        let lines = each_line(stderr, |line| {
            on_line(line);
            if tail.len() == TAIL_LINES {
                tail.pop_front();
            }
            tail.push_back(line.to_owned());
        });
        let (output, ()) = tokio::join!(all(stdout), lines);
        (child.wait().await, output)
    };
    let ended = tokio::time::timeout(limit, whole).await;
    let failed = |why: String, output: &str| TestbedError::Build {
        what: what.to_owned(),
        output: {
            // Messages for programs are no help to a person.
            let lines = output.lines().rev().filter(|line| !line.starts_with('{')).take(TAIL_LINES);
            let mut lines: Vec<&str> = lines.collect();
            lines.reverse();
            let errors = tail.iter().map(String::as_str);
            lines.into_iter().chain(errors).chain([why.as_str()]).collect::<Vec<_>>().join("\n")
        },
    };
    match ended {
        Ok((Ok(status), output)) if status.success() => Ok(output),
        Ok((Ok(status), output)) => Err(failed(format!("{program} ended with {status}"), &output)),
        Ok((Err(source), _)) => Err(TestbedError::Io { doing: format!("waiting for {program}"), source }),
        Err(_) => Err(failed(format!("{program} took longer than {} s", limit.as_secs()), "")),
    }
}

/// As [`run`], but without a word about how it goes.
pub(crate) async fn quiet(command: Command, what: &str, limit: Duration) -> Result<String, TestbedError> {
    run(command, what, limit, |_| ()).await
}

async fn all(reader: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut reader) = reader {
        let _ = (&mut reader).take(STDOUT_MAX).read_to_end(&mut bytes).await;
        // Whatever comes beyond the limit is read and dropped: a full pipe would stop the program.
        let _ = tokio::io::copy(&mut reader, &mut tokio::io::sink()).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn each_line(reader: Option<impl AsyncRead + Unpin>, mut hear: impl FnMut(&str)) {
    let Some(reader) = reader else { return };
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(64 * 1024).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => hear(String::from_utf8_lossy(&line).trim_end()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a failing program's last words and its status reach the person.
    #[tokio::test]
    async fn keeps_the_last_words() {
        let script = command("sh", &["-c", "echo out; echo err >&2; exit 3"]);
        let error = quiet(script, "the thing", Duration::from_secs(20)).await.expect_err("it fails");
        let text = error.to_string();
        assert!(text.contains("the thing") && text.contains("out\nerr\n") && text.contains('3'), "{text}");
    }

    /// Goal: a program that never ends is given up, and an absent one is named.
    #[tokio::test]
    async fn bounds_time_and_names_what_is_absent() {
        let sleeper = command("sleep", &["600"]);
        let error = quiet(sleeper, "sleep", Duration::from_millis(50)).await.expect_err("too long");
        assert!(error.to_string().contains("longer than"), "{error}");
        let absent = quiet(command("no-such-program-here", &[]), "x", Duration::from_secs(1)).await;
        assert!(matches!(absent, Err(TestbedError::Missing { .. })));
    }
}
