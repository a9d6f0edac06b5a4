//! The applicationHost.config of a machine on which IIS has just been installed: what the simulator
//! starts with when it is given no file.

use std::sync::LazyLock;

use roxmltree::Document;

/// The text of that file.
///
/// Source: applicationHost.config of a fresh IIS 10: DefaultAppPool with .NET 4, Default Web Site on
/// `*:80:`, the shipped default documents; the mimeMap has the types that sites use, not all 380.
/// Assumed: the modules are those that the simulated pipeline has, and the caches that workers have.
/// Handlers and modules are declared as what the `<location path="">` of that file makes of them.
pub const DEFAULT_CONFIG: &str = include_str!("default.config");

/// The same, read.
pub(super) fn document() -> &'static Document<'static> {
    static DOCUMENT: LazyLock<Document<'static>> = LazyLock::new(|| {
        Document::parse(DEFAULT_CONFIG).expect("the default configuration is ours, and tested")
    });
    &DOCUMENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_configuration_loads_without_a_warning() {
        let loaded = crate::config::load(DEFAULT_CONFIG, "applicationHost.config").unwrap();
        assert_eq!(loaded.warnings, []);
        let [pool] = loaded.application_pools.as_slice() else {
            panic!("one pool")
        };
        assert_eq!(
            (pool.name.as_str(), pool.managed_runtime_version.as_str()),
            ("DefaultAppPool", "v4.0")
        );
        let [site] = loaded.sites.as_slice() else {
            panic!("one site")
        };
        assert_eq!((site.name.as_str(), site.id), ("Default Web Site", 1));
        assert_eq!(site.bindings[0].information, "*:80:");
        assert_eq!(
            site.log_file.settings.directory,
            r"%SystemDrive%\inetpub\logs\LogFiles"
        );
        let [application] = site.applications.as_slice() else {
            panic!("one application")
        };
        assert_eq!(application.application_pool, "DefaultAppPool");
        assert_eq!(
            application.virtual_directories[0].physical_path,
            r"%SystemDrive%\inetpub\wwwroot"
        );
        assert_eq!(
            application.settings.default_documents,
            [
                "Default.htm",
                "Default.asp",
                "index.htm",
                "index.html",
                "iisstart.htm",
                "default.aspx"
            ]
        );
        assert_eq!(application.settings.mime_map[".html"], "text/html");
        assert!(application.settings.mime_map.len() > 100);
    }
}
