//! Edits as administrators make them, on files as they are found.

#![expect(
    clippy::format_push_string,
    reason = "a file is written here piece by piece"
)]

use proptest::prelude::*;

use super::*;
use crate::config::default_config::DEFAULT_CONFIG;

const POOLS: &str = "system.applicationHost/applicationPools";

fn change(text: &str) -> Change {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn edited(text: &str, wanted: &str) -> String {
    apply(text, &[change(wanted)]).unwrap_or_else(|error| panic!("{wanted}: {error}"))
}

fn refused(text: &str, wanted: &str) -> String {
    apply(text, &[change(wanted)]).unwrap_err().to_string()
}

/// A file with these pools, as IIS Manager writes it.
fn host(pools: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?>\r\n<configuration>\r\n\t<system.applicationHost>\r\n\t\t<applicationPools>\r\n{pools}\t\t</applicationPools>\r\n\t</system.applicationHost>\r\n</configuration>\r\n"
    )
}

/// What was cut out and what was put there.
fn difference(old: &str, new: &str) -> (String, String) {
    let (old, new): (Vec<char>, Vec<char>) = (old.chars().collect(), new.chars().collect());
    let same = |a: &[char], b: &[char]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let before = same(&old, &new);
    let (a, b) = (&old[before..], &new[before..]);
    let backwards = |text: &[char]| text.iter().rev().copied().collect::<Vec<_>>();
    let after = same(&backwards(a), &backwards(b));
    (
        a[..a.len() - after].iter().collect(),
        b[..b.len() - after].iter().collect(),
    )
}

#[test]
fn a_value_is_changed_between_its_own_quotes() {
    let text = host(
        "\t\t\t<add name='P'\r\n\t\t\t     queueLength='1000'   autoStart=\"true\" /><!-- x -->\r\n",
    );
    let new = edited(
        &text,
        "system.applicationHost/applicationPools[name='p'].queueLength:2000",
    );
    assert_eq!(new, text.replace("'1000'", "'2000'"));
}

#[test]
fn a_new_attribute_is_written_like_the_one_before_it() {
    let text = host("\t\t\t<add name='P'\r\n\t\t\t     autoStart='true'/>\r\n");
    let new = edited(
        &text,
        "system.applicationHost/applicationPools[name='P'].queueLength:2000",
    );
    assert_eq!(
        difference(&text, &new),
        (
            String::new(),
            "\r\n\t\t\t     queueLength='2000'".to_owned()
        )
    );
}

#[test]
fn missing_elements_are_written_with_the_indentation_of_the_neighbours() {
    let text = host("\t\t\t<add name=\"P\" />\r\n\t\t\t<add name=\"Q\" />\r\n");
    let path = format!("{POOLS}[name='P'].recycling.periodicRestart.requests:7");
    assert_eq!(
        edited(&text, &path),
        host(
            "\t\t\t<add name=\"P\">\r\n\t\t\t\t<recycling>\r\n\t\t\t\t\t<periodicRestart requests=\"7\" />\r\n\t\t\t\t</recycling>\r\n\t\t\t</add>\r\n\t\t\t<add name=\"Q\" />\r\n"
        )
    );
    let text = host(
        "\t\t\t<add name=\"P\">\r\n\t\t\t\t<processModel maxProcesses=\"2\" />\r\n\t\t\t\t<!-- mine -->\r\n\t\t\t</add>\r\n",
    );
    let path = format!("{POOLS}[name='P'].cpu.limit:50000");
    assert_eq!(
        difference(&text, &edited(&text, &path)),
        (
            String::new(),
            "cpu limit=\"50000\" />\r\n\t\t\t\t<".to_owned()
        )
    );
}

#[test]
fn a_file_on_one_line_stays_on_one_line() {
    let text = "<configuration><system.applicationHost><applicationPools><add name=\"P\"/></applicationPools></system.applicationHost></configuration>";
    let new = edited(
        text,
        &format!("{POOLS}[name='P'].failure.rapidFailProtection:false"),
    );
    assert_eq!(
        new,
        text.replace(
            "<add name=\"P\"/>",
            "<add name=\"P\"><failure rapidFailProtection=\"false\" /></add>"
        )
    );
}

