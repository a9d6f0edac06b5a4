//! Edits of sections that have no schema: what entries are called and known by, and where they go.

use super::*;

const FILTERING: &str = "system.webServer/security/requestFiltering";
const AUTHORIZATION: &str = "system.webServer/security/authorization";

/// A configuration that declares the section and has this in it.
fn with(section: &str, content: &str) -> String {
    let (groups, name) = section.rsplit_once('/').unwrap_or(("", section));
    let groups: Vec<&str> = groups
        .split('/')
        .filter(|group| !group.is_empty())
        .collect();
    let text =
        |shown: fn(&str) -> String| groups.iter().map(|group| shown(group)).collect::<Vec<_>>();
    let declared = text(|group| format!("<sectionGroup name=\"{group}\">")).concat();
    let closed = "</sectionGroup>".repeat(groups.len());
    let around = text(|group| format!("<{group}>")).concat();
    let mut end = text(|group| format!("</{group}>"));
    end.reverse();
    let end = end.concat();
    format!(
        "<configuration><configSections>{declared}<section name=\"{name}\" />{closed}</configSections>{around}\
         <{name}>{content}</{name}>{end}</configuration>"
    )
}

/// What the section has in it after changes, each without the section.
fn after(section: &str, content: &str, changes: &[&str]) -> Result<String, EditError> {
    let changes: Vec<Change> = changes
        .iter()
        .map(|change| {
            let sign = change.chars().next().filter(|c| ['+', '-'].contains(c));
            let rest = change.trim_start_matches(['+', '-']);
            let sign = sign.map(String::from).unwrap_or_default();
            format!("{sign}{section}.{rest}").parse().unwrap()
        })
        .collect();
    let edited = apply(&with(section, content), &changes)?;
    let name = section.rsplit('/').next().unwrap();
    let (_, inner) = edited.split_once(&format!("<{name}>")).unwrap();
    Ok(inner
        .split(&format!("</{name}>"))
        .next()
        .unwrap()
        .to_owned())
}

#[test]
fn a_new_entry_has_the_name_of_its_collection_and_not_of_its_neighbour() {
    let cases = [
        (
            FILTERING,
            "+hiddenSegments.[segment='s']",
            "<hiddenSegments><add segment=\"s\" /></hiddenSegments>",
        ),
        (
            FILTERING,
            "+fileExtensions.[fileExtension='bak',allowed='False']",
            "<fileExtensions><add fileExtension=\"bak\" allowed=\"false\" /></fileExtensions>",
        ),
        (
            "system.webServer/isapiFilters",
            "+[name='f',path='x.dll']",
            "<filter name=\"f\" path=\"x.dll\" />",
        ),
        (
            "system.webServer/rewrite/rules",
            "+[name='a']",
            "<rule name=\"a\" />",
        ),
        ("webFarms", "+[name='f']", "<webFarm name=\"f\" />"),
        (
            "system.webServer/fastCgi",
            "+[fullPath='php.exe']",
            "<application fullPath=\"php.exe\" />",
        ),
        (
            "system.webServer/tracing/traceFailedRequests",
            "+[path='*.aspx']",
            "<add path=\"*.aspx\" />",
        ),
        ("acme/things", "+[thing='t']", "<add thing=\"t\" />"),
    ];
    let neighbour = "<requestLimits maxUrl=\"1\" />";
    for (section, change, wanted) in cases {
        let content = if section == "system.webServer/fastCgi" {
            ""
        } else {
            neighbour
        };
        let edited = after(section, content, &[change]).unwrap();
        assert_eq!(edited.replace(neighbour, ""), wanted, "{section}");
    }
}

#[test]
fn entries_in_entries_have_their_own_names() {
    let rules = after(
        "system.webServer/rewrite/globalRules",
        "",
        &[
            "+[name='a']",
            "[name='a'].match.url:.*",
            "+[name='a'].conditions.[input='{HTTPS}',pattern='off']",
            "+[name='a'].conditions.[input='{HTTPS}',pattern='on']",
        ],
    );
    let wanted = "<rule name=\"a\"><match url=\".*\" /><conditions><add input=\"{HTTPS}\" pattern=\"off\" />\
                  <add input=\"{HTTPS}\" pattern=\"on\" /></conditions></rule>";
    assert_eq!(rules.unwrap(), wanted);
    let farms = after(
        "webFarms",
        "",
        &["+[name='f']", "+[name='f'].[address='10.0.0.1']"],
    );
    let wanted = "<webFarm name=\"f\"><server address=\"10.0.0.1\" /></webFarm>";
    assert_eq!(farms.unwrap(), wanted);
    let areas = "[path='*'].traceAreas.[provider='ASP',verbosity='Verbose']";
    let tracing = "system.webServer/tracing/traceFailedRequests";
    let traced = after(tracing, "<add path=\"*\" />", &[&format!("+{areas}")]);
    let wanted = "<add path=\"*\"><traceAreas><add provider=\"ASP\" verbosity=\"Verbose\" /></traceAreas></add>";
    assert_eq!(traced.unwrap(), wanted);
}

