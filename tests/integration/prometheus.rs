//! A real Prometheus for a test: started on loopback, asked over its HTTP API, and gone with the test.

use serde_json::Value;
use std::{
    fmt::Write as _,
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How long it may take to be ready.
const READY_MAX: Duration = Duration::from_secs(30);
/// How long one question may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Ports that are tried: another process may take one between its choice and its use.
const STARTS_MAX: u32 = 5;

/// A Prometheus that runs.
pub(crate) struct Prometheus {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Prometheus {
    /// Starts one on a configuration, which stands in `folder` with all that it names; its data and its log go there, too.
    ///
    /// # Panics
    /// The program is missing (a test that needs it must not pass without it), or does not become ready.
    pub(crate) fn start(folder: &Path, config: &str) -> Self {
        fs::write(folder.join("prometheus.yml"), config).expect("the configuration is written");
        for _ in 0..STARTS_MAX {
            let mut started = Self::launch(folder);
            if started.becomes_ready() {
                return started;
            }
        }
        panic!("Prometheus does not start: {}", fs::read_to_string(folder.join("log")).unwrap_or_default());
    }

    fn launch(folder: &Path) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let address = free.expect("a free port");
        let log = folder.join("log");
        let out = fs::File::create(&log).expect("a log");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .args([
                "--enable-feature=exemplar-storage",
                "--scrape.discovery-reload-interval=1s",
                "--log.level=warn",
            ])
            .stdout(Stdio::null())
            .stderr(out)
            .spawn()
            .expect("the program `prometheus` is on PATH (Debian's package of that name)");
        Self { child, address, log }
    }

    /// False: it ended, as when its port was taken meanwhile.
    fn becomes_ready(&mut self) -> bool {
        let until = Instant::now() + READY_MAX;
        while Instant::now() < until {
            if self.child.try_wait().expect("its state can be asked for").is_some() {
                return false;
            }
            if http(self.address, "/-/ready").is_ok_and(|(status, _)| status == 200) {
                return true;
            }
            sleep(Duration::from_millis(50));
        }
        false
    }

    /// The answer's `data` to a question to its API, as in `query`, with its parameters.
    ///
    /// # Panics
    /// It answers with an error, or not at all.
    pub(crate) fn ask(&self, what: &str, parameters: &[(&str, &str)]) -> Value {
        let mut path = format!("/api/v1/{what}?");
        for (name, value) in parameters {
            let _ = write!(path, "{name}={}&", escaped(value));
        }
        let (status, body) = http(self.address, &path)
            .unwrap_or_else(|error| panic!("{what} {parameters:?}: {error}\n{}", self.log()));
        let mut answer: Value = serde_json::from_slice(&body)
            .unwrap_or_else(|error| panic!("{status}: {error}: {}", String::from_utf8_lossy(&body)));
        assert_eq!(answer["status"], "success", "{what} {parameters:?}: {answer}");
        answer["data"].take()
    }

    /// The series of an expression between two moments, Unix seconds, one value each `step` seconds.
    pub(crate) fn range(&self, query: &str, (from, to): (f64, f64), step: f64) -> Vec<Series> {
        let [from, to, step] = [from, to, step].map(|number| format!("{number:.3}"));
        let parameters = [("query", query), ("start", &*from), ("end", &*to), ("step", &*step)];
        let answer = self.ask("query_range", &parameters);
        let result = answer["result"].as_array().expect("a list of series");
        result.iter().map(Series::read).collect()
    }

    /// The targets that it scrapes: role, instance and whether the last scrape succeeded.
    pub(crate) fn targets(&self) -> Vec<(String, String, bool)> {
        let answer = self.ask("targets", &[("state", "active")]);
        let active = answer["activeTargets"].as_array().expect("a list of targets");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let one = |target: &Value| {
            let labels = &target["labels"];
            (text(&labels["job"]), text(&labels["instance"]), target["health"] == "up")
        };
        active.iter().map(one).collect()
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One series of a range.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// Its labels.
    pub(crate) labels: Value,
    /// Unix seconds and value; what is not a number is left out.
    pub(crate) points: Vec<(f64, f64)>,
}

impl Series {
    fn read(series: &Value) -> Self {
        let point = |point: &Value| {
            let value: f64 = point[1].as_str()?.parse().ok()?;
            Some((point[0].as_f64()?, value)).filter(|_| !value.is_nan())
        };
        let points =
            series["values"].as_array().expect("a list of values").iter().filter_map(point).collect();
        Self { labels: series["metric"].clone(), points }
    }
}

/// Runs `promtool` in a folder, behind everybody else: fleets are measured beside it.
///
/// # Panics
/// The program is missing.
pub(crate) fn promtool(folder: &Path, args: &[&str]) -> Output {
    let mut behind = Command::new("nice");
    behind.args(["-n", "19", "promtool"]).args(args).current_dir(folder);
    let output = behind.output().expect("there is a `nice`");
    assert_ne!(
        output.status.code(),
        Some(127),
        "the program `promtool` is on PATH (Debian's package `prometheus`)"
    );
    output
}

/// Unix seconds now.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

/// A GET: the status and the body. In HTTP/1.0, whose answers end with the connection.
pub(crate) fn http(address: SocketAddr, path: &str) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer");
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n").ok_or_else(malformed)?;
    let line = String::from_utf8_lossy(&answer[..head]).into_owned();
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(malformed)?;
    Ok((status, answer.split_off(head + 4)))
}

fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
        escaped
    })
}
