//! The gRPC service over a real Redis, from a client's side.

use super::{RedisProcess, Shared, counters};
use crate::conformance::{RedisUnderTest as _, patient_locks_over, soon};
use crate::grpc::LockGrpc;
use crate::locks::Locks;
use crate::metrics::LockMetrics;
use crate::redis_store::RedisStore;
use crate::settings::ROLE;
use herd_lease::arbiter::Settings;
use herd_service::kit::{Service, ServiceArgs};
use herd_service::rpc;
use herd_wire::error::{ErrorSource, is_retryable};
use herd_wire::v1::acquire_response::Outcome;
use herd_wire::v1::lock_admin_client::LockAdminClient;
use herd_wire::v1::lock_service_client::LockServiceClient;
use herd_wire::v1::{AcquireRequest, HolderEnd, InspectRequest, LockClock, ReleaseRequest, RenewRequest};
use tonic::Code;
use tonic::transport::Channel;

async fn serve(redis: &RedisProcess) -> (LockServiceClient<Channel>, Locks<RedisStore, Shared>) {
    let (channel, locks) = serve_both(redis).await;
    (LockServiceClient::new(channel), locks)
}

async fn serve_both(redis: &RedisProcess) -> (Channel, Locks<RedisStore, Shared>) {
    let locks = patient_locks_over(redis, counters(), Settings::default());
    let mut service = Service::start(ROLE, &ServiceArgs::ephemeral("lock")).await.unwrap();
    let metrics = LockMetrics::register(service.metrics());
    let grpc = LockGrpc::new(locks.clone(), metrics);
    service.add(grpc.admin()).add(grpc.into_service());
    let channel = rpc::channel(&format!("http://{}", service.grpc_address())).unwrap();
    tokio::spawn(service.serve());
    (channel, locks)
}

fn wanted(name: &str, owner: &str, wait_ms: u32) -> AcquireRequest {
    AcquireRequest {
        name: name.to_owned(),
        owner: owner.to_owned(),
        expiry_ms: 60_000,
        wait_ms,
        volatile_token: false,
    }
}

/// A lease's whole life over the wire: grant, renewal by its owner only, a waiter that is told to read, inspection.
#[tokio::test]
async fn a_lease_over_the_wire() {
    let redis = RedisProcess::start().await;
    let (client, locks) = serve(&redis).await;
    let mut leader = client.clone();
    let granted = leader.acquire(wanted("k", "leader", 0)).await.unwrap().into_inner();
    let Some(Outcome::Granted(grant)) = granted.outcome else { panic!("{granted:?}") };
    let renew =
        |owner: &str, token| RenewRequest { name: "k".into(), owner: owner.into(), token, expiry_ms: 90_000 };
    assert!(leader.renew(renew("leader", grant.token)).await.unwrap().into_inner().held);
    assert!(!leader.renew(renew("stranger", grant.token)).await.unwrap().into_inner().held);
    let mut waiter = client.clone();
    let waiting = tokio::spawn(async move { waiter.acquire(wanted("k", "waiter", 30_000)).await });
    let inspect = || InspectRequest { name: "k".into() };
    let seen = async {
        loop {
            let seen = leader.inspect(inspect()).await.unwrap().into_inner();
            if seen.waiters == 1 {
                break seen;
            }
        }
    };
    let seen = soon("the waiter waits", seen).await;
    assert_eq!(
        (seen.held, seen.owner.as_str(), seen.token, seen.epoch),
        (true, "leader", grant.token, grant.epoch)
    );
    assert!(seen.expires_in_ms > 60_000, "renewed: {seen:?}");
    let release = ReleaseRequest {
        name: "k".into(),
        owner: "leader".into(),
        end: HolderEnd::ValueWritten.into(),
        ..Default::default()
    };
    assert!(leader.release(release.clone()).await.unwrap().into_inner().released);
    let told = soon("the waiter is told", waiting).await.unwrap().unwrap().into_inner();
    assert!(matches!(told.outcome, Some(Outcome::HolderDone(_))), "{told:?}");
    assert!(!leader.release(release).await.unwrap().into_inner().released);
    assert!(!leader.inspect(inspect()).await.unwrap().into_inner().held);
    locks.stop();
}

