//! `iis-sim explain-change OLD NEW`: what each difference between two configurations would cause, and
//! why. Nothing is run.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;
use sim_httpsys::live::regular_file;
use sim_was::config::effects::{Effect, EffectKind, effects_of};
use sim_was::config::settings::{Key, Scope};
use sim_was::config::{ConfigWarning, Configuration, Kept, load_bytes};
use sim_was::model::Personality;

/// Arguments of `iis-sim explain-change`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The applicationHost.config as it is
    old: PathBuf,
    /// The applicationHost.config as it is to be
    new: PathBuf,
    /// Print one JSON object with all effects instead of text
    #[arg(long)]
    json: bool,
    /// Which IIS: iis10 or iis6
    #[arg(long, value_name = "NAME", default_value_t = Personality::Iis10)]
    personality: Personality,
}

const EXAMPLES: &str = "What comes of a difference, from the cheapest to the dearest:
  none                 nothing that WAS, W3SVC or a worker reads
  live                 it holds at once; no process and no connection notices
  next-worker-start    it holds for the next worker process
  site-rebind          URLs come and go in HTTP.sys; other sites are not touched
  application-restart  application domains restart; the worker process stays
  pool-recycle         the pool's worker processes are replaced
  service-restart      it holds when the services are started again (iisreset)

Exit codes: 0 explained; 2 a file cannot be read, or it or a part of it is no good.

Examples:
  iis-sim explain-change applicationHost.config changed.config
  iis-sim explain-change --json old.config new.config | jq '.effects[] | select(.kind == \"pool-recycle\") | .pools'
  iis-sim explain-change --personality iis6 old.config new.config";

/// Reads both files and prints what the difference causes.
pub(super) fn main(arguments: &Arguments) -> ExitCode {
    let (old, mut new) = match (read(&arguments.old), read(&arguments.new)) {
        (Ok(old), Ok(new)) => (old, new),
        (Err(message), _) | (_, Err(message)) => {
            eprintln!("iis-sim explain-change: {message}");
            return ExitCode::from(NO_GOOD);
        }
    };
    let faults: Vec<(String, String)> = new.faults().map(in_words).collect();
    // A running server does not go by what is no good.
    let _ = Kept::of(&old, &mut new);
    let effects = effects_of(&old, &new, arguments.personality);
    let warnings = ConfigWarning::news(&named(old.warnings, arguments), &new.warnings);
    let ignored = warnings.iter().filter(|warning| is_of_a_part(warning));
    let no_good = faults.len() + ignored.count();
    if arguments.json {
        let warnings: Vec<_> = warnings
            .iter()
            .map(|warning| json!({ "event": warning.event, "text": warning.text }))
            .collect();
        let whole = json!({
            "old": arguments.old,
            "new": arguments.new,
            "personality": arguments.personality,
            "worst": effects.iter().map(|effect| effect.kind).max(),
            "effects": effects,
            "warnings": warnings,
            "faults": faults.iter().map(|(what, text)| json!({ "what": what, "text": text })).collect::<Vec<_>>(),
        });
        println!("{whole:#}");
    } else {
        for effect in &effects {
            print_effect(effect, arguments);
        }
        for warning in warnings {
            println!("event {}: {}", warning.event, warning.text);
        }
        for (what, text) in &faults {
            println!(
                "{what} is no good: {text}; a running server goes on with what it was, and one that is started \
                 goes without it"
            );
        }
        println!("{}", summary(&effects, no_good));
    }
    if no_good == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NO_GOOD)
    }
}

/// What is wrong in the old file, as if it were in the new one.
fn named(mut warnings: Vec<ConfigWarning>, arguments: &Arguments) -> Vec<ConfigWarning> {
    let of = |path: &Path| format!("{}: ", path.display());
    let (old, new) = (of(&arguments.old), of(&arguments.new));
    for warning in &mut warnings {
        warning.text = warning.text.replace(&old, &new);
    }
    warnings
}

/// The exit code for a file, or a part of it, that is no good.
const NO_GOOD: u8 = 2;

/// Whether a warning says that a part of the file is left out or of no use, and not only that a value is replaced
/// or odd. What breaks a pool or a site, 5172, is told as its fault.
fn is_of_a_part(warning: &ConfigWarning) -> bool {
    [POOL_NAME_LONG, POOL_NAME_EMPTY].contains(&warning.event)
        || INVALID_DATA.contains(&warning.event)
}

/// WAS ignores a pool whose name is too long.
const POOL_NAME_LONG: u16 = 5050;
/// WAS ignores a pool without a name.
const POOL_NAME_EMPTY: u16 = 5051;
/// WAS detected invalid configuration data: of a site, an application, a binding.
const INVALID_DATA: [u16; 3] = [5174, 5179, 5180];

