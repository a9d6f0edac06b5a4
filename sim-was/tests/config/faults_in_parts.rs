//! What breaks the schema in one pool or one site, and what concerns all.

use sim_was::config::{load, load_sections};

use crate::{NAME, host};

#[test]
fn what_breaks_the_schema_in_one_pool_or_site_concerns_no_other() {
    let pools = "<add name='A' queueLength='1500'/><add name='B' queueLength='many'/>\n\
                 <add name='C'><recycling><periodicRestart tiem='1'/></recycling></add><add name='D'/>";
    let sites = "<site name='S' id='1'/><site name='T' id='2'><limits nonsense='1'/></site>";
    let configuration = load(&host(pools, sites), NAME).unwrap();
    let pools = &configuration.application_pools;
    let broken: Vec<&str> = pools
        .iter()
        .filter(|pool| pool.fault.is_some())
        .map(|pool| pool.name.as_str())
        .collect();
    assert_eq!(broken, ["B", "C"]);
    assert_eq!(pools[0].queue_length, 1500);
    let fault = pools[2].fault.clone().unwrap();
    assert!(
        fault.contains("line 2") && fault.contains("tiem"),
        "{fault}"
    );
    let sites: Vec<bool> = configuration
        .sites
        .iter()
        .map(|s| s.fault.is_some())
        .collect();
    assert_eq!(sites, [false, true]);
    let events = configuration.warnings.iter().map(|warning| warning.event);
    assert_eq!(events.filter(|event| *event == 5172).count(), 3);
}

#[test]
fn what_all_pools_share_and_what_cannot_be_told_apart_is_refused_as_a_whole() {
    for pools in [
        "<applicationPoolDefaults queueLength='many'/><add name='A'/>",
        "<add name='A'/><add name='a'/>",
        "<add queueLength='20'/>",
        "<nonsense/><add name='A'/>",
    ] {
        assert!(load(&host(pools, ""), NAME).is_err(), "{pools}");
    }
}

#[test]
fn a_sign_breaks_an_unsigned_number_and_a_range_does_not() {
    let pools = "<add name='A' queueLength='-1'/><add name='B' queueLength='9'/>";
    let configuration = load(&host(pools, ""), NAME).unwrap();
    let pools = configuration.application_pools.iter();
    let broken: Vec<bool> = pools.map(|pool| pool.fault.is_some()).collect();
    assert_eq!(broken, [true, false]);
    let events: Vec<u16> = configuration.warnings.iter().map(|w| w.event).collect();
    assert_eq!(events, [5172, 5041]);
}

#[test]
fn what_all_pools_share_leaves_the_other_sections_alone() {
    let pools = "<applicationPoolDefaults queueLength='many'/><add name='A'/>";
    let text = host(pools, "<site name='S' id='7'/>");
    let configuration = load_sections(&text, NAME).unwrap();
    let broken: Vec<&str> = configuration
        .broken_sections
        .iter()
        .map(|broken| broken.section.as_str())
        .collect();
    assert_eq!(broken, ["system.applicationHost/applicationPools"]);
    assert_eq!(configuration.sites[0].id, 7);
    let fault = configuration.broken(broken[0]).unwrap();
    assert!(fault.message.contains("queueLength"), "{fault}");
}
