//! Which folder of this machine a path of the configuration means: Windows does not tell `WWWRoot` from `wwwroot`,
//! and the file systems of Linux do.
//!
//! Source: Windows documentation, "Naming Files, Paths, and Namespaces": do not assume case sensitivity.
//!
//! The models say where a path lies below the root as it is written; what exists there is looked for here, where
//! something is about to be done with it.

use std::fs;
use std::path::{Path, PathBuf};

use sim_httpsys::api::{Call, ControlCall};
use sim_worker::configuration::Application;
use sim_worker::ipm::ToWorker;

use crate::config::physical_path::to_unix;
use crate::model::Output;

/// Where a Windows path lies on this machine, by the names of what exists there.
pub fn on_disk(windows_path: &str, root: &Path) -> PathBuf {
    existing(&to_unix(windows_path, root), root)
}

/// The same path by the names of what exists below the root; a path of this machine is meant as it is written.
fn existing(path: &Path, root: &Path) -> PathBuf {
    let Ok(below) = path.strip_prefix(root) else {
        return path.to_owned();
    };
    if path.exists() {
        return path.to_owned();
    }
    let mut found = root.to_owned();
    for name in below {
        let exact = found.join(name);
        let wanted = name.to_string_lossy().to_lowercase();
        let is_it = |entry: &String| entry.to_lowercase() == wanted;
        found = match exact.symlink_metadata() {
            Ok(_) => exact,
            Err(_) => match names_in(&found).into_iter().filter(is_it).min() {
                Some(same) => found.join(same),
                None => exact,
            },
        };
    }
    found
}

/// The names in a folder; none if there is no such folder.
pub(super) fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().into_string());
    names.filter_map(Result::ok).collect()
}

/// What the model wants done, with the folders that are meant in it.
pub(super) fn as_on_disk(mut output: Output, root: &Path) -> Output {
    match &mut output {
        Output::Spawn(order) => {
            let configuration = &mut order.configuration;
            let departed = configuration.departed.iter_mut();
            for application in configuration.applications.iter_mut().chain(departed) {
                find_folders(application, root);
            }
        }
        Output::Tell {
            message: ToWorker::ApplicationChanged { application, .. },
            ..
        } => find_folders(application, root),
        Output::Call(Call::Control {
            call:
                ControlCall::CreateUrlGroup { properties, .. }
                | ControlCall::SetUrlGroupProperties { properties, .. },
            ..
        }) => {
            if let Some(log) = &mut properties.log {
                let folder = existing(Path::new(&log.directory), root);
                log.directory = folder.to_string_lossy().into_owned();
            }
        }
        Output::Call(_)
        | Output::Tell { .. }
        | Output::Terminate { .. }
        | Output::ReadConfig
        | Output::EditConfig { .. }
        | Output::Answer { .. }
        | Output::Orphan { .. }
        | Output::Freeze { .. }
        | Output::Thaw { .. }
        | Output::MeasureCpu { .. }
        | Output::MeasureMachine
        | Output::Run(_)
        | Output::Fact(_)
        | Output::Stopped => {}
    }
    output
}

fn find_folders(application: &mut Application, root: &Path) {
    for directory in &mut application.virtual_directories {
        directory.physical_path = existing(&directory.physical_path, root);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_folder_is_found_whatever_its_case_and_the_exact_name_first() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["InetPub/wwwroot", "InetPub/WWWROOT", "InetPub/shop"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        for (windows, unix) in [
            (r"C:\InetPub\wwwroot", "InetPub/wwwroot"),
            (r"c:\inetpub\WWWROOT", "InetPub/WWWROOT"),
            (r"c:\inetpub\WwwRoot\A", "InetPub/WWWROOT/A"),
            (r"%SystemDrive%\INETPUB\Shop", "InetPub/shop"),
            (r"C:\inetpub\New\x", "InetPub/New/x"),
        ] {
            let found = on_disk(windows, root.path());
            assert_eq!(found, root.path().join(unix), "{windows}");
        }
        assert_eq!(on_disk("/TMP", root.path()), Path::new("/TMP"));
    }
}