/// What of a configuration is no good, and what comes of it where a server is started with it.
pub(super) fn no_good(configuration: &Configuration) -> Vec<String> {
    let faults = configuration.faults().map(in_words);
    let faults =
        faults.map(|(what, text)| format!("{what} is no good: {text}; the server goes without it"));
    let warnings = configuration.warnings.iter();
    let parts = warnings.filter(|warning| is_of_a_part(warning));
    let parts = parts.map(|warning| format!("event {}: {}", warning.event, warning.text));
    faults.chain(parts).collect()
}

/// Whose fault it is, and what it is.
fn in_words((scope, fault): (Scope, &str)) -> (String, String) {
    let whole = Key {
        scope,
        section: String::new(),
        path: String::new(),
    };
    (whole.to_string(), fault.to_owned())
}

fn read(path: &Path) -> Result<Configuration, String> {
    let name = path.display().to_string();
    let bytes =
        regular_file::read_named(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    load_bytes(&bytes, &name).map_err(|error| error.to_string())
}

fn print_effect(effect: &Effect, arguments: &Arguments) {
    println!("{}", effect.what);
    let value = |value: &Option<String>| match value {
        Some(value) => format!("\"{value}\""),
        None => "absent".to_owned(),
    };
    let place = |file: &Path, line: Option<u32>| match line {
        Some(line) => format!("{}:{line}", file.display()),
        None => format!("{}, not written there", file.display()),
    };
    println!(
        "  {:<10}{}  ({})",
        "was",
        value(&effect.old),
        place(&arguments.old, effect.old_line)
    );
    println!(
        "  {:<10}{}  ({})",
        "becomes",
        value(&effect.new),
        place(&arguments.new, effect.new_line)
    );
    println!("  {:<10}{}{}", "causes", effect.kind.name(), of(effect));
    println!("  {:<10}{}", "because", effect.why);
    println!("  {:<10}{}", "source", effect.source);
    println!();
}

/// Whom an effect concerns.
fn of(effect: &Effect) -> String {
    match effect.kind {
        EffectKind::PoolRecycle | EffectKind::NextWorkerStart if !effect.pools.is_empty() => {
            format!(" of {}", effect.pools.join(", "))
        }
        EffectKind::ApplicationRestart if !effect.applications.is_empty() => {
            let names = effect.applications.iter();
            let names = names.map(|(site, path)| format!("{path} of site {site}"));
            format!(" of {}", names.collect::<Vec<_>>().join(", "))
        }
        EffectKind::None
        | EffectKind::Live
        | EffectKind::NextWorkerStart
        | EffectKind::SiteRebind
        | EffectKind::ApplicationRestart
        | EffectKind::PoolRecycle
        | EffectKind::ServiceRestart => String::new(),
    }
}

fn summary(effects: &[Effect], no_good: usize) -> String {
    let mut counts = std::collections::BTreeMap::<EffectKind, usize>::new();
    for effect in effects {
        *counts.entry(effect.kind).or_default() += 1;
    }
    if counts.is_empty() && no_good == 0 {
        return "no difference that matters".to_owned();
    }
    let words = counts
        .iter()
        .map(|(kind, count)| format!("{count} {}", kind.name()));
    let no_good = (no_good > 0).then(|| format!("{no_good} no good"));
    let verdict = if counts.contains_key(&EffectKind::ServiceRestart) {
        "; an iisreset is needed"
    } else {
        "; no iisreset is needed"
    };
    words.chain(no_good).collect::<Vec<_>>().join(", ") + verdict
}

#[cfg(test)]
mod tests {
    use sim_was::config::default_config;

    use super::*;

    #[test]
    fn what_is_no_good_is_told_with_its_line() {
        let text = r#"<configuration>
<system.applicationHost>
<applicationPools><add name="Good" />
<add name="Bad" bogus="1" /></applicationPools>
</system.applicationHost>
<system.webServer><defaultDocument bogus="1" /></system.webServer>
</configuration>"#;
        let said = no_good(&load_bytes(text.as_bytes(), "a.config").unwrap());
        let [pool, section] = said.as_slice() else {
            panic!("{said:?}");
        };
        assert!(
            pool.starts_with("application pool 'Bad' is no good: a.config: line 4: "),
            "{pool}"
        );
        assert!(
            section.starts_with("event 5174: a.config: line 6: "),
            "{section}"
        );
        let good = default_config::DEFAULT_CONFIG;
        let said = no_good(&load_bytes(good.as_bytes(), "good.config").unwrap());
        assert_eq!(said, [""; 0]);
    }
}
