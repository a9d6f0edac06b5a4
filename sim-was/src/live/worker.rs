//! One worker process: its configuration file, its birth, its pipe, its end.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use sim_httpsys::api::ProcessId;
use sim_httpsys::api::wire::Frames;
use sim_worker::ipm::{FromWorker, ToWorker, wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::Options;
use super::control::{bind, is_trusted};
use super::supervisor::Inputs;
use crate::event_log::WorkerExit;
use crate::model::{Input, Spawn, SpawnError, WorkerArguments};

/// The live end of a worker.
#[derive(Debug)]
pub(super) struct Worker {
    words: mpsc::UnboundedSender<Vec<u8>>,
    kill: Option<oneshot::Sender<()>>,
}

impl Worker {
    /// Creates the process and the tasks that watch it.
    pub(super) fn spawn(
        spawn: &Spawn,
        options: &Options,
        inputs: &Inputs,
    ) -> Result<(ProcessId, Self), SpawnError> {
        let configuration = write_configuration(spawn, &options.root)
            .map_err(|error| SpawnError::Configuration(error.to_string()))?;
        let pipe = options.root.join(format!("run/ipm-{}.sock", spawn.spawn.0));
        let failed = |error: io::Error| SpawnError::Process(error.to_string());
        let listener = bind(&pipe).map_err(failed)?;
        let mut command = command_line(&spawn.arguments, options, &pipe, &configuration);
        command.envs(spawn.environment.iter().map(|(name, value)| (name, value)));
        let child = command.spawn().map_err(|error| {
            std::fs::remove_file(&pipe).ok();
            failed(error)
        })?;
        let pid = ProcessId(
            child
                .id()
                .expect("a child that was not waited for has a pid"),
        );
        let (words, waiting) = mpsc::unbounded_channel();
        let (kill, killed) = oneshot::channel();
        tokio::spawn(watch(
            child,
            killed,
            listener,
            pipe,
            pid,
            waiting,
            inputs.clone(),
        ));
        let kill = Some(kill);
        Ok((pid, Self { words, kill }))
    }

    /// Says something to it; what is said before its pipe is open waits.
    pub(super) fn tell(&self, message: &ToWorker) {
        let mut bytes = Vec::new();
        wire::encode(message, &mut bytes);
        self.words.send(bytes).ok();
    }

    /// Kills it.
    pub(super) fn terminate(&mut self) {
        if let Some(kill) = self.kill.take() {
            kill.send(()).ok();
        }
    }
}

/// Source: KB 4050891: the per-pool copy of the configuration, whose path is the `-h` argument.
fn write_configuration(spawn: &Spawn, root: &Path) -> io::Result<PathBuf> {
    let pool = &spawn.configuration.pool;
    if pool.bytes().all(|byte| byte == b'.') {
        return Err(io::Error::other("the pool's name is not one of a folder"));
    }
    let folder = pool_files(root).join(pool);
    std::fs::create_dir_all(&folder)?;
    // Workers of a web garden differ in when they are recycled: each place has a file of its own.
    let file = match spawn.place {
        0 => format!("{pool}.config"),
        place => format!("{pool}.{place}.config"),
    };
    let path = folder.join(&file);
    let partial = folder.join(format!("{file}.new"));
    std::fs::write(&partial, serde_json::to_vec_pretty(&spawn.configuration)?)?;
    std::fs::rename(&partial, &path)?;
    Ok(path)
}

/// The folder of the per-pool files, which is emptied when WAS stops.
pub(super) fn pool_files(root: &Path) -> PathBuf {
    root.join("inetpub/temp/appPools")
}

fn command_line(
    arguments: &WorkerArguments,
    options: &Options,
    pipe: &Path,
    configuration: &Path,
) -> Command {
    let mut command = Command::new(&options.executable);
    command
        .arg0("w3wp")
        .args(&options.leading_arguments)
        .args(["-ap", &arguments.pool])
        .args(["-v", &arguments.runtime_version])
        .args(["-l", &arguments.runtime_loader])
        .arg("-a")
        .arg(pipe)
        .arg("-h")
        .arg(configuration)
        .args(["-w", ""])
        .args(["-m", if arguments.classic { "1" } else { "0" }])
        .args(["-t", &arguments.idle_minutes.to_string()])
        .args(["-ta", if arguments.idle_suspend { "1" } else { "0" }])
        .arg("-device")
        .arg(&options.device)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    if options.trace {
        command.arg("-trace").arg(options.root.join("trace"));
    }
    if options.record {
        command.arg("-record").arg(options.root.join("record"));
    }
    command
}

/// How long the other sign of a worker's end is waited for when one has come: its last words after
/// the exit, the exit (and its code) after the pipe has closed.
const OTHER_SIGN_MAX: Duration = Duration::from_millis(20);

/// Follows a process from its birth to its end.
async fn watch(
    child: Child,
    killed: oneshot::Receiver<()>,
    listener: UnixListener,
    pipe: PathBuf,
    pid: ProcessId,
    waiting: mpsc::UnboundedReceiver<Vec<u8>>,
    inputs: Inputs,
) {
    let mut exit = pin!(wait(child, killed));
    let mut talk = pin!(talk(listener, &pipe, pid, waiting, &inputs));
    let exit = tokio::select! {
        exit = &mut exit => {
            timeout(OTHER_SIGN_MAX, talk).await.ok();
            exit
        }
        () = &mut talk => {
            if let Ok(exit) = timeout(OTHER_SIGN_MAX, &mut exit).await {
                exit
            } else {
                inputs.send(Input::PipeClosed { pid }).await.ok();
                exit.await
            }
        }
    };
    std::fs::remove_file(&pipe).ok();
    inputs.send(Input::Exited { pid, exit }).await.ok();
}

/// Waits for the end of a process, or for the order to kill it.
async fn wait(mut child: Child, killed: oneshot::Receiver<()>) -> WorkerExit {
    let ordered = async {
        if killed.await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let by_itself = tokio::select! {
        status = child.wait() => Some(status),
        () = ordered => None,
    };
    let status = if let Some(status) = by_itself {
        status
    } else {
        child.start_kill().ok();
        child.wait().await
    };
    status.map_or(WorkerExit::Signal(9), worker_exit)
}

fn worker_exit(status: ExitStatus) -> WorkerExit {
    match (status.code(), status.signal()) {
        (Some(code), _) => WorkerExit::Code(code),
        (None, signal) => WorkerExit::Signal(signal.unwrap_or(9)),
    }
}

/// The pipe: waits until the worker opens it, then carries words both ways until it closes.
async fn talk(
    listener: UnixListener,
    path: &Path,
    pid: ProcessId,
    mut waiting: mpsc::UnboundedReceiver<Vec<u8>>,
    inputs: &Inputs,
) {
    let Ok(stream) = accept(&listener, pid).await else {
        return;
    };
    drop(listener);
    std::fs::remove_file(path).ok();
    let (mut reader, mut writer) = stream.into_split();
    let write_task = tokio::spawn(async move {
        while let Some(bytes) = waiting.recv().await {
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut frames = Frames::default();
    loop {
        let message = match frames.next_frame() {
            Ok(Some(frame)) => wire::decode::<FromWorker>(&frame),
            Ok(None) => match reader.read_buf(&mut frames.buffer).await {
                Ok(0) | Err(_) => break,
                Ok(_) => continue,
            },
            Err(error) => Err(error),
        };
        let input = match message {
            Ok(message) => Input::Told { pid, message },
            Err(_) => Input::Garbled { pid },
        };
        let garbled = matches!(input, Input::Garbled { .. });
        if inputs.send(input).await.is_err() || garbled {
            break;
        }
    }
    write_task.abort();
}

/// Only the process that the pipe was made for may open it.
async fn accept(listener: &UnixListener, pid: ProcessId) -> io::Result<UnixStream> {
    loop {
        let (stream, _) = listener.accept().await?;
        let peer = stream.peer_cred()?.pid().map(i32::cast_unsigned);
        if is_trusted(&stream) && peer == Some(pid.0) {
            return Ok(stream);
        }
    }
}
