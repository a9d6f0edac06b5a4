//! Files of any size, and of any bytes: they are read or refused, in a time that does not grow with the square.

use proptest::prelude::*;
use sim_was::config::{load, load_bytes};

use crate::{NAME, good, host, many, site};

#[test]
fn a_file_of_eight_megabytes_loads() {
    let map = many(100_000, |n| {
        format!("<mimeMap fileExtension=\".e{n}\" mimeType=\"application/x-{n}\"/>\n")
    });
    let pools = many(20_000, |n| {
        format!("<add name=\"p{n}\"><cpu limit=\"5\"/></add>\n")
    });
    let text = host(&pools, &site("")).replace(
        "</configuration>",
        &format!("<system.webServer><staticContent>{map}</staticContent></system.webServer></configuration>"),
    );
    let configuration = good(&text);
    assert_eq!(configuration.application_pools.len(), 20_000);
    assert_eq!(
        configuration.sites[0].applications[0]
            .settings
            .mime_map
            .len(),
        100_000
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = load_bytes(&bytes, NAME);
    }

    #[test]
    fn any_damage_to_a_good_file_is_read_or_refused(
        from in any::<prop::sample::Index>(),
        length in 0_usize..40,
        patch in "[<>/=\"'a-z &;!\\[\\]-]{0,12}",
    ) {
        let text = include_str!("server2022.config");
        let boundary = |mut at: usize| {
            while !text.is_char_boundary(at) { at -= 1; }
            at
        };
        let start = boundary(from.index(text.len()));
        let end = boundary((start + length).min(text.len()));
        let _ = load(&format!("{}{patch}{}", &text[..start], &text[end..]), NAME);
    }

    #[test]
    fn any_value_of_any_attribute_is_read_or_refused(
        which in any::<prop::sample::Index>(),
        value in "\\PC{0,20}|-?[0-9]{1,30}|[0-9.:]{1,12}",
    ) {
        let text = include_str!("server2022.config");
        let quotes: Vec<_> = text.match_indices("=\"").map(|(at, _)| at + 2).collect();
        let start = quotes[which.index(quotes.len())];
        let end = start + text[start..].find('"').unwrap();
        let value = value.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
        let _ = load(&format!("{}{value}{}", &text[..start], &text[end..]), NAME);
    }

    #[test]
    fn a_binding_survives_the_way_through_the_file(port in 1_u16.., host in "[a-z]{1,9}(\\.[a-z]{1,9}){0,3}", octets: [u8; 4]) {
        prop_assume!(octets != [0; 4]);
        let address = std::net::Ipv4Addr::from(octets);
        let binding = format!(r#"<bindings><binding protocol="http" bindingInformation="{address}:{port}:{host}"/></bindings>"#);
        let configuration = good(&crate::host("", &site(&binding)));
        let http = configuration.sites[0].bindings[0].http.clone().unwrap();
        prop_assert_eq!((http.address, http.port, http.host), (Some(address.into()), port, host));
    }
}

#[test]
fn a_section_many_times_and_many_sites_are_no_burden() {
    let sites = many(20_000, |n| format!(r#"<site name="s{n}" id="{}"/>"#, n + 1));
    let sections = many(100_000, |n| format!("<caching a{n}='1'/>\n"));
    let text = host("", &sites).replace(
        "</configuration>",
        &format!("<system.webServer>{sections}</system.webServer></configuration>"),
    );
    let configuration = good(&text);
    assert_eq!(
        (configuration.sites.len(), configuration.warnings.len()),
        (20_000, 201)
    );
}
