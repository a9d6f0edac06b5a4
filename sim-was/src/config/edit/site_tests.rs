//! Edits of sites and pools: the number of a new site, and names that cannot be.

use super::*;

#[test]
fn a_new_site_gets_the_number_above_all_others_of_the_text_that_is_edited() {
    let added = |text: &str, name: &str, id: &str| {
        let key = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let act = Act::Add {
            attributes: vec![key("name", name), key("id", id)],
            at: Position::End,
        };
        apply(text, &[Change::new(SITES, Vec::new(), act)])
    };
    let empty = "<configuration />";
    let one = added(empty, "A", NEXT_ID).unwrap();
    assert!(one.contains("<site name=\"A\" id=\"1\" />"), "{one}");
    let more = added(&one, "B", "7").unwrap();
    let more = added(&more, "C", NEXT_ID).unwrap();
    assert!(more.contains("<site name=\"C\" id=\"8\" />"), "{more}");
    assert!(
        added(&more, "D", "8").is_err(),
        "a number that is given is taken as it is"
    );
}

#[test]
fn blank_names_of_pools_and_paths_with_a_question_mark_are_refused() {
    let sites = r#"<configuration><system.applicationHost><sites><site name="A" id="1"><application path="/"/></site>
        </sites></system.applicationHost></configuration>"#;
    let pools = "system.applicationHost/applicationPools";
    for (section, words) in [
        (pools, "+[name='  ']"),
        (pools, "+[name='a\nb']"),
        (SITES, "+[name='A'].[path='/a?b']"),
        (SITES, "[name='A'].[path='/'].path:/a?b"),
        (
            SITES,
            "+[name='A'].[path='/'].[path='/v?',physicalPath='C:\\']",
        ),
    ] {
        let change = Change::within(section, words).unwrap();
        let refused = apply(sites, &[change]);
        assert!(
            matches!(refused, Err(EditError::Invalid { .. })),
            "{words}: {refused:?}"
        );
    }
    let change = Change::within(pools, "+[name='a b']").unwrap();
    assert!(apply(sites, &[change]).is_ok());
}
