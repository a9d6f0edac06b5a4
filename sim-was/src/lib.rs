//! WAS and W3SVC: the supervisor of iis-sim.
//!
//! It reads applicationHost.config, configures the driver, spawns worker processes on demand,
//! recycles them, and performs iisreset. No request ever passes through it.
//!
//! * [`control`] – what appcmd, iisreset and iisapp may ask
//! * [`config`] – applicationHost.config: as written → checked → resolved
//! * [`model`] – WAS and W3SVC, pure
//! * [`event_log`] – what they state, with the ids and texts of the Windows event log
//! * [`counters`] – what is folded from that
//! * [`secrets`] – what may not be written down
//! * [`live`] – processes, pipes, the control socket (feature `live`)

pub mod config;
pub mod control;
pub mod counters;
pub mod event_log;
pub mod event_record;
#[cfg(feature = "live")]
pub mod live;
pub mod model;
pub mod secrets;
