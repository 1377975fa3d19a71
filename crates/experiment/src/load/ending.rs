//! How one request ended, in the words of the history.

use herd_history::{Outcome, Served};
use herd_wire::v1::{self, GetResponse};
use tonic::{Code, Status, metadata::MetadataMap};

/// Metadata of an answer that a row does not exist: how it came about, by [`served_named`].
const SERVED_HEADER: &str = "herd-served";
/// The node that gave it.
const NODE_HEADER: &str = "herd-node";
/// The configuration under which it did.
const CONFIG_VERSION_HEADER: &str = "herd-config-version";
/// The generation of the remembered absence; 0: nothing is remembered.
const GENERATION_HEADER: &str = "herd-generation";

/// How a request ended.
#[derive(Debug)]
pub(crate) enum Ending {
    Answer(GetResponse),
    Error(Status),
}

/// Who answered that a row does not exist, and why they could.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Absence<'a> {
    pub(crate) served: Served,
    pub(crate) node: &'a str,
    pub(crate) config_version: u64,
    pub(crate) generation: u64,
}

impl Ending {
    pub(crate) fn of(answer: Result<GetResponse, Status>) -> Self {
        match answer {
            Ok(answer) => Self::Answer(answer),
            Err(status) => Self::Error(status),
        }
    }

    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Answer(_) => Outcome::Answered,
            Self::Error(status) => outcome(status.code()),
        }
    }

    pub(crate) fn served(&self) -> Served {
        match self {
            Self::Answer(answer) => served(answer.served()),
            Self::Error(status) if status.code() == Code::NotFound => Absence::of(status).served,
            Self::Error(_) => Served::Unknown,
        }
    }
}

impl<'a> Absence<'a> {
    /// Reads what a `NOT_FOUND` carries. What is missing or malformed stays at its default.
    pub(crate) fn of(status: &'a Status) -> Self {
        let metadata = status.metadata();
        Self {
            served: served_named(text(metadata, SERVED_HEADER)),
            node: text(metadata, NODE_HEADER),
            config_version: text(metadata, CONFIG_VERSION_HEADER).parse().unwrap_or(0),
            generation: text(metadata, GENERATION_HEADER).parse().unwrap_or(0),
        }
    }
}

fn text<'a>(metadata: &'a MetadataMap, name: &str) -> &'a str {
    metadata.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

const fn served(served: v1::Served) -> Served {
    match served {
        v1::Served::Unspecified => Served::Unknown,
        v1::Served::Hit => Served::Hit,
        v1::Served::Led => Served::Led,
        v1::Served::Waited => Served::Waited,
        v1::Served::WaitedFleet => Served::WaitedFleet,
        v1::Served::SecondLook => Served::SecondLook,
        v1::Served::Uncoordinated => Served::Uncoordinated,
        v1::Served::Stale => Served::Stale,
        v1::Served::Negative => Served::Negative,
        v1::Served::Filtered => Served::Filtered,
        v1::Served::HitLocal => Served::HitLocal,
    }
}

/// The names that the edge's JSON has, too.
fn served_named(name: &str) -> Served {
    match name {
        "led" => Served::Led,
        "waited" => Served::Waited,
        "waited-fleet" => Served::WaitedFleet,
        "second-look" => Served::SecondLook,
        "uncoordinated" => Served::Uncoordinated,
        "negative" => Served::Negative,
        "filtered" => Served::Filtered,
        _ => Served::Unknown,
    }
}

pub(crate) const fn outcome(code: Code) -> Outcome {
    match code {
        Code::Ok => Outcome::Answered,
        Code::NotFound => Outcome::NotFound,
        Code::InvalidArgument => Outcome::InvalidArgument,
        Code::Unavailable => Outcome::Unavailable,
        Code::DeadlineExceeded => Outcome::DeadlineExceeded,
        Code::ResourceExhausted => Outcome::ResourceExhausted,
        Code::Cancelled => Outcome::Cancelled,
        _ => Outcome::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::metadata::MetadataValue;

    /// An answer that a row does not exist says who gave it and why; one that says nothing is no hit.
    #[test]
    fn absences_say_who_and_why() {
        let mut status = Status::not_found("no such row");
        assert_eq!(Absence::of(&status), Absence::default());
        for (name, value) in [
            (SERVED_HEADER, "negative"),
            (NODE_HEADER, "node-7"),
            (CONFIG_VERSION_HEADER, "12"),
            (GENERATION_HEADER, "3"),
        ] {
            status.metadata_mut().insert(name, MetadataValue::from_static(value));
        }
        let expected =
            Absence { served: Served::Negative, node: "node-7", config_version: 12, generation: 3 };
        assert_eq!(Absence::of(&status), expected);
        assert!(Ending::Error(status).served().is_hit());
        assert!(!Ending::Error(Status::not_found("")).served().is_hit());
    }
}
