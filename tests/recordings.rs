//! A live run is recorded, input by input; the same models, given the same, decide the same.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails when something is not there"
)]

mod support;

use std::path::Path;
use std::process::{Command, Output};

use iis_sim::live_world::recordings;
use support::Up;

fn replay(folder: &Path) -> Output {
    let mut command = Command::new(support::IIS_SIM);
    command.arg("replay").arg(folder).output().unwrap()
}

/// A server that records: a recycle and an iisreset between a few requests. Gives what is left of it.
fn recorded_run(folder: &Path) {
    let up = Up::recorded();
    for path in [
        "/default.aspx",
        "/iisstart.htm",
        "/session.aspx",
        "/nothing",
    ] {
        up.get(path);
    }
    let recycle = [
        "appcmd",
        "recycle",
        "apppool",
        "/apppool.name:DefaultAppPool",
    ];
    assert!(up.tool(&recycle).status.success());
    assert_eq!(up.get("/default.aspx").status, 200);
    assert!(up.tool(&["iisreset"]).status.success());
    assert_eq!(up.get("/default.aspx").status, 200);
    assert!(up.tool(&["net", "stop", "was", "/y"]).status.success());
    assert!(up.tool(&["net", "start", "w3svc"]).status.success());
    let root = up.root.clone();
    // The recordings outlive the folder of the server.
    up.end_and("-TERM", || {
        for path in recordings::find(&root.join("record")).unwrap() {
            std::fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
        }
    });
}

#[test]
fn the_models_decide_the_same_when_they_are_told_what_a_live_run_was_told() {
    let folder = tempfile::tempdir().unwrap();
    recorded_run(folder.path());
    let paths = recordings::find(folder.path()).unwrap();
    let mut workers = 0;
    for path in &paths {
        let program = recordings::replay(path).unwrap();
        let replayed = &program.replayed;
        assert_eq!(replayed.difference, None, "{}", path.display());
        assert!(replayed.inputs > 0 && replayed.outputs > 0, "{program:?}");
        workers += usize::from(program.program == "w3wp");
    }
    assert_eq!(
        workers, 3,
        "one, its successor, and one after the iisreset: {paths:?}"
    );
    assert_eq!(paths.len(), 5, "{paths:?}");
    let output = replay(folder.path());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("5 recordings, 0 of them"), "{text}");
    assert!(text.contains("0 end without their end"), "{text}");
    // A file that is cut, also between two entries, does not pass for a whole one.
    let of_httpsys = paths
        .iter()
        .find(|path| path.to_string_lossy().contains("httpsys-"));
    let whole = std::fs::read(of_httpsys.unwrap()).unwrap();
    let end = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let first = usize::try_from(u32::from_le_bytes(*whole[end..].first_chunk().unwrap())).unwrap();
    for length in [end, end + 4 + first, whole.len() - 1] {
        std::fs::write(of_httpsys.unwrap(), &whole[..length]).unwrap();
        let output = replay(folder.path());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert!(text.contains("1 end without their end"), "{text}");
    }
    // Nor does one whose process was killed before its first line, nor one that is none; the others are replayed.
    for (bytes, code, sum) in [
        ("", 3, "1 end without their end, 0 cannot be read"),
        ("{}\n", 2, "0 end without their end, 1 cannot be read"),
    ] {
        std::fs::write(of_httpsys.unwrap(), bytes).unwrap();
        let output = replay(folder.path());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(sum), "{text}");
        assert_eq!(text.matches(": the same, ").count(), 4, "{text}");
    }
}

#[test]
fn a_recording_that_was_tampered_with_is_told_by_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    recorded_run(folder.path());
    let paths = recordings::find(folder.path()).unwrap();
    let of_was = paths
        .iter()
        .find(|path| path.to_string_lossy().contains("was-"))
        .unwrap();
    let text = std::fs::read(of_was).unwrap();
    // A machine that is made otherwise decides otherwise: its workers keep fewer receives posted.
    let end = text.iter().position(|byte| *byte == b'\n').unwrap();
    let header = String::from_utf8(text[..end].to_vec()).unwrap();
    assert!(header.contains("\"receives\":100"), "{header}");
    let header = header.replace("\"receives\":100", "\"receives\":7");
    std::fs::write(of_was, [header.as_bytes(), &text[end..]].concat()).unwrap();
    let output = replay(folder.path());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in ["DIFFERS", "recorded Spawn", "1 of them"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn a_folder_without_recordings_is_refused_with_what_makes_some() {
    let folder = tempfile::tempdir().unwrap();
    let output = replay(folder.path());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("--record"), "{text}");
}
