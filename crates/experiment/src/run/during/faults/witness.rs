//! Who rebuilds a row just now: by the lock service's word where the rung has a fleet lock, else by the origin's ledger.

use super::{Ground, Looks};
use crate::{fleet_config, ledger::OpenRebuilds, locks::Holder};
use std::time::{Duration, Instant};

/// A node that rebuilds a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lead {
    pub(super) node: String,
}

/// A lease that a node held when a fault hit it.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    name: String,
    holder: Holder,
    since: Instant,
}

/// The names under which a row is locked: its keys in the cache, also under the prefix that a deploy switches to.
fn lock_names(ground: Ground<'_>, key: &str) -> Vec<String> {
    let (started_us, rung) = (ground.stage().plan.started_us, ground.stage().rung);
    let mut prefixes = vec![fleet_config::prefix(started_us, &rung.name)];
    if rung.deploy.is_some() {
        prefixes.push(fleet_config::next_prefix(started_us, &rung.name));
    }
    prefixes.into_iter().map(|prefix| format!("{prefix}{key}")).collect()
}

/// Waits for a rebuild of the row that has not been under way at the first look.
///
/// # Errors
/// None began before the window's end.
pub(super) async fn new_rebuild(ground: Ground<'_>, key: &str) -> Result<Lead, String> {
    if ground.has_lock() {
        lease_that_is_new(ground, key).await
    } else {
        fetch_that_is_new(ground, key).await
    }
}

/// Waits until a node holds the lock of the row.
///
/// # Errors
/// None did before the window's end.
pub(super) async fn holder(ground: Ground<'_>, key: &str) -> Result<Lead, String> {
    let (locks, names) = (ground.locks()?, lock_names(ground, key));
    let mut looks = Looks::until(ground.window.end);
    let mut silence = None;
    while looks.again().await {
        for name in &names {
            match locks.holder(name).await {
                Ok(Some(holder)) => return Ok(Lead { node: holder.node }),
                Ok(None) => {}
                Err(why) => silence = Some(why),
            }
        }
    }
    Err(silence.unwrap_or_else(|| format!("nobody held the lock of {key} before the window ended")))
}

/// Waits until the origin works on the row for a node: for the one that asked last.
///
/// # Errors
/// It did not before the window's end.
pub(super) async fn leader(ground: Ground<'_>, key: &str) -> Result<Lead, String> {
    fetch(ground, key, |_| true).await
}

/// Whether a node rebuilds the row now, by the ledger.
///
/// # Errors
/// The origin does not answer.
pub(super) async fn leads(ground: Ground<'_>, key: &str, node: &str) -> Result<bool, String> {
    let mut origin = ground.origin()?;
    let mut rebuilds = OpenRebuilds::since(key.to_owned(), ground.ledger_from);
    rebuilds.newest(&mut origin).await.map_err(|error| error.to_string())?;
    Ok(rebuilds.is_led_by(node))
}

async fn lease_that_is_new(ground: Ground<'_>, key: &str) -> Result<Lead, String> {
    let (locks, names) = (ground.locks()?, lock_names(ground, key));
    let mut old: Option<Vec<u64>> = None;
    let mut looks = Looks::until(ground.window.end);
    let mut silence = None;
    while looks.again().await {
        let mut tokens = Vec::new();
        for name in &names {
            match locks.holder(name).await {
                Ok(Some(holder)) => {
                    if old.as_ref().is_some_and(|old| !old.contains(&holder.token)) {
                        return Ok(Lead { node: holder.node });
                    }
                    tokens.push(holder.token);
                }
                Ok(None) => {}
                Err(why) => silence = Some(why),
            }
        }
        old.get_or_insert(tokens);
    }
    Err(silence.unwrap_or_else(|| format!("no rebuild of {key} began before the window ended")))
}

