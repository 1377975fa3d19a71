//! The lock service as the laboratory asks it: who holds a lease, and by which clock leases end.

use herd_wire::v1::{
    InspectRequest, InspectResponse, LockClock, lock_admin_client::LockAdminClient,
    lock_service_client::LockServiceClient,
};
use std::time::Duration;
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint},
};

const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// Deadline of each call: who watches a lease wants to look again soon.
const CALL_LIMIT: Duration = Duration::from_secs(1);

/// A connection to the lock service. Connects when first used; cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct LockLab {
    leases: LockServiceClient<Channel>,
    admin: LockAdminClient<Channel>,
}

/// Who holds a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// The instance of the node: the owner's name up to its first slash.
    pub(crate) node: String,
    pub(crate) token: u64,
    /// What is left of the lease.
    pub(crate) expires_in: Duration,
}

impl LockLab {
    /// Prepares a connection to `http://host:port`.
    ///
    /// # Errors
    /// It is not an address.
    pub(crate) fn new(lock: &str) -> Result<Self, String> {
        let endpoint = Endpoint::from_shared(lock.to_owned())
            .map_err(|error| format!("{lock} is not an address of a lock service: {error}"))?;
        let channel = endpoint.connect_timeout(CONNECT_LIMIT).tcp_nodelay(true).connect_lazy();
        Ok(Self { leases: LockServiceClient::new(channel.clone()), admin: LockAdminClient::new(channel) })
    }

    /// Who holds the lease of this name now.
    ///
    /// # Errors
    /// The service does not answer.
    pub(crate) async fn holder(&self, name: &str) -> Result<Option<Holder>, String> {
        let mut leases = self.leases.clone();
        let found = within(leases.inspect(Request::new(InspectRequest { name: name.to_owned() }))).await?;
        let InspectResponse { held, owner, token, expires_in_ms, .. } = found;
        let node = owner.split('/').next().unwrap_or_default().to_owned();
        let expires_in = Duration::from_millis(expires_in_ms.into());
        Ok(held.then_some(Holder { node, token, expires_in }))
    }

    /// Lets leases end at this rate; the rate that the service says is in force.
    ///
    /// # Errors
    /// The service refuses or does not answer.
    pub(crate) async fn set_clock(&self, rate: f64) -> Result<f64, String> {
        let mut admin = self.admin.clone();
        Ok(within(admin.set_clock(Request::new(LockClock { rate }))).await?.rate)
    }
}

async fn within<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, String> {
    match tokio::time::timeout(CALL_LIMIT, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(format!("the lock service says {} ({:?})", status.message(), status.code())),
        Err(_) => Err(format!("the lock service does not answer within {CALL_LIMIT:?}")),
    }
}
