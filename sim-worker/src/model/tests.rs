use super::*;
use crate::configuration::{Application, Caching, PeriodicRestart, VirtualDirectory};
use sim_httpsys::api::SiteId;

pub(crate) fn application(root: &str) -> Application {
    Application {
        url_context: UrlContext(1),
        site: SiteId(1),
        site_name: "Default Web Site".into(),
        path: "/".into(),
        virtual_directories: vec![VirtualDirectory { path: "/".into(), physical_path: root.into() }],
        preload: false,
        default_documents: ["Default.htm", "index.html", "default.aspx"].map(str::to_owned).to_vec(),
        mime_map: BTreeMap::new(),
        caching: Caching::default(),
    }
}
