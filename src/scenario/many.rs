//! Pools and sites by the hundred: a scenario gives one of each as a pattern.

use serde::{Deserialize, Serialize};

/// Copies of a pool and of a site. `{n}` in a pattern counts from 1; `{pool}` in that of the site is the
/// number of a pool, so that sites are dealt to the pools in turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Many {
    /// How many pools.
    pub pools: u32,
    /// An `<add>` of `<applicationPools>`.
    pub pool: String,
    /// How many sites.
    pub sites: u32,
    /// A `<site>` of `<sites>`.
    pub site: String,
}

impl Many {
    /// Adds them to the text of an applicationHost.config, behind the pools and sites that are there.
    pub(super) fn add_to(&self, text: &str) -> Result<String, String> {
        if self.pools == 0 || self.sites > 100_000 || self.pools > 100_000 {
            return Err(
                "server.many: 1 to 100000 pools and at most 100000 sites can be added".to_owned(),
            );
        }
        let pools = (1..=self.pools).map(|n| number(&self.pool, n, n));
        let text = insert(text, "</applicationPools>", &pools.collect::<String>())?;
        let sites = (1..=self.sites).map(|n| number(&self.site, n, (n - 1) % self.pools + 1));
        insert(&text, "</sites>", &sites.collect::<String>())
    }
}

fn number(pattern: &str, n: u32, pool: u32) -> String {
    let numbered = pattern.replace("{n}", &n.to_string());
    numbered.replace("{pool}", &pool.to_string())
}

fn insert(text: &str, before: &str, what: &str) -> Result<String, String> {
    let mut edited = text.to_owned();
    if let Some(at) = text.rfind(before) {
        edited.insert_str(at, what);
        return Ok(edited);
    }
    // `<sites />`: nothing is in it yet.
    let open = before.replace('/', "");
    let open = open.trim_end_matches('>');
    let empty = text.rmatch_indices(open).find_map(|(from, _)| {
        let tag = &text[from..];
        let end = tag.find('>')?;
        let within = tag[open.len()..end].strip_suffix('/')?;
        let is_it = within.is_empty() || within.starts_with(char::is_whitespace);
        is_it.then_some((from + open.len() + within.trim_end().len(), from + end + 1))
    });
    let (from, to) = empty.ok_or_else(|| {
        format!("server.many: the configuration has no {before} to add something before, and no {open} />")
    })?;
    edited.replace_range(from..to, &format!(">{what}{before}"));
    Ok(edited)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_are_dealt_to_the_pools_in_turn() {
        let many = Many {
            pools: 2,
            pool: "<add name='P{n}'/>".to_owned(),
            sites: 3,
            site: "<s{n} pool='P{pool}'/>".to_owned(),
        };
        let text = "<applicationPools></applicationPools><sites></sites>";
        assert_eq!(
            many.add_to(text).unwrap(),
            "<applicationPools><add name='P1'/><add name='P2'/></applicationPools>\
             <sites><s1 pool='P1'/><s2 pool='P2'/><s3 pool='P1'/></sites>"
        );
        let empty = "<applicationPools /><sites x='1'/>";
        assert_eq!(
            many.add_to(empty).unwrap(),
            "<applicationPools><add name='P1'/><add name='P2'/></applicationPools>\
             <sites x='1'><s1 pool='P1'/><s2 pool='P2'/><s3 pool='P1'/></sites>"
        );
        assert!(many.add_to("<sites></sites>").is_err());
        assert!(many.add_to("<applicationPoolsX /><sites />").is_err());
    }
}