/// A clock that runs ten times too fast ends granted and renewed leases that much earlier, and the service says so; set
/// right, it counts for the next renewal.
#[tokio::test]
async fn a_skewed_clock() {
    let redis = RedisProcess::start().await;
    let (channel, locks) = serve_both(&redis).await;
    let (mut client, mut admin) = (LockServiceClient::new(channel.clone()), LockAdminClient::new(channel));
    assert!((admin.set_clock(LockClock { rate: 10.0 }).await.unwrap().into_inner().rate - 10.0).abs() < 1e-9);
    let bad = admin.set_clock(LockClock { rate: 0.0 }).await.unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument);
    let granted = client.acquire(wanted("k", "leader", 0)).await.unwrap().into_inner();
    let Some(Outcome::Granted(grant)) = granted.outcome else { panic!("{granted:?}") };
    assert!(grant.expiry_ms <= 6_000, "{grant:?}");
    let inspect = || InspectRequest { name: "k".into() };
    let renew =
        RenewRequest { name: "k".into(), owner: "leader".into(), token: grant.token, expiry_ms: 90_000 };
    assert!(client.renew(renew.clone()).await.unwrap().into_inner().held);
    let left_ms = client.inspect(inspect()).await.unwrap().into_inner().expires_in_ms;
    assert!(left_ms <= 9_000, "{left_ms}");
    admin.set_clock(LockClock { rate: 1.0 }).await.unwrap();
    assert!(client.renew(renew).await.unwrap().into_inner().held);
    let left_ms = client.inspect(inspect()).await.unwrap().into_inner().expires_in_ms;
    assert!(left_ms > 9_000, "{left_ms}");
    locks.stop();
}

/// A holder's failure crosses the wire as it was told, its message cut to its limit.
#[tokio::test]
async fn a_failure_over_the_wire() {
    let redis = RedisProcess::start().await;
    let (mut client, locks) = serve(&redis).await;
    for (end, retryable, said, heard, generation) in [
        (HolderEnd::NoSuchRow, false, String::new(), 0, 7),
        (HolderEnd::NoSuchRow, false, String::new(), 0, 0),
        (HolderEnd::Failed, true, "x".repeat(1_000), 256, 0),
    ] {
        client.acquire(wanted("k", "leader", 0)).await.unwrap();
        let mut waiter = client.clone();
        let waiting = tokio::spawn(async move { waiter.acquire(wanted("k", "waiter", 30_000)).await });
        let one_waits = async {
            while locks.inspect("k").await.unwrap().waiters != 1 {
                tokio::task::yield_now().await;
            }
        };
        soon("one waits", one_waits).await;
        let (name, owner) = ("k".to_owned(), "leader".to_owned());
        let release = ReleaseRequest {
            name,
            owner,
            end: end.into(),
            retryable,
            message: said,
            unconditional: false,
            generation,
        };
        assert!(client.release(release).await.unwrap().into_inner().released);
        let told = soon("the waiter is told", waiting).await.unwrap().unwrap().into_inner();
        let Some(Outcome::HolderFailed(told)) = told.outcome else { panic!("{told:?}") };
        assert_eq!((told.end(), told.retryable, told.message.len()), (end, retryable, heard));
        assert_eq!(told.generation, generation);
    }
    locks.stop();
}

/// The known-bad flags do what they say over the wire, and a request without them gets what it always got.
#[tokio::test]
async fn known_bad_only_on_request() {
    let redis = RedisProcess::start().await;
    let (mut client, locks) = serve(&redis).await;
    let mut token_of = async |request: AcquireRequest| {
        let answer = client.acquire(request).await.unwrap().into_inner();
        let Some(Outcome::Granted(grant)) = answer.outcome else { panic!("{answer:?}") };
        grant.token
    };
    let volatile = |name| AcquireRequest { volatile_token: true, ..wanted(name, "bad", 0) };
    let before = token_of(wanted("sound-1", "good", 0)).await;
    assert_eq!((token_of(volatile("bad-1")).await, token_of(volatile("bad-2")).await), (1, 2));
    redis.restart_empty().await;
    locks.prepare().await;
    assert_eq!(token_of(volatile("bad-1")).await, 1, "handed out before");
    assert!(token_of(wanted("sound-1", "good", 0)).await > before);

    let release = ReleaseRequest { name: "sound-1".into(), owner: "stranger".into(), ..Default::default() };
    assert!(!client.release(release.clone()).await.unwrap().into_inner().released);
    let bad = ReleaseRequest { unconditional: true, ..release };
    assert!(client.release(bad).await.unwrap().into_inner().released);
    assert!(!client.inspect(InspectRequest { name: "sound-1".into() }).await.unwrap().into_inner().held);
    locks.stop();
}

