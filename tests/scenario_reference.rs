//! The reference of scenario files names every key that there is, and its example is one.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends when something is not as it should be"
)]

use std::path::Path;

use iis_sim::scenario::Scenario;

const REFERENCE: &str = include_str!("../examples/scenarios/README.md");

/// Tables of a scenario: what stands in front of a key in them.
const TABLES: [&str; 15] = [
    "",
    "[timing]",
    "[server]",
    "[server.many]",
    "[server.httpsys]",
    "[[application]]",
    "[[application]]\nsite = 'x'\n[[application.content]]",
    "[[application]]\nsite = 'x'\n[application.behaviour]",
    "[[application]]\nsite = 'x'\n[[application.behaviour.page]]",
    "[[application]]\nsite = 'x'\n[[application.behaviour.page]]\n[application.behaviour.page.application_cache]",
    "[load]",
    "[[load.mix]]",
    "[load.probes]",
    "[farm]",
    "[[expect]]\nthat = ''\n[[expect.checks]]",
];

fn refusal(text: &str) -> String {
    let parsed = Scenario::parse(text, "x.toml", Path::new("."));
    parsed.unwrap_err().to_string()
}

/// The keys of a table, as the refusal of an unknown one names them.
fn keys(table: &str) -> Vec<String> {
    let said = if table.is_empty() {
        refusal("nonsense = 1\nname = 'x'")
    } else {
        refusal(&format!("name = 'x'\n{table}\nnonsense = 1"))
    };
    let (_, known) = said
        .split_once("expected ")
        .unwrap_or_else(|| panic!("{table}: {said}"));
    let quoted = known.split('`').skip(1).step_by(2);
    quoted.map(str::to_owned).collect()
}

#[test]
fn every_key_of_every_table_is_in_the_reference() {
    for table in TABLES {
        let keys = keys(table);
        assert!(!keys.is_empty(), "{table}");
        for key in keys {
            // `[[expect]]`, `[timing]` and the like are headings.
            let named = REFERENCE.contains(&format!("`{key}`"))
                || REFERENCE.contains(&format!("[{key}"))
                || REFERENCE.contains(&format!(".{key}]"))
                || REFERENCE.contains(&format!("{key} = "));
            assert!(
                named,
                "{table} has the key {key}, the reference does not say what it is"
            );
        }
    }
}

#[test]
fn the_example_of_the_reference_can_be_run() {
    let (_, rest) = REFERENCE.split_once("```toml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let scenario = Scenario::parse(example, "example", Path::new(".")).unwrap();
    assert_eq!(scenario.expectations.len(), 1);
}

#[test]
fn a_list_where_a_table_belongs_is_told_so() {
    for list in [
        "[load]\nheld = [{ url = '/wait.aspx', count = 3 }]",
        "[[load.probes]]\nurl = '/'",
        "[load]\nlong = ['/', 0.5]",
        "timing = ['1s']\n[load]",
        "[[load]]\nrate = 5",
        "[[server]]\npool = 'x'\n[load]",
        "[[application]]\nsite = 'x'\nbehaviour = [{ page = [] }]\n[load]",
        "[[farm]]\nservers = 2\n[load]",
    ] {
        let said = refusal(&format!("name = 'x'\n{list}"));
        assert!(said.contains("write a table"), "{list}: {said}");
        assert!(said.contains("x.toml: TOML parse error at line"), "{said}");
    }
}

#[test]
fn a_file_that_is_not_utf_8_is_told_by_its_line_and_its_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("latin.toml");
    std::fs::write(&path, b"name = 'x'\n# f\xFCr\n[load]\n").unwrap();
    let said = Scenario::read(&path).unwrap_err().to_string();
    for part in ["latin.toml: line 2: byte 14 of the file", "0xFC", "UTF-8"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
}

#[test]
fn what_the_driver_would_not_take_is_refused_by_its_key() {
    let said = refusal("name = 'x'\n[server.httpsys]\nmax_field_length = 0\n[load]\ntls_share = 0");
    assert!(
        said.contains("x.toml: line 3: server.httpsys.max_field_length must lie between 64"),
        "{said}"
    );
}

#[test]
fn a_mistake_in_a_behaviour_names_its_page_and_its_key() {
    let page = "name = 'x'\n[[application]]\nsite = 'x'\n[[application.behaviour.page]]\npath = '/p.aspx'\n";
    let said = refusal(&format!(
        "{page}cpu = {{ lognormal_median = '2ms', sigma = 9 }}"
    ));
    for part in ["sigma lies between 0 and 5", "page.cpu", "/p.aspx"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let said = refusal(&format!("{page}fault = 'boom'"));
    assert!(
        said.contains("fault = \"boom\"") && said.contains("/p.aspx"),
        "{said}"
    );
}