#[test]
fn what_goes_into_an_element_on_one_line_brings_no_blanks() {
    let pool = "\t\t\t<add name=\"P\"><cpu /></add>\r\n";
    for (wanted, written) in [
        (
            format!("+{POOLS}[name='P'].environmentVariables.[name='a',value='b']"),
            "<environmentVariables><add name=\"a\" value=\"b\" /></environmentVariables>",
        ),
        (
            format!("{POOLS}[name='P'].recycling.periodicRestart.memory:1"),
            "<recycling><periodicRestart memory=\"1\" /></recycling>",
        ),
    ] {
        let new = edited(&host(pool), &wanted);
        let expected = pool.replace("<cpu />", &format!("<cpu />{written}"));
        assert_eq!(new, host(&expected));
    }
}

#[test]
fn entries_are_added_behind_their_like_and_removed_with_their_line() {
    let text = host("\t\t\t<add name=\"P\" />\r\n\t\t\t<applicationPoolDefaults />\r\n");
    let new = edited(&text, &format!("+{POOLS}.[name='Q',autoStart='false']"));
    let expected = host(
        "\t\t\t<add name=\"P\" />\r\n\t\t\t<add name=\"Q\" autoStart=\"false\" />\r\n\t\t\t<applicationPoolDefaults />\r\n",
    );
    assert_eq!(new, expected);
    assert_eq!(edited(&new, &format!("-{POOLS}.[name='q']")), text);
    let first = host("\t\t\t<applicationPoolDefaults />\r\n");
    assert_eq!(
        edited(&first, &format!("+{POOLS}.[name='Q']")),
        host("\t\t\t<add name=\"Q\" />\r\n\t\t\t<applicationPoolDefaults />\r\n")
    );
}

#[test]
fn an_entry_is_not_added_twice_and_only_what_is_there_is_removed() {
    let text = host("\t\t\t<add name=\"P\" />\r\n");
    assert_eq!(
        refused(&text, &format!("+{POOLS}.[name='p']")),
        format!("{POOLS} has an entry with name='p' already")
    );
    assert_eq!(
        refused(&text, &format!("-{POOLS}.[name='X']")),
        format!("{POOLS} has no entry with name='X'")
    );
    assert!(refused(&text, &format!("{POOLS}[name='X'].queueLength:20")).contains("no entry"));
}

#[test]
fn values_and_names_are_held_against_the_schema() {
    let text = host("\t\t\t<add name=\"P\" />\r\n");
    let refused = |path: &str| refused(&text, &format!("{POOLS}[name='P'].{path}"));
    assert!(refused("queueLength:5").ends_with("is outside of the range 10 to 65535"));
    assert!(refused("queueLength:many").contains("not a whole number"));
    assert!(refused("processModel.idleTimeout:00:00:30").contains("in steps of"));
    assert!(refused("managedPipelineMode:Old").contains("Integrated, Classic"));
    assert!(refused("queueLenght:50").contains("known: CLRConfigFile"));
    assert!(refused("idleTimeout:0").ends_with("below it there is processModel.idleTimeout"));
    assert!(refused("procesModel.idleTimeout:00:10:00").contains("has no element \"procesModel\""));
    assert!(apply(&text, &[change("system.nowhere/thing.a:b")]).is_err());
}

#[test]
fn names_are_written_as_the_schema_has_them() {
    let text = host("\t\t\t<add name=\"P\" />\r\n");
    let new = edited(
        &text,
        &format!("{POOLS}[name='P'].PROCESSMODEL.IDLETIMEOUT:00:10:00"),
    );
    assert!(
        new.contains("<processModel idleTimeout=\"00:10:00\" />"),
        "{new}"
    );
}

#[test]
fn a_change_may_go_to_a_location_that_does_not_exist_yet() {
    let text = host("\t\t\t<add name=\"P\" />\r\n");
    let new = edited(
        &text,
        "@'Default Web Site/app' system.webServer/caching.enabled:false",
    );
    assert_eq!(
        difference(&text, &new).1,
        "\t<location path=\"Default Web Site/app\">\r\n\t\t<system.webServer>\r\n\t\t\t<caching enabled=\"false\" />\r\n\t\t</system.webServer>\r\n\t</location>\r\n"
    );
    let again = edited(
        &new,
        "@'default web site/APP' system.webServer/caching.enableKernelCache:false",
    );
    assert_eq!(difference(&new, &again).1, "enableKernelCache=\"false\" ");
}

