//! The controller's connection to the driver.

use std::io;
use std::path::Path;
use std::time::Duration;

use sim_httpsys::api::Call;
use sim_httpsys::api::wire::{Frames, decode_completion, encode_call};
use sim_httpsys::live::SocketPath;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::supervisor::Inputs;
use crate::model::Input;

/// How long the driver may take to appear.
const APPEAR_MAX: Duration = Duration::from_secs(5);

async fn connect(path: &Path) -> io::Result<UnixStream> {
    let name = SocketPath::of(path)?;
    UnixStream::connect(name.as_path()).await
}

/// An open device.
#[derive(Debug)]
pub(super) struct Device {
    calls: mpsc::UnboundedSender<Vec<u8>>,
}

impl Device {
    /// Opens the device, waiting for it if the driver is just being started.
    pub(super) async fn open(path: &Path, inputs: Inputs) -> io::Result<Self> {
        let begun = Instant::now();
        let stream = loop {
            match connect(path).await {
                Ok(stream) => break stream,
                Err(error) if begun.elapsed() > APPEAR_MAX => return Err(error),
                Err(_) => sleep(Duration::from_millis(5)).await,
            }
        };
        let (reader, mut writer) = stream.into_split();
        let (calls, mut waiting) = mpsc::unbounded_channel::<Vec<u8>>();
        tokio::spawn(async move {
            while let Some(mut bytes) = waiting.recv().await {
                while let Ok(more) = waiting.try_recv() {
                    bytes.extend_from_slice(&more);
                }
                if writer.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(read(reader, inputs));
        Ok(Self { calls })
    }

    /// Makes a call. If the driver is gone, the reader says so.
    pub(super) fn call(&self, call: &Call) {
        let mut bytes = Vec::new();
        encode_call(call, &mut bytes);
        self.calls.send(bytes).ok();
    }
}

async fn read(mut reader: OwnedReadHalf, inputs: Inputs) {
    let mut frames = Frames::default();
    loop {
        match frames
            .next_frame()
            .and_then(|frame| frame.map(decode_completion).transpose())
        {
            Ok(Some(completion)) => {
                if inputs.send(Input::Completed(completion)).await.is_err() {
                    return;
                }
            }
            Ok(None) => match reader.read_buf(&mut frames.buffer).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            },
            Err(_) => break,
        }
    }
    inputs.send(Input::DeviceLost).await.ok();
}
