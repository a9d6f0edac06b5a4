//! Programs of the administrator, `orphanActionExe` and `autoShutdownExe`: run, and not waited for.

use std::io;
use std::path::Path;
use std::process::Stdio;

use super::command_line;
use super::on_disk::names_in;
use crate::config::physical_path;

/// Runs a program of this machine, or one that lies on its simulated `C:\`.
///
/// Source: IIS schema, `failure`: environment variables are expanded in the program's path and in its parameters.
pub(super) fn run(executable: &str, parameters: &str, root: &Path) -> io::Result<()> {
    let program = physical_path::program(executable, root, names_in);
    let parameters = physical_path::expand(parameters);
    let mut child = tokio::process::Command::new(program)
        .args(command_line::arguments(&parameters))
        .stdin(Stdio::null())
        .spawn()?;
    tokio::spawn(async move { child.wait().await.ok() });
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_program_lies_on_the_simulated_disk_or_on_this_machine() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("Tools dir");
        std::fs::create_dir(&folder).unwrap();
        symlink("/usr/bin/touch", folder.join("mark.exe")).unwrap();
        for (executable, name) in [
            (r"%SystemDrive%\tools dir\mark.exe", "windows"),
            ("/usr/bin/touch", "unix"),
            ("touch", "named"),
        ] {
            let mark = root.path().join(name);
            run(executable, &format!("\"{}\"", mark.display()), root.path()).unwrap();
            let runs = async {
                while !mark.exists() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            let seen = tokio::time::timeout(Duration::from_secs(20), runs).await;
            assert!(seen.is_ok(), "{executable} was not run");
        }
        assert!(run(r"C:\tools dir\none.exe", "", root.path()).is_err());
    }
}
