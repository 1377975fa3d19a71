//! The binary header in front of every value in Redis.
//!
//! | bytes | field |
//! | --- | --- |
//! | 0 | magic, `0xC5` |
//! | 1 | format version, 2 |
//! | 2 | flags: bit 0 = tombstone, bit 1 = remembered absence |
//! | 3 | reserved, 0 |
//! | 4..8 | time to live, milliseconds |
//! | 8..16 | generation |
//! | 16..24 | epoch of the lease under which it was written, 0 without one |
//! | 24..32 | fencing token, 0 without one |
//! | 32..40 | version of the row in the origin |
//! | 40..56 | trace of the rebuild that made it, zeros if unknown |
//! | 56..64 | that rebuild's span, so that whoever waited for it elsewhere can link to it |
//! | 64..68 | how long the rebuild took, microseconds, at most 71 minutes; 0 if unknown |
//! | 68..72 | how long Redis keeps the value after it expired, milliseconds |
//!
//! Integers are big-endian. The write script compares bytes 0..2, 8..16 and 32..40, so their place is part of the format.
//! Bytes of another format read as nothing there: the next rebuild writes over them.

/// Length of the header in bytes.
pub const HEADER_BYTES: usize = 72;

const MAGIC: u8 = 0xC5;
const FORMAT: u8 = 2;
const TOMBSTONE: u8 = 1;
const NEGATIVE: u8 = 2;

/// Values are physically kept at least this long after they expired logically, so that a reader still sees which
/// generation expired. Milliseconds.
pub const RETENTION_MS_MIN: u32 = 60_000;

/// What the header says about the bytes behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// A deletion: nothing follows, readers see nothing.
    pub tombstone: bool,
    /// The sentinel of a row that does not exist: nothing follows, and readers are told so until its time is up.
    pub negative: bool,
    /// How long the value is fresh, milliseconds.
    pub ttl_ms: u32,
    /// Counts the rebuilds of the key.
    pub generation: u64,
    /// Epoch of the lease under which it was written; 0 without one.
    pub epoch: u64,
    /// Fencing token of that lease; 0 without one.
    pub token: u64,
    /// The row's version in the origin.
    pub version: u64,
    /// The trace of the rebuild that made the value; zeros if it is unknown.
    pub rebuild_trace: [u8; 16],
    /// The rebuild's span in that trace; zeros if it is unknown.
    pub rebuild_span: [u8; 8],
    /// How long the rebuild took, microseconds; 0 if it is unknown.
    pub rebuild_took_us: u32,
    /// How long Redis keeps the value after it expired, milliseconds.
    pub retention_ms: u32,
}

impl Header {
    /// How long an expired value is physically kept that may be served for `grace_ms` after its expiry, milliseconds.
    #[must_use]
    pub fn retention_of(ttl_ms: u32, grace_ms: u32) -> u32 {
        ttl_ms.max(grace_ms).max(RETENTION_MS_MIN)
    }

    /// Reads the header at the front of `stored`, or `None` where the bytes are not ours or of another format.
    #[must_use]
    pub fn decode(stored: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = stored.first_chunk()?;
        if bytes[0] != MAGIC || bytes[1] != FORMAT {
            return None;
        }
        Some(Self {
            tombstone: bytes[2] & TOMBSTONE != 0,
            negative: bytes[2] & NEGATIVE != 0,
            ttl_ms: u32::from_be_bytes(part(bytes, 4)),
            generation: u64::from_be_bytes(part(bytes, 8)),
            epoch: u64::from_be_bytes(part(bytes, 16)),
            token: u64::from_be_bytes(part(bytes, 24)),
            version: u64::from_be_bytes(part(bytes, 32)),
            rebuild_trace: part(bytes, 40),
            rebuild_span: part(bytes, 56),
            rebuild_took_us: u32::from_be_bytes(part(bytes, 64)),
            retention_ms: u32::from_be_bytes(part(bytes, 68)),
        })
    }