async fn fetch_that_is_new(ground: Ground<'_>, key: &str) -> Result<Lead, String> {
    let mut origin = ground.origin()?;
    let under_way = OpenRebuilds::since(key.to_owned(), ground.ledger_from).newest(&mut origin).await;
    let oldest = under_way.map_err(|error| error.to_string())?.map_or(0, |rebuild| rebuild.seq);
    fetch(ground, key, |seq| seq > oldest).await
}

async fn fetch(ground: Ground<'_>, key: &str, wanted: impl Fn(u64) -> bool) -> Result<Lead, String> {
    let mut origin = ground.origin()?;
    let mut rebuilds = OpenRebuilds::since(key.to_owned(), ground.ledger_from);
    let mut looks = Looks::until(ground.window.end);
    let mut silence = None;
    while looks.again().await {
        match rebuilds.newest(&mut origin).await {
            Ok(Some(rebuild)) if wanted(rebuild.seq) => return Ok(Lead { node: rebuild.node }),
            Ok(_) => {}
            Err(error) => silence = Some(error.to_string()),
        }
    }
    Err(silence.unwrap_or_else(|| format!("no rebuild of {key} was under way before the window ended")))
}

impl Lease {
    /// The lease of the row that one of these nodes holds now, if one does.
    pub(super) async fn held_by(ground: Ground<'_>, key: &str, node: impl Fn(&str) -> bool) -> Option<Self> {
        if !ground.has_lock() {
            return None;
        }
        let locks = ground.locks().ok()?;
        for name in lock_names(ground, key) {
            if let Ok(Some(holder)) = locks.holder(&name).await
                && node(&holder.node)
            {
                return Some(Self { name, holder, since: Instant::now() });
            }
        }
        None
    }

    /// Who holds it.
    pub(super) fn node(&self) -> &str {
        &self.holder.node
    }

    /// Whether it lasted as long as it had left when it was found, if it ended after so long. Else its holder let go of it, and was
    /// none any more when the fault came.
    pub(super) fn ran_out(&self, after: Duration) -> bool {
        after + EARLY >= self.holder.expires_in
    }

    /// Its fencing token, and what it had left when it was found.
    pub(super) fn words(&self) -> String {
        format!("token {}, {} ms left when it was found", self.holder.token, millis(self.holder.expires_in))
    }

    /// Waits until it is not held any more, or by another: how long that took from when it was found. Nothing: it still was
    /// when the time was over, or the lock service was silent.
    pub(super) async fn ended(&self, ground: Ground<'_>, until: Instant) -> Option<Duration> {
        let locks = ground.locks().ok()?;
        let mut looks = Looks::until(until);
        while looks.again().await {
            match locks.holder(&self.name).await {
                Ok(Some(holder)) if holder.token == self.holder.token => {}
                Ok(_) => return Some(self.since.elapsed()),
                Err(_) => {}
            }
        }
        None
    }
}

/// By how much a lease may seem to have ended early: the store and the lab each round to a millisecond, and calls take time.
const EARLY: Duration = Duration::from_millis(10);

/// Waits for a lease of the row that is granted while somebody looks, and says how long it is given, as far as that was seen at once.
pub(super) async fn lease_granted(ground: Ground<'_>, key: &str, until: Instant) -> Option<Duration> {
    let (locks, names) = (ground.locks().ok()?, lock_names(ground, key));
    // Held at the last look, and when that was.
    let mut last: Option<(Vec<u64>, Instant)> = None;
    let mut looks = Looks::until(until);
    while looks.again().await {
        let mut tokens = Vec::new();
        let looked = Instant::now();
        for name in &names {
            let Ok(Some(holder)) = locks.holder(name).await else { continue };
            if let Some((held, at)) = &last
                && !held.contains(&holder.token)
                && at.elapsed() <= AT_ONCE
            {
                return Some(holder.expires_in);
            }
            tokens.push(holder.token);
        }
        last = Some((tokens, looked));
    }
    None
}

/// A lease that was not there so long ago was granted just now.
const AT_ONCE: Duration = Duration::from_millis(50);

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
