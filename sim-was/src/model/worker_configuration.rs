//! What a pool's workers are to know, out of the whole configuration.

use std::path::Path;

use sim_httpsys::api::SiteId;
use sim_worker::configuration::{Application, VirtualDirectory, WorkerConfiguration};

use super::Parameters;
use super::listener_adapter::url_context;
use crate::config::physical_path::to_unix;
use crate::config::{self, ApplicationPool, Configuration};

/// The configuration of one pool's workers.
pub(super) fn worker_configuration(
    pool: &ApplicationPool,
    configuration: &Configuration,
    parameters: &Parameters,
) -> WorkerConfiguration {
    let applications = configuration
        .sites
        .iter()
        .flat_map(|site| {
            site.applications
                .iter()
                .filter(|app| same_name(&app.application_pool, &pool.name))
                .map(|app| application(site, app, &parameters.root))
        })
        .collect();
    WorkerConfiguration {
        pool: pool.name.clone(),
        applications,
        departed: Vec::new(),
        periodic_restart: pool.recycling.periodic_restart.clone(),
        idle_timeout: pool.process_model.idle_timeout,
        receives: parameters.receives,
        threads_max: parameters.threads_max,
        time_zone: parameters.time_zone.clone(),
        schedule_ran: None,
        environment: pool.environment.clone(),
    }
}

/// Whether two names mean the same object. Source: names are compared without regard to case.
pub(super) fn same_name(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

fn application(site: &config::Site, app: &config::Application, root: &Path) -> Application {
    let virtual_directories = app
        .virtual_directories
        .iter()
        .map(|directory| VirtualDirectory {
            path: directory.path.clone(),
            physical_path: to_unix(&directory.physical_path, root),
        })
        .collect();
    Application {
        url_context: url_context(site.id, &app.path),
        site: SiteId(site.id),
        site_name: site.name.clone(),
        path: app.path.clone(),
        virtual_directories,
        preload: app.preload_enabled,
        auto_start: app.auto_start,
        initialization: app.initialization.clone(),
        concurrent_requests_max: app.concurrent_requests_max,
        session_state: app.session_state,
        settings: app.settings.clone(),
        paths: app.paths.clone(),
    }
}
