//! Tests of load profiles: what is refused and how it is said.

use super::*;

#[test]
fn an_empty_profile_is_the_default_one() {
    let profile: Profile = toml::from_str("").unwrap();
    assert_eq!(profile, Profile::default());
    assert_eq!(profile.check(), Ok(()));
}

#[test]
fn one_pause_may_follow_another_at_once() {
    let text = "pauses = [{ from = '2s', to = '4s' }, { from = '1s', to = '2s' }]";
    let profile: Profile = toml::from_str(text).unwrap();
    assert_eq!(profile.check(), Ok(()));
}

#[test]
fn durations_are_written_as_people_write_them() {
    let profile: Profile = toml::from_str("deadline = '1.5m'\nslow = '250ms'").unwrap();
    assert_eq!(profile.deadline, Duration::from_secs(90));
    assert_eq!(profile.slow, Duration::from_millis(250));
    let again: Profile = toml::from_str(&toml::to_string(&profile).unwrap()).unwrap();
    assert_eq!(again, profile);
}

#[test]
fn a_misspelt_key_is_refused_with_its_line() {
    let error = toml::from_str::<Profile>("rate = 5\nkeep_alive = 3\n").unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("line 2") && text.contains("keep_alive"),
        "{text}"
    );
}

#[test]
fn a_duration_without_unit_is_refused() {
    let error = toml::from_str::<Profile>("deadline = '10'").unwrap_err();
    assert!(error.to_string().contains("not a duration"), "{error}");
    let error = toml::from_str::<Profile>("deadline = 5").unwrap_err();
    let wanted = "expected a duration with its unit, e.g. \"10s\"";
    assert!(error.to_string().contains(wanted), "{error}");
}

#[test]
fn impossible_numbers_are_refused_by_name() {
    let refused = |text: &str| {
        toml::from_str::<Profile>(text)
            .unwrap()
            .check()
            .unwrap_err()
    };
    assert_eq!(
        refused("tls_share = 2.0"),
        ProfileError::Share {
            name: "tls_share",
            value: 2.0
        }
    );
    assert_eq!(refused("mix = []"), ProfileError::NoMix);
    let said = |text: &str| refused(text).to_string();
    let names = [
        (
            "rate = 0",
            "load.rate must lie between 0.000000001 and 100000, not 0",
        ),
        ("rate = 1e300", "not 1e300"),
        (
            "users = 4000000000",
            "load.users must lie between 1 and 10000000, not 4000000000",
        ),
        (
            "[probes]\ninterval = '1ns'",
            "load.probes.interval must lie between 100us and 8766h, not 1ns",
        ),
        (
            "deadline = '0s'",
            "load.deadline must lie between 1us and 8766h, not 0s",
        ),
        (
            "slow = '20s'",
            "load.slow (20s) is longer than load.deadline (10s)",
        ),
        (
            "pauses = [{ from = '2s', to = '4s' }, { from = '1s', to = '2500ms' }]",
            "load.pauses: the one from 2s to 4s begins before another ends, at 2500ms",
        ),
        (
            "pauses = [{ from = '3s', to = '2h' }, { from = '2h', to = '2h' }]",
            "load.pauses: a pause must end after it begins, not from 2h to 2h",
        ),
        (
            "[[mix]]\n[[mix]]\nweight = -1",
            "load.mix[1].weight must lie",
        ),
        ("[[mix]]\nurl = 'x y'", "load.mix[0].url must begin with /"),
        (
            "[[mix]]\nhost = 'a b'",
            "load.mix[0].host must be a host name",
        ),
        (
            "[held]\nurl = '/h'\ncount = 4000000000",
            "load.held.count must lie between 1 and",
        ),
    ];
    for (text, wanted) in names {
        assert!(said(text).contains(wanted), "{text}: {}", said(text));
    }
    let long = said(&format!("[[mix]]\nurl = '/{}'", "a".repeat(8_000)));
    assert!(long.contains("has 8001 bytes, and at most 8000"), "{long}");
    assert!(long.len() < 200, "{long}");
    let pages = refused("[[mix]]\nurl = '/a'\ncatalogue = 3");
    assert_eq!(
        pages,
        ProfileError::NoPlace {
            name: "mix[0]".to_owned(),
            url: "/a".to_owned(),
            catalogue: 3
        }
    );
}

#[test]
fn a_body_that_no_server_takes_is_refused_by_its_entry() {
    let text = "mix = [{ url = '/' }, { url = '/a.aspx', body_bytes = 64000001 }]";
    let profile: Profile = toml::from_str(text).unwrap();
    let said = profile.check().unwrap_err().to_string();
    let wanted = "load.mix[1].body_bytes must lie between 0 and 64000000, not 64000001";
    assert_eq!(said, wanted);
}
