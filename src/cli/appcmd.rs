//! `appcmd`: the administrator's command line since IIS 7.
//!
//! Output lines and errors as the real tool prints them. What is not there: `set`, `add`, `delete`
//! and everything else that edits the configuration; they say so.

use std::process::ExitCode;

use sim_was::control::client::ask;
use sim_was::control::{Answer, Command, ObjectState, Refusal, RequestInfo};

use super::grammar::{Object, Sentence};
use super::take_root;

const HELP: &str = "General purpose IIS command line administration tool.

APPCMD (command) (object-type) <identifier> </parameter1:value1 ...> [--root DIR]

Supported object types and commands:

  SITE      list, start, stop         virtual sites
  APP       list                      applications
  VDIR      list                      virtual directories
  APPPOOL   list, start, stop, recycle   application pools
  WP        list                      worker processes
  REQUEST   list                      executing HTTP requests

Filters of list: any of /site.name: /site.id: /apppool.name: /wp.name: /state: /elapsed:
Output: one line per object; /text:<property> prints that property alone; /xml prints XML.

Examples:
  appcmd list wp
  appcmd list apppool /state:Stopped
  appcmd recycle apppool /apppool.name:DefaultAppPool
  appcmd list apppool /xml";

/// Source: a published test of appcmd: exit code 1168 (`ERROR_NOT_FOUND`) where an object is not
/// found. An exit code on Linux has eight bits, so its low byte is what a shell sees.
const NOT_FOUND: u16 = 1168;

/// One object of a listing: its line and its properties, for filters and other outputs.
struct Row {
    line: String,
    properties: Vec<(&'static str, String)>,
}

/// Runs `appcmd` with the words after its name.
pub(super) fn main(mut words: Vec<String>) -> ExitCode {
    let root = match take_root(&mut words) {
        Ok(root) => root,
        Err(message) => return error(&message),
    };
    let sentence = Sentence::parse(&words);
    if sentence.verb.is_empty() || sentence.verb == "help" || sentence.has("?") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let Some(object) = sentence.object else {
        return error(&format!(
            "Object '{}' is not supported.  Run 'appcmd.exe /?' to display supported objects.",
            sentence.object_word
        ));
    };
    let command = match command_of(&sentence, object) {
        Ok(command) => command,
        Err(message) => return error(&message),
    };
    match ask(&root, &command) {
        Ok(Answer::Refused(refusal)) => refused(&refusal),
        Ok(Answer::Done) => done(&sentence),
        Ok(answer) => list(&sentence, object, &rows(answer)),
        Err(failure) => error(&failure.to_string()),
    }
}

fn command_of(sentence: &Sentence, object: Object) -> Result<Command, String> {
    let name = || {
        let identifier = sentence.identifier().map(str::to_owned);
        identifier.ok_or_else(|| {
            let object = object.name();
            format!("Must specify the {object} object with identifier or /{object}.NAME parameter.")
        })
    };
    match (sentence.verb.as_str(), object) {
        ("list", Object::Site) => Ok(Command::ListSites),
        ("list", Object::App) => Ok(Command::ListApplications),
        ("list", Object::Vdir) => Ok(Command::ListVirtualDirectories),
        ("list", Object::AppPool) => Ok(Command::ListApplicationPools),
        ("list", Object::Wp) => Ok(Command::ListWorkerProcesses),
        ("list", Object::Request) => Ok(Command::ListRequests),
        ("start", Object::AppPool) => Ok(Command::StartApplicationPool { name: name()? }),
        ("stop", Object::AppPool) => Ok(Command::StopApplicationPool { name: name()? }),
        ("recycle", Object::AppPool) => Ok(Command::RecycleApplicationPool { name: name()? }),
        ("start", Object::Site) => Ok(Command::StartSite { name: name()? }),
        ("stop", Object::Site) => Ok(Command::StopSite { name: name()? }),
        (verb @ ("set" | "add" | "delete"), _) => Err(format!(
            "'{verb}' is not simulated: edit applicationHost.config and run iisreset."
        )),
        (verb, _) => Err(format!(
            "Command '{verb}' is not supported on {}.  Run 'appcmd.exe /?' to display supported \
             commands.",
            object.name()
        )),
    }
}

fn state(state: ObjectState) -> &'static str {
    match state {
        ObjectState::Starting => "Starting",
        ObjectState::Started => "Started",
        ObjectState::Stopping => "Stopping",
        ObjectState::Stopped => "Stopped",
        ObjectState::Unknown => "Unknown",
    }
}

