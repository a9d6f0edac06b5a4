//! Windows paths on this machine: `%SystemDrive%\inetpub\wwwroot` → `<root>/inetpub/wwwroot`.
//!
//! Nothing here touches a disk: who wants an existing entry that differs only by case hands in how a
//! folder is listed.

use std::path::{Path, PathBuf};

/// What variables of the environment stand for; they are compared without case. Others stay as
/// they are written.
const VARIABLES: [(&str, &str); 8] = [
    ("SystemDrive", "C:"),
    ("HomeDrive", "C:"),
    ("SystemRoot", "C:\\Windows"),
    ("windir", "C:\\Windows"),
    ("ProgramFiles", "C:\\Program Files"),
    ("ProgramFiles(x86)", "C:\\Program Files (x86)"),
    ("ProgramData", "C:\\ProgramData"),
    ("AllUsersProfile", "C:\\ProgramData"),
];

/// Where a Windows path lies below `root`.
///
/// `C:\x` is `root/x`, `D:\x` is `root/D/x`, `\\server\share\x` is `root/UNC/server/share/x`; a path
/// that begins with `/` is one of this machine. `..` never leads out of `root`.
pub fn to_unix(windows_path: &str, root: &Path) -> PathBuf {
    to_unix_as_listed(windows_path, root, |_| Vec::new())
}

/// Like [`to_unix`]; if a folder has an entry that differs only by case, that one is meant.
/// `list` gives the names in a folder, none if there is no such folder.
pub fn to_unix_as_listed(
    windows_path: &str,
    root: &Path,
    mut list: impl FnMut(&Path) -> Vec<String>,
) -> PathBuf {
    if windows_path.starts_with('/') {
        return PathBuf::from(windows_path);
    }
    let mut path = root.to_path_buf();
    for name in segments(&expand(windows_path)) {
        let names = list(&path);
        let same = |entry: &&String| entry.to_lowercase() == name.to_lowercase();
        let found = names
            .iter()
            .find(|e| **e == name)
            .or_else(|| names.iter().find(same));
        path.push(found.unwrap_or(&name));
    }
    path
}

/// The program of this machine that a configured one stands for: one below `root`, if it is named as on Windows.
/// A name without a folder is looked for where programs are.
pub fn program(configured: &str, root: &Path, list: impl FnMut(&Path) -> Vec<String>) -> PathBuf {
    let expanded = expand(configured);
    if expanded.contains(['\\', ':']) {
        to_unix_as_listed(&expanded, root, list)
    } else {
        PathBuf::from(expanded)
    }
}

/// Replaces `%name%`.
pub fn expand(text: &str) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('%') {
        let (before, from) = rest.split_at(start);
        expanded.push_str(before);
        let known = from[1..].split_once('%').and_then(|(name, after)| {
            let found = VARIABLES
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(name));
            found.map(|(_, value)| (*value, after))
        });
        if let Some((value, after)) = known {
            expanded.push_str(value);
            rest = after;
        } else {
            expanded.push('%');
            rest = &from[1..];
        }
    }
    expanded + rest
}

/// The folders below the root, with `.` and `..` resolved.
fn segments(path: &str) -> Vec<String> {
    let path = path.replace('/', "\\");
    let path = path.strip_prefix("\\\\?\\").unwrap_or(&path);
    let (fixed, rest) = match (path.strip_prefix("\\\\"), path.split_once(':')) {
        (Some(share), _) => (vec!["UNC".to_owned()], share),
        (None, Some((drive, rest))) if drive.eq_ignore_ascii_case("c") => (Vec::new(), rest),
        (None, Some((drive, rest)))
            if drive.len() == 1 && drive.as_bytes()[0].is_ascii_alphabetic() =>
        {
            (vec![drive.to_ascii_uppercase()], rest)
        }
        (None, Some(_) | None) => (Vec::new(), path),
    };
    let keep = fixed.len();
    rest.split('\\').fold(fixed, |mut all, segment| {
        match segment {
            ".." if all.len() > keep => drop(all.pop()),
            "" | "." | ".." => {}
            name => all.push(name.replace('\0', "_")),
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_paths_lie_below_the_root() {
        for (windows, unix) in [
            (r"%SystemDrive%\inetpub\wwwroot", "/r/inetpub/wwwroot"),
            (r"%SYSTEMDRIVE%\inetpub\", "/r/inetpub"),
            (r"C:\x\y", "/r/x/y"),
            (r"c:\x", "/r/x"),
            (r"C:/x/y", "/r/x/y"),
            (r"d:\sites\a", "/r/D/sites/a"),
            (r"\\files\web$\a", "/r/UNC/files/web$/a"),
            (r"\\?\C:\x", "/r/x"),
            (r"%windir%\System32\inetsrv", "/r/Windows/System32/inetsrv"),
            (r"%systemroot%", "/r/Windows"),
            (r"%ProgramFiles%\App", "/r/Program Files/App"),
            (r"%ProgramFiles(x86)%\App", "/r/Program Files (x86)/App"),
            (r"%IIS_USER_HOME%\Logs", "/r/%IIS_USER_HOME%/Logs"),
            (r"100%\a", "/r/100%/a"),
            (r"\inetpub", "/r/inetpub"),
            (r"site1", "/r/site1"),
            ("", "/r"),
            ("/srv/www", "/srv/www"),
        ] {
            assert_eq!(
                to_unix(windows, Path::new("/r")),
                Path::new(unix),
                "{windows}"
            );
        }
    }

    #[test]
    fn a_program_is_below_the_root_or_one_of_this_machine() {
        for (configured, unix) in [
            (r"C:\tools dir\a.sh", "/r/tools dir/a.sh"),
            (r"%windir%\a.exe", "/r/Windows/a.exe"),
            (r"c:/tools/a.sh", "/r/tools/a.sh"),
            ("/usr/bin/touch", "/usr/bin/touch"),
            ("touch", "touch"),
        ] {
            let found = program(configured, Path::new("/r"), |_| Vec::new());
            assert_eq!(found, Path::new(unix), "{configured}");
        }
    }

    #[test]
    fn dots_never_lead_out_of_the_root() {
        for (windows, unix) in [
            (r"C:\a\..\..\..\etc\passwd", "/r/etc/passwd"),
            (r"D:\..\..\x", "/r/D/x"),
            (r"\\..\..\x", "/r/UNC/x"),
            (r"..\..\x", "/r/x"),
            (r"C:\a\.\b", "/r/a/b"),
        ] {
            assert_eq!(
                to_unix(windows, Path::new("/r")),
                Path::new(unix),
                "{windows}"
            );
        }
    }

    #[test]
    fn an_entry_that_differs_only_by_case_is_preferred() {
        let list = |folder: &Path| match folder.to_str() {
            Some("/r") => vec!["InetPub".to_owned()],
            Some("/r/InetPub") => vec!["WWWROOT".to_owned(), "wwwroot".to_owned()],
            Some(_) | None => Vec::new(),
        };
        let path = |text| to_unix_as_listed(text, Path::new("/r"), list);
        assert_eq!(
            path(r"C:\inetpub\wwwroot\New"),
            Path::new("/r/InetPub/wwwroot/New")
        );
    }
}
