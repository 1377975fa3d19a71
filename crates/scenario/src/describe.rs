//! A fault in one line, for people.

use std::fmt;

use crate::fault::{Fault, FaultAction, FaultPart, LinkRule, Once, Target, Which};

impl fmt::Display for Fault {
    /// `holder-paused: pause cache-node (holder of item-1) at 2,000 ms once a rebuild runs, for 1,500 ms, 3 times, every 4,000 ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} at {} ms", self.name, self.action, grouped(self.at_ms))?;
        if let Once::Rebuild { key, after_ms } = &self.once {
            let is_said = matches!(self.action.which(), Some(Which::Holder { key: of } | Which::Leader { key: of }) if of == key);
            let row = if is_said { String::new() } else { format!(" of {key}") };
            match *after_ms {
                0 => write!(f, " once a rebuild{row} runs")?,
                after_ms => write!(f, " once {} ms into a rebuild{row}", grouped(after_ms))?,
            }
        }
        if self.action.has_repair() {
            write!(f, ", for {} ms", grouped(self.for_ms))?;
        }
        if self.times > 1 {
            write!(f, ", {} times, every {} ms", self.times, grouped(self.every_ms))?;
        }
        Ok(())
    }
}

impl fmt::Display for FaultAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        match self {
            Self::Pause(target) | Self::Kill(target) | Self::Stop(target) => write!(f, "{kind} {target}"),
            Self::RollingRestart
            | Self::RedisRestartEmpty
            | Self::RedisRestartAof
            | Self::RedisFlush
            | Self::RedisPromote => kind.fmt(f),
            Self::ScaleOut { from } => write!(f, "{kind} from {from} nodes"),
            Self::RedisEvict { room_kb } => write!(f, "{kind} ({} kB of room)", grouped(*room_kb)),
            Self::Link { nodes, to, rule } => write!(f, "{kind} of cache-node ({nodes}) to {to}: {rule}"),
            Self::StuckQuery { queries } => write!(f, "{kind} ({})", counted(*queries, "query", "queries")),
            Self::LockClock { rate } => write!(f, "{kind} at {rate} times its rate"),
            Self::Burst { factor } => write!(f, "{kind} of {factor} times the load"),
            Self::Flood { rate_per_s } => write!(f, "{kind} of {} absent ids a second", grouped(*rate_per_s)),
            Self::HangUp { share } => write!(f, "{kind} of {:.0} % of the requests", share * 100.0),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part {
            FaultPart::CacheNode => write!(f, "{} ({})", self.part, self.which),
            _ => write!(f, "{}", self.part),
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Some(some) => write!(f, "{some} drawn"),
            Self::Minority => f.write_str("minority"),
            Self::Index(index) => {
                let numbers: Vec<String> = index.iter().map(u32::to_string).collect();
                write!(f, "number {}", numbers.join(", "))
            }
            Self::Holder { key } => write!(f, "holder of {key}"),
            Self::Leader { key } => write!(f, "leader of {key}"),
        }
    }
}

impl fmt::Display for LinkRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::BlackHole => f.write_str("black hole"),
            Self::Reset => f.write_str("reset"),
            Self::Delay { delay_ms, jitter_ms: 0 } => write!(f, "{} ms later", grouped(delay_ms)),
            Self::Delay { delay_ms, jitter_ms } => {
                write!(f, "{} to {} ms later", grouped(delay_ms), grouped(delay_ms.saturating_add(jitter_ms)))
            }
            Self::Loss { share } => write!(f, "{:.0} % lost", share * 100.0),
        }
    }
}

fn counted(number: u32, one: &str, more: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { more })
}

/// `1,500`.
fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
