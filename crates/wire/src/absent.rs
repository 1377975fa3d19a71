//! What a NOT_FOUND says beside its message: who knew that the row does not exist, and how new that knowledge is.
//!
//! A remembered absence is an answer like a value: clients check it for freshness, and must tell it from an origin that was
//! asked. The edge passes the metadata on as they are.

use crate::v1::Served;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::{Code, Status};

/// Metadata key: how the answer came about, one of [`SERVED_NAMES`].
pub const SERVED_HEADER: &str = "herd-served";
/// Metadata key: which node said so.
pub const NODE_HEADER: &str = "herd-node";
/// Metadata key: the configuration under which it was decided, decimal.
pub const CONFIG_VERSION_HEADER: &str = "herd-config-version";
/// Metadata key: the newest generation of the key that the request saw, decimal; of a remembered absence, its own.
pub const GENERATION_HEADER: &str = "herd-generation";

/// All of them, for whoever passes them on.
pub const HEADERS: [&str; 4] = [SERVED_HEADER, NODE_HEADER, CONFIG_VERSION_HEADER, GENERATION_HEADER];

/// What may stand in [`SERVED_HEADER`]. `led` is the origin's own word, which an error shares among the flight's leader and
/// all who waited for it, here or through the fleet's lock.
pub const SERVED_NAMES: [(Served, &str); 3] =
    [(Served::Led, "led"), (Served::Negative, "negative"), (Served::Filtered, "filtered")];

/// How a client was told that a row does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent {
    /// `Negative`, `Filtered`, or `Led` for the origin's own word.
    pub served: Served,
    /// Which node said so.
    pub node: String,
    /// The configuration under which it was decided.
    pub config_version: u64,
    /// The newest generation of the key that the request saw; of a remembered absence, its own. 0: none.
    pub generation: u64,
}

/// Adds to a NOT_FOUND how it came about. A way of answering that has no name here is told as the origin's word.
pub fn describe(status: &mut Status, served: Served, node: &str, config_version: u64, generation: u64) {
    let name = SERVED_NAMES.iter().find(|(known, _)| *known == served).map_or("led", |(_, name)| name);
    let metadata = status.metadata_mut();
    metadata.insert(SERVED_HEADER, MetadataValue::from_static(name));
    // A node's name is one of the settings; one that does not fit into a header is left out.
    if let Ok(node) = MetadataValue::try_from(node) {
        metadata.insert(NODE_HEADER, node);
    }
    metadata.insert(CONFIG_VERSION_HEADER, config_version.into());
    metadata.insert(GENERATION_HEADER, generation.into());
}

/// Reads it back, or `None` where the status is no NOT_FOUND of a node.
#[must_use]
pub fn read(status: &Status) -> Option<Absent> {
    if status.code() != Code::NotFound {
        return None;
    }
    let metadata = status.metadata();
    let said = text(metadata, SERVED_HEADER)?;
    Some(Absent {
        served: SERVED_NAMES.iter().find(|(_, name)| *name == said).map(|(served, _)| *served)?,
        node: text(metadata, NODE_HEADER).unwrap_or_default().to_owned(),
        config_version: text(metadata, CONFIG_VERSION_HEADER)?.parse().ok()?,
        generation: text(metadata, GENERATION_HEADER)?.parse().ok()?,
    })
}

fn text<'a>(metadata: &'a MetadataMap, header: &str) -> Option<&'a str> {
    metadata.get(header).map(MetadataValue::<Ascii>::to_str)?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a node says of an absence is what the next process reads; a NOT_FOUND from elsewhere says nothing.
    #[test]
    fn survives() {
        for (served, name) in SERVED_NAMES {
            let mut status = Status::not_found("no such row");
            describe(&mut status, served, "node-1", 7, u64::MAX);
            assert_eq!(status.metadata().get(SERVED_HEADER).unwrap(), name);
            let said = Absent { served, node: "node-1".to_owned(), config_version: 7, generation: u64::MAX };
            assert_eq!(read(&status), Some(said));
            assert!(HEADERS.iter().all(|header| status.metadata().contains_key(*header)));
        }
        assert_eq!(read(&Status::not_found("from elsewhere")), None);
        let mut other = Status::unavailable("away");
        describe(&mut other, Served::Led, "node-1", 7, 0);
        assert_eq!(read(&other), None, "only an absence is one");
    }
}