#[test]
fn an_entry_is_known_by_its_keys_and_not_by_its_first_attribute() {
    let joe = "+[accessType='Allow',users='joe']";
    let both = after(
        AUTHORIZATION,
        "",
        &[joe, "+[accessType='Allow',users='ann']"],
    )
    .unwrap();
    let wanted =
        "<add accessType=\"Allow\" users=\"joe\" /><add accessType=\"Allow\" users=\"ann\" />";
    assert_eq!(both, wanted);
    let twice = after(
        AUTHORIZATION,
        "",
        &[joe, "+[accessType='Deny',users='joe',roles='']"],
    );
    assert!(
        matches!(twice, Err(EditError::Duplicate { .. })),
        "{twice:?}"
    );
    let other = after(
        AUTHORIZATION,
        "",
        &[joe, "+[accessType='Deny',users='joe',verbs='PUT']"],
    );
    assert!(other.is_ok(), "{other:?}");
    let gone = after(AUTHORIZATION, &both, &["-[users='joe',roles='',verbs='']"]).unwrap();
    assert_eq!(gone, "<add accessType=\"Allow\" users=\"ann\" />");
    let address = "<add ipAddress=\"10.0.0.1\" allowed=\"false\" />";
    let again = "+[ipAddress='10.0.0.1',subnetMask='255.255.255.255',allowed='true']";
    let ip = after("system.webServer/security/ipSecurity", address, &[again]);
    assert!(matches!(ip, Err(EditError::Duplicate { .. })), "{ip:?}");
}

#[test]
fn what_is_inherited_is_removed_by_its_keys_alone() {
    let removal = format!("-{AUTHORIZATION}.[accessType='Allow',users='joe']");
    let removal: Change = removal.parse().unwrap();
    let edited = apply(&with(AUTHORIZATION, ""), &[removal.at("Shop")]).unwrap();
    assert!(edited.contains("<remove users=\"joe\" />"), "{edited}");
}

#[test]
fn entries_of_a_section_that_nobody_knows_are_the_same_if_all_of_them_is() {
    let things = |second: &str| after("acme/things", "<add a=\"1\" b=\"1\" />", &[second]);
    assert!(things("+[a='1',b='2']").is_ok());
    assert!(matches!(
        things("+[a='1',b='1']"),
        Err(EditError::Duplicate { .. })
    ));
    let like = after("acme/things", "<thing a=\"1\" />", &["+[a='2']"]);
    assert_eq!(like.unwrap(), "<thing a=\"1\" /><thing a=\"2\" />");
}

#[test]
fn an_entry_with_a_default_key_is_the_one_that_writes_it() {
    let error = "<error statusCode=\"404\" path=\"x\" />";
    let twice = after(
        "system.webServer/httpErrors",
        error,
        &["+[statusCode='404',subStatusCode='-1',path='y']"],
    );
    assert!(
        matches!(twice, Err(EditError::Duplicate { .. })),
        "{twice:?}"
    );
    let other = after(
        "system.webServer/httpErrors",
        "<error statusCode=\"404\" subStatusCode=\"1\" path=\"x\" />",
        &["+[statusCode='404',path='y']"],
    );
    assert!(other.is_ok(), "{other:?}");
}

#[test]
fn any_element_can_be_locked_by_its_attributes() {
    let locked = after(
        "system.webServer/modules",
        "<add name=\"A\" />",
        &["[name='A'].lockitem:true"],
    );
    assert_eq!(locked.unwrap(), "<add name=\"A\" lockItem=\"true\" />");
    let wrong = after(
        "system.webServer/modules",
        "<add name=\"A\" />",
        &["[name='A'].lock:true"],
    );
    assert!(matches!(wrong, Err(EditError::Unknown { .. })), "{wrong:?}");
}

#[test]
fn a_new_section_is_not_unlocked_by_its_neighbour_in_a_location() {
    let text = r#"<configuration>
  <location path="Shop" overrideMode="Allow">
    <a><windows /></a>
  </location>
  <location path="Shop" inheritInChildApplications="false">
    <a><forms /></a>
  </location>
</configuration>"#;
    let change = |change: &str| change.parse::<Change>().unwrap().at("Shop");
    let text = text.replace(
        "<configuration>",
        "<configuration>\n  <configSections><sectionGroup name=\"a\"><section name=\"anonymous\" /></sectionGroup></configSections>",
    );
    let edited = apply(&text, &[change("a/anonymous.enabled:true")]).unwrap();
    let own = "</location>\n  <location path=\"Shop\">\n    <a>\n      <anonymous enabled=\"true\" />\n    </a>\n  </location>\n</configuration>";
    assert_eq!(edited, text.replace("</location>\n</configuration>", own));
    let inside = apply(&text, &[change("a/windows.enabled:true")]).unwrap();
    let wanted = text.replace("<windows />", "<windows enabled=\"true\" />");
    assert_eq!(inside, wanted, "a section stays where it is");
}

