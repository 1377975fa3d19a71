//! What exporting spans costs the hit path: two fleets of one node, one of which exports to a receiver in this program.

use super::fleet::Bench;
use super::hit_path;
use anyhow::Context;
use herd_experiment::testbed::Progress;
use herd_spans::{Keeper, Receiver};
use std::net::Ipv4Addr;

/// The share of hits that a run keeps by default.
const SAMPLE_HITS: f64 = 0.01;

/// Requests per second of both, and the median of the ratios round by round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exporting {
    pub(super) exporting_per_s: f64,
    pub(super) not_exporting_per_s: f64,
    pub(super) ratio: f64,
}

/// Measures a warm key through a fleet that exports, beside one that does not.
///
/// # Errors
/// A fleet did not come up, a request failed, or nothing was exported.
pub(super) async fn measure(progress: &dyn Progress) -> anyhow::Result<Exporting> {
    let folder = tempfile::tempdir()?;
    let mut keeper = Keeper::new(folder.path(), vec!["bench".to_owned()], SAMPLE_HITS);
    keeper.begins("bench");
    let receiver = Receiver::start((Ipv4Addr::LOCALHOST, 0).into(), keeper)?;
    let env = vec![
        ("HERD_SPANS_URL".to_owned(), format!("http://{}", receiver.address())),
        ("HERD_SAMPLE_HITS".to_owned(), SAMPLE_HITS.to_string()),
    ];
    let mut exports = Bench::hit_path(env, progress).await?;
    let measured = beside(&exports, progress).await;
    exports.down().await?;
    let kept = tokio::task::spawn_blocking(move || receiver.finish()).await?;
    let spans: u64 = kept.files.iter().map(|file| file.spans + file.left_out).sum();
    anyhow::ensure!(spans > 0, "nothing was exported while the hit path was measured");
    measured
}

async fn beside(exports: &Bench, progress: &dyn Progress) -> anyhow::Result<Exporting> {
    let mut silent = Bench::hit_path(Vec::new(), progress).await?;
    progress.step("the hit path with spans exported, and without", 0, 0);
    let compared = hit_path::compare(exports.edge(), silent.edge(), "item-1").await;
    silent.down().await?;
    let (exporting_per_s, not_exporting_per_s, ratio) = compared.context("comparing the two fleets")?;
    Ok(Exporting { exporting_per_s, not_exporting_per_s, ratio })
}
