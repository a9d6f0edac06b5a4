//! A pool and a site as they are where nobody has said otherwise.

use std::collections::BTreeMap;
use std::time::Duration;

use sim_worker::ipm::RecycleReason;

use crate::config::{
    Application, ApplicationPool, Binding, Cpu, Failure, HttpBinding, Identity, ProcessModel,
    Recycling, Site, SiteLimits, SiteLog, VirtualDirectory,
};

pub(in crate::model) fn pool(name: &str) -> ApplicationPool {
    ApplicationPool {
        fault: None,
        name: name.to_owned(),
        queue_length: 1000,
        auto_start: true,
        always_running: false,
        managed_runtime_version: "v4.0".to_owned(),
        managed_runtime_loader: "webengine4.dll".to_owned(),
        classic: false,
        process_model: ProcessModel {
            idle_timeout: Duration::from_mins(20),
            idle_suspend: false,
            max_processes: 1,
            shutdown_time_limit: Duration::from_secs(90),
            startup_time_limit: Duration::from_secs(90),
            pinging_enabled: true,
            ping_interval: Duration::from_secs(30),
            ping_response_time: Duration::from_secs(90),
            log_idle_timeout: true,
            identity: Identity::BuiltIn,
        },
        recycling: Recycling {
            disallow_overlapping_rotation: false,
            disallow_rotation_on_config_change: false,
            log_event_on_recycle: vec![
                RecycleReason::OnDemand,
                RecycleReason::Time,
                RecycleReason::PrivateMemory,
            ],
            periodic_restart: sim_worker::configuration::PeriodicRestart::default(),
        },
        failure: Failure {
            tcp_level: false,
            orphan_worker_process: false,
            orphan_action_exe: String::new(),
            orphan_action_params: String::new(),
            rapid_fail_protection: true,
            rapid_fail_protection_interval: Duration::from_mins(5),
            rapid_fail_protection_max_crashes: 5,
            auto_shutdown_exe: String::new(),
            auto_shutdown_params: String::new(),
        },
        cpu: Cpu::default(),
        environment: BTreeMap::new(),
    }
}

pub(in crate::model) fn site(name: &str, id: u32, port: u16, pool: &str) -> Site {
    Site {
        fault: None,
        name: name.to_owned(),
        id,
        server_auto_start: true,
        bindings: vec![Binding {
            protocol: "http".to_owned(),
            information: format!("*:{port}:"),
            ssl_flags: 0,
            http: Some(HttpBinding {
                secure: false,
                address: None,
                port,
                host: String::new(),
            }),
        }],
        limits: SiteLimits {
            max_bandwidth: None,
            max_connections: None,
            connection_timeout: Duration::from_mins(2),
            max_url_segments: 32,
        },
        log_file: SiteLog {
            enabled: true,
            settings: sim_httpsys::api::LogSettings::daily(
                r"%SystemDrive%\inetpub\logs\LogFiles".to_owned(),
            ),
        },
        applications: vec![Application {
            path: "/".to_owned(),
            application_pool: pool.to_owned(),
            enabled_protocols: "http".to_owned(),
            preload_enabled: false,
            auto_start: false,
            initialization: sim_worker::configuration::Initialization::default(),
            concurrent_requests_max: 5000,
            session_state: sim_worker::configuration::SessionStateSettings::default(),
            virtual_directories: vec![VirtualDirectory {
                path: "/".to_owned(),
                physical_path: r"%SystemDrive%\inetpub\wwwroot".to_owned(),
                allow_sub_dir_config: true,
            }],
            web_configs: Vec::new(),
            settings: sim_worker::configuration::PathSettings::default(),
            paths: BTreeMap::new(),
        }],
    }
}
