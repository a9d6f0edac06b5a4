//! Changes of entries that a file inherits: it takes the entry away and adds its own, with all that it had.
//!
//! Source: IIS: where an inherited entry of a collection is edited, the lower level gets `<remove …/>` and `<add …/>`.

use super::change::{Act, Change, Position, Step};
use super::locate::{self, Place};
use super::{EditError, apply_one, reset};
use crate::config::raw::{self, ConfigError};
use crate::config::view::View;

/// The same changes for a file that inherits (a web.config, or a `<location>`): what they need of the outer levels is
/// copied first, and what is named by its position or by a part of its keys gets its whole name. Where nothing is
/// inherited they stay as they are.
///
/// `effective` says how the section is in effect for the file with some text of it, so that a later change sees what
/// an earlier one has done. An entry that is to be removed has to be there then, and one that is added must not be,
/// whichever level it comes from.
pub fn localized(
    text: &str,
    changes: &[Change],
    effective: &dyn Fn(&str) -> Result<Option<View>, ConfigError>,
) -> Result<Vec<Change>, EditError> {
    let mut text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
    let mut all = Vec::new();
    for change in changes {
        let inherits = change.inherits || !change.location.is_empty();
        let view = effective(&text)?;
        if let Some(view) = &view {
            refuse_what_cannot_be(change, view)?;
        }
        let copied = match view.filter(|_| inherits) {
            Some(view) => with_copies(&text, named(change.clone(), &view), &view)?,
            None => vec![change.clone()],
        };
        for change in copied {
            if let Some(change) = reset::localized(&text, change, effective)? {
                text = apply_one(&text, &change)?;
                all.push(change);
            }
        }
    }
    Ok(all)
}

/// An entry can be taken away only where it is in effect, and added only where it is not.
fn refuse_what_cannot_be(change: &Change, effective: &View) -> Result<(), EditError> {
    let element = effective.at(&change.element);
    let place = change.section.clone();
    match &change.act {
        Act::Remove { keys } => match element.and_then(|element| element.entry(keys)) {
            Some(_) => Ok(()),
            None => Err(EditError::NoEntry {
                place,
                keys: locate::in_words(keys),
            }),
        },
        Act::Add { attributes, .. } => {
            // Assumed: the sections of the .NET Framework may have an entry again at an inner level.
            let is_ours = !place.starts_with("system.web/") && place.contains('/');
            let element = element.filter(|_| is_ours);
            let Some(same) = element.and_then(|element| element.same(attributes)) else {
                return Ok(());
            };
            let names = same.key_names();
            let mut keys = attributes.clone();
            keys.retain(|(name, _)| names.iter().any(|n| n.eq_ignore_ascii_case(name)));
            Err(EditError::Duplicate { place, keys })
        }
        Act::DeleteAttribute { attribute } => {
            let is_by_name = |step: &Step| matches!(step, Step::Child(_));
            match element {
                Some(element) if reset::is_there(element, attribute) => Ok(()),
                // That an entry is not there is found out where it is looked for.
                None if !change.element.iter().all(is_by_name) => Ok(()),
                Some(_) | None => Err(EditError::Unknown {
                    place,
                    what: "attribute",
                    name: attribute.clone(),
                    known: "what is written".to_owned(),
                }),
            }
        }
        Act::Set { .. } | Act::Clear | Act::DeleteElement | Act::Lock { .. } => Ok(()),
    }
}

/// The change, with keys for positions.
fn named(mut change: Change, effective: &View) -> Change {
    let mut view = Some(effective);
    for step in &mut change.element {
        view = view.and_then(|view| view.at(std::slice::from_ref(step)));
        if let (Step::Entry(keys), Some(entry)) = (step, view)
            && keys.iter().any(|(name, _)| Position::of(name).is_some())
        {
            *keys = keys_of(entry);
        }
    }
    if let Act::Remove { keys } = &mut change.act
        && let Some(entry) = view.and_then(|view| view.entry(keys))
    {
        *keys = keys_of(entry);
    }
    change
}

