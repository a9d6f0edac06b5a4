//! An iisreset: the listener stays, everything else is new, and the session is gone.
//!
//! ```text
//! $ cargo run --example iisreset
//! session of w3wp 4711: new
//! the same browser again: found
//! iisreset
//! no worker: 0
//! the same browser, now at w3wp 4712: lost
//! httpsys is the same process: true
//! ```

use std::process::ExitCode;

use iis_sim::live_world::page::{Page, get_with};
use iis_sim::live_world::story::tell;
use sim_was::control::{Command, Service};

fn main() -> ExitCode {
    tell(None, |story| {
        let httpsys = story.server().httpsys_pid();
        let first = story.get("/session.aspx")?;
        let cookie = cookie(&first);
        let worker = first.worker().unwrap_or(0);
        story.say(&format!("session of w3wp {worker}: {}", seen(&first)));
        let browse = || {
            get_with(story.address()?, "/session.aspx", &[("Cookie", &cookie)])
                .map_err(|error| Box::new(error) as Box<dyn std::error::Error>)
        };
        story.say(&format!("the same browser again: {}", seen(&browse()?)));
        story.say("iisreset");
        let services = vec![Service::W3svc, Service::Was];
        story.ask(&Command::StopServices {
            services,
            timeout_ms: 20_000,
            force: true,
            reset_by: None,
        })?;
        story.ask(&Command::StartServices {
            services: vec![Service::Was, Service::W3svc],
        })?;
        story.say(&format!("no worker: {}", story.workers()?.len()));
        let page = browse()?;
        let worker = page.worker().unwrap_or(0);
        story.say(&format!(
            "the same browser, now at w3wp {worker}: {}",
            seen(&page)
        ));
        let same = story.server().httpsys_pid() == httpsys;
        story.say(&format!("httpsys is the same process: {same}"));
        Ok(())
    })
}

fn cookie(page: &Page) -> String {
    let line = page.header("Set-Cookie").unwrap_or("");
    line.split(';').next().unwrap_or("").to_owned()
}

fn seen(page: &Page) -> &str {
    page.header("X-Sim-Session").unwrap_or("no session")
}
