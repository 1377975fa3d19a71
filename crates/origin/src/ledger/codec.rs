//! How one event stands in the ledger's file.
//!
//! A record is `length: u32 | crc32: u32 | payload`, all integers little-endian, the checksum over the payload. A payload
//! is `kind: u8 | seq: u64 | at_us: u64`, then the fields of the kind in the order of [`encode`]; a string is
//! `length: u16 | UTF-8 bytes`. Format 2 of the file added the last field of an end, the time at the gate; an end without
//! it is read as one that did not wait there.

use crc::{CRC_32_ISCSI, Crc};
use herd_wire::v1::{FetchRequest, LedgerEvent, RebuildEnded, RebuildStarted, ledger_event::Kind};

/// Bytes before each payload: its length and its checksum.
pub(super) const FRAME_BYTES: usize = 8;

/// The longest payload, in bytes. The limits on strings keep every event below it.
pub(super) const PAYLOAD_BYTES_MAX: usize = 1024;

const KIND_STARTED: u8 = 1;
const KIND_ENDED: u8 = 2;

static CHECKSUM: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// What stands at the head of some bytes.
#[derive(Debug, PartialEq)]
pub(super) enum Frame {
    /// A whole, sound event and the bytes that its record takes.
    Event(Box<LedgerEvent>, usize),
    /// The bytes end within the record.
    Incomplete,
    /// Not a record: the length is impossible, the checksum differs or the payload cannot be read.
    Damaged,
}

/// Appends the record of `event` to `out`.
///
/// # Panics
/// If the event has no kind or is longer than a record may be: the ledger checks both before it takes an event.
pub(super) fn encode(event: &LedgerEvent, out: &mut Vec<u8>) {
    let frame = out.len();
    out.extend_from_slice(&[0; FRAME_BYTES]);
    let kind = event.kind.as_ref().expect("the ledger makes events only with a kind");
    out.push(match kind {
        Kind::Started(_) => KIND_STARTED,
        Kind::Ended(_) => KIND_ENDED,
    });
    put_u64(out, event.seq);
    put_u64(out, event.at_us);
    match kind {
        Kind::Started(started) => encode_started(started, out),
        Kind::Ended(ended) => {
            put_u64(out, event.rebuild);
            out.extend_from_slice(&ended.outcome.to_le_bytes());
            put_u64(out, ended.version);
            put_u64(out, ended.queued_us);
            put_u64(out, ended.worked_us);
            put_u64(out, ended.gate_us);
        }
    }
    let payload = &out[frame + FRAME_BYTES..];
    let length = payload.len();
    assert!(
        length <= PAYLOAD_BYTES_MAX,
        "an event of {length} bytes: the ledger checks strings before it takes them"
    );
    let checksum = CHECKSUM.checksum(payload);
    out[frame..frame + 4].copy_from_slice(&(length as u32).to_le_bytes());
    out[frame + 4..frame + 8].copy_from_slice(&checksum.to_le_bytes());
}

fn encode_started(started: &RebuildStarted, out: &mut Vec<u8>) {
    let request = started.request.as_ref().expect("the ledger starts a rebuild only with its request");
    put_u64(out, request.generation);
    put_u64(out, request.token);
    put_u64(out, request.epoch);
    put_u64(out, request.config_version);
    out.extend_from_slice(&request.reason.to_le_bytes());
    for text in [&request.key, &request.cache_key, &request.node, &started.trace] {
        put_text(out, text);
    }
}

/// Reads the record at the head of `bytes`.
pub(super) fn decode(bytes: &[u8]) -> Frame {
    let Some((frame, rest)) = bytes.split_at_checked(FRAME_BYTES) else { return Frame::Incomplete };
    let mut frame = Cursor(frame);
    let (Some(length), Some(checksum)) = (frame.u32(), frame.u32()) else { return Frame::Incomplete };
    let length = length as usize;
    if length == 0 || length > PAYLOAD_BYTES_MAX {
        return Frame::Damaged;
    }
    let Some(payload) = rest.get(..length) else { return Frame::Incomplete };
    if CHECKSUM.checksum(payload) != checksum {
        return Frame::Damaged;
    }
    match decode_payload(payload) {
        Some(event) => Frame::Event(Box::new(event), FRAME_BYTES + length),
        None => Frame::Damaged,
    }
}