#[test]
fn a_collection_is_cleared_and_an_inherited_entry_is_removed_by_a_remove() {
    let text = DEFAULT_CONFIG;
    let files = "system.webServer/defaultDocument.files";
    let mut clear = change(&format!("-{files}.[value='index.htm']"));
    let removed = apply(text, &[clear.clone()]).unwrap();
    assert!(!removed.contains("index.htm\""));
    clear.act = Act::Clear;
    let cleared = apply(text, &[clear]).unwrap();
    assert!(cleared.contains("<clear />"));
    assert!(
        crate::config::load(&cleared, "f").unwrap().sites[0].applications[0]
            .settings
            .default_documents
            .is_empty()
    );
    let here = edited(
        text,
        &format!("@'Default Web Site' -{files}.[value='index.htm']"),
    );
    assert!(here.contains("<remove value=\"index.htm\" />"), "{here}");
    let documents = &crate::config::load(&here, "f").unwrap().sites[0].applications[0]
        .settings
        .default_documents;
    assert!(!documents.contains(&"index.htm".to_owned()));
}

#[test]
fn an_unknown_section_that_is_there_can_be_changed_as_well() {
    let text = "<configuration>\n  <webFarms>\n    <webFarm name='a' enabled='true' />\n  </webFarms>\n</configuration>";
    let new = edited(text, "webFarms.[name='a'].enabled:false");
    assert_eq!(new, text.replace("'true'", "'false'"));
}

#[test]
fn special_characters_are_escaped_and_come_back() {
    let text = host("\t\t\t<add name=\"P\" />\r\n");
    let value = "a & b < c > \"d\" 'e'\tf";
    let change = Change::pool("P", "failure.orphanActionParams", value);
    let new = apply(&text, &[change]).unwrap();
    let pools = crate::config::load(&new, "f").unwrap().application_pools;
    assert_eq!(pools[0].failure.orphan_action_params, value);
}

#[test]
fn byte_order_marks_and_encodings_stay() {
    let text = host("\t\t\t<add name=\"P\" />\r\n");
    let wanted = [change(&format!("{POOLS}[name='P'].queueLength:99"))];
    let expected = apply(&text, &wanted).unwrap();
    let utf8 = [b"\xEF\xBB\xBF", text.as_bytes()].concat();
    assert_eq!(
        apply_to_bytes(&utf8, "f", &wanted).unwrap(),
        [b"\xEF\xBB\xBF", expected.as_bytes()].concat()
    );
    let wide = |text: &str| -> Vec<u8> {
        let units = text.encode_utf16().flat_map(u16::to_le_bytes);
        [0xFF, 0xFE].into_iter().chain(units).collect()
    };
    assert_eq!(
        apply_to_bytes(&wide(&text), "f", &wanted).unwrap(),
        wide(&expected)
    );
}

#[test]
fn an_attribute_is_deleted_and_an_element_too() {
    let text = host(
        "\t\t\t<add name=\"P\" queueLength=\"20\" autoStart=\"true\">\r\n\t\t\t\t<cpu limit=\"1\" />\r\n\t\t\t</add>\r\n",
    );
    let new = edited(&text, &format!("-{POOLS}[name='P'].queueLength"));
    assert_eq!(new, text.replace(" queueLength=\"20\"", ""));
    let mut cpu = change(&format!("-{POOLS}[name='P'].cpu.limit"));
    cpu.act = Act::DeleteElement;
    assert_eq!(
        apply(&text, &[cpu]).unwrap(),
        text.replace("\r\n\t\t\t\t<cpu limit=\"1\" />", "")
    );
}

#[test]
fn quotes_that_a_shell_has_taken_are_not_missed() {
    for (bare, quoted) in [
        (
            "+applicationPools[name=A].recycling.periodicRestart.schedule.[value=07:00:00]",
            "+applicationPools[name='A'].recycling.periodicRestart.schedule.[value='07:00:00']",
        ),
        (
            "+sites[name=A].bindings.[protocol=http,bindingInformation=*:80:]",
            "+sites[name='A'].bindings.[protocol='http',bindingInformation='*:80:']",
        ),
        (
            "applicationPools[name=A].queueLength:2000",
            "applicationPools[name='A'].queueLength:2000",
        ),
    ] {
        assert_eq!(bare.parse::<Change>().unwrap(), quoted.parse().unwrap());
    }
}

#[test]
fn changes_that_are_not_understood_say_how_they_are_written() {
    for text in [
        "",
        "nonsense",
        "a/b[name='x",
        "a/b[name].c:d",
        "+a/b.c",
        "@x",
    ] {
        assert!(text.parse::<Change>().is_err(), "{text}");
    }
    let parsed =
        change("system.applicationHost/sites[name='It''s'].[path='/'].preloadEnabled:true");
    assert_eq!(
        parsed.element[0],
        Step::Entry(vec![("name".to_owned(), "It's".to_owned())])
    );
}

// ---- any file, any edit ----------------------------------------------------------------------------