/// What tells an entry from others, as far as it is written.
fn keys_of(entry: &View) -> Vec<(String, String)> {
    let names = entry.key_names();
    let is_key = |name: &str| names.is_empty() || names.contains(&name);
    let mut keys = written(entry);
    keys.retain(|(name, _)| is_key(name));
    keys
}

/// What an entry writes itself, but its locks, which are its level's.
fn written(entry: &View) -> Vec<(String, String)> {
    let attributes = entry.attributes.iter();
    let attributes = attributes.filter(|a| a.is_written && !a.name.starts_with("lock"));
    attributes
        .map(|attribute| (attribute.name.clone(), attribute.value.clone()))
        .collect()
}

/// The change, and before it what copies the outermost inherited entry on its way.
fn with_copies(text: &str, change: Change, effective: &View) -> Result<Vec<Change>, EditError> {
    let document = raw::parse(text, "the configuration")?;
    let root = document.root_element();
    let sections = locate::sections(root, &change.location, &change.section);
    let mut place = Place::of_section(&sections, &change);
    let mut changes = Vec::new();
    for (depth, step) in change.element.iter().enumerate() {
        match place.descend(std::slice::from_ref(step)) {
            Err(EditError::NoEntry { .. }) => {
                let (above, to_entry) = (&change.element[..depth], &change.element[..=depth]);
                if let Some(entry) = effective.at(to_entry) {
                    let keys = keys_of(entry);
                    changes.push(like(&change, above, Act::Remove { keys }));
                    copy(entry, above, &change, &mut changes);
                }
                break;
            }
            // Whatever else is wrong with the change, it says itself.
            Err(_) => break,
            Ok(()) => {}
        }
    }
    changes.push(change);
    Ok(changes)
}

/// An act in the file of another change.
fn like(change: &Change, element: &[Step], act: Act) -> Change {
    Change {
        element: element.to_vec(),
        act,
        ..change.clone()
    }
}

/// Adds an entry, and everything that is written in it.
fn copy(entry: &View, above: &[Step], change: &Change, changes: &mut Vec<Change>) {
    let (attributes, at) = (written(entry), Position::End);
    changes.push(like(change, above, Act::Add { attributes, at }));
    let here = [above, &[Step::Entry(keys_of(entry))]].concat();
    copy_content(entry, &here, change, changes);
}