fn decode_payload(payload: &[u8]) -> Option<LedgerEvent> {
    let mut cursor = Cursor(payload);
    let kind = cursor.u8()?;
    let seq = cursor.u64()?;
    let at_us = cursor.u64()?;
    let (rebuild, kind) = match kind {
        KIND_STARTED => (seq, Kind::Started(decode_started(&mut cursor)?)),
        KIND_ENDED => {
            let rebuild = cursor.u64()?;
            let outcome = cursor.i32()?;
            let (version, queued_us, worked_us) = (cursor.u64()?, cursor.u64()?, cursor.u64()?);
            // Records of format 1 end here: there was no waiting at the gate.
            let gate_us = if cursor.0.is_empty() { 0 } else { cursor.u64()? };
            (rebuild, Kind::Ended(RebuildEnded { outcome, version, queued_us, worked_us, gate_us }))
        }
        _ => return None,
    };
    cursor.0.is_empty().then_some(LedgerEvent { seq, rebuild, at_us, kind: Some(kind) })
}

fn decode_started(cursor: &mut Cursor<'_>) -> Option<RebuildStarted> {
    let (generation, token, epoch, config_version) =
        (cursor.u64()?, cursor.u64()?, cursor.u64()?, cursor.u64()?);
    let reason = cursor.i32()?;
    let (key, cache_key, node, trace) = (cursor.text()?, cursor.text()?, cursor.text()?, cursor.text()?);
    let request = FetchRequest { key, cache_key, generation, node, reason, token, epoch, config_version };
    Some(RebuildStarted { request: Some(request), trace })
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("the ledger checks strings before it takes them");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Takes fields off the front of a payload; `None` once too little is left.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take().map(i32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::from(self.take().map(u16::from_le_bytes)?);
        let (head, rest) = self.0.split_at_checked(length)?;
        let text = std::str::from_utf8(head).ok()?.to_owned();
        self.0 = rest;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn started()(
            seq in 1_u64..,
            at_us: u64,
            numbers: [u64; 4],
            reason in 0..10_i32,
            key in "[A-Za-z0-9._:-]{1,128}",
            cache_key in "[A-Za-z0-9._:-]{1,192}",
            node in "\\PC{0,32}",
            trace in prop_oneof![Just(String::new()), "[0-9a-f]{32}"],
        ) -> LedgerEvent {
            let [generation, token, epoch, config_version] = numbers;
            let request = FetchRequest { key, cache_key, generation, node, reason, token, epoch, config_version };
            let kind = Some(Kind::Started(RebuildStarted { request: Some(request), trace }));
            LedgerEvent { seq, rebuild: seq, at_us, kind }
        }
    }

    prop_compose! {
        fn ended()(numbers: [u64; 7], outcome in 0..6_i32) -> LedgerEvent {
            let [seq, rebuild, at_us, version, queued_us, worked_us, gate_us] = numbers;
            let kind = Some(Kind::Ended(RebuildEnded { outcome, version, queued_us, worked_us, gate_us }));
            LedgerEvent { seq, rebuild, at_us, kind }
        }
    }

    proptest! {
        /// What is written is what is read, and a record says exactly where the next one begins.
        #[test]
        fn events_survive(event in prop_oneof![started(), ended()], tail: Vec<u8>) {
            let mut bytes = Vec::new();
            encode(&event, &mut bytes);
            let length = bytes.len();
            bytes.extend_from_slice(&tail);
            prop_assert_eq!(decode(&bytes), Frame::Event(Box::new(event), length));
        }

        /// A record cut anywhere is incomplete, never a shorter event.
        #[test]
        fn a_cut_record_is_incomplete(event in prop_oneof![started(), ended()], cut: prop::sample::Index) {
            let mut bytes = Vec::new();
            encode(&event, &mut bytes);
            bytes.truncate(cut.index(bytes.len()));
            prop_assert_eq!(decode(&bytes), Frame::Incomplete);
        }

        /// A flipped bit is found wherever it stands: no wrong event is ever read.
        #[test]
        fn a_flipped_bit_is_found(event in prop_oneof![started(), ended()], at: prop::sample::Index, bit in 0..8_u8) {
            let mut bytes = Vec::new();
            encode(&event, &mut bytes);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(!matches!(decode(&bytes), Frame::Event(..)));
        }

        /// Reading arbitrary bytes never panics.
        #[test]
        fn arbitrary_bytes_are_harmless(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}