/// Attributes of pools, with two good values each.
const SETTINGS: [(&str, [&str; 2]); 8] = [
    ("queueLength", ["10", "65535"]),
    ("autoStart", ["true", "false"]),
    ("managedRuntimeVersion", ["", "v4.0 & <more> 'q' \"d\""]),
    ("processModel.idleTimeout", ["00:00:00", "1.05:00:00"]),
    ("recycling.periodicRestart.requests", ["0", "4000000000"]),
    ("recycling.logEventOnRecycle", ["Time", "Time, Memory"]),
    ("failure.autoShutdownExe", ["%SystemRoot%\\x.exe", "ä€😀"]),
    ("cpu.action", ["KillW3wp", "Throttle"]),
];

/// How a file is written.
#[derive(Clone, Debug)]
struct Style {
    newline: &'static str,
    indent: &'static str,
    quote: char,
    comments: bool,
    closed: &'static str,
    pools: usize,
    present: Vec<(usize, usize, usize)>,
}

fn styles() -> impl Strategy<Value = Style> {
    (
        prop_oneof![Just("\r\n"), Just("\n"), Just("")],
        prop_oneof![Just("    "), Just("\t"), Just("  ")],
        prop_oneof![Just('"'), Just('\'')],
        any::<bool>(),
        prop_oneof![Just(" />"), Just("/>"), Just("></add>")],
        1..4_usize,
        prop::collection::vec((0..4_usize, 0..SETTINGS.len(), 0..2_usize), 0..12),
    )
        .prop_map(
            |(newline, indent, quote, comments, closed, pools, present)| Style {
                newline,
                indent,
                quote,
                comments,
                closed,
                pools,
                present,
            },
        )
}

impl Style {
    fn write(&self) -> String {
        let Self {
            newline,
            indent,
            quote,
            closed,
            ..
        } = self;
        let line = |depth: usize| {
            format!(
                "{newline}{}",
                if newline.is_empty() {
                    String::new()
                } else {
                    indent.repeat(depth)
                }
            )
        };
        let remark = |text: &str| {
            if self.comments {
                format!("<!-- {text} <add name=\"P0\" /> -->")
            } else {
                String::new()
            }
        };
        let mut text = format!(
            "<?xml version='1.0'?>{newline}<configuration>{}<system.applicationHost>{}<applicationPools>",
            line(1),
            line(2)
        );
        for pool in 0..self.pools {
            text += &format!(
                "{}{}<add name={quote}P{pool}{quote}",
                line(3),
                remark("a pool")
            );
            let mut seen = Vec::new();
            for (of, setting, value) in &self.present {
                let (path, values) = SETTINGS[*setting];
                if *of == pool && !path.contains('.') && !seen.contains(setting) {
                    seen.push(*setting);
                    text += &format!("  {path}={quote}{}{quote}", escape(values[*value], *quote));
                }
            }
            if self
                .present
                .iter()
                .any(|(of, setting, _)| *of == pool && *setting == 3)
            {
                text += &format!(
                    ">{}<processModel idleTimeout={quote}00:20:00{quote}/>{}{}</add>",
                    line(4),
                    remark("inner"),
                    line(3)
                );
            } else {
                text += closed;
            }
        }
        text + &format!(
            "{}</applicationPools>{}</system.applicationHost>{}{newline}</configuration>{newline}",
            line(2),
            line(1),
            remark("end")
        )
    }
}

/// The text with one tag, name and attributes and all, and what was added, blanked out.
fn parsed_values(text: &str, pool: usize) -> Vec<(String, String)> {
    let document = Document::parse(text).unwrap();
    let pools = document.descendants().filter(|n| n.has_tag_name("add"));
    let pool = pools.into_iter().nth(pool).unwrap();
    let mut values = Vec::new();
    for node in pool.descendants().filter(Node::is_element) {
        for attribute in node.attributes() {
            let path: Vec<_> = node
                .ancestors()
                .take_while(|n| *n != pool)
                .map(|n| n.tag_name().name())
                .collect();
            let mut path: Vec<_> = path.into_iter().rev().collect();
            path.push(attribute.name());
            values.push((path.join("."), attribute.value().to_owned()));
        }
    }
    values.sort();
    values
}

fn lock(section: &str, location: &str, locked: bool) -> Change {
    Change::new(section, Vec::new(), Act::Lock { locked }).at(location)
}