/// The lines and properties of a listing. Source: appcmd's default text form.
fn rows(answer: Answer) -> Vec<Row> {
    match answer {
        Answer::ApplicationPools(pools) => pools
            .into_iter()
            .map(|pool| Row {
                line: format!(
                    "APPPOOL \"{}\" (MgdVersion:{},MgdMode:{},state:{})",
                    pool.name,
                    pool.managed_runtime_version,
                    pool.managed_pipeline_mode,
                    state(pool.state)
                ),
                properties: vec![
                    ("APPPOOL.NAME", pool.name),
                    ("PipelineMode", pool.managed_pipeline_mode),
                    ("RuntimeVersion", pool.managed_runtime_version),
                    ("state", state(pool.state).to_owned()),
                ],
            })
            .collect(),
        Answer::Sites(sites) => sites
            .into_iter()
            .map(|site| {
                let bindings = site.bindings.join(",");
                let state = state(site.state);
                Row {
                    line: format!(
                        "SITE \"{}\" (id:{},bindings:{bindings},state:{state})",
                        site.name, site.id
                    ),
                    properties: vec![
                        ("SITE.NAME", site.name),
                        ("SITE.ID", site.id.to_string()),
                        ("bindings", bindings),
                        ("state", state.to_owned()),
                    ],
                }
            })
            .collect(),
        Answer::Applications(applications) => applications
            .into_iter()
            .map(|app| {
                let name = format!("{}{}", app.site, app.path);
                Row {
                    line: format!("APP \"{name}\" (applicationPool:{})", app.application_pool),
                    properties: vec![
                        ("path", app.path),
                        ("APP.NAME", name),
                        ("APPPOOL.NAME", app.application_pool),
                        ("SITE.NAME", app.site),
                    ],
                }
            })
            .collect(),
        Answer::VirtualDirectories(vdirs) => vdirs
            .into_iter()
            .map(|vdir| {
                let app = format!("{}{}", vdir.site, vdir.application);
                let name = format!("{}{}", app.trim_end_matches('/'), vdir.path);
                Row {
                    line: format!("VDIR \"{name}\" (physicalPath:{})", vdir.physical_path),
                    properties: vec![
                        ("VDIR.NAME", name),
                        ("physicalPath", vdir.physical_path),
                        ("path", vdir.path),
                        ("APP.NAME", app),
                        ("SITE.NAME", vdir.site),
                    ],
                }
            })
            .collect(),
        Answer::WorkerProcesses(workers) => workers
            .into_iter()
            .map(|wp| Row {
                line: format!(
                    "WP \"{}\" (applicationPool:{})",
                    wp.pid, wp.application_pool
                ),
                properties: vec![
                    ("WP.NAME", wp.pid.to_string()),
                    ("APPPOOL.NAME", wp.application_pool),
                    ("state", format!("{:?}", wp.state)),
                ],
            })
            .collect(),
        Answer::Requests(requests) => requests.into_iter().map(request_row).collect(),
        Answer::Done | Answer::Services(_) | Answer::Counters(_) | Answer::Refused(_) => Vec::new(),
    }
}

fn request_row(info: RequestInfo) -> Row {
    let request = info.request;
    let name = format!("{:016x}", request.id.0);
    Row {
        line: format!(
            "REQUEST \"{name}\" (url:{} {}, time:{} msec, client:{}, stage:{}, module:{})",
            request.verb,
            request.url,
            request.elapsed_ms,
            request.client,
            request.stage,
            request.module
        ),
        properties: vec![
            ("REQUEST.NAME", name),
            ("WP.NAME", info.pid.to_string()),
            ("APPPOOL.NAME", info.application_pool),
            ("SITE.ID", request.site.0.to_string()),
            ("url", request.url),
            ("verb", request.verb),
            ("clientIp", request.client),
            ("stage", request.stage),
            ("module", request.module),
            ("time", request.elapsed_ms.to_string()),
        ],
    }
}

