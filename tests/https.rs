//! `iis-sim up` with https bindings: what it says at the start.

mod support;

use support::Up;

#[test]
fn ssl_flags_that_are_not_followed_are_said_at_the_start() {
    let binding = |flags, port| {
        format!(r#"<binding protocol="https" bindingInformation="*:{port}:" sslFlags="{flags}" />"#)
    };
    let bindings = binding(33, 443) + &binding(93, 444) + "</bindings>";
    let config = support::config(">").replace("</bindings>", &bindings);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("applicationHost.config");
    std::fs::write(&path, config).unwrap();
    let mut child = std::process::Command::new(support::IIS_SIM)
        .args(["up", "--json", "--port-map", "*:0", "--config"])
        .arg(&path)
        .arg("--root")
        .arg(folder.path().join("root"))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut ready, &mut String::new()).unwrap();
    Up::signal("-INT", child.id());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "iis-sim: warning: sslFlags 33 of the https binding '*:443:' of site 'Default Web Site': \
         32 (no TLS 1.3) has no effect here\n"
    );
}

#[test]
fn a_key_that_no_certificate_can_be_made_for_is_named_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    std::fs::create_dir_all(root.join("run")).unwrap();
    let key = root.join("run/certificate.key");
    std::fs::write(&key, "secret").unwrap();
    let output = std::process::Command::new(support::IIS_SIM)
        .args(["up", "--port-map", "*:0", "--root"])
        .arg(&root)
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = "no certificate can be made for the key in ";
    assert!(said.contains(expected), "{said}");
    assert_eq!(std::fs::read_to_string(key).unwrap(), "secret");
}
