//! How a server is started, and what its programs are told of it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use sim_httpsys::model::Parameters;
use sim_was::model::Personality;

/// How a server is started.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The simulated `C:\`. Made if it does not exist.
    pub root: PathBuf,
    /// The applicationHost.config; `None` takes the one below the root, made if it does not exist.
    pub config: Option<PathBuf>,
    /// Whether the newest good copy takes the place of a configuration that cannot be read.
    pub last_good: bool,
    /// On which address a binding for all addresses really listens.
    pub listen: IpAddr,
    /// Which ports are really used: (binding's, or `None` for every other; real, 0 for any).
    pub port_map: Vec<(Option<u16>, u16)>,
    /// Whether facts are written to files below `ROOT/trace`.
    pub trace: bool,
    /// Whether every input of every program is recorded in `ROOT/record`, for `iis-sim replay`.
    pub record: bool,
    /// What the driver reads when it is loaded.
    pub parameters: Parameters,
    /// Which version of IIS the services are.
    pub personality: Personality,
}

impl ServerOptions {
    /// On loopback, at ports that the kernel chooses.
    pub fn on_any_port(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            config: None,
            last_good: false,
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port_map: vec![(None, 0)],
            trace: false,
            record: false,
            parameters: Parameters::default(),
            personality: Personality::default(),
        }
    }

    /// The words that `httpsys` is started with.
    pub(super) fn httpsys_arguments(&self, root: &Path) -> Vec<String> {
        let mut arguments = vec![
            "--root".to_owned(),
            root.display().to_string(),
            "--listen".to_owned(),
            self.listen.to_string(),
        ];
        for (from, to) in &self.port_map {
            let from = from.map_or_else(|| "*".to_owned(), |from| from.to_string());
            arguments.extend(["--port-map".to_owned(), format!("{from}:{to}")]);
        }
        if self.trace {
            arguments.push("--trace".to_owned());
        }
        if self.record {
            arguments.push("--record".to_owned());
        }
        if self.parameters != Parameters::default() {
            let parameters = serde_json::to_string(&self.parameters)
                .expect("parameters are plain data and can be written");
            arguments.extend(["--parameters".to_owned(), parameters]);
        }
        arguments
    }

    /// The words that `was` is started with.
    pub(super) fn was_arguments(&self, root: &Path, config: &Path) -> Vec<String> {
        let mut arguments = vec![
            "--root".to_owned(),
            root.display().to_string(),
            "--config".to_owned(),
            config.display().to_string(),
        ];
        if self.trace {
            arguments.push("--trace".to_owned());
        }
        if self.record {
            arguments.push("--record".to_owned());
        }
        if self.personality != Personality::default() {
            let name = self.personality.name().to_owned();
            arguments.extend(["--personality".to_owned(), name]);
        }
        arguments
    }
}
