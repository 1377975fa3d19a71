//! The hit path, client to edge to node and back, beside a bare tonic echo over the same two hops.

use anyhow::{Context, bail};
use futures::future::{BoxFuture, try_join_all};
use herd_wire::v1::echo_client::EchoClient;
use herd_wire::v1::edge_client::EdgeClient;
use herd_wire::v1::{EchoRequest, GetRequest};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tonic::transport::{Channel, Endpoint};

/// Requests in flight: enough to keep both hops busy, few enough that nothing queues for long.
const IN_FLIGHT: usize = 32;
/// Connections that they share.
const CONNECTIONS: usize = 2;
/// How long one timed round lasts.
const ROUND: Duration = Duration::from_secs(2);
/// Rounds of each side, in turn.
const ROUNDS: usize = 5;
/// The same where the two sides differ by a few per cent.
const COMPARED: usize = 9;

/// Requests per second of both sides, and the median of the ratios round by round.
#[derive(Clone, Copy, Debug)]
pub(super) struct HitPath {
    pub(super) ours_per_s: f64,
    pub(super) echo_per_s: f64,
    pub(super) ratio: f64,
}

/// Measures a warm key through the edge at `edge` beside two echo processes of our own.
///
/// # Errors
/// Either side fails a request, or an echo process does not start.
pub(super) async fn measure(edge: &str, key: &str) -> anyhow::Result<HitPath> {
    let back = EchoHop::start(None).await?;
    let front = EchoHop::start(Some(&back.address)).await?;
    let ours = Calls::ours(edge, key)?;
    let echo = Calls::echo(&front.address)?;
    ours.per_second(ROUND / 2).await.context("warming the edge")?;
    echo.per_second(ROUND / 2).await.context("warming the echo")?;
    let (mut ours_all, mut echo_all, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (a, b) = (ours.per_second(ROUND).await?, echo.per_second(ROUND).await?);
        ours_all.push(a);
        echo_all.push(b);
        ratios.push(a / b);
    }
    Ok(HitPath {
        ours_per_s: super::median(&mut ours_all),
        echo_per_s: super::median(&mut echo_all),
        ratio: super::median(&mut ratios),
    })
}

/// One of the two echo processes; killed when dropped, and it ends by itself should this program die.
struct EchoHop {
    address: String,
    _process: Child,
}

impl EchoHop {
    async fn start(upstream: Option<&str>) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("echo-hop").args(upstream.map(|to| format!("--upstream={to}")));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().context("starting an echo process")?;
        let stdout = process.stdout.take().context("an echo process has a standard output")?;
        let mut line = String::new();
        tokio::time::timeout(Duration::from_secs(10), BufReader::new(stdout).read_line(&mut line))
            .await
            .context("an echo process said no address within 10 s")??;
        if line.trim().is_empty() {
            bail!("an echo process ended before it said its address");
        }
        Ok(Self { address: format!("http://{}", line.trim()), _process: process })
    }
}

/// Requests per second of a warm key through two edges in turn, and the median of the ratios round by round.
///
/// # Errors
/// A request failed.
pub(super) async fn compare(one: &str, other: &str, key: &str) -> anyhow::Result<(f64, f64, f64)> {
    let (one, other) = (Calls::ours(one, key)?, Calls::ours(other, key)?);
    one.per_second(ROUND / 2).await.context("warming an edge")?;
    other.per_second(ROUND / 2).await.context("warming the other edge")?;
    let (mut of_one, mut of_other, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..COMPARED {
        // Whoever goes first has no advantage twice in a row.
        let (a, b) = if round % 2 == 0 {
            let a = one.per_second(ROUND).await?;
            (a, other.per_second(ROUND).await?)
        } else {
            let b = other.per_second(ROUND).await?;
            (one.per_second(ROUND).await?, b)
        };
        of_one.push(a);
        of_other.push(b);
        ratios.push(a / b);
    }
    Ok((super::median(&mut of_one), super::median(&mut of_other), super::median(&mut ratios)))
}

type Call = Box<dyn Fn() -> BoxFuture<'static, Result<(), tonic::Status>> + Send + Sync>;

/// One way of asking, over a few connections.
struct Calls(Vec<Call>);

impl Calls {
    fn ours(edge: &str, key: &str) -> anyhow::Result<Self> {
        Self::over(edge, |channel| {
            let (client, key) = (EdgeClient::new(channel), key.to_owned());
            Box::new(move || {
                let (mut client, request) = (client.clone(), GetRequest { key: key.clone() });
                Box::pin(async move { client.get(request).await.map(drop) })
            })
        })
    }

    fn echo(front: &str) -> anyhow::Result<Self> {
        Self::over(front, |channel| {
            let client = EchoClient::new(channel);
            Box::new(move || {
                let mut client = client.clone();
                Box::pin(async move { client.echo(EchoRequest { key: "item-1".into() }).await.map(drop) })
            })
        })
    }

    fn over(to: &str, call: impl Fn(Channel) -> Call) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(to.to_owned())?.tcp_nodelay(true);
        Ok(Self((0..CONNECTIONS).map(|_| call(endpoint.connect_lazy())).collect()))
    }

    /// Keeps [`IN_FLIGHT`] requests going for that long.
    async fn per_second(&self, long: Duration) -> anyhow::Result<f64> {
        let started = Instant::now();
        let workers = (0..IN_FLIGHT).map(|worker| async move {
            let call = &self.0[worker % CONNECTIONS];
            let mut done = 0_u64;
            while started.elapsed() < long {
                call().await?;
                done += 1;
            }
            Ok::<_, tonic::Status>(done)
        });
        let done: u64 = try_join_all(workers).await?.into_iter().sum();
        #[expect(clippy::cast_precision_loss, reason = "a few hundred thousand at most")]
        let per_second = done as f64 / started.elapsed().as_secs_f64();
        Ok(per_second)
    }
}
