//! Tells calls from what only keeps a connection alive.
//!
//! gRPC connections that nobody uses ping each other every few seconds, and settle their windows. A bad link that delays those has
//! harmed nobody, so only frames of calls count: HEADERS, CONTINUATION, DATA and RST_STREAM of HTTP/2 (RFC 9113, section 6). Over the link to
//! Redis everything is a call: that protocol keeps nothing alive.

use herd_wire::v1::Peer;
use std::collections::BTreeSet;

/// What a client of HTTP/2 says before its first frame: that many bytes.
const PREFACE_BYTES: usize = 24;
const HEADER_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
/// Calls of one connection that are known to wait at once; of more the rest is not counted.
const OPEN_MAX: usize = 4_096;

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// This process.
    Client,
    /// The far end.
    Peer,
}

/// What was said over one connection.
#[derive(Debug)]
pub(super) enum Talk {
    /// Questions and answers in turn.
    Plain {
        /// The last word was a question.
        asked: bool,
    },
    Http2 {
        client: Frames,
        peer: Frames,
        /// Calls without an answer, by the number of their stream.
        open: BTreeSet<u32>,
    },
}

impl Talk {
    pub(super) fn with(peer: Peer) -> Self {
        match peer {
            Peer::Redis | Peer::Unspecified => Self::Plain { asked: false },
            Peer::LockService | Peer::Origin => Self::Http2 {
                client: Frames { preface: PREFACE_BYTES, ..Frames::default() },
                peer: Frames::default(),
                open: BTreeSet::new(),
            },
        }
    }

    /// Whether something of a call is among what one side says next.
    pub(super) fn hear(&mut self, side: Side, bytes: &[u8]) -> bool {
        match self {
            Self::Plain { asked } => {
                *asked = side == Side::Client;
                !bytes.is_empty()
            }
            Self::Http2 { client, peer, open } => {
                let frames = if side == Side::Client { client } else { peer };
                frames.hear(bytes, |frame| match frame.kind {
                    HEADERS if side == Side::Client && open.len() < OPEN_MAX => {
                        open.insert(frame.stream);
                    }
                    RST_STREAM => {
                        open.remove(&frame.stream);
                    }
                    HEADERS | DATA if side == Side::Peer && frame.flags & END_STREAM != 0 => {
                        open.remove(&frame.stream);
                    }
                    _ => {}
                })
            }
        }
    }

    /// Whether a call waits for its answer.
    pub(super) fn is_asked(&self) -> bool {
        match self {
            Self::Plain { asked } => *asked,
            Self::Http2 { open, .. } => !open.is_empty(),
        }
    }
}

/// The frames of one direction, cut wherever the pieces are.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// What is left of the preface, bytes.
    preface: usize,
    header: [u8; HEADER_BYTES],
    /// So much of the next header is there, bytes.
    begun: usize,
    /// What is left of the present frame, bytes.
    left: usize,
    /// The present frame is one of a call.
    of_call: bool,
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Frames {
    /// Tells each frame that begins, and returns whether there was something of a call.
    fn hear(&mut self, mut bytes: &[u8], mut begins: impl FnMut(&Frame)) -> bool {
        let mut of_call = false;
        while !bytes.is_empty() {
            let passed = if self.preface > 0 {
                let passed = self.preface.min(bytes.len());
                self.preface -= passed;
                passed
            } else if self.left > 0 {
                of_call |= self.of_call;
                let passed = self.left.min(bytes.len());
                self.left -= passed;
                passed
            } else {
                let passed = (HEADER_BYTES - self.begun).min(bytes.len());
                self.header[self.begun..self.begun + passed].copy_from_slice(&bytes[..passed]);
                self.begun += passed;
                if self.begun == HEADER_BYTES {
                    let frame = self.begin();
                    of_call |= self.of_call;
                    begins(&frame);
                }
                passed
            };
            bytes = &bytes[passed..];
        }
        of_call
    }

    /// Reads the header that is whole.
    fn begin(&mut self) -> Frame {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        self.begun = 0;
        self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.of_call = stream != 0 && matches!(kind, DATA | HEADERS | RST_STREAM | CONTINUATION);
        Frame { kind, flags, stream }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let header = [0, 0, u8::try_from(payload.len()).unwrap(), kind, flags, 0, 0, 0, stream];
        [&header, payload].concat()
    }

    /// Goal: a connection that nobody uses says nothing of a call, however it is cut into pieces.
    #[test]
    fn an_idle_connection_makes_no_call() {
        let idle = [
            PREFACE.to_vec(),
            frame(SETTINGS, 0, 0, &[0; 12]),
            frame(PING, 0, 0, &[7; 8]),
            frame(SETTINGS, 1, 0, &[]),
            frame(PING, 1, 0, &[1; 8]),
            frame(WINDOW_UPDATE, 0, 3, &[0, 0, 1, 0]),
        ]
        .concat();
        for length in 1..idle.len() {
            let mut talk = Talk::with(Peer::Origin);
            for piece in idle.chunks(length) {
                assert!(!talk.hear(Side::Client, piece), "pieces of {length} bytes");
            }
            let pong = frame(PING, 1, 0, &[7; 8]);
            assert!(!pong.chunks(length).any(|piece| talk.hear(Side::Peer, piece)));
            assert!(!talk.is_asked());
        }
    }

    /// Goal: a call is heard in every piece of its frames, both ways, and waits until it is answered or given up.
    #[test]
    fn a_call_is_heard() {
        let call = frame(HEADERS, 4, 1, &[9; 30]);
        for length in HEADER_BYTES..call.len() {
            let mut talk = Talk::with(Peer::LockService);
            talk.hear(Side::Client, PREFACE);
            assert!(call.chunks(length).all(|piece| talk.hear(Side::Client, piece)), "{length}");
            assert!(talk.is_asked());
        }
        for (side, end) in [
            (Side::Peer, frame(HEADERS, 4 | END_STREAM, 1, &[1])),
            (Side::Peer, frame(RST_STREAM, 0, 1, &[0; 4])),
            (Side::Client, frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])),
        ] {
            let mut talk = Talk::with(Peer::Origin);
            talk.hear(Side::Client, PREFACE);
            talk.hear(Side::Client, &call);
            assert!(talk.hear(Side::Peer, &frame(DATA, 0, 1, &[1, 2])));
            talk.hear(Side::Client, &frame(PING, 0, 0, &[0; 8]));
            assert!(talk.is_asked(), "half an answer is none");
            assert!(talk.hear(side, &end) && !talk.is_asked());
        }
    }

    /// Goal: over the link to Redis every byte is of a call.
    #[test]
    fn redis_keeps_nothing_alive() {
        let mut talk = Talk::with(Peer::Redis);
        assert!(talk.hear(Side::Client, b"*1\r\n$4\r\nPING\r\n") && talk.is_asked());
        assert!(talk.hear(Side::Peer, b"+PONG\r\n") && !talk.is_asked());
    }
}
