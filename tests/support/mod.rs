//! A running server for an end-to-end test: started as a user starts it, ended with the test.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test waits for real processes and ends when something is not as it should be"
)]
#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test uses the part that it needs; an expectation would fail in the others"
)]

pub mod api;
pub mod crowd;
pub mod figures;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The executable under test.
pub const IIS_SIM: &str = env!("CARGO_BIN_EXE_iis-sim");

/// `iis-sim up` in a temporary folder, at ports that the kernel chose.
pub struct Up {
    /// The simulated `C:\`.
    pub root: PathBuf,
    /// The ready line.
    pub ready: Value,
    running: Running,
    _folder: Option<tempfile::TempDir>,
}

impl Up {
    /// With the default configuration.
    pub fn start() -> Self {
        Self::with_config(None)
    }

    /// With one site, one pool, and these attributes and children of the pool.
    pub fn with_pool(pool: &str) -> Self {
        Self::with_config(Some(&config(pool)))
    }

    /// With this configuration.
    pub fn with_config(config: Option<&str>) -> Self {
        Self::below("root", config)
    }

    /// With the default configuration; every program records what it is told.
    pub fn recorded() -> Self {
        Self::begin("root", None, &["--record"])
    }

    /// With the REST API.
    pub fn administered() -> Self {
        Self::begin("root", None, &["--administration", "127.0.0.1:0"])
    }

    /// With this configuration, in a root of this name.
    pub fn below(root: &str, config: Option<&str>) -> Self {
        Self::begin(root, config, &[])
    }

    fn begin(root: &str, config: Option<&str>, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut words: Vec<String> = more.iter().map(|word| (*word).to_owned()).collect();
        if let Some(config) = config {
            let path = folder.path().join("applicationHost.config");
            std::fs::write(&path, config).unwrap();
            words = vec!["--config".to_owned(), path.display().to_string()];
        }
        let root = folder.path().join(root);
        Self {
            _folder: Some(folder),
            ..Self::with_words(&root, &words)
        }
    }

    /// At a folder that outlives it.
    pub fn at(root: &Path) -> Self {
        Self::with_words(root, &[])
    }

    /// At a folder that outlives it, with more words for `iis-sim up`.
    pub fn with_words(root: &Path, words: &[String]) -> Self {
        Self::launched(&mut Command::new(IIS_SIM), root, words)
    }

    /// By a command that runs `iis-sim`, as somebody else for example.
    pub fn launched(iis_sim: &mut Command, root: &Path, words: &[String]) -> Self {
        let mut child = iis_sim
            .args(["up", "--json", "--trace", "--port-map", "*:0", "--root"])
            .arg(root)
            .args(words)
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not ready: {line:?}"));
        Self {
            root: root.to_owned(),
            ready,
            running: Running(child),
            _folder: None,
        }
    }

    /// Where the first binding of a scheme is reached.
    pub fn address(&self, scheme: &str) -> SocketAddr {
        let endpoints = self.ready["endpoints"].as_array().unwrap();
        let of_scheme = |e: &&Value| e["binding"].as_str().unwrap().starts_with(scheme);
        let endpoint = endpoints.iter().find(of_scheme).unwrap();
        endpoint["address"].as_str().unwrap().parse().unwrap()
    }

