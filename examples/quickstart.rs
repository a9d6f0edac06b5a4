//! A server, one page, and the processes behind it.
//!
//! ```text
//! $ cargo run --example quickstart
//! httpsys and was run; no worker yet: 0
//! GET / -> 200 by Microsoft-IIS/10.0, a static file
//! GET /default.aspx -> 200, made by w3wp 4711
//! worker processes now: 4711 (DefaultAppPool)
//! ```

use std::process::ExitCode;

use iis_sim::live_world::story::tell;

fn main() -> ExitCode {
    tell(None, |story| {
        story.say(&format!(
            "httpsys and was run; no worker yet: {}",
            story.workers()?.len()
        ));
        let page = story.get("/")?;
        let server = page.header("Server").unwrap_or("nobody");
        story.say(&format!(
            "GET / -> {} by {server}, a static file",
            page.status
        ));
        let page = story.get("/default.aspx")?;
        let worker = page.worker().unwrap_or(0);
        story.say(&format!(
            "GET /default.aspx -> {}, made by w3wp {worker}",
            page.status
        ));
        for worker in story.workers()? {
            story.say(&format!(
                "worker processes now: {} ({})",
                worker.pid, worker.application_pool
            ));
        }
        Ok(())
    })
}