/// Prints the rows that pass the filters. Assumed: an empty listing prints nothing and exits with 1.
fn list(sentence: &Sentence, object: Object, rows: &[Row]) -> ExitCode {
    let chosen: Vec<&Row> = rows
        .iter()
        .filter(|row| passes(sentence, object, row))
        .collect();
    if sentence.has("xml") {
        print_xml(object, &chosen);
        return ExitCode::SUCCESS;
    }
    for row in &chosen {
        match sentence.parameter("text") {
            Some("*") => print_all(object, row),
            Some(property) => println!("{}", property_of(row, property).unwrap_or_default()),
            None => println!("{}", row.line),
        }
    }
    if chosen.is_empty() && sentence.identifier().is_some() {
        return refused(&Refusal::NotFound {
            object: object.name().to_owned(),
            identifier: sentence.identifier().unwrap_or_default().to_owned(),
        });
    }
    if chosen.is_empty() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn property_of<'a>(row: &'a Row, name: &str) -> Option<&'a str> {
    let found = row
        .properties
        .iter()
        .find(|(n, _)| n.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

fn passes(sentence: &Sentence, object: Object, row: &Row) -> bool {
    let identified = sentence.identifier.as_deref().is_none_or(|identifier| {
        let own_name = format!("{}.NAME", object.name());
        let has = |property: &str| {
            property_of(row, property).is_some_and(|value| value.eq_ignore_ascii_case(identifier))
        };
        has(&own_name) || (object == Object::Site && has("SITE.ID"))
    });
    let filter = |(name, value): &(String, Option<String>)| match (name.as_str(), value) {
        ("text" | "xml" | "config" | "in", _) | (_, None) => true,
        ("elapsed", Some(least)) => {
            let number = |text: Option<&str>| text.and_then(|t| t.parse::<u64>().ok());
            number(property_of(row, "time")) >= number(Some(least))
        }
        (name, Some(wanted)) => {
            property_of(row, name).is_some_and(|value| value.eq_ignore_ascii_case(wanted))
        }
    };
    identified && sentence.parameters.iter().all(filter)
}

fn print_all(object: Object, row: &Row) {
    println!("{}", object.name());
    for (name, value) in &row.properties {
        println!("  {name}:{value}");
    }
}

fn print_xml(object: Object, rows: &[&Row]) {
    println!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<appcmd>");
    for row in rows {
        let attributes: Vec<String> = row
            .properties
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escape(value)))
            .collect();
        println!("    <{} {} />", object.name(), attributes.join(" "));
    }
    println!("</appcmd>");
}

fn escape(value: &str) -> String {
    value
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Source: appcmd: `"X" successfully started.` with a full stop, the others without.
fn done(sentence: &Sentence) -> ExitCode {
    let name = sentence.identifier().unwrap_or_default();
    match sentence.verb.as_str() {
        "start" => println!("\"{name}\" successfully started."),
        "stop" => println!("\"{name}\" successfully stopped"),
        _ => println!("\"{name}\" successfully recycled"),
    }
    ExitCode::SUCCESS
}

fn refused(refusal: &Refusal) -> ExitCode {
    match refusal {
        Refusal::NotFound { object, identifier } => {
            println!(
                "ERROR ( message:Cannot find {object} object with identifier \"{identifier}\". )"
            );
            ExitCode::from(NOT_FOUND.to_le_bytes()[0])
        }
        Refusal::Failed { hresult, message } => {
            println!("ERROR ( hresult:{hresult:08x}, message:Command execution failed.");
            println!("{message}");
            println!(". )");
            ExitCode::from(hresult.to_le_bytes()[0].max(1))
        }
        Refusal::TimedOut => error("The service did not respond in a timely fashion."),
    }
}

fn error(message: &str) -> ExitCode {
    println!("ERROR ( message:{message} )");
    ExitCode::FAILURE
}