    /// Writes the header and the body behind it.
    #[must_use]
    pub fn encode(&self, body: &[u8]) -> Vec<u8> {
        let mut stored = Vec::with_capacity(HEADER_BYTES + body.len());
        let tombstone = if self.tombstone { TOMBSTONE } else { 0 };
        let negative = if self.negative { NEGATIVE } else { 0 };
        stored.extend_from_slice(&[MAGIC, FORMAT, tombstone | negative, 0]);
        stored.extend_from_slice(&self.ttl_ms.to_be_bytes());
        stored.extend_from_slice(&self.generation.to_be_bytes());
        stored.extend_from_slice(&self.epoch.to_be_bytes());
        stored.extend_from_slice(&self.token.to_be_bytes());
        stored.extend_from_slice(&self.version.to_be_bytes());
        stored.extend_from_slice(&self.rebuild_trace);
        stored.extend_from_slice(&self.rebuild_span);
        stored.extend_from_slice(&self.rebuild_took_us.to_be_bytes());
        stored.extend_from_slice(&self.retention_ms.to_be_bytes());
        stored.extend_from_slice(body);
        stored
    }

    /// How long Redis keeps the value, milliseconds: its time to live, and then retention.
    #[must_use]
    pub fn kept_ms(&self) -> u64 {
        u64::from(self.ttl_ms) + u64::from(self.retention_ms)
    }

    /// The age of a value of which Redis says that it will be kept for `left_ms` more. A negative `left_ms` (no such
    /// key, or one without an end) reads as too old: the error is towards expired.
    #[must_use]
    pub fn age_ms(&self, left_ms: i64) -> u64 {
        self.kept_ms().saturating_sub(u64::try_from(left_ms).unwrap_or(0))
    }
}

fn part<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[at..at + N]);
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written is what is read, and foreign bytes are told apart from ours.
    #[test]
    fn encodes_and_decodes() {
        let header = Header {
            tombstone: true,
            negative: true,
            ttl_ms: 2_000,
            generation: 7,
            epoch: 3,
            token: u64::MAX,
            version: 9,
            rebuild_trace: [0xAB; 16],
            rebuild_span: [0xCD; 8],
            rebuild_took_us: 123_456,
            retention_ms: 60_000,
        };
        let stored = header.encode(b"body");
        assert_eq!(Header::decode(&stored), Some(header));
        assert_eq!(&stored[HEADER_BYTES..], b"body");
        assert_eq!(&stored[8..16], &7_u64.to_be_bytes(), "the write script reads the generation here");
        assert_eq!(&stored[32..40], &9_u64.to_be_bytes(), "and the row's version here");
        assert_eq!(Header::decode(b"short"), None);
        assert_eq!(Header::decode(&[0; 80]), None);
        let mut earlier = stored;
        earlier[1] = 1;
        assert_eq!(Header::decode(&earlier), None, "format 1 ended eight bytes earlier");
        for (tombstone, negative) in [(false, false), (true, false), (false, true)] {
            let header = Header { tombstone, negative, ..Header::default() };
            assert_eq!(Header::decode(&header.encode(&[])), Some(header));
        }
    }

    /// A value outlives its time by its own length, by its grace and by a minute, whichever is the longest.
    #[test]
    fn retention_covers_the_grace() {
        for (ttl_ms, grace_ms, expect) in
            [(1, 0, 60_000), (90_000, 0, 90_000), (1, 80_000, 80_000), (90_000, 80_000, 90_000)]
        {
            assert_eq!(Header::retention_of(ttl_ms, grace_ms), expect);
        }
    }

    /// Age follows from Redis's clock alone, and everything odd about it reads as old.
    #[test]
    fn age_errs_towards_expired() {
        let header = Header { ttl_ms: 2_000, retention_ms: 60_000, ..Header::default() };
        assert_eq!(header.kept_ms(), 62_000);
        assert_eq!(header.age_ms(62_000), 0);
        assert_eq!(header.age_ms(60_001), 1_999);
        assert_eq!(header.age_ms(60_000), 2_000);
        assert_eq!(header.age_ms(70_000), 0, "written with a longer time to live since: just written");
        assert!(header.age_ms(-1) >= 2_000);
        assert!(header.age_ms(-2) >= 2_000);
    }
}