    /// What appcmd exits with, and what it prints.
    pub fn appcmd(&self, words: &[&str]) -> (Option<i32>, String) {
        let output = self.tool(&[&["appcmd"], words].concat());
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), said)
    }

    /// Where its applicationHost.config is.
    pub fn host_path(&self) -> PathBuf {
        let path = "Windows/System32/inetsrv/config/applicationHost.config";
        self.root.join(path)
    }

    /// Its applicationHost.config.
    pub fn host(&self) -> String {
        std::fs::read_to_string(self.host_path()).unwrap()
    }

    /// Runs a tool against this server.
    pub fn tool(&self, words: &[&str]) -> Output {
        Command::new(IIS_SIM)
            .args(words)
            .arg("--root")
            .arg(&self.root)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What a tool prints.
    pub fn said(&self, words: &[&str]) -> String {
        String::from_utf8(self.tool(words).stdout).unwrap()
    }

    /// The pids of all workers, as appcmd lists them.
    pub fn workers(&self) -> Vec<u32> {
        let pid = |line: &str| line.split('"').nth(1).unwrap().parse().unwrap();
        self.said(&["appcmd", "list", "wp"])
            .lines()
            .map(pid)
            .collect()
    }

    /// Looks until `wanted` holds.
    #[expect(
        clippy::unused_self,
        reason = "reads as what it is: something about this server"
    )]
    pub fn until(&self, what: &str, wanted: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !wanted() {
            assert!(Instant::now() < deadline, "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// One request on a connection of its own.
    pub fn get(&self, path: &str) -> Response {
        Browser::connect(self.address("http/")).get(path).unwrap()
    }

    /// What a program has stated so far of one kind: nanoseconds of the machine's monotonic clock, and the
    /// fact.
    pub fn facts(&self, program: &str, kind: &str) -> Vec<(u64, Value)> {
        let trace = read(&self.root.join(format!("trace/{program}.jsonl")));
        let wanted = format!("\"{kind}\"");
        let of_kind = trace.lines().filter(|line| line.contains(&wanted));
        of_kind
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter_map(|mut line| {
                let fact = line["fact"].get_mut(kind)?.take();
                Some((line["at"].as_u64()?, fact))
            })
            .collect()
    }

    /// The event log, one JSON object a line.
    pub fn events(&self) -> String {
        read(&self.root.join("Windows/System32/winevt/System.jsonl"))
    }

    /// The HTTPERR log.
    pub fn httperr(&self) -> String {
        read(
            &self
                .root
                .join("Windows/System32/LogFiles/HTTPERR/httperr1.log"),
        )
    }

    /// Sends a signal to a process.
    pub fn signal(signal: &str, pid: u32) {
        let status = Command::new("kill")
            .args([signal, &pid.to_string()])
            .status()
            .unwrap();
        assert!(status.success(), "kill {signal} {pid}");
    }

    /// Waits for the launcher after a signal; gives its exit code.
    pub fn end(mut self, signal: &str) -> Option<i32> {
        Self::signal(signal, self.running.0.id());
        self.running.0.wait().unwrap().code()
    }

    /// As [`Up::end`]; `then` may still look into the root.
    pub fn end_and(mut self, signal: &str, then: impl FnOnce()) -> Option<i32> {
        Self::signal(signal, self.running.0.id());
        let code = self.running.0.wait().unwrap().code();
        then();
        code
    }

    /// The pid of the launcher.
    pub fn launcher(&self) -> u32 {
        self.running.0.id()
    }

    /// All processes of the server, launcher included.
    pub fn pids(&self) -> Vec<u32> {
        let number =
            |name: &str| u32::try_from(self.ready["pids"][name].as_u64().unwrap()).unwrap();
        let mut pids = vec![self.running.0.id(), number("httpsys"), number("was")];
        pids.extend(self.workers());
        pids
    }
}

/// The launcher; it ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a process runs (a zombie does not).
pub fn is_alive(pid: u32) -> bool {
    let stat = read(Path::new(&format!("/proc/{pid}/stat")));
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

/// The command lines in which a word occurs; httpsys and was are started with their root.
pub fn processes_that_name(word: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap();
    let lines = processes.flatten().filter_map(|process| {
        let line = std::fs::read(process.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.contains(word)).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// `iis-sim run SCENARIO` in the repository; gives the exit code and what it printed.
pub fn run_scenario(scenario: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(IIS_SIM)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("run")
        .arg(scenario)
        .args(arguments)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// One site and one pool with these attributes and children.
pub fn config(pool: &str) -> String {
    format!(
        r#"<configuration>
  <system.applicationHost>
    <applicationPools><add name="DefaultAppPool"{pool}</add></applicationPools>
    <sites>
      <site name="Default Web Site" id="1">
        <application path="/" applicationPool="DefaultAppPool">
          <virtualDirectory path="/" physicalPath="%SystemDrive%\inetpub\wwwroot" />
        </application>
        <bindings><binding protocol="http" bindingInformation="*:80:" /></bindings>
      </site>
    </sites>
  </system.applicationHost>
</configuration>"#
    )
}

/// As [`config`], with a second site at port 81 in a pool of its own, which is `Other`.
pub fn config_of_two(pool: &str) -> String {
    let second = r#"<site name="Second" id="2">
        <application path="/" applicationPool="Other">
          <virtualDirectory path="/" physicalPath="%SystemDrive%\inetpub\wwwroot" />
        </application>
        <bindings><binding protocol="http" bindingInformation="*:81:" /></bindings>
      </site>
    </sites>"#;
    config(pool)
        .replace(
            "</applicationPools>",
            r#"<add name="Other" /></applicationPools>"#,
        )
        .replace("</sites>", second)
}

/// A response.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Header lines as they came.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let is_it = |line: &&str| {
            line.split_once(':')
                .is_some_and(|(n, _)| n.eq_ignore_ascii_case(name))
        };
        let line = self.head.lines().find(is_it)?;
        Some(line.split_once(':')?.1.trim())
    }

    /// The pid of the worker that made it.
    pub fn worker(&self) -> u32 {
        self.header("X-Sim-Worker").unwrap().parse().unwrap()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A kept-alive connection.
pub struct Browser {
    stream: BufReader<TcpStream>,
}

impl Browser {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// Gets a page and keeps the connection.
    pub fn get(&mut self, path: &str) -> std::io::Result<Response> {
        self.exchange(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    /// How long to wait for bytes, from now on.
    pub fn patience(&mut self, patience: Duration) {
        self.stream
            .get_mut()
            .set_read_timeout(Some(patience))
            .unwrap();
    }

    /// Sends bytes.
    pub fn send(&mut self, text: &str) -> std::io::Result<()> {
        self.stream.get_mut().write_all(text.as_bytes())
    }

    /// Sends bytes and reads one response.
    pub fn exchange(&mut self, text: &str) -> std::io::Result<Response> {
        self.send(text)?;
        self.receive(!text.starts_with("HEAD"))
    }

    /// Reads one response.
    pub fn receive(&mut self, with_body: bool) -> std::io::Result<Response> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut response = Response {
            status,
            head,
            body: Vec::new(),
        };
        let length = response
            .header("Content-Length")
            .and_then(|text| text.parse().ok());
        if with_body {
            response.body.resize(length.unwrap_or(0), 0);
            self.stream.read_exact(&mut response.body)?;
        }
        Ok(response)
    }

    /// What comes before the other side closes or resets the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = self.stream.read(&mut bytes) {
            rest.extend_from_slice(&bytes[..read]);
        }
        rest
    }

    /// Whether the other side has closed or reset the connection.
    pub fn is_over(&mut self) -> bool {
        let mut byte = [0];
        matches!(self.stream.read(&mut byte), Ok(0) | Err(_))
    }
}
