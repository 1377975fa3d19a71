//! The one line that each process prints on its standard output when it serves.

use serde::Deserialize;
use std::net::SocketAddr;

/// Longest ready line that is read, bytes.
pub const READY_LINE_MAX: usize = 4096;

/// What a process says of itself once it serves.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ReadyLine {
    /// Always true; a line without it is some other output.
    pub ready: bool,
    /// `edge`, `cache-node`, `lock-service` or `origin`.
    pub role: String,
    /// The instance's name.
    pub instance: String,
    /// Where gRPC is served.
    pub grpc: SocketAddr,
    /// Where metrics and health are served.
    pub admin: SocketAddr,
    /// Where HTTP/JSON is served (the edge only).
    pub http: Option<SocketAddr>,
    /// The process.
    pub pid: u32,
}

impl ReadyLine {
    /// Reads a line; `None` when it is anything but a ready line.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        if line.len() > READY_LINE_MAX {
            return None;
        }
        serde_json::from_str::<Self>(line.trim()).ok().filter(|line| line.ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the line of the contract is understood, with and without the edge's extra address.
    #[test]
    fn reads_the_line_of_each_role() {
        let node = ReadyLine::parse(
            r#"{"ready":true,"role":"cache-node","instance":"n1","grpc":"127.0.0.1:4001","admin":"127.0.0.1:4002","pid":7}"#,
        )
        .expect("a ready line");
        assert_eq!(node.grpc.port(), 4001);
        assert_eq!(node.http, None);
        let edge = ReadyLine::parse(
            r#" {"ready":true,"role":"edge","instance":"e","grpc":"[::1]:1","admin":"0.0.0.0:2","http":"127.0.0.1:3","pid":8,"later":"field"}"#,
        )
        .expect("a ready line");
        assert_eq!(edge.http.map(|at| at.port()), Some(3));
    }

    /// Goal: other output, a negative answer and an endless line are not mistaken for readiness.
    #[test]
    fn refuses_anything_else() {
        assert_eq!(ReadyLine::parse(""), None);
        assert_eq!(ReadyLine::parse("listening on 127.0.0.1:1"), None);
        let not_yet =
            r#"{"ready":false,"role":"edge","instance":"e","grpc":"[::1]:1","admin":"[::1]:2","pid":8}"#;
        assert_eq!(ReadyLine::parse(not_yet), None);
        assert_eq!(ReadyLine::parse(&format!("{}{}", " ".repeat(READY_LINE_MAX), not_yet)), None);
    }
}
