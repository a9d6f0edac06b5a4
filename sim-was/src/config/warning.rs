//! What is wrong in a file and does not stop the server.

use std::collections::BTreeMap;

use roxmltree::Node;

/// Something in the file that is wrong but does not stop the server.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ConfigWarning {
    /// The event id.
    pub event: u16,
    /// The text.
    pub text: String,
    /// The element that it is about.
    #[serde(default)]
    pub place: String,
    /// Its insertion strings, by name, as far as it has some.
    #[serde(default)]
    pub data: Vec<(String, String)>,
}

impl ConfigWarning {
    /// An insertion string.
    pub fn data(&self, name: &str) -> Option<&str> {
        let found = self.data.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Those of `new` that are not in `old`. Where in its file something stands does not count: whatever is
    /// written above it moves it.
    pub fn news<'w>(old: &[Self], new: &'w [Self]) -> Vec<&'w Self> {
        let mut known = BTreeMap::<_, usize>::new();
        for warning in old {
            *known.entry(warning.identity()).or_default() += 1;
        }
        let mut was_known = |warning: &'w Self| {
            let left = known.get_mut(&warning.identity());
            left.is_some_and(|left| {
                let is_left = *left > 0;
                *left -= usize::from(is_left);
                is_left
            })
        };
        // What stands where it stood is not the new one of two that are alike.
        let (stays, others): (Vec<_>, Vec<_>) =
            new.iter().partition(|warning| old.contains(warning));
        for warning in stays {
            was_known(warning);
        }
        others
            .into_iter()
            .filter(|warning| !was_known(warning))
            .collect()
    }

    fn identity(&self) -> (u16, String, String) {
        (self.event, self.place.clone(), without_lines(&self.text))
    }
}

/// A complaint, wherever in its file it stands.
pub(crate) fn without_lines(text: &str) -> String {
    const LINE: &str = "line ";
    let mut parts = text.split(LINE);
    let mut said = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        said.push_str(LINE);
        said.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    said
}

/// The element that holds a place in a file, by the elements around it: `sites/site[name='A']/bindings`.
pub(super) fn place(root: Node<'_, '_>, at: usize) -> String {
    let mut names = Vec::new();
    let mut node = root;
    let holds = |child: &Node<'_, '_>| child.is_element() && child.range().contains(&at);
    while let Some(child) = node.children().find(holds) {
        let mut keys = ["name", "path", "id"].into_iter();
        let key = keys.find_map(|key| Some(format!("[{key}='{}']", child.attribute(key)?)));
        names.push(format!(
            "{}{}",
            child.tag_name().name(),
            key.unwrap_or_default()
        ));
        node = child;
    }
    names.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    #[test]
    fn what_only_moves_is_no_news_and_a_second_one_of_its_kind_is() {
        let pool = |name: &str| {
            format!("<add name=\"{name}\"><recycling logEventOnRecycle=\"None\" /></add>\n")
        };
        let warnings = |above: &str, pools: &[&str]| {
            let pools: String = pools.iter().map(|name| pool(name)).collect();
            let text = format!(
                "<configuration>{above}<system.applicationHost><applicationPools>{pools}</applicationPools>\
                 </system.applicationHost></configuration>"
            );
            load(&text, "x").unwrap().warnings
        };
        let places = |old: &[ConfigWarning], new: &[ConfigWarning]| -> Vec<String> {
            let news = ConfigWarning::news(old, new).into_iter();
            news.map(|warning| warning.place.clone()).collect()
        };
        let of = |name: &str| {
            format!("system.applicationHost/applicationPools/add[name='{name}']/recycling")
        };
        let old = warnings("", &["A", "B"]);
        let first = places(&[], &old);
        assert!(
            first.contains(&of("A")) && first.contains(&of("B")),
            "{first:?}"
        );
        let moved = warnings("\n\n\n", &["A", "B"]);
        assert_ne!(moved, old);
        assert_eq!(places(&old, &moved), [""; 0]);
        assert_eq!(places(&old, &warnings("", &["A", "C", "B"])), [of("C")]);
        assert_eq!(places(&old, &warnings("\n", &["C", "A"])), [of("C")]);
        assert_eq!(places(&old, &warnings("\n", &["B"])), [""; 0]);
    }

    #[test]
    fn of_two_that_are_alike_one_is_known() {
        let warning = |line: u32| ConfigWarning {
            event: 5174,
            text: format!("f: line {line}: bad"),
            place: "a".to_owned(),
            data: Vec::new(),
        };
        let old = [warning(3)];
        let new = [warning(2), warning(3)];
        assert_eq!(ConfigWarning::news(&old, &new), [&new[0]]);
        let both_moved = [warning(5), warning(6)];
        assert_eq!(ConfigWarning::news(&old, &both_moved), [&both_moved[1]]);
        assert_eq!(ConfigWarning::news(&[], &new).len(), 2);
    }
}
