//! What WAS complains about and goes on: values out of range, names, bindings and pools that cannot be used.

use super::*;

#[test]
fn a_pool_value_outside_its_range_is_event_5041_and_the_default() {
    let configuration = good(&host(
        r#"<add name="A" queueLength="5"><processModel idleTimeout="00:00:30"/></add><add name="B"/><applicationPoolDefaults><cpu limit="100001"/></applicationPoolDefaults>"#,
        "",
    ));
    assert_eq!(
        warnings(&configuration),
        [
            (
                5041,
                "The 'application pool' 'A' failed range validation for property 'queueLength'. The configured value '5' is outside of the range '10' to '65535'. The value will default to '1000'."
            ),
            (
                5041,
                "The 'application pool' 'A' failed range validation for property 'idleTimeout'. The configured value '00:00:30' is outside of the range '00:00:00' to '30.00:00:00' in steps of '00:01:00'. The value will default to '00:20:00'."
            ),
            (
                5041,
                "The 'application pool' 'defaults' failed range validation for property 'limit'. The configured value '100001' is outside of the range '0' to '100000'. The value will default to '0'."
            ),
        ]
    );
    assert_eq!(configuration.application_pools[0].queue_length, 1000);
    assert_eq!(configuration.application_pools[1].cpu.limit, 0);
}

#[test]
fn limits_of_the_service_outside_their_range_are_event_5067() {
    let text = "<configuration><system.applicationHost><webLimits demandStartThreshold=\"9\"/></system.applicationHost></configuration>";
    let configuration = good(text);
    assert_eq!(events(&configuration), [5067]);
    assert_eq!(configuration.web_limits, WebLimits::default());
}

#[test]
fn a_site_value_outside_its_range_is_event_5041_and_the_default() {
    let limits =
        r#"<limits maxBandwidth="500" connectionTimeout="20:00:00" maxUrlSegments="20000"/>"#;
    let logs = r#"<logFile truncateSize="100"/><traceFailedRequestsLogging maxLogFiles="0"/>"#;
    let defaults = r#"<siteDefaults><logFile truncateSize="7"/></siteDefaults>"#;
    let text = host(
        r#"<add name="DefaultAppPool"/>"#,
        &(site(&format!("{limits}{logs}")) + defaults),
    );
    let configuration = good(&text);
    assert_eq!(events(&configuration), [5041; 6]);
    assert_eq!(
        configuration.warnings[0].text,
        "The 'site' 'S' failed range validation for property 'maxBandwidth'. The configured value '500' is outside of the range '1024' to '4294967295'. The value will default to '4294967295'."
    );
    let (name, value) = &configuration.warnings[0].data[1];
    assert_eq!((name.as_str(), value.as_str()), ("SiteName", "S"));
    let site = &configuration.sites[0];
    assert_eq!(site.fault, None);
    assert_eq!(site.limits.max_bandwidth, None);
    assert_eq!(site.limits.connection_timeout, Duration::from_mins(2));
    assert_eq!(site.log_file.settings.truncate_size, 20_971_520);
}

#[test]
fn values_of_the_whole_service_outside_their_range_are_event_5067_and_stop_nothing() {
    let sections =
        r#"<log><centralW3CLogFile truncateSize="1"/></log><configHistory maxHistories="0"/>"#;
    let configuration = good(&format!(
        "<configuration><system.applicationHost>{sections}</system.applicationHost></configuration>"
    ));
    let found = warnings(&configuration);
    assert_eq!(events(&configuration), [5067; 2]);
    let wanted =
        "The 'service' 'configHistory' failed range validation for property 'maxHistories'.";
    assert!(
        found.iter().any(|(_, text)| text.starts_with(wanted)),
        "{found:?}"
    );
    assert_eq!(configuration.config_history.max_histories, 10);
}

#[test]
fn names_that_was_cannot_use_make_it_ignore_the_pool() {
    let long = "x".repeat(65);
    let configuration = good(&host(
        &format!(
            r#"<add name="{long}"/><add name=""/><add name="{}"/>"#,
            &long[1..]
        ),
        "",
    ));
    assert_eq!(events(&configuration), [5050, 5051]);
    assert_eq!(configuration.application_pools.len(), 1);
}

#[test]
fn an_idle_timeout_beyond_the_restart_time_is_event_5152() {
    let pool = |time: &str| {
        format!(r#"<add name="A"><recycling><periodicRestart time="{time}"/></recycling></add>"#)
    };
    assert_eq!(events(&good(&host(&pool("00:20:00"), ""))), [5152]);
    assert!(events(&good(&host(&pool("00:21:00"), ""))).is_empty());
    assert!(
        events(&good(&host(&pool("00:00:00"), ""))).is_empty(),
        "zero is never"
    );
}

#[test]
fn a_binding_that_cannot_be_understood_is_left_out() {
    let bindings = r#"<bindings><binding protocol="http" bindingInformation="*:99999:"/><binding protocol="http" bindingInformation="*:80:"/></bindings>"#;
    let configuration = good(&host(r#"<add name="DefaultAppPool"/>"#, &site(bindings)));
    assert_eq!(
        warnings(&configuration),
        [(
            5180,
            "applicationHost.config: line 1: the http binding '*:99999:' of site 'S' is ignored, because its port '99999' is not between 1 and 65535"
        )]
    );
    assert_eq!(configuration.sites[0].bindings.len(), 1);
}

#[test]
fn a_pool_that_does_not_exist_is_only_a_warning() {
    let configuration = good(&host("", &site("")));
    assert_eq!(events(&configuration), [5179]);
    assert!(
        configuration.warnings[0]
            .text
            .contains("application pool 'DefaultAppPool', which does not exist")
    );
}

#[test]
fn what_a_site_or_an_application_lacks_is_told_of_it() {
    let root = r#"<virtualDirectory path="/" physicalPath="C:\x"/>"#;
    let site = |id: u32, path: &str, directory: &str| {
        let application = format!(r#"<application path="{path}">{directory}</application>"#);
        format!(r#"<site name="S" id="{id}">{application}</site>"#)
    };
    for (written, told) in [
        (site(0, "/", root), vec![5174]),
        (site(1, "/shop", root), vec![5174]),
        (site(1, "/", ""), vec![5179]),
        (site(1, "/", root), vec![]),
    ] {
        let configuration = good(&host(r#"<add name="DefaultAppPool"/>"#, &written));
        assert_eq!(events(&configuration), told, "{written}");
    }
}
