//! The three programs together: driver and supervisor as threads of this process, workers as this
//! test binary, started again as [`a_worker_process_for_the_other_tests`].
#![cfg(feature = "live")]
#![expect(
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a client needs a socket, and helpers of tests may panic"
)]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::path::Path;
use std::thread;

use sim_httpsys::model::Parameters;
use sim_was::control::client::ask;
use sim_was::control::{Answer, Command, Service};
use sim_was::live::Options;

const CONFIG: &str = r#"<configuration>
  <system.applicationHost>
    <applicationPools><add name="DefaultAppPool" /></applicationPools>
    <sites>
      <site name="Default Web Site" id="1">
        <application path="/" applicationPool="DefaultAppPool">
          <virtualDirectory path="/" physicalPath="%SystemDrive%\inetpub\wwwroot" />
        </application>
        <bindings><binding protocol="http" bindingInformation="*:80:" /></bindings>
      </site>
    </sites>
  </system.applicationHost>
</configuration>"#;

#[test]
fn a_worker_process_for_the_other_tests() {
    let args: Vec<String> = std::env::args().skip_while(|arg| arg != "-ap").collect();
    if args.is_empty() {
        return;
    }
    let args = sim_worker::live::Args::parse(&args).unwrap();
    let code = sim_worker::live::run(args).unwrap();
    std::process::exit(code);
}

fn up(root: &Path) {
    let options = Options {
        device: root.join("run/httpsys.sock"),
        config: root.join("applicationHost.config"),
        leading_arguments: ["--exact", "a_worker_process_for_the_other_tests", "--"]
            .map(Into::into)
            .to_vec(),
        ..Options::new(root.to_path_buf()).unwrap()
    };
    std::fs::create_dir_all(root.join("run")).unwrap();
    std::fs::create_dir_all(root.join("inetpub/wwwroot")).unwrap();
    std::fs::write(root.join("inetpub/wwwroot/a.txt"), "hello").unwrap();
    std::fs::write(&options.config, CONFIG).unwrap();
    let driver = sim_httpsys::live::Options {
        device: options.device.clone(),
        root: root.to_path_buf(),
        listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port_map: vec![(None, 0)],
        trace: false,
        record: false,
        parameters: Parameters::default(),
        telling: |_, _| {},
    };
    thread::spawn(move || sim_httpsys::live::run(driver));
    thread::spawn(move || sim_was::live::run(options));
    while ask(root, &Command::ServiceStatus).is_err() {
        thread::yield_now();
    }
}

/// The answer to a GET over a new connection; waits for the endpoint to be there.
fn get(root: &Path) -> String {
    loop {
        let file = std::fs::read_to_string(root.join("run/endpoints.json")).unwrap_or_default();
        let address = file.split('"').find(|word| word.starts_with("127.0.0.1:"));
        if let Some(mut stream) = address.and_then(|address| TcpStream::connect(address).ok()) {
            let request = b"GET /a.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            stream.write_all(request).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            return answer;
        }
        thread::yield_now();
    }
}

fn pids(root: &Path) -> Vec<u32> {
    let Answer::WorkerProcesses(list) = ask(root, &Command::ListWorkerProcesses).unwrap() else {
        panic!("workers are listed");
    };
    list.iter().map(|worker| worker.pid).collect()
}

#[test]
fn a_request_is_served_before_during_and_after_a_recycle_and_an_iisreset() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    up(root);
    assert!(get(root).ends_with("hello"));
    let first = pids(root);
    assert_eq!(first.len(), 1, "demand start");

    let name = "DefaultAppPool".to_owned();
    let recycle = Command::RecycleApplicationPool { name };
    assert_eq!(ask(root, &recycle).unwrap(), Answer::Done);
    while pids(root) == first || pids(root).len() != 1 {
        assert!(get(root).ends_with("hello"));
    }

    let services = || vec![Service::Was, Service::W3svc];
    let stop = Command::StopServices {
        services: services(),
        timeout_ms: 20_000,
        force: true,
        reset_by: None,
    };
    assert_eq!(ask(root, &stop).unwrap(), Answer::Done);
    assert!(pids(root).is_empty());
    let start = Command::StartServices {
        services: services(),
    };
    assert_eq!(ask(root, &start).unwrap(), Answer::Done);
    assert!(get(root).ends_with("hello"));
    assert_eq!(ask(root, &Command::Quit).unwrap(), Answer::Done);
}
