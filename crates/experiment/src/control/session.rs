//! One session: a member's reports in, news out, until either side goes.

use super::{
    MemberView, Shared,
    news::{Heard, Latest, news_for},
};
use futures::Stream;
use herd_wire::{
    error::{ErrorSource, status},
    v1::{ControlUpdate, MemberReport, Role, control_server::Control},
};
use std::{pin::Pin, sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming};

/// A session that has not introduced its member by then is closed.
const INTRODUCTION_LIMIT: Duration = Duration::from_secs(5);
/// The longest name or address that a member may report, bytes.
const TEXT_BYTES_MAX: usize = 256;
/// Updates that may wait in a session. News are merged before they get here, so this stays small.
const UPDATES_QUEUED_MAX: usize = 2;

pub(super) struct Sessions {
    shared: Arc<Shared>,
    stop: CancellationToken,
}

impl Sessions {
    pub(super) const fn new(shared: Arc<Shared>, stop: CancellationToken) -> Self {
        Self { shared, stop }
    }
}

#[tonic::async_trait]
impl Control for Sessions {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<ControlUpdate, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<MemberReport>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (updates, stream) = mpsc::channel(UPDATES_QUEUED_MAX);
        let (shared, stop) = (Arc::clone(&self.shared), self.stop.clone());
        // The answer's headers go out at once: a client may wait for them before it sends its introduction.
        tokio::spawn(async move {
            let outcome = tokio::select! {
                () = stop.cancelled() => Ok(()),
                outcome = attend(&shared, request.into_inner(), &updates) => outcome,
            };
            if let Err(refusal) = outcome {
                let _ = updates.try_send(Err(refusal));
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

async fn attend(
    shared: &Shared,
    mut reports: Streaming<MemberReport>,
    updates: &mpsc::Sender<Result<ControlUpdate, Status>>,
) -> Result<(), Status> {
    let bad = |message: &str| status(Code::InvalidArgument, ErrorSource::Client, message);
    let first = tokio::time::timeout(INTRODUCTION_LIMIT, reports.message())
        .await
        .map_err(|_| status(Code::DeadlineExceeded, ErrorSource::Client, "no introduction in time"))??
        .ok_or_else(|| bad("the session ended before its introduction"))?;
    let member = introduced(first).map_err(bad)?;
    let (role, instance) = (member.role, member.instance.clone());
    // Subscribed before joining, so that nothing published in between is missed.
    let latest = shared.latest.subscribe();
    let Some(session) = shared.join(member) else {
        return Err(status(
            Code::ResourceExhausted,
            ErrorSource::Peer,
            "the fleet has no room for another member",
        ));
    };
    tracing::debug!(?role, instance, "joined");
    let _leaving = Leaving { shared, role, instance: &instance, session };
    tokio::select! {
        () = acknowledge(shared, role, &instance, session, &mut reports) => {}
        () = tell(role, latest, updates) => {}
        () = updates.closed() => {}
    }
    Ok(())
}

/// Leaves the fleet however the session ends.
struct Leaving<'a> {
    shared: &'a Shared,
    role: Role,
    instance: &'a str,
    session: u64,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        tracing::debug!(role = ?self.role, instance = self.instance, "left");
        self.shared.leave(self.role, self.instance, self.session);
    }
}

async fn acknowledge(
    shared: &Shared,
    role: Role,
    instance: &str,
    session: u64,
    reports: &mut Streaming<MemberReport>,
) {
    while let Ok(Some(report)) = reports.message().await {
        shared.acknowledge(role, instance, session, &report);
    }
}

/// Passes on what is new; several changes while the member was slow become one update.
async fn tell(
    role: Role,
    mut latest: watch::Receiver<Latest>,
    updates: &mpsc::Sender<Result<ControlUpdate, Status>>,
) {
    let mut heard = Heard::default();
    loop {
        let current = latest.borrow_and_update().clone();
        if let Some(update) = news_for(role, &current, &mut heard)
            && updates.send(Ok(update)).await.is_err()
        {
            return;
        }
        if latest.changed().await.is_err() {
            return;
        }
    }
}

fn introduced(report: MemberReport) -> Result<MemberView, &'static str> {
    let role = report.role();
    if role == Role::Unspecified {
        return Err("a member must say its role");
    }
    if report.instance.is_empty() || report.address.is_empty() {
        return Err("a member must say its instance and its address");
    }
    let texts = [&report.instance, &report.address, &report.admin_address];
    if texts.iter().any(|text| text.len() > TEXT_BYTES_MAX) {
        return Err("a name or address is longer than 256 bytes");
    }
    Ok(MemberView {
        role,
        instance: report.instance,
        address: report.address,
        admin_address: report.admin_address,
        pid: report.pid,
        config_version: report.config_version,
        members_version: report.members_version,
        links_version: report.links_version,
        links_hit: report.links_hit,
        session: 0,
    })
}
