//! Files as machines in the wild have them, edited: one attribute changes, every other byte stays.
#![expect(
    clippy::format_collect,
    reason = "a file is written here piece by piece"
)]

use sim_was::config::edit::{Change, apply};
use sim_was::config::{Configuration, load};

const FILES: [&str; 5] = [
    include_str!("config/server2022.config"),
    include_str!("config/server2012r2-ftp.config"),
    include_str!("config/iisexpress.config"),
    include_str!("config/locations.config"),
    include_str!("config/bom-crlf.config"),
];

/// 65 pools and 62 sites in more than 700 KB: tabs, CRLF, comments, single quotes, entities, encrypted
/// passwords, IPv6, wildcard and international host names, locations and sections of other modules.
fn large() -> String {
    let pool = |n: usize| {
        let comment = format!(
            "<!-- {} <add name='Pool{n}' /> -->\r\n",
            "pool ".repeat(800)
        );
        format!(
            "\t\t\t{comment}\t\t\t<add name='Pool{n}' managedRuntimeVersion=\"v4.0\" autoStart='true'>\r\n\
             \t\t\t\t<processModel identityType=\"SpecificUser\" userName=\"D\\u{n}\" password=\"[enc:IISWASOnlyAesProvider:{0}:enc]\" />\r\n\
             \t\t\t\t<failure orphanActionParams='&quot;a&quot; &amp; &lt;b&gt; &#x41;' />\r\n\
             \t\t\t</add>\r\n",
            "QUJD".repeat(60)
        )
    };
    let site = |n: usize| {
        let applications: String = (0..12)
            .map(|a| format!(
                "\t\t\t\t<application path=\"/app{a}\" applicationPool=\"Pool{n}\">\r\n\
                 \t\t\t\t\t<virtualDirectory path=\"/\" physicalPath=\"%IIS_SITES_HOME%\\site{n}\\app{a}\" />\r\n\
                 \t\t\t\t\t<virtualDirectory path='/media' physicalPath='\\\\files\\media$\\{n}' userName='u' password='[enc:AesProvider:eA==:enc]' />\r\n\
                 \t\t\t\t</application>\r\n"
            ))
            .collect();
        format!(
            "\t\t\t<site name=\"Site {n} &amp; Söhne\" id=\"{}\">\r\n\
             \t\t\t\t<application path=\"/\" applicationPool=\"Pool{n}\">\r\n\
             \t\t\t\t\t<virtualDirectory path=\"/\" physicalPath=\"D:\\sites\\{n}\" />\r\n\
             \t\t\t\t</application>\r\n{applications}\
             \t\t\t\t<bindings>\r\n\
             \t\t\t\t\t<binding protocol=\"http\" bindingInformation=\"*:80:www{n}.example\" />\r\n\
             \t\t\t\t\t<binding protocol=\"https\" bindingInformation=\"[2001:db8::1]:443:b\u{fc}cher{n}.example\" sslFlags=\"1\" />\r\n\
             \t\t\t\t\t<binding protocol='net.tcp' bindingInformation='808:*' />\r\n\
             \t\t\t\t</bindings>\r\n\
             \t\t\t</site>\r\n",
            n + 1
        )
    };
    let rules: String = (0..2000)
        .map(|n| format!("\t\t\t\t<rule name=\"rule {n}\"><match url=\"^old{n}/(.*)\" /><action type=\"Redirect\" url=\"/new{n}/{{R:1}}\" /></rule>\r\n"))
        .collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<configuration>\r\n\t<system.applicationHost>\r\n\t\t<applicationPools>\r\n{}\t\t</applicationPools>\r\n\t\t<sites>\r\n{}\t\t</sites>\r\n\t</system.applicationHost>\r\n\t<system.webServer>\r\n\t\t<rewrite>\r\n\t\t\t<rules>\r\n{rules}\t\t\t</rules>\r\n\t\t</rewrite>\r\n\t</system.webServer>\r\n</configuration>\r\n",
        (0..65).map(pool).collect::<String>(),
        (0..62).map(site).collect::<String>(),
    )
}

fn read(text: &str) -> Configuration {
    load(text, "applicationHost.config").unwrap_or_else(|error| panic!("{error}"))
}

/// How many bytes differ between two texts, from the first difference to the last.
fn span(old: &str, new: &str) -> usize {
    let (old, new) = (old.as_bytes(), new.as_bytes());
    let before = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let rest = (&old[before..], &new[before..]);
    let after = rest
        .0
        .iter()
        .rev()
        .zip(rest.1.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    rest.0.len().max(rest.1.len()) - after
}

#[test]
fn one_attribute_of_any_pool_or_site_changes_and_no_other_byte() {
    let large = large();
    assert!(large.len() > 700 << 10, "{}", large.len());
    for text in FILES.into_iter().chain([large.as_str()]) {
        let before = read(text);
        let (pools, sites) = (&before.application_pools, &before.sites);
        let some = |count: usize| [0, count / 2, count - 1];
        for index in some(pools.len()) {
            let change = Change::pool(&pools[index].name, "queueLength", "4321");
            let edited = apply(text, &[change]).expect("the pool is there");
            assert!(span(text, &edited) < 40);
            let mut expected = pools.clone();
            expected[index].queue_length = 4321;
            assert_eq!(read(&edited).application_pools, expected);
        }
        for index in some(sites.len()) {
            let change = Change::site(&sites[index].name, "limits.maxConnections", "4321");
            let edited = apply(text, &[change]).expect("the site is there");
            assert!(span(text, &edited) < 80);
            let mut expected = sites.clone();
            expected[index].limits.max_connections = Some(4321);
            assert_eq!(read(&edited).sites, expected);
        }
    }
}