/// Errors say whose fault they are: the caller's with the limit named, or the lock's.
#[tokio::test]
async fn errors_name_their_source() {
    let redis = RedisProcess::start().await;
    let (mut client, locks) = serve(&redis).await;
    let long = "n".repeat(257);
    for (request, limit) in [
        (wanted(&long, "o", 0), "1 to 256"),
        (wanted("n", "", 0), "1 to 128"),
        (wanted("n", "o", 60_001), "60000"),
        (AcquireRequest { expiry_ms: 0, ..wanted("n", "o", 0) }, "600000"),
    ] {
        let error = client.acquire(request).await.unwrap_err();
        assert_eq!(
            (error.code(), ErrorSource::of(&error)),
            (Code::InvalidArgument, Some(ErrorSource::Client))
        );
        assert!(error.message().contains(limit), "{error:?}");
    }
    redis.stop().await;
    let error = client.acquire(wanted("n", "o", 5_000)).await.unwrap_err();
    assert_eq!((error.code(), ErrorSource::of(&error)), (Code::Unavailable, Some(ErrorSource::Lock)));
    assert!(is_retryable(&error));
    locks.stop();
}

/// A client whose deadline passes, or that goes away, gives up its place, and nothing is granted to it.
#[tokio::test]
async fn a_client_that_hangs_up_gives_up_its_place() {
    let redis = RedisProcess::start().await;
    let (mut client, locks) = serve(&redis).await;
    client.acquire(wanted("k", "leader", 0)).await.unwrap();
    let mut request = tonic::Request::new(wanted("k", "impatient", 60_000));
    request.set_timeout(std::time::Duration::from_millis(100));
    assert!(client.acquire(request).await.is_err());
    let mut gone = client.clone();
    let waiting = tokio::spawn(async move { gone.acquire(wanted("k", "gone", 60_000)).await });
    let one_waits = async {
        while locks.inspect("k").await.unwrap().waiters != 1 {
            tokio::task::yield_now().await;
        }
    };
    soon("one waits", one_waits).await;
    waiting.abort();
    soon("nobody waits any more", locks.idle()).await;
    let release = ReleaseRequest {
        name: "k".into(),
        owner: "leader".into(),
        end: HolderEnd::Abandoned.into(),
        ..Default::default()
    };
    assert!(client.release(release).await.unwrap().into_inner().released);
    soon("nothing is under way", locks.idle()).await;
    assert_eq!(locks.inspect("k").await.unwrap().lease, None);
    locks.stop();
}

/// A service that stops tells its waiters at once, so that they can turn elsewhere.
#[tokio::test]
async fn a_drain_answers_waiters() {
    let redis = RedisProcess::start().await;
    let (mut client, locks) = serve(&redis).await;
    client.acquire(wanted("k", "leader", 0)).await.unwrap();
    let mut other = client.clone();
    let waiting = tokio::spawn(async move { other.acquire(wanted("k", "waiter", 60_000)).await });
    let one_waits = async {
        while locks.inspect("k").await.unwrap().waiters != 1 {
            tokio::task::yield_now().await;
        }
    };
    soon("one waits", one_waits).await;
    soon("the drain ends", locks.drain()).await;
    let error = soon("the waiter is told", waiting).await.unwrap().unwrap_err();
    assert_eq!((error.code(), ErrorSource::of(&error)), (Code::Unavailable, Some(ErrorSource::Lock)));
    assert_eq!(client.acquire(wanted("k", "late", 0)).await.unwrap_err().code(), Code::Unavailable);
    locks.stop();
}
