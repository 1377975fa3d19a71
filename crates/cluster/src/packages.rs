//! What this machine's apt is configured to use, so that whatever is fetched comes from where the machine's own
//! packages come from, whichever mirror or proxy that is.

use crate::command::{command, quiet};
use herd_experiment::testbed::TestbedError;
use std::{fmt::Write as _, time::Duration};

/// The keys that Debian's releases are signed with, where Debian and Ubuntu's package debian-archive-keyring put them.
pub(crate) const DEBIAN_KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const ASK_MAX: Duration = Duration::from_secs(20);
const OS_RELEASE: &str = "/etc/os-release";

/// Where the distribution's own packages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sources {
    /// Name of the installed release (`bookworm`).
    pub(crate) release: String,
    /// The mirror of that release.
    pub(crate) mirror: String,
    /// A sources.list with the distribution's own entries, updates included.
    pub(crate) sources_list: String,
    /// Settings of apt that a download needs here (proxies and the like), as a configuration file.
    pub(crate) settings: String,
}

/// Asks apt.
///
/// # Errors
/// There is no apt here, or it knows no source of the installed release.
pub(crate) async fn sources() -> Result<Sources, TestbedError> {
    let format = "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(CODENAME)|$(COMPONENT)";
    let targets = command("apt-get", &["indextargets", "--format", format, "Identifier: Packages"]);
    let targets = quiet(targets, "asking apt for its sources", ASK_MAX).await.map_err(|_| without_apt())?;
    let settings = quiet(command("apt-config", &["dump"]), "asking apt for its settings", ASK_MAX).await?;
    let os_release = std::fs::read_to_string(OS_RELEASE)
        .map_err(|source| TestbedError::Io { doing: format!("reading {OS_RELEASE}"), source })?;
    read(&os_release, &targets, &settings).ok_or_else(without_apt)
}

fn without_apt() -> TestbedError {
    TestbedError::Missing {
        what: "an image registry, or apt with the sources of a Debian release".to_owned(),
        remedy: "connect to a registry or run `apt-get update` once; or run without containers: --backend processes"
            .to_owned(),
    }
}

fn read(os_release: &str, targets: &str, settings: &str) -> Option<Sources> {
    let value = |name: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        Some(line.trim_matches('"').to_ascii_lowercase())
    };
    let (distribution, release) = (value("ID")?, value("VERSION_CODENAME")?);
    let mut mirror = None;
    let mut sources_list = String::new();
    for target in targets.lines() {
        let fields: Vec<&str> = target.split('|').collect();
        let &[origin, uri, suite, codename, component] = fields.as_slice() else { continue };
        // Third parties' packages have no business in an image.
        if !origin.eq_ignore_ascii_case(&distribution) {
            continue;
        }
        if codename == release && component == "main" {
            mirror.get_or_insert_with(|| uri.to_owned());
        }
        let _ = writeln!(sources_list, "deb {uri} {suite} {component}");
    }
    let wanted = ["Acquire::http::", "Acquire::https::", "Acquire::Check-"];
    let settings: Vec<&str> = settings
        .lines()
        .filter(|line| {
            wanted.iter().any(|start| line.get(..start.len()).is_some_and(|s| s.eq_ignore_ascii_case(start)))
        })
        .collect();
    Some(Sources { release, mirror: mirror?, sources_list, settings: settings.join("\n") + "\n" })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OS: &str = "ID=debian\nVERSION_CODENAME=bookworm\n";

    /// Goal: the distribution's own entries are kept, others dropped, and the mirror is that of the release itself.
    #[test]
    fn keeps_the_distributions_own_sources() {
        let targets = "Debian|http://mirror.test/security/|bookworm-security|bookworm-security|main\n\
                       Debian|http://mirror.test/debian/|bookworm|bookworm|main\n\
                       Somebody|http://other.test/|stable|stable|main\n";
        let settings = "Acquire \"\";\nAcquire::http::Proxy \"http://proxy.test:1/\";\nDir::Cache \"x\";\n";
        let sources = read(OS, targets, settings).expect("a release with a mirror");
        assert_eq!(sources.release, "bookworm");
        assert_eq!(sources.mirror, "http://mirror.test/debian/");
        assert_eq!(sources.sources_list.lines().count(), 2);
        assert_eq!(sources.settings, "Acquire::http::Proxy \"http://proxy.test:1/\";\n");
    }

    /// Goal: without a source of the installed release there is nothing to build from, and that is said.
    #[test]
    fn wants_a_source_of_the_installed_release() {
        assert_eq!(read(OS, "Somebody|http://other.test/|stable|stable|main", ""), None);
        assert_eq!(read("ID=plan9", "", ""), None);
    }
}