#[test]
fn an_entry_is_added_changed_and_removed_by_its_position() {
    let section = "system.webServer/defaultDocument";
    let files = "<files><add value=\"a\" /><add value=\"b\" /></files>";
    let cases = [
        (
            "+files.[@0,value='z']",
            "<add value=\"z\" /><add value=\"a\" /><add value=\"b\" />",
        ),
        (
            "+files.[@1,value='z']",
            "<add value=\"a\" /><add value=\"z\" /><add value=\"b\" />",
        ),
        (
            "+files.[@9,value='z']",
            "<add value=\"a\" /><add value=\"b\" /><add value=\"z\" />",
        ),
        ("-files.[@start]", "<add value=\"b\" />"),
        ("-files.[@end]", "<add value=\"a\" />"),
        ("-files.[@1]", "<add value=\"a\" />"),
        (
            "files.[@start].value:x",
            "<add value=\"x\" /><add value=\"b\" />",
        ),
    ];
    for (change, wanted) in cases {
        let edited = after(section, files, &[change]).unwrap();
        assert_eq!(edited, format!("<files>{wanted}</files>"), "{change}");
    }
    let nobody = after(section, files, &["-files.[@2]"]);
    assert!(
        matches!(nobody, Err(EditError::NoEntry { .. })),
        "{nobody:?}"
    );
    let pool = "system.applicationHost/applicationPools[@0].queueLength:2000";
    let pools = with(
        "system.applicationHost/applicationPools",
        "<add name=\"P\" />",
    );
    let edited = apply(&pools, &[pool.parse().unwrap()]).unwrap();
    assert!(
        edited.contains("<add name=\"P\" queueLength=\"2000\" />"),
        "{edited}"
    );
    for text in ["a/b.[@2].c:d", "+a/b.[@2,c='d']", "-a/b.[@end]"] {
        let change: Change = text.parse().unwrap();
        assert_eq!(change.to_string(), text);
    }
    assert!("+a/b.[@2]".parse::<Change>().is_err());
}

#[test]
fn an_element_that_holds_a_collection_is_no_entry_itself() {
    let headers = "<customHeaders><add name=\"A\" /></customHeaders>";
    let wrong = after("system.webServer/httpProtocol", headers, &["[@0].x:1"]);
    assert!(matches!(wrong, Err(EditError::NoEntry { .. })), "{wrong:?}");
}

#[test]
fn what_the_encoding_of_a_file_does_not_have_is_a_character_reference() {
    let change = "webFarms.[name='F'].note:Käse €";
    let with = |declaration: &str| {
        let text = format!(
            "{declaration}<configuration><webFarms><webFarm name=\"F\" /></webFarms></configuration>"
        );
        apply(&text, &[change.parse().unwrap()]).unwrap()
    };
    for encoding in ["us-ascii", "ISO-8859-1"] {
        let declaration = format!("<?xml version='1.0' encoding = '{encoding}'?>");
        let text = with(&declaration);
        assert!(
            text.is_ascii() && text.contains("note=\"K&#xE4;se &#x20AC;\""),
            "{text}"
        );
        let document = Document::parse(&text).unwrap();
        let farm = document.descendants().find(|n| n.has_tag_name("webFarm"));
        assert_eq!(farm.unwrap().attribute("note"), Some("Käse €"));
    }
    for declaration in [
        "",
        "<?xml version='1.0'?>",
        "<?xml version='1.0' encoding='UTF-8'?>",
    ] {
        assert!(with(declaration).contains("Käse €"), "{declaration}");
    }
}

#[test]
fn an_element_that_is_not_there_yet_is_no_twin_of_what_it_goes_into() {
    let sites = "system.applicationHost/sites";
    let text = "<configuration><system.applicationHost><sites><site name=\"A\" id=\"1\" serverAutoStart=\"false\" />\
                <site name=\"B\" id=\"2\" /></sites></system.applicationHost></configuration>";
    let change = format!("{sites}.[name='B'].ftpServer.serverAutoStart:false");
    let new = apply(text, &[change.parse().unwrap()]).unwrap();
    assert!(
        new.contains("<ftpServer serverAutoStart=\"false\" />"),
        "{new}"
    );
}
