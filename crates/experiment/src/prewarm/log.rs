//! The access log that says which keys are worth having.

use herd_scenario::{KeyId, Workload};
use herd_wire::key::check_key;
use std::{
    collections::{BTreeMap, HashMap},
    io::{self, BufRead, Read},
};

/// Reads that are taken from a log at most; what comes after them is left out.
pub const READS_MAX: usize = 1_000_000;
/// Bytes of a log that are looked at, at most.
pub const LOG_BYTES_MAX: u64 = 256 << 20;
/// The longest line, bytes; a longer one is a bad line.
pub const LINE_BYTES_MAX: usize = 8_192;
/// Reads of a log that is drawn rather than read.
pub const DRAWN_READS: usize = 20_000;
/// What a path in a log begins with.
const ITEMS: &str = "/v1/items/";
/// Requests that write: their lines say nothing about what is read.
const WRITING: [&str; 4] = ["DELETE", "PATCH", "POST", "PUT"];

/// Which keys were read, in the order of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessLog {
    keys: Vec<String>,
    /// Each read, as an index into `keys`.
    reads: Vec<u32>,
    bad_lines: u64,
    cut: bool,
}

impl AccessLog {
    /// Reads a log: a key a line, or lines in which a word is the path `/v1/items/KEY` (the common log format is one such).
    /// Empty lines are skipped; lines without a key, too long ones and those of writing requests are counted as bad.
    ///
    /// # Errors
    /// The reader's.
    ///
    /// ```
    /// let text = "item-7\n1.2.3.4 - - [x] \"GET /v1/items/item-9?a=b HTTP/1.1\" 200 12\n?\n";
    /// let log = herd_experiment::prewarm::AccessLog::parse(text.as_bytes())?;
    /// assert_eq!((log.reads(), log.bad_lines()), (2, 1));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn parse(reader: impl BufRead) -> io::Result<Self> {
        let mut reader = reader.take(LOG_BYTES_MAX);
        let mut making = Making::default();
        let mut line = Vec::new();
        while making.log.reads.len() < READS_MAX {
            line.clear();
            let most = LINE_BYTES_MAX as u64 + 1;
            let read = (&mut reader).take(most).read_until(b'\n', &mut line)?;
            // A line in which the limit fell may end in half a key.
            let cut = reader.limit() == 0 && line.last() != Some(&b'\n');
            if read == 0 || cut {
                making.log.cut = cut;
                return Ok(making.log);
            }
            if read as u64 == most && line.last() != Some(&b'\n') {
                reader.skip_until(b'\n')?;
                making.log.bad_lines += 1;
                continue;
            }
            match std::str::from_utf8(&line).ok().map(str::trim) {
                Some("") => {}
                Some(line) => match key_of(line) {
                    Some(key) => making.read(key),
                    None => making.log.bad_lines += 1,
                },
                None => making.log.bad_lines += 1,
            }
        }
        making.log.cut = true;
        Ok(making.log)
    }

    /// A log of [`DRAWN_READS`] reads of existing rows, drawn with this seed as the workload spreads its reads.
    #[must_use]
    pub fn drawn(workload: &Workload, seed: u64) -> Self {
        let mut making = Making::default();
        // Another stream than the load's: the log is of the day before. Absent rows may be all that is read.
        let arrivals = workload.arrivals(seed ^ 0x6c6f_676c_6f67_6c6f).take(DRAWN_READS * 2);
        for arrival in arrivals.filter(|arrival| matches!(arrival.key, KeyId::Row(_))).take(DRAWN_READS) {
            making.read(&workload.key_name(arrival.key));
        }
        making.log
    }

    /// How many reads it holds.
    #[must_use]
    pub const fn reads(&self) -> usize {
        self.reads.len()
    }

    /// How many lines were no read of a key.
    #[must_use]
    pub const fn bad_lines(&self) -> u64 {
        self.bad_lines
    }

    /// Whether the log went on after what was taken of it ([`READS_MAX`], [`LOG_BYTES_MAX`]).
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.cut
    }

    /// The keys that were read most, at most so many, the most read first; ties by name, so that the order is fixed.
    #[must_use]
    pub fn top(&self, most: usize) -> Vec<&str> {
        let mut counts = vec![0_u64; self.keys.len()];
        for read in &self.reads {
            counts[*read as usize] += 1;
        }
        let mut ranked: Vec<(u64, &str)> =
            counts.into_iter().zip(self.keys.iter().map(String::as_str)).collect();
        ranked.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        ranked.into_iter().take(most).map(|(_, key)| key).collect()
    }

    /// At most so many reads, spread evenly over the log: how often each key is among them.
    pub(super) fn sample(&self, most: usize) -> BTreeMap<&str, u64> {
        let step = self.reads.len().div_ceil(most.max(1)).max(1);
        let mut sample = BTreeMap::new();
        for read in self.reads.iter().step_by(step) {
            *sample.entry(self.keys[*read as usize].as_str()).or_default() += 1;
        }
        sample
    }
}

