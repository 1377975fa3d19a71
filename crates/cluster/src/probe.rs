//! Asks a process over plain HTTP whether it is ready: what a health check inside an empty image runs, since such an
//! image has no curl.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};

/// Why something is not ready.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The address is not of the form `http://host:port/path`.
    #[error("{0} is not of the form http://host:port/path")]
    Address(String),
    /// It could not be asked.
    #[error("{url} does not answer")]
    Unreachable {
        /// who was asked
        url: String,
        /// the system's words
        #[source]
        source: std::io::Error,
    },
    /// It answered, with something other than 200.
    #[error("{url} answered {status}")]
    NotReady {
        /// who was asked
        url: String,
        /// the first line of the answer
        status: String,
    },
}

/// Succeeds when a GET of `url` (`http://host:port/path`, no TLS) is answered with status 200 within `limit`.
///
/// Blocks the calling thread for at most about `limit`.
///
/// # Errors
/// The address is malformed, nobody answers in time, or the answer is not 200.
pub fn probe(url: &str, limit: Duration) -> Result<(), ProbeError> {
    let deadline = Instant::now() + limit;
    let (host, path) = split(url).ok_or_else(|| ProbeError::Address(url.to_owned()))?;
    let unreachable = |source| ProbeError::Unreachable { url: url.to_owned(), source };
    let addresses: Vec<SocketAddr> = host.to_socket_addrs().map_err(unreachable)?.take(4).collect();
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match ask(address, host, path, deadline) {
            Ok(status) if status.split(' ').nth(1) == Some("200") => return Ok(()),
            Ok(status) => return Err(ProbeError::NotReady { url: url.to_owned(), status }),
            Err(error) => last = error,
        }
    }
    Err(unreachable(last))
}

/// `host:port` and `/path`.
fn split(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("http://")?;
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let (name, port) = host.rsplit_once(':')?;
    (!name.is_empty() && port.parse::<u16>().is_ok() && !path.contains(char::is_whitespace))
        .then_some((host, path))
}

/// The first line of the answer.
fn ask(address: SocketAddr, host: &str, path: &str, deadline: Instant) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, left(deadline)?)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut chunk = [0; 256];
    while !answer.contains(&b'\n') && answer.len() < 1024 {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        answer.extend_from_slice(&chunk[..read]);
    }
    let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(String::from_utf8_lossy(line).trim().to_owned())
}

fn left(deadline: Instant) -> std::io::Result<Duration> {
    deadline
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Serves one answer and gives the address.
    fn answering(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a caller");
            let mut request = [0; 512];
            let _ = stream.read(&mut request);
            stream.write_all(answer.as_bytes()).expect("a listener");
        });
        format!("http://{address}/readyz")
    }

    /// Goal: only 200 counts as ready, and a refusal says what was answered.
    #[test]
    fn takes_200_for_ready_and_nothing_else() {
        let limit = Duration::from_secs(5);
        probe(&answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"), limit).expect("ready");
        let refusal =
            probe(&answering("HTTP/1.1 503 Service Unavailable\r\n\r\n"), limit).expect_err("draining");
        assert!(refusal.to_string().contains("503"), "{refusal}");
    }

    /// Goal: someone who accepts and then hangs (a paused container) costs no more than the limit.
    #[test]
    fn gives_up_on_someone_who_hangs() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/readyz", listener.local_addr().expect("an address"));
        let error = probe(&url, Duration::from_millis(50)).expect_err("nobody answers");
        assert!(matches!(error, ProbeError::Unreachable { .. }), "{error}");
    }

    /// Goal: a malformed address is the caller's mistake, and named as such.
    #[test]
    fn names_a_malformed_address() {
        for url in ["", "https://a:1/", "http://a/", "http://:1/", "http://a:b/", "http://a:1/x y"] {
            let error = probe(url, Duration::from_secs(1)).expect_err("malformed");
            assert!(matches!(error, ProbeError::Address(_)), "{url}: {error}");
        }
    }
}
