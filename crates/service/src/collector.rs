//! Where spans go: to the collector that is named, or to one that may be there.
//!
//! A compose profile can start a collector, but it cannot tell the other services that it did. So they name one that may be
//! there and look whether its name leads anywhere, once, when they start: without the profile they record nothing and run
//! as if nobody had asked.

use crate::telemetry::ENDPOINT_VARIABLE;
use std::net::ToSocketAddrs as _;
use std::sync::mpsc;
use std::time::Duration;

/// Environment variable: the address of a collector that may be there, `http://HOST:PORT`. [`ENDPOINT_VARIABLE`] goes before it.
const OPTIONAL_VARIABLE: &str = "HERD_COLLECTOR";

/// How long the look-up may take. Whoever does not know a name by then is taken not to know it.
const LOOK_UP_MAX: Duration = Duration::from_secs(1);

/// A collector that spans are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Collector {
    /// Asked for by the standard's variable, which the exporter reads by itself.
    Named,
    /// May have been absent, and is not: its address.
    Found(String),
}

/// The collector of this process, if it has one. Takes up to [`LOOK_UP_MAX`].
pub(crate) fn find() -> Option<Collector> {
    find_in(|name| std::env::var(name).ok(), is_known)
}

fn find_in(
    variable: impl Fn(&str) -> Option<String>,
    is_known: impl Fn(&str, u16) -> bool,
) -> Option<Collector> {
    let set = |name| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    if set(ENDPOINT_VARIABLE).is_some() {
        return Some(Collector::Named);
    }
    let address = set(OPTIONAL_VARIABLE)?;
    match host_and_port(&address) {
        Some((host, port)) => is_known(&host, port).then_some(Collector::Found(address)),
        // Not an address at all: the exporter will say so, and the process will not start.
        None => Some(Collector::Found(address)),
    }
}

fn host_and_port(address: &str) -> Option<(String, u16)> {
    let uri: http::Uri = address.parse().ok()?;
    Some((uri.host()?.to_owned(), uri.port_u16()?))
}

/// Whether a name leads to an address. The system's look-up has no limit of its own that would be short enough here, so it
/// is left behind on its thread.
fn is_known(host: &str, port: u16) -> bool {
    let (told, answer) = mpsc::channel();
    let host = host.to_owned();
    let look_up = move || {
        let known = (host.as_str(), port).to_socket_addrs().is_ok_and(|mut found| found.next().is_some());
        // Nobody listens any more after the limit.
        let _ = told.send(known);
    };
    let started = std::thread::Builder::new().name("collector".to_owned()).spawn(look_up);
    started.is_ok() && answer.recv_timeout(LOOK_UP_MAX).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(named: &str, optional: &str, known: bool) -> Option<Collector> {
        let variable = |name: &str| match name {
            ENDPOINT_VARIABLE => Some(named.to_owned()),
            OPTIONAL_VARIABLE => Some(optional.to_owned()),
            _ => None,
        };
        find_in(variable, |host, port| known && host == "jaeger.test." && port == 4317)
    }

    /// Goal: the standard's variable wins; a collector that may be there counts only where its name is known.
    #[test]
    fn takes_the_named_one_else_one_that_is_there() {
        let optional = "http://jaeger.test.:4317";
        assert_eq!(found("http://a.test:4317", optional, false), Some(Collector::Named));
        assert_eq!(found("", optional, true), Some(Collector::Found(optional.to_owned())));
        assert_eq!(found(" ", optional, false), None);
        assert_eq!(found("", "", true), None);
    }

    /// Goal: what is no address is not taken for a collector that is away: the exporter has to refuse it.
    #[test]
    fn hands_on_what_is_no_address() {
        assert_eq!(found("", "jaeger", false), Some(Collector::Found("jaeger".to_owned())));
    }

    /// Goal: the system's look-up tells a name that leads somewhere from one that is reserved for leading nowhere.
    #[test]
    fn looks_names_up() {
        assert!(is_known("localhost", 1));
        assert!(!is_known("nobody.invalid", 1));
    }
}