/// A log while it is made.
#[derive(Default)]
struct Making {
    log: AccessLog,
    ids: HashMap<String, u32>,
}

impl Making {
    fn read(&mut self, key: &str) {
        let id = match self.ids.get(key) {
            Some(id) => *id,
            None => {
                let id = u32::try_from(self.log.keys.len()).expect("keys are bounded by READS_MAX");
                self.log.keys.push(key.to_owned());
                self.ids.insert(key.to_owned(), id);
                id
            }
        };
        self.log.reads.push(id);
    }
}

fn key_of(line: &str) -> Option<&str> {
    let mut before = "";
    for word in line.split_whitespace() {
        let word = word.trim_matches('"');
        if let Some((_, rest)) = word.split_once(ITEMS) {
            let key = rest.split(['?', '#']).next().unwrap_or_default();
            return (!WRITING.contains(&before)).then_some(key).filter(|key| check_key(key).is_ok());
        }
        before = word;
    }
    Some(line).filter(|line| check_key(line).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use herd_scenario::Popularity;

    fn parse(text: &str) -> AccessLog {
        AccessLog::parse(text.as_bytes()).expect("a slice can be read")
    }

    /// Both forms of lines are understood, whatever is in between; what is no read is counted, not taken.
    #[test]
    fn lines() {
        let long = "x".repeat(LINE_BYTES_MAX * 2);
        let log = parse(&format!(
            "item-2\n\n  item-1  \r\n{long}\n\
             10.0.0.1 - - [10/Oct/2026:13:55:36 +0000] \"GET /v1/items/item-2 HTTP/1.1\" 200 2326\n\
             http://edge:8080/v1/items/item-3?x=1\n\
             10.0.0.1 - - [x] \"DELETE /v1/items/item-4 HTTP/1.1\" 204 0\n\
             \"GET /v1/items/ HTTP/1.1\"\nno key here\nitem-2"
        ));
        assert_eq!((log.reads(), log.bad_lines(), log.is_cut()), (5, 4, false));
        assert_eq!(log.top(9), ["item-2", "item-1", "item-3"]);
        assert_eq!(log.top(1), ["item-2"]);
        let not_text = AccessLog::parse(&b"item-1\n\xff\xfe\nitem-1\n"[..]).unwrap();
        assert_eq!((not_text.reads(), not_text.bad_lines()), (2, 1));
    }

    /// A log without end is taken as far as the limit, and says so.
    #[test]
    fn endless_logs_are_cut() {
        let endless = io::BufReader::new(io::repeat(b'k').take(50).chain(io::repeat(b'\n')).take(51));
        assert!(!AccessLog::parse(endless).unwrap().is_cut());
        let lines = "k\n".repeat(READS_MAX + 1);
        let log = AccessLog::parse(lines.as_bytes()).unwrap();
        assert_eq!((log.reads(), log.is_cut()), (READS_MAX, true));
        let no_line_end = io::BufReader::new(io::repeat(b'k'));
        let log = AccessLog::parse(no_line_end).unwrap();
        assert_eq!((log.reads(), log.bad_lines(), log.is_cut()), (0, 1, true));
    }

    /// A drawn log is the workload's: the same for a seed, its keys ranked as they are read.
    #[test]
    fn drawn_logs_follow_the_workload() {
        let popularity = Popularity::Zipf { exponent: 1.2 };
        let workload = Workload { keys: 100, popularity, ..Workload::default() };
        let log = AccessLog::drawn(&workload, 5);
        assert_eq!((log.reads(), &log), (DRAWN_READS, &AccessLog::drawn(&workload, 5)));
        assert_ne!(log, AccessLog::drawn(&workload, 6));
        assert_eq!(log.top(2), ["item-1", "item-2"]);
        let sample = log.sample(500);
        assert_eq!(sample.values().sum::<u64>(), 500);
        assert!(sample["item-1"] > 50, "{:?}", sample["item-1"]);
    }
}
