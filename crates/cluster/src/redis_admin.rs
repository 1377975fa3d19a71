//! What a lab asks of a Redis that it hurts: a handful of administrative commands, each over a connection of its own and
//! each over within a second.
//!
//! Inline commands and four kinds of replies are all that these need, so this is no general client.

use herd_experiment::testbed::{RedisInfo, TestbedError};
use std::{io, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

/// Longest time for one command, connecting included.
const COMMAND_MAX: Duration = Duration::from_secs(1);
/// Largest reply that is read, bytes; `INFO` has a few thousand.
const REPLY_MAX: usize = 64 * 1024;
/// The lab's own key: its presence tells kept data from lost data.
const MARK: &str = "herd.lab.mark";
/// Between two looks at something that is awaited.
const LOOK: Duration = Duration::from_millis(5);

/// What Redis answered, errors apart.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reply {
    /// `+OK` and the like.
    Simple(String),
    /// A number.
    Integer(i64),
    /// A text; `None` for none.
    Bulk(Option<String>),
}

/// Asks one command of the Redis at `at` (`host:port`).
async fn ask(at: &str, command: &str) -> Result<Reply, TestbedError> {
    let doing = || format!("asking Redis at {at} for {command}");
    let exchange = async {
        let mut stream = TcpStream::connect(at).await?;
        stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        read(&mut BufReader::new(stream.take(REPLY_MAX as u64))).await
    };
    match timeout(COMMAND_MAX, exchange).await {
        Ok(Ok(Ok(reply))) => Ok(reply),
        Ok(Ok(Err(refusal))) => Err(TestbedError::Other { doing: doing(), why: refusal }),
        Ok(Err(source)) => Err(TestbedError::Io { doing: doing(), source }),
        Err(_) => {
            Err(TestbedError::Other { doing: doing(), why: "it does not answer within a second".to_owned() })
        }
    }
}