fn copy_content(view: &View, here: &[Step], change: &Change, changes: &mut Vec<Change>) {
    for child in view.children.iter().filter(|child| child.is_written) {
        if !view.has_single(&child.name) {
            copy(child, here, change, changes);
            continue;
        }
        let inner = [here, &[Step::Child(child.name.clone())]].concat();
        for (attribute, value) in written(child) {
            changes.push(like(change, &inner, Act::Set { attribute, value }));
        }
        copy_content(child, &inner, change, changes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::edit::apply;
    use crate::config::view::Views;
    use crate::config::{Around, FoundFile};

    const HOST: &str = r#"<configuration>
  <system.applicationHost><sites><site name="Shop"><application path="/" /><application path="/App" /></site></sites></system.applicationHost>
  <system.webServer>
    <modules><add name="Session" type="A.B" preCondition="managedHandler" lockItem="false" /></modules>
    <defaultDocument><files><add value="a.htm" /><add value="b.htm" /></files></defaultDocument>
    <rewrite><rules><rule name="r"><match url=".*" /><conditions logicalGrouping="MatchAny"><add input="i" pattern="p" /></conditions></rule></rules></rewrite>
    <httpProtocol />
    <security><authorization><add accessType="Deny" users="joe" verbs="PUT" /></authorization></security>
  </system.webServer>
</configuration>"#;

    /// What a web.config says after a change of what it inherits.
    fn site(section: &str, change: &str) -> Result<String, EditError> {
        after("<configuration />", ("shop", "Shop"), section, &[change])
    }

    /// What a file says after changes for a location: the web.config of a place, or applicationHost.config, whose
    /// place is empty. The web.config of the site says something already.
    fn after(
        web_config: &str,
        (place, at): (&str, &str),
        section: &str,
        changes: &[&str],
    ) -> Result<String, EditError> {
        let file = FoundFile {
            name: "web.config".to_owned(),
            bytes: Ok(web_config.as_bytes().to_vec()),
            modified: 0,
        };
        let views = Views::new(HOST, "x").with(Around::default().with("shop", file));
        let text = match place {
            "" => HOST,
            "shop" => web_config,
            _ => "<configuration />",
        };
        let effective = |text: &str| views.committed(place, text).section(section, at);
        let change = |change: &&str| Change {
            inherits: !place.is_empty(),
            ..change.parse::<Change>().unwrap().at(&at[place.len()..])
        };
        let changes: Vec<Change> = changes.iter().map(change).collect();
        apply(text, &localized(text, &changes, &effective)?)
    }

    fn edited(section: &str, change: &str) -> String {
        site(section, change).unwrap_or_else(|error| panic!("{change}: {error}"))
    }

    #[test]
    fn an_inherited_entry_is_edited_by_taking_it_away_and_adding_it() {
        let modules = "system.webServer/modules";
        let locked = edited(
            modules,
            "system.webServer/modules[name='session'].lockItem:true",
        );
        let wanted = "<modules><remove name=\"Session\" /><add name=\"Session\" type=\"A.B\" \
                      preCondition=\"managedHandler\" lockItem=\"true\" /></modules>";
        assert!(locked.contains(wanted), "{locked}");
        let missing = site(
            modules,
            "system.webServer/modules[name='nope'].lockItem:true",
        );
        assert!(
            matches!(missing, Err(EditError::NoEntry { .. })),
            "{missing:?}"
        );
    }

    #[test]
    fn what_is_in_an_inherited_entry_comes_along() {
        let section = "system.webServer/rewrite/rules";
        let rules = edited(section, &format!("{section}.[name='r'].match.url:x"));
        let wanted = "<rules><remove name=\"r\" /><rule name=\"r\"><match url=\"x\" /><conditions \
                      logicalGrouping=\"MatchAny\"><add input=\"i\" pattern=\"p\" /></conditions></rule></rules>";
        assert!(rules.contains(wanted), "{rules}");
    }

    #[test]
    fn an_inherited_entry_is_removed_by_its_whole_key_and_found_by_its_position() {
        let section = "system.webServer/security/authorization";
        let removed = edited(section, &format!("-{section}.[users='joe']"));
        let wanted = "<remove users=\"joe\" verbs=\"PUT\" />";
        assert!(removed.contains(wanted), "{removed}");
        let section = "system.webServer/defaultDocument";
        let removed = edited(section, &format!("-{section}.files.[@1]"));
        assert!(
            removed.contains("<files><remove value=\"b.htm\" /></files>"),
            "{removed}"
        );
        let changed = edited(section, &format!("{section}.files.[@start].value:x"));
        let wanted = "<files><remove value=\"a.htm\" /><add value=\"x\" /></files>";
        assert!(changed.contains(wanted), "{changed}");
    }

    #[test]
    fn what_is_not_for_child_applications_is_no_duplicate_there() {
        let own = |content: &str| {
            format!(
                "<configuration><location path='.' inheritInChildApplications='false'><system.webServer>{content}\
                 </system.webServer></location></configuration>"
            )
        };
        for (section, content, change) in [
            (
                "system.webServer/modules",
                "<modules><add name='PM' type='A.B' /></modules>",
                "+system.webServer/modules.[name='PM',type='C.D']",
            ),
            (
                "system.webServer/httpProtocol",
                "<httpProtocol><customHeaders><add name='P' value='1' /></customHeaders></httpProtocol>",
                "+system.webServer/httpProtocol.customHeaders.[name='P',value='3']",
            ),
        ] {
            let web_config = own(content);
            let add = |place, at| after(&web_config, (place, at), section, &[change]);
            for (place, at) in [("shop/app", "Shop/App"), ("shop/app", "Shop/App/in")] {
                let added = add(place, at);
                assert!(added.is_ok(), "{section} of {place} at {at}: {added:?}");
            }
            for (place, at) in [("shop", "Shop"), ("shop/images", "Shop/images")] {
                let twice = add(place, at);
                let is_refused = matches!(twice, Err(EditError::Duplicate { .. }));
                assert!(is_refused, "{section} of {place} at {at}: {twice:?}");
            }
        }
    }

    #[test]
    fn what_an_inner_file_adds_is_nothing_to_an_outer_one() {
        let section = "system.webServer/modules";
        let web_config = "<configuration><system.webServer><modules><add name='WM' type='A.B' /></modules>\
                          </system.webServer></configuration>";
        let host = |change: &str| {
            let change = change.replace("modules", section);
            after(web_config, ("", "Shop"), section, &[&change])
        };
        for change in [
            "modules[name='WM'].type:C.D",
            "-modules.[name='WM']",
            "-modules.[@1]",
        ] {
            let missing = host(change);
            let is_refused = matches!(missing, Err(EditError::NoEntry { .. }));
            assert!(is_refused, "{change}: {missing:?}");
        }
        let first = host("-modules.[@0]").unwrap();
        assert!(first.contains("<remove name=\"Session\" />"), "{first}");
        let added = host("+modules.[name='WM',type='A.B']").unwrap();
        assert!(
            added.contains("<add name=\"WM\" type=\"A.B\" />"),
            "{added}"
        );
    }

    #[test]
    fn what_an_inner_file_takes_away_is_there_for_an_outer_one() {
        let section = "system.webServer/modules";
        let web_config = "<configuration><system.webServer><modules><remove name='Session' /></modules>\
                          </system.webServer></configuration>";
        let change = |place: &str, change: &str| {
            let change = change.replace("modules", section);
            after(web_config, (place, "Shop"), section, &[&change])
        };
        let add = "+modules.[name='Session',type='A.B']";
        let twice = change("", add);
        assert!(
            matches!(twice, Err(EditError::Duplicate { .. })),
            "{twice:?}"
        );
        assert!(change("shop", add).is_ok(), "the site itself has none");
        let changed = change("", "modules[name='Session'].type:X").unwrap();
        let wanted = "<remove name=\"Session\" />\n        <add name=\"Session\" type=\"X\" preCondition=\"managedHandler\" />";
        assert!(changed.contains(wanted), "{changed}");
    }

    #[test]
    fn a_change_sees_what_an_earlier_one_has_done() {
        let section = "system.webServer/defaultDocument";
        let files = |changes: &[&str]| {
            let whole = |change: &&str| change.replace("files", &format!("{section}.files"));
            let changes: Vec<String> = changes.iter().map(whole).collect();
            let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
            after("<configuration />", ("shop", "Shop"), section, &changes)
        };
        let both = files(&["-files.[@0]", "-files.[@0]"]).unwrap();
        let wanted = "<files><remove value=\"a.htm\" /><remove value=\"b.htm\" /></files>";
        assert!(both.contains(wanted), "{both}");
        let nothing = files(&["+files.[@start,value='q.htm']", "-files.[@0]"]).unwrap();
        assert!(
            !nothing.contains("q.htm") && !nothing.contains("remove"),
            "{nothing}"
        );
        let third = files(&["-files.[@0]", "-files.[@0]", "-files.[@0]"]);
        assert!(matches!(third, Err(EditError::NoEntry { .. })), "{third:?}");
        let again = files(&["-files.[value='a.htm']", "+files.[value='A.htm']"]).unwrap();
        assert!(again.contains("<add value=\"A.htm\" />"), "{again}");
        let twice = files(&["+files.[value='q.htm']", "+files.[value='a.htm']"]);
        assert!(
            matches!(twice, Err(EditError::Duplicate { .. })),
            "{twice:?}"
        );
    }
}