#[test]
fn a_declared_section_is_locked_where_it_is_declared() {
    let text = r#"<configuration>
  <configSections>
    <sectionGroup name="system.webServer">
      <section name="asp" overrideModeDefault="Deny" />
      <section name='caching' />
    </sectionGroup>
  </configSections>
</configuration>"#;
    let unlocked = apply(text, &[lock("system.webServer/asp", "", false)]).unwrap();
    assert_eq!(
        unlocked,
        text.replace(
            "overrideModeDefault=\"Deny\"",
            "overrideModeDefault=\"Allow\""
        )
    );
    let locked = apply(text, &[lock("system.webServer/caching", "", true)]).unwrap();
    let wanted = "<section name='caching' overrideModeDefault='Deny' />";
    assert_eq!(locked, text.replace("<section name='caching' />", wanted));
}

#[test]
fn a_section_of_a_path_is_locked_in_a_location_of_its_own() {
    let text = r#"<configuration>
  <location path="Shop">
    <system.webServer>
      <defaultDocument enabled="true" />
      <caching enabled="false" />
    </system.webServer>
  </location>
</configuration>"#;
    let changes = [lock("system.webServer/defaultDocument", "Shop", true)];
    let locked = apply(text, &changes).unwrap();
    assert_eq!(
        locked,
        r#"<configuration>
  <location path="Shop">
    <system.webServer>
      <caching enabled="false" />
    </system.webServer>
  </location>
  <location path="Shop" overrideMode="Deny">
    <system.webServer>
      <defaultDocument enabled="true" />
    </system.webServer>
  </location>
</configuration>"#
    );
    let changes = [lock("system.webServer/defaultDocument", "Shop", false)];
    assert_eq!(
        apply(&locked, &changes).unwrap(),
        locked.replace("\"Deny\"", "\"Allow\"")
    );
    let changes = [lock("system.webServer/defaultDocument", "Other/app", true)];
    let other = apply("<configuration />", &changes).unwrap();
    assert!(other.contains(r#"<location path="Other/app" overrideMode="Deny">"#));
    assert!(other.contains("<defaultDocument />"), "{other}");
}

proptest! {
    #[test]
    fn an_edit_changes_that_attribute_and_nothing_else(
        style in styles(),
        pool in 0..4_usize,
        setting in 0..SETTINGS.len(),
        value in 0..2_usize,
    ) {
        let text = style.write();
        let pool = pool % style.pools;
        let (path, values) = SETTINGS[setting];
        let wanted = Change::pool(&format!("P{pool}"), path, values[value]);
        let new = apply(&text, std::slice::from_ref(&wanted)).unwrap();
        for other in 0..style.pools {
            let (old, new) = (parsed_values(&text, other), parsed_values(&new, other));
            if other == pool {
                let mut expected: Vec<_> = old.into_iter().filter(|(p, _)| p != path).collect();
                expected.push((path.to_owned(), values[value].to_owned()));
                expected.sort();
                prop_assert_eq!(new, expected);
            } else {
                prop_assert_eq!(new, old);
            }
        }
        // Outside of the one place every byte is as it was.
        let (cut, put) = difference(&text, &new);
        prop_assert!(cut.len() < 60 && put.len() < 260, "{:?} became {:?}", cut, put);
        prop_assert!(!cut.contains("<!--"));
        // Once more changes nothing.
        prop_assert_eq!(apply(&new, &[wanted]).unwrap(), new);
    }

    #[test]
    fn any_change_of_any_text_ends_without_panic(text in ".{0,80}", wanted in ".{0,60}") {
        if let Ok(change) = wanted.parse::<Change>() {
            apply(&text, std::slice::from_ref(&change)).ok();
            apply(DEFAULT_CONFIG, &[change]).ok();
        }
    }
}

#[test]
fn an_entry_without_a_part_of_its_key_is_the_one_with_the_default() {
    let text = |first: &str, second: &str| {
        format!(
            "<configuration><system.webServer><httpErrors>{first}{second}\
             </httpErrors></system.webServer></configuration>"
        )
    };
    let (all, some) = (
        "<error statusCode=\"404\" path=\"a\" />",
        "<error statusCode=\"404\" subStatusCode=\"2\" path=\"b\" />",
    );
    let errors = "system.webServer/httpErrors";
    let set = edited(
        &text(all, some),
        &format!("{errors}.[statusCode='404'].path:c"),
    );
    assert_eq!(set, text(&all.replace("\"a\"", "\"c\""), some));
    let removed = edited(&text(all, some), &format!("-{errors}.[statusCode='404']"));
    assert_eq!(removed, text("", some));
    let only = edited(&text("", some), &format!("-{errors}.[statusCode='404']"));
    assert!(!only.contains("<error "), "no other could be meant: {only}");
}
