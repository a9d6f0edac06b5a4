//! An applicationHost.config as a hoster has it: 700 KB, 65 pools, 62 sites, a byte order mark, CRLF, comments,
//! locations and sections that nobody here knows. It is run, listed and edited; what was not meant stays.
#![expect(
    clippy::unwrap_used,
    clippy::format_collect,
    reason = "a test ends when something is not as it should be; the file is written piece by piece"
)]

mod support;

use std::path::Path;

use support::Up;

const POOLS: usize = 65;
const SITES: usize = 62;

fn pool(n: usize) -> String {
    let secret = "QUJDREVG".repeat(60);
    format!(
        "\t\t\t<!-- {n}: {} -->\n\
         \t\t\t<add name='Pool {n}' managedRuntimeVersion=\"v4.0\" queueLength='{}'>\n\
         \t\t\t\t<processModel identityType=\"SpecificUser\" userName=\"D\\u{n}\" password=\"[enc:IISWASOnlyAesProvider:{secret}:enc]\" />\n\
         \t\t\t\t<recycling logEventOnRecycle=\"Time, Memory\">\n\
         \t\t\t\t\t<periodicRestart time=\"1.05:00:00\"><schedule><add value=\"03:00:00\" /></schedule></periodicRestart>\n\
         \t\t\t\t</recycling>\n\
         \t\t\t\t<failure orphanActionParams='&quot;a&quot; &amp; &lt;b&gt; &#x41;' />\n\
         \t\t\t</add>\n",
        "asked for by the customer ".repeat(60),
        1000 + n,
    )
}

fn site(n: usize) -> String {
    let applications: String = (0..8)
        .map(|a| {
            format!(
                "\t\t\t\t<application path=\"/app{a}\" applicationPool=\"Pool {n}\">\n\
                 \t\t\t\t\t<virtualDirectory path=\"/\" physicalPath=\"%IIS_SITES_HOME%\\site{n}\\app{a}\" />\n\
                 \t\t\t\t\t<virtualDirectory path='/media' physicalPath='\\\\files\\media$\\{n}' userName='u' password='[enc:AesProvider:eA==:enc]' />\n\
                 \t\t\t\t</application>\n"
            )
        })
        .collect();
    format!(
        "\t\t\t<site name=\"Customer {n} &amp; S\u{f6}hne\" id=\"{}\" serverAutoStart=\"{}\">\n\
         \t\t\t\t<application path=\"/\" applicationPool=\"Pool {n}\" preloadEnabled='false'>\n\
         \t\t\t\t\t<virtualDirectory path=\"/\" physicalPath=\"D:\\sites\\{n}\" />\n\
         \t\t\t\t</application>\n{applications}\
         \t\t\t\t<bindings>\n\
         \t\t\t\t\t<binding protocol=\"http\" bindingInformation=\"*:80:www{n}.example\" />\n\
         \t\t\t\t\t<binding protocol='net.tcp' bindingInformation='808:*' />\n\
         \t\t\t\t</bindings>\n\
         \t\t\t</site>\n",
        n + 1,
        n.is_multiple_of(2)
    )
}

fn location(n: usize) -> String {
    let rules: String = (0..46)
        .map(|r| format!("\t\t\t\t\t<rule name=\"{r}\" stopProcessing=\"true\"><match url=\"^old{r}/(.*)\" /><action type=\"Redirect\" url=\"/new{r}/{{R:1}}\" /></rule>\n"))
        .collect();
    format!(
        "\t<location path=\"Customer {n} &amp; S\u{f6}hne/app1\" overrideMode=\"Deny\">\n\
         \t\t<system.webServer>\n\
         \t\t\t<rewrite>\n\t\t\t\t<rules>\n{rules}\t\t\t\t</rules>\n\t\t\t</rewrite>\n\
         \t\t\t<urlCompression doDynamicCompression=\"true\" />\n\
         \t\t</system.webServer>\n\
         \t</location>\n"
    )
}

