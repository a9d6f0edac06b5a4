//! The administration of a running server, for tools: `appcmd` and the IIS Administration REST API.
//!
//! * `store` – the configuration file of a root, and the server that runs there
//! * `api` – the REST API: from a request to a reply
//! * `resource` – what it says of an object, and what of that is chosen
//! * `fields` – which field of JSON is which attribute of the configuration
//! * `application_pools`, `websites`, `webapps`, `virtual_directories`, `processes`, `monitoring`,
//!   `diagnostics` – its resources
//! * `server` – where it is served, over TLS, to whoever has the token
//!
//! Source: microsoft/IIS.Administration, MIT: the subset that its clients use. Absent on purpose: files,
//! certificates, authentication, everything that is configured and has no effect here.

mod api;
mod application_pools;
mod diagnostics;
mod fields;
mod monitoring;
mod processes;
mod resource;
mod server;
pub(crate) mod store;
mod virtual_directories;
mod webapps;
mod websites;

pub use server::{Administration, AdministrationError, serve};
