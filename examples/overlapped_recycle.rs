//! A recycle while a long request runs: two workers for a while, nothing lost.
//!
//! ```text
//! $ cargo run --example overlapped_recycle
//! one worker: 4711
//! a request of 1500 ms runs; recycling
//! two workers: [4711, 4712]
//! a new request is answered by 4712 at once
//! the long request is answered by 4711: 200
//! one worker: 4712
//! ```

use std::process::ExitCode;

use iis_sim::live_world::story::tell;
use sim_was::control::Command;

fn main() -> ExitCode {
    tell(None, |story| {
        let old = story.get("/default.aspx")?.worker().unwrap_or(0);
        story.say(&format!("one worker: {old}"));
        let long = story.get_meanwhile("/wait.aspx?time=1500")?;
        story.until_requests(1)?;
        story.say("a request of 1500 ms runs; recycling");
        story.ask(&Command::RecycleApplicationPool {
            name: "DefaultAppPool".to_owned(),
        })?;
        let two = story.until_workers(|workers| workers.len() == 2)?;
        let pids: Vec<u32> = two.iter().map(|worker| worker.pid).collect();
        story.say(&format!("two workers: {pids:?}"));
        let new = story.until_answered_by_another(old)?;
        story.say(&format!("a new request is answered by {new} at once"));
        let page = long.join().map_err(|_| "the request's thread failed")??;
        let worker = page.worker().unwrap_or(0);
        story.say(&format!(
            "the long request is answered by {worker}: {}",
            page.status
        ));
        let one = story.until_workers(|workers| workers.len() == 1)?;
        story.say(&format!("one worker: {}", one[0].pid));
        Ok(())
    })
}