/// The file, as bytes.
fn large() -> Vec<u8> {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- do not touch -->\n<configuration>\n\
         \t<configSections>\n\t\t<sectionGroup name=\"acme\"><section name=\"scanner\" overrideModeDefault=\"Allow\" /></sectionGroup>\n\t</configSections>\n\
         \t<acme>\n\t\t<scanner depth=\"3\"><deep><er a='1'/></deep></scanner>\n\t</acme>\n\
         \t<system.applicationHost>\n\t\t<applicationPools>\n{}\
         \t\t\t<applicationPoolDefaults managedRuntimeVersion=\"v4.0\"><processModel idleTimeout=\"00:30:00\" /></applicationPoolDefaults>\n\
         \t\t</applicationPools>\n\t\t<sites>\n{}\
         \t\t\t<siteDefaults><limits connectionTimeout=\"00:01:00\" /></siteDefaults>\n\
         \t\t</sites>\n\t</system.applicationHost>\n\
         \t<system.webServer>\n\t\t<urlCompression doDynamicCompression=\"false\" />\n\t</system.webServer>\n{}</configuration>\n",
        (0..POOLS).map(pool).collect::<String>(),
        (0..SITES).map(site).collect::<String>(),
        (0..SITES).map(location).collect::<String>(),
    );
    format!("\u{feff}{}", text.replace('\n', "\r\n")).into_bytes()
}

/// `old` with the one occurrence of `from` behind `after` replaced by `to`.
fn replaced(old: &[u8], after: &str, from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(old).unwrap();
    let at = text.find(after).unwrap();
    let at = at + text[at..].find(from).unwrap();
    [&text[..at], to, &text[at + from.len()..]]
        .concat()
        .into_bytes()
}

#[test]
fn a_file_of_700_kb_is_run_listed_and_edited_and_no_other_byte_changes() {
    let large = large();
    assert!(large.len() > 690_000, "{}", large.len());
    let text = String::from_utf8(large.clone()).unwrap();
    let up = Up::with_config(Some(&text));
    let file = up.root.with_file_name("applicationHost.config");
    let said = |words: &[&str]| up.said(&[&["appcmd"], words].concat());
    let count = |words: &[&str]| said(words).lines().count();
    let bytes = |file: &Path| std::fs::read(file).unwrap();
    assert_eq!(count(&["list", "apppools"]), POOLS);
    assert_eq!(count(&["list", "sites"]), SITES);
    assert_eq!(count(&["list", "sites", "/state:Started"]), SITES / 2);
    assert_eq!(count(&["list", "apps"]), SITES * 9);
    assert_eq!(count(&["list", "vdirs"]), SITES * 17);
    assert_eq!(
        said(&["list", "site", "Customer 6 & S\u{f6}hne"]),
        "SITE \"Customer 6 & S\u{f6}hne\" (id:7,bindings:http/*:80:www6.example,net.tcp/808:*,state:Started)\n"
    );
    assert_eq!(bytes(&file), large, "looking changes nothing");
    let set = ["set", "apppool", "Pool 40", "/queueLength:4321"];
    assert_eq!(said(&set), "APPPOOL object \"Pool 40\" changed\n");
    let expected = replaced(
        &large,
        "name='Pool 40'",
        "queueLength='1040'",
        "queueLength='4321'",
    );
    assert_eq!(bytes(&file), expected, "one attribute of one pool");
    let compression = ["/section:urlCompression", "/doDynamicCompression:false"];
    let site = "Customer 9 & S\u{f6}hne/app1";
    said(
        &[
            &["set", "config", site, "/commit:apphost"],
            &compression[..],
        ]
        .concat(),
    );
    let expected = replaced(
        &expected,
        "path=\"Customer 9 &amp;",
        "doDynamicCompression=\"true\"",
        "doDynamicCompression=\"false\"",
    );
    assert_eq!(bytes(&file), expected, "one attribute of one location");
    assert_eq!(
        said(&["list", "apppool", "Pool 40", "/text:queueLength"]),
        "4321\n"
    );
}
