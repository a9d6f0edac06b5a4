//! `app_offline.htm`: as long as this file lies in the root folder of an application, that is offline.
//!
//! ```text
//!   Started ─ the file appears ─► the domain goes, as in restart.rs
//!                                   │ next request: a new domain is read
//!   Offline: every page is a 503 ◄──┘
//!      └─ the file changes, or goes ─► this domain goes, too: the next one finds what lies there then
//! ```
//!
//! Source: .NET reference source, `HttpRuntime`: the file is watched even if it is absent; it shuts the domain
//! down; the next request starts a domain that fails with 503, `Retry-After: 3600` and the file's text, of
//! which at most 1 MB is used. What was in flight completes in the old domain, and the process stays. Static
//! files, which no managed module handles, are still served.
//! Source: aspnetcore, `ShutdownTests.LockedAppOffline`: if the file cannot be read, the 503 is empty.
//! Assumed: this holds for ASP.NET, too. Absent: the in-process ASP.NET Core module, whose worker recycles.

use std::fmt::Write as _;

use bytes::Bytes;
use sim_httpsys::api::{CachePolicy, ProcessId, UrlContext};
use sim_httpsys::clockwork::Instant;

use super::app_domain::AppDomain;
use super::modules::{Reply, SERVER};
use super::{Doer, FileOutcome, FileSeen, Lifecycle, Work, WorkerProcess};
use crate::application::FILE_NAME;

/// The file, in the root folder of an application.
pub(super) const APP_OFFLINE: &str = "app_offline.htm";

/// As much of it is shown. Assumed: it is a page that somebody wrote, and nobody writes a longer one.
const TEXT_MAX: usize = 1 << 20;

impl WorkerProcess {
    /// Before an application starts, its root was searched for [`APP_OFFLINE`], then for its "code".
    pub(super) fn application_found(
        &mut self,
        context: UrlContext,
        file: FileOutcome,
        now: Instant,
    ) {
        let text = match &file {
            FileOutcome::Contents {
                candidate: 0,
                contents,
                ..
            } => contents.slice(..contents.len().min(TEXT_MAX)),
            // One of both. If it is the "code", that will be found out next.
            FileOutcome::Denied | FileOutcome::TooLarge => Bytes::new(),
            FileOutcome::Contents { .. }
            | FileOutcome::Unchanged
            | FileOutcome::Directory
            | FileOutcome::NotFound => {
                self.watch(context, APP_OFFLINE, FileSeen::Absent);
                return self.application_read(context, file, now);
            }
        };
        let Some(domain) = self.domains.get_mut(&context) else {
            return;
        };
        domain.offline = Some(text);
        let root = domain.root();
        let seen = file.seen().unwrap_or(FileSeen::Absent);
        self.watch(context, APP_OFFLINE, seen);
        let Some(root) = root else { return };
        let read = Work::ReadFile {
            root,
            candidates: vec![FILE_NAME.to_owned()],
            unless: None,
        };
        self.start_work(read, Doer::ReadOfflineApplication(context));
    }

    /// Wants to be told when a file in an application's root folder is no more as it was seen, and that alone.
    pub(super) fn watch(&mut self, context: UrlContext, file: &str, seen: FileSeen) {
        let root = self.domains.get(&context).and_then(AppDomain::root);
        let Some(root) = root else { return };
        self.stop_watching(context);
        let watch = Work::WatchFile {
            application: context,
            root,
            file: file.to_owned(),
            seen,
        };
        self.start_work(watch, Doer::WatchOffline(context));
    }

    /// Is not interested any more.
    pub(super) fn stop_watching(&mut self, context: UrlContext) {
        self.works
            .retain(|doer| !matches!(doer, Doer::WatchOffline(of) if *of == context));
    }

    /// The file or the code has come, gone or changed: the application restarts, and reads it when it starts.
    ///
    /// Source: .NET reference source, `ApplicationShutdownReason`: `ConfigurationChange` for the file,
    /// `BinDirChangeOrDirectoryRename`, `CodeDirChangeOrDirectoryRename`, `ChangeInGlobalAsax` for code.
    pub(super) fn offline_changed(&mut self, context: UrlContext, now: Instant) {
        if matches!(self.lifecycle, Lifecycle::Stopping { .. }) {
            return;
        }
        let Some(domain) = self.domains.get(&context) else {
            return;
        };
        let application = (*domain.application).clone();
        self.restart_application(application, now);
    }
}

/// What a page answers while its application is offline.
pub(super) fn reply(text: &Bytes, process: ProcessId) -> Reply {
    let mut headers = format!("Content-Type: text/html\r\nRetry-After: 3600\r\n{SERVER}");
    let written = write!(
        headers,
        "X-Sim-Worker: {}\r\nContent-Length: {}\r\n",
        process.0,
        text.len()
    );
    written.expect("text can be written to a string");
    Reply {
        status: 503,
        substatus: 0,
        headers: headers.into(),
        body: text.clone(),
        policy: CachePolicy::Nocache,
    }
}
