//! No worker runs until somebody asks for a page; that request waits for it.
//!
//! ```text
//! $ cargo run --example demand_start
//! workers before the first request: 0
//! the first request is answered with 200 by w3wp 4711
//! workers after it: 1
//! the second request is answered by the same process: true
//! ```

use std::process::ExitCode;

use iis_sim::live_world::story::tell;

fn main() -> ExitCode {
    tell(None, |story| {
        story.say(&format!(
            "workers before the first request: {}",
            story.workers()?.len()
        ));
        let first = story.get("/default.aspx")?;
        let worker = first.worker().unwrap_or(0);
        let status = first.status;
        story.say(&format!(
            "the first request is answered with {status} by w3wp {worker}"
        ));
        story.say(&format!("workers after it: {}", story.workers()?.len()));
        let same = story.get("/default.aspx")?.worker() == Some(worker);
        story.say(&format!(
            "the second request is answered by the same process: {same}"
        ));
        Ok(())
    })
}
