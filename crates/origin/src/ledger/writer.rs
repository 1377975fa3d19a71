//! The ledger's own thread: takes batches off the queue, encodes them and appends them, one write a batch (or one a
//! megabyte, if a batch is that large).

use super::codec::{self, FRAME_BYTES, PAYLOAD_BYTES_MAX};
use super::file::{LedgerFile, WRITE_BYTES_MAX};
use super::queue::{Batch, Queue};
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// How long a batch may gather before it is written. Readers, a half full queue and the end do not wait for it.
const LINGER: Duration = Duration::from_millis(2);

/// Writes until the queue is closed and empty, then waits until the disk has everything.
pub(super) fn run(queue: &Queue, mut file: LedgerFile, bytes_max: u64) -> io::Result<()> {
    // However this thread ends, nobody may wait for it for ever.
    let _give_up = GiveUpOnDrop(queue);
    let mut records = Vec::new();
    let mut batch = Batch::default();
    while let Some(taken) = queue.take(LINGER, batch) {
        batch = taken;
        append(&mut file, &batch, &mut records)?;
        if file.end >= bytes_max {
            queue.set_full();
        }
        for barrier in batch.barriers.drain(..) {
            // A reader that went away needs no answer.
            let _ = barrier.reply.send(file.index.before(barrier.from_seq));
        }
    }
    file.file.sync_data()
}

fn append(file: &mut LedgerFile, batch: &Batch, records: &mut Vec<u8>) -> io::Result<()> {
    for event in &batch.events {
        file.index.note(event.seq, file.end + records.len() as u64);
        codec::encode(event, records);
        if records.len() + FRAME_BYTES + PAYLOAD_BYTES_MAX > WRITE_BYTES_MAX {
            write(file, records)?;
        }
    }
    write(file, records)
}

fn write(file: &mut LedgerFile, records: &mut Vec<u8>) -> io::Result<()> {
    file.file.write_all_at(records, file.end)?;
    file.end += records.len() as u64;
    records.clear();
    Ok(())
}

struct GiveUpOnDrop<'a>(&'a Queue);

impl Drop for GiveUpOnDrop<'_> {
    fn drop(&mut self) {
        self.0.give_up();
    }
}
