//! Every plan that has broken an invariant once, run for ever: `iis-sim swarm` stores them in
//! `tests/regressions/`.
use std::path::Path;

use iis_sim::virtual_world::record::{Record, Subject};

#[test]
fn no_plan_that_once_broke_an_invariant_breaks_one_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/regressions");
    let files = std::fs::read_dir(&folder).unwrap().flatten();
    let mut paths: Vec<_> = files.map(|file| file.path()).collect();
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "json")
    });
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    let mut broken = Vec::new();
    for path in paths {
        let record = Record::read(&path).unwrap_or_else(|error| panic!("{error}"));
        assert!(
            matches!(record.subject, Subject::Regression { .. }),
            "{} is no regression",
            path.display()
        );
        let mut told = 0;
        record
            .replay(&mut |replayed| {
                told += 1;
                if !replayed.is_right {
                    broken.push(format!("{}: {:?}", path.display(), replayed.failure));
                }
                true
            })
            .unwrap();
        assert_eq!(told, 1, "{}", path.display());
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
