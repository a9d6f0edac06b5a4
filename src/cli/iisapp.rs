//! `iisapp`: which worker process serves which pool, as the script of IIS 6 prints it.
//!
//! Source: the text of iisapp.vbs.

use std::path::Path;
use std::process::ExitCode;

use sim_was::control::client::ask_telling;
use sim_was::control::{Answer, Command, Refusal, WorkerProcessInfo};

use super::{say_waiting, take_root};

const HELP: &str = "IIsApp [{ /a <app_pool_id> | /p <pid> } [/r] ] [--root DIR]

Without a switch: one line per worker process.
  /a <app_pool_id>   the worker processes of that application pool
  /p <pid>           the application pool of that worker process
  /r                 recycle the application pool (with /p: of that process, all of its workers)";

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wish {
    pool: Option<String>,
    pid: Option<String>,
    recycle: bool,
    help: bool,
}

/// Runs `iisapp` with the words after its name.
pub(super) fn main(mut words: Vec<String>) -> ExitCode {
    let wish = take_root(&mut words).and_then(|root| Ok((root, parse(&words)?)));
    let (root, wish) = match wish {
        Ok(both) => both,
        Err(message) => {
            println!("{message}");
            println!("Type IIsApp /? for help.");
            return ExitCode::FAILURE;
        }
    };
    if wish.help {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let workers = match ask_telling(&root, &Command::ListWorkerProcesses, say_waiting) {
        Ok(Answer::WorkerProcesses(workers)) => workers,
        Ok(other) => return unexpected(&other),
        Err(error) => {
            println!("{error}");
            return ExitCode::FAILURE;
        }
    };
    match (&wish.pool, &wish.pid) {
        (Some(pool), _) if wish.recycle => recycle(&root, pool),
        (Some(pool), _) => list_pool(&workers, pool),
        (None, Some(pid)) => by_pid(&root, &workers, pid, wish.recycle),
        (None, None) => list_all(&workers),
    }
}

fn parse(words: &[String]) -> Result<Wish, String> {
    let mut wish = Wish::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().cloned().ok_or("Not enough parameters.");
        match word.to_ascii_lowercase().as_str() {
            "/a" | "-a" => wish.pool = Some(value()?),
            "/p" | "-p" => wish.pid = Some(value()?),
            "/r" | "-r" => wish.recycle = true,
            "/?" | "-?" | "--help" => wish.help = true,
            _ => return Err(format!("Invalid switch: {word}")),
        }
    }
    Ok(wish)
}

fn line(worker: &WorkerProcessInfo) -> String {
    format!(
        "W3WP.exe PID: {}   AppPoolId: {}",
        worker.pid, worker.application_pool
    )
}

fn list_all(workers: &[WorkerProcessInfo]) -> ExitCode {
    if workers.is_empty() {
        println!("Error - no results");
        return ExitCode::from(2);
    }
    for worker in workers {
        println!("{}", line(worker));
    }
    ExitCode::SUCCESS
}

fn list_pool(workers: &[WorkerProcessInfo], pool: &str) -> ExitCode {
    if workers.is_empty() {
        println!("Error - no w3wp.exe processes are running at this time");
        return ExitCode::FAILURE;
    }
    println!("The following W3WP.exe processes are serving AppPool: {pool}");
    for worker in workers
        .iter()
        .filter(|w| w.application_pool.eq_ignore_ascii_case(pool))
    {
        println!("W3WP.exe PID: {}", worker.pid);
    }
    ExitCode::SUCCESS
}

fn by_pid(root: &Path, workers: &[WorkerProcessInfo], pid: &str, recycled: bool) -> ExitCode {
    let Ok(number) = pid.parse::<u32>() else {
        println!("ERROR: PID is not valid");
        return ExitCode::FAILURE;
    };
    let Some(worker) = workers.iter().find(|worker| worker.pid == number) else {
        // Source: iisapp.vbs tells a process that is no worker from none at all.
        if Path::new("/proc").join(pid).exists() {
            println!("ERROR: ProcessId specified is NOT an instance of W3WP.exe - EXITING");
        } else {
            println!("Process ID {number} not found.");
        }
        return ExitCode::FAILURE;
    };
    if recycled {
        return recycle(root, &worker.application_pool);
    }
    println!("{}", line(worker));
    ExitCode::SUCCESS
}

fn recycle(root: &Path, pool: &str) -> ExitCode {
    println!("Connecting to server ...Done.");
    let command = Command::RecycleApplicationPool {
        name: pool.to_owned(),
    };
    match ask_telling(root, &command, say_waiting) {
        Ok(Answer::Done) => {
            println!("Application pool '{pool}' recycled successfully.");
            ExitCode::SUCCESS
        }
        Ok(Answer::Refused(Refusal::NotFound { .. })) => {
            println!("Application pool '{pool}' does not exist.");
            ExitCode::FAILURE
        }
        Ok(Answer::Refused(Refusal::Failed { hresult, message })) => {
            println!("Failed to recycle application pool '{pool}'.");
            println!("{hresult:08X} : {message}");
            ExitCode::FAILURE
        }
        Ok(other) => unexpected(&other),
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn unexpected(answer: &Answer) -> ExitCode {
    println!("The server answered something unexpected: {answer:?}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_without_its_value_is_not_enough() {
        assert_eq!(
            parse(&["/a".to_owned()]),
            Err("Not enough parameters.".to_owned())
        );
    }
}
