//! The last good configuration: the newest copy in `inetpub\history` that can be read takes the place of a
//! file that cannot.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sim_httpsys::live::regular_file;
use sim_was::config::{ConfigHistory, load_bytes};
use sim_was::live::on_disk;

/// What was put in whose place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastGood {
    /// The copy, which the server runs with.
    pub copy: PathBuf,
    /// Where the file that cannot be read is kept.
    pub kept_as: PathBuf,
    /// What is wrong with that.
    pub error: String,
}

/// Puts the newest good copy in the place of `config`, if that cannot be read; `None` if it can, or if
/// there is no such copy.
///
/// Source: WAS features: `AppHostSvc` keeps ten copies of the file, and an iisreset with a broken file fails.
/// Assumed: to go on with a copy is what an administrator does by hand; it is never done unasked.
pub(super) fn put_in_place(config: &Path, root: &Path) -> io::Result<Option<LastGood>> {
    let understand = |path: &Path| -> io::Result<Result<(), String>> {
        let name = path.display().to_string();
        let bytes = match regular_file::read(path) {
            Err(error) if is_no_file(&error) => return Ok(Err(format!("{name}: {error}"))),
            read => read?,
        };
        let understood = load_bytes(&bytes, &name);
        Ok(understood.map(|_| ()).map_err(|error| error.to_string()))
    };
    let Err(error) = understand(config)? else {
        return Ok(None);
    };
    // Its own configHistory cannot be read; this is where it is by default.
    let folder = on_disk(&ConfigHistory::default().path, root);
    let name = config.file_name().unwrap_or_default();
    let copies = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut copies: Vec<PathBuf> = copies.map(|copy| copy.path().join(name)).collect();
    copies.sort();
    let good = |copy: &PathBuf| matches!(understand(copy), Ok(Ok(())));
    let Some(copy) = copies.into_iter().rev().find(good) else {
        return Ok(None);
    };
    // A link stays a link: what it points to is kept and replaced.
    let config = fs::canonicalize(config)?;
    let kept_as = unused_name(&config);
    fs::rename(&config, &kept_as)?;
    fs::copy(&copy, &config)?;
    Ok(Some(LastGood {
        copy,
        kept_as,
        error,
    }))
}

/// Whether something stands in the file's place that is none, or that is too large to be one.
fn is_no_file(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, InvalidInput, IsADirectory};
    matches!(error.kind(), FileTooLarge | InvalidInput | IsADirectory)
}

/// `applicationHost.config.broken-1`, or the next number that nobody has.
fn unused_name(config: &Path) -> PathBuf {
    let name = |number: u32| {
        let mut name = config.as_os_str().to_owned();
        name.push(format!(".broken-{number}"));
        PathBuf::from(name)
    };
    let first = (1..u32::MAX).map(name).find(|path| !path.exists());
    first.unwrap_or_else(|| name(0))
}