/// Reads one reply; the inner error is Redis's own refusal.
async fn read(reader: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Result<Reply, String>> {
    let mut line = String::new();
    reader.read_line(&mut line).await?;
    let odd = || io::Error::new(io::ErrorKind::InvalidData, format!("an odd reply: {line:?}"));
    let text = line.strip_suffix("\r\n").ok_or_else(odd)?;
    let (kind, rest) = text.split_at_checked(1).ok_or_else(odd)?;
    match kind {
        "+" => Ok(Ok(Reply::Simple(rest.to_owned()))),
        "-" => Ok(Err(rest.to_owned())),
        ":" => rest.parse().map(|number| Ok(Reply::Integer(number))).map_err(|_| odd()),
        "$" if rest == "-1" => Ok(Ok(Reply::Bulk(None))),
        "$" => {
            let length: usize = rest.parse().ok().filter(|length| *length < REPLY_MAX).ok_or_else(odd)?;
            let mut bytes = vec![0; length + 2];
            reader.read_exact(&mut bytes).await?;
            bytes.truncate(length);
            Ok(Ok(Reply::Bulk(Some(String::from_utf8_lossy(&bytes).into_owned()))))
        }
        _ => Err(odd()),
    }
}

/// For commands whose answer says nothing beyond that it was done.
async fn tell(at: &str, command: &str) -> Result<(), TestbedError> {
    ask(at, command).await.map(drop)
}

/// The text of `INFO`, every default section.
async fn info_text(at: &str) -> Result<String, TestbedError> {
    match ask(at, "INFO").await? {
        Reply::Bulk(Some(text)) => Ok(text),
        other => Err(TestbedError::Other {
            doing: format!("asking Redis at {at} for INFO"),
            why: format!("an odd reply: {other:?}"),
        }),
    }
}

/// The value of a line `name:value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

fn number(text: &str, name: &str) -> u64 {
    field(text, name).and_then(|value| value.trim().parse().ok()).unwrap_or_default()
}

fn parse_info(text: &str) -> RedisInfo {
    // `db0:keys=3,expires=1,avg_ttl=0`, one line for each database that holds anything.
    let keys = text.lines().filter_map(|line| {
        let (name, counts) = line.split_once(":keys=")?;
        name.starts_with("db").then_some(())?;
        counts.split(',').next()?.trim().parse::<u64>().ok()
    });
    RedisInfo {
        keys: keys.sum(),
        mark: None,
        evicted: number(text, "evicted_keys"),
        pid: u32::try_from(number(text, "process_id")).unwrap_or_default(),
        uptime_s: number(text, "uptime_in_seconds"),
    }
}

/// What it says of itself, once it has loaded what it has on disk: until then it serves nobody, and counts a part of its keys.
pub(crate) async fn info(at: &str) -> Result<RedisInfo, TestbedError> {
    let text = info_text(at).await?;
    if number(&text, "loading") != 0 {
        let doing = format!("asking Redis at {at} for INFO");
        return Err(TestbedError::Other { doing, why: "it still loads its data".to_owned() });
    }
    let info = parse_info(&text);
    let mark = marked(at).await?;
    // The lab's own key is nobody else's.
    Ok(RedisInfo { keys: info.keys.saturating_sub(mark.is_some().into()), mark, ..info })
}

/// The lab's mark that it holds.
async fn marked(at: &str) -> Result<Option<u64>, TestbedError> {
    match ask(at, &format!("GET {MARK}")).await? {
        Reply::Bulk(text) => Ok(text.and_then(|text| text.parse().ok())),
        other => Err(TestbedError::Other {
            doing: format!("asking Redis at {at} for {MARK}"),
            why: format!("an odd reply: {other:?}"),
        }),
    }
}

/// Writes the lab's mark.
pub(crate) async fn mark(at: &str, mark: u64) -> Result<(), TestbedError> {
    tell(at, &format!("SET {MARK} {mark}")).await
}

/// Waits until it answers; `false` if it does not before the deadline.
pub(crate) async fn answers(at: &str, deadline: Instant) -> bool {
    while !matches!(ask(at, "PING").await, Ok(Reply::Simple(word)) if word == "PONG") {
        if !look_again(deadline).await {
            return false;
        }
    }
    true
}

/// Forgets everything.
pub(crate) async fn flush(at: &str) -> Result<(), TestbedError> {
    tell(at, "FLUSHALL").await
}

/// Allows `room` bytes more than are used now, and evicts any key for another.
pub(crate) async fn limit(at: &str, room: u64) -> Result<(), TestbedError> {
    let text = info_text(at).await?;
    // Redis itself leaves the buffers of its log and its replicas out when it compares with the limit.
    let used = number(&text, "used_memory").saturating_sub(number(&text, "mem_not_counted_for_evict"));
    tell(at, "CONFIG SET maxmemory-policy allkeys-lru").await?;
    // A limit of 0 would be none.
    tell(at, &format!("CONFIG SET maxmemory {}", used.saturating_add(room).max(1))).await
}

/// Back to `maxmemory` (as in `256mb`) without eviction.
pub(crate) async fn unlimit(at: &str, maxmemory: &str) -> Result<(), TestbedError> {
    tell(at, &format!("CONFIG SET maxmemory {maxmemory}")).await?;
    tell(at, "CONFIG SET maxmemory-policy noeviction").await
}

/// Makes it follow the Redis at `host` and `port`, as seen from where it runs.
pub(crate) async fn follow(at: &str, host: &str, port: u16) -> Result<(), TestbedError> {
    tell(at, &format!("REPLICAOF {host} {port}")).await
}

/// It follows nobody any more, and keeps what it has.
pub(crate) async fn unfollow(at: &str) -> Result<(), TestbedError> {
    tell(at, "REPLICAOF NO ONE").await
}

/// Waits until the replica at `at` holds all that its primary holds now, then cuts the link. Nothing to do if it follows
/// nobody.
pub(crate) async fn detach(at: &str, primary: &str, deadline: Instant) -> Result<(), TestbedError> {
    if field(&info_text(at).await?, "role") == Some("master") {
        return Ok(());
    }
    let wanted = number(&info_text(primary).await?, "master_repl_offset");
    // What was sent is not yet what has arrived.
    while !(in_step(at, deadline).await && number(&info_text(at).await?, "slave_repl_offset") >= wanted) {
        if !look_again(deadline).await {
            return Err(TestbedError::Other {
                doing: "detaching the replica of Redis".to_owned(),
                why: "it has not yet what the primary has".to_owned(),
            });
        }
    }
    unfollow(at).await
}

/// Waits until a replica has had all of its primary's data, and its file has it too; `false` if not before the deadline.
pub(crate) async fn in_step(at: &str, deadline: Instant) -> bool {
    while !info_text(at).await.is_ok_and(|text| is_in_step(&text)) {
        if !look_again(deadline).await {
            return false;
        }
    }
    true
}

/// A replica that was sent everything begins its append-only file anew, and a kill before that is done leaves it the old one.
fn is_in_step(info: &str) -> bool {
    let is_written =
        ["aof_rewrite_in_progress", "aof_rewrite_scheduled"].iter().all(|name| number(info, name) == 0);
    field(info, "master_link_status") == Some("up") && is_written
}

/// Listens on another port from now on, and no longer on the one it had. Redis 7 can.
pub(crate) async fn move_to(at: &str, port: u16) -> Result<(), TestbedError> {
    tell(at, &format!("CONFIG SET port {port}")).await
}

/// Waits a little; `false` if that would be past the deadline.
async fn look_again(deadline: Instant) -> bool {
    let in_time = Instant::now() + LOOK < deadline;
    if in_time {
        sleep(LOOK).await;
    }
    in_time
}

#[cfg(test)]
mod real;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn replied(text: &str) -> io::Result<Result<Reply, String>> {
        read(&mut text.as_bytes()).await
    }

    /// Goal: each kind of reply is understood, and a refusal is told from an answer.
    #[tokio::test]
    async fn reads_replies() {
        let ok = |reply| Some(Ok(reply));
        assert_eq!(replied("+PONG\r\n").await.ok(), ok(Reply::Simple("PONG".to_owned())));
        assert_eq!(replied(":-7\r\n").await.ok(), ok(Reply::Integer(-7)));
        assert_eq!(replied("$5\r\na\r\nbc\r\n").await.ok(), ok(Reply::Bulk(Some("a\r\nbc".to_owned()))));
        assert_eq!(replied("$-1\r\n").await.ok(), ok(Reply::Bulk(None)));
        assert_eq!(replied("-ERR no\r\n").await.ok(), Some(Err("ERR no".to_owned())));
    }

    /// Goal: what is cut short, endless or no reply at all is an error.
    #[tokio::test]
    async fn refuses_what_is_no_reply() {
        for text in [
            "",
            "+PONG",
            "\r\n",
            "$9\r\nabc\r\n",
            "$99999999\r\n",
            ":x\r\n",
            "*1\r\n+a\r\n",
            "HTTP/1.1 400\r\n",
        ] {
            assert!(replied(text).await.is_err(), "{text:?}");
        }
    }

    /// Goal: keys are counted over all databases, and nothing is read where there is nothing.
    #[test]
    fn reads_info() {
        let text = "# Server\r\nprocess_id:41\r\nuptime_in_seconds:7\r\nevicted_keys:3\r\n# Keyspace\r\n\
                    db0:keys=2,expires=1,avg_ttl=0\r\ndb3:keys=5,expires=0,avg_ttl=0\r\n";
        assert_eq!(parse_info(text), RedisInfo { keys: 7, mark: None, evicted: 3, pid: 41, uptime_s: 7 });
        assert_eq!(parse_info(""), RedisInfo::default());
    }

    /// Goal: a Redis that loads its data is not taken for one that has lost it.
    #[tokio::test]
    async fn waits_for_data_that_is_loaded() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let at = listener.local_addr().expect("an address").to_string();
        let serve = async {
            for text in ["loading:1\r\n", "loading:0\r\ndb0:keys=3,expires=0\r\n", "41"] {
                let (mut stream, _) = listener.accept().await.expect("somebody asks");
                let reply = format!("${}\r\n{text}\r\n", text.len());
                stream.write_all(reply.as_bytes()).await.expect("answered");
                stream.shutdown().await.expect("ended");
            }
        };
        let ask = async { (info(&at).await, info(&at).await) };
        let ((), (loads, loaded)) = tokio::join!(serve, ask);
        assert!(loads.expect_err("it loads").to_string().contains("still loads"));
        let loaded = loaded.expect("it has loaded");
        assert_eq!((loaded.keys, loaded.mark), (2, Some(41)), "the mark is not one of its keys");
    }

    /// Goal: somebody who accepts and then hangs, as a paused Redis does, is given up and said so.
    #[tokio::test]
    async fn gives_up_on_one_that_hangs() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let at = listener.local_addr().expect("an address").to_string();
        let error = info(&at).await.expect_err("nobody answers");
        assert!(error.to_string().contains("within a second"), "{error}");
    }
}
