//! `/?`: what appcmd can do, what it can do with an object, and what one command takes.

use super::grammar::{Object, Sentence};

const GENERAL: &str = "General purpose IIS command line administration tool.

APPCMD (command) (object-type) <identifier> </parameter1:value1 ...> [--root DIR]

Supported object types and commands:

  SITE      list, set, add, delete, start, stop            virtual sites
  APP       list, set, add, delete                         applications
  VDIR      list, set, add, delete                         virtual directories
  APPPOOL   list, set, add, delete, start, stop, recycle   application pools
  CONFIG    list, set, lock, unlock, clear, reset, search  general configuration sections
  WP        list                                           worker processes
  REQUEST   list                                           executing HTTP requests
  MODULE    list, set, add, delete, install, uninstall     modules of the server or of an application
  BACKUP    list, add, delete, restore                     backups of the configuration

(To list the commands of an object use 'appcmd SITE /?', to see what one takes 'appcmd list site /?'.)

Filters of list: any property, e.g. /state:Stopped /apppool.name:X /processModel.maxProcesses:3; a value may
  begin with $= (with * for any text), $<>, $>, $>=, $< or $<=
  /elapsed:MS (requests that have run for so long)
Output: one line per object; /text:* all properties, /text:<property> one; /config the section as XML,
  /config:* with what is inherited; /xml XML that another appcmd reads with /in.
Properties: /queueLength:5000 /processModel.idleTimeout:00:05:00 /[path='/'].applicationPool:X
  /+bindings.[protocol='http',bindingInformation='*:81:'] adds to a collection, /-… removes from it.

Examples:
  appcmd list wp
  appcmd list apppool /state:Stopped
  appcmd recycle apppool /apppool.name:DefaultAppPool
  appcmd set apppool DefaultAppPool /recycling.periodicRestart.time:08:00:00
  appcmd add site /name:Shop /bindings:http/*:8081: /physicalPath:C:\\inetpub\\shop
  appcmd list config \"Default Web Site\" /section:defaultDocument
  appcmd list apppool /state:Started /xml | appcmd recycle apppool /in";

/// One command: its object, its verb, what it does, its parameters and examples.
struct Help {
    object: Object,
    verb: &'static str,
    does: &'static str,
    parameters: &'static [(&'static str, &'static str)],
    examples: &'static [&'static str],
}

const SITE: (&str, &str) = (
    "identifier, /site.name",
    "The site's name, its id, or one of its bindings",
);
const APP: (&str, &str) = (
    "identifier, /app.name",
    "The application as SITE/PATH: \"Default Web Site/shop\"",
);
const VDIR: (&str, &str) = (
    "identifier, /vdir.name",
    "The virtual directory as SITE/APPLICATION/PATH: \"Default Web Site/shop/images\"",
);
const APPPOOL: (&str, &str) = ("identifier, /apppool.name", "The pool's name");
const PATH: (&str, &str) = (
    "identifier",
    "A configuration path, e.g. \"Default Web Site/shop\"; without one it is the server's; MACHINE and MACHINE/WEBROOT \
     are the files of the .NET Framework",
);
const SECTION: (&str, &str) = (
    "/section",
    "The section, in full or by its last name; /section:? lists all there are",
);
const COMMIT: (&str, &str) = (
    "/commit",
    "Where to write it: url (the web.config of the path, the default), app, site, parent, apphost, \
     webroot, machine, or a configuration path",
);
const FILTER: (&str, &str) = (
    "/<property>",
    "List only what has this value: /state:Started /serverAutoStart:false /processModel.maxProcesses:2",
);
const OUTPUT: (&str, &str) = (
    "/text, /xml, /config",
    "/text:* all properties, /text:<property> one; /xml for another appcmd's /in; /config the element as XML",
);
const SET: (&str, &str) = (
    "/<property>",
    "Give a property a value: /queueLength:5000 /[path='/'].applicationPool:X; /+collection.[key='value'] adds \
     an entry (/+collection.[@start,key='value'] before the others, @2 before the third), /-collection.[key='value'] removes one",
);
const IN: (&str, &str) = (
    "/in",
    "Do it for every object that another appcmd has written with /xml to standard input",
);

const COMMANDS: &[Help] = &[
    Help {
        object: Object::Site,
        verb: "list",
        does: "List virtual sites",
        parameters: &[SITE, FILTER, OUTPUT],
        examples: &[
            "appcmd list sites",
            "appcmd list site \"Default Web Site\" /config",
            "appcmd list sites /state:Stopped",
        ],
    },
    Help {
        object: Object::Site,
        verb: "set",
        does: "Configure a virtual site",
        parameters: &[SITE, SET, IN],
        examples: &[
            "appcmd set site \"Default Web Site\" /serverAutoStart:false",
            "appcmd set site Shop /+bindings.[protocol='http',bindingInformation='*:8082:']",
        ],
    },
    Help {
        object: Object::Site,
        verb: "add",
        does: "Add a new virtual site",
        parameters: &[
            ("/name", "Its name"),
            ("/id", "Its number; the next free one if not given"),
            (
                "/bindings",
                "protocol/address:port:host, several with commas",
            ),
            (
                "/physicalPath",
                "The folder of its root; without one it has no application",
            ),
        ],
        examples: &[
            "appcmd add site /name:Shop /bindings:http/*:8081: /physicalPath:C:\\inetpub\\shop",
        ],
    },
    Help {
        object: Object::Site,
        verb: "delete",
        does: "Delete a virtual site",
        parameters: &[SITE, IN],
        examples: &["appcmd delete site Shop"],
    },
    Help {
        object: Object::Site,
        verb: "start",
        does: "Start a virtual site",
        parameters: &[SITE, IN],
        examples: &["appcmd start site Shop"],
    },
    Help {
        object: Object::Site,
        verb: "stop",
        does: "Stop a virtual site: its URLs are not routed any more",
        parameters: &[SITE, IN],
        examples: &["appcmd stop site Shop"],
    },
    Help {
        object: Object::App,
        verb: "list",
        does: "List applications",
        parameters: &[APP, FILTER, OUTPUT],
        examples: &[
            "appcmd list apps",
            "appcmd list app /site.name:\"Default Web Site\"",
            "appcmd list app /apppool.name:DefaultAppPool",
        ],
    },
    Help {
        object: Object::App,
        verb: "set",
        does: "Configure an application",
        parameters: &[APP, SET, IN],
        examples: &["appcmd set app \"Default Web Site/\" /applicationPool:Shop"],
    },
    Help {
        object: Object::App,
        verb: "add",
        does: "Add a new application",
        parameters: &[
            ("/site.name", "Its site"),
            ("/path", "Its path, with a slash in front"),
            ("/physicalPath", "The folder of its root"),
            ("/applicationPool", "Its pool"),
        ],
        examples: &[
            "appcmd add app /site.name:\"Default Web Site\" /path:/shop /physicalPath:C:\\shop",
        ],
    },
    Help {
        object: Object::App,
        verb: "delete",
        does: "Delete an application",
        parameters: &[APP, IN],
        examples: &["appcmd delete app \"Default Web Site/shop\""],
    },
    Help {
        object: Object::Vdir,
        verb: "list",
        does: "List virtual directories",
        parameters: &[VDIR, FILTER, OUTPUT],
        examples: &[
            "appcmd list vdirs",
            "appcmd list vdir /app.name:\"Default Web Site/\"",
        ],
    },
    Help {
        object: Object::Vdir,
        verb: "set",
        does: "Configure a virtual directory",
        parameters: &[VDIR, SET, IN],
        examples: &["appcmd set vdir \"Default Web Site/\" /physicalPath:C:\\new"],
    },
    Help {
        object: Object::Vdir,
        verb: "add",
        does: "Add a new virtual directory",
        parameters: &[
            ("/app.name", "Its application"),
            ("/path", "Its path below the application"),
            ("/physicalPath", "Its folder"),
        ],
        examples: &[
            "appcmd add vdir /app.name:\"Default Web Site/\" /path:/images /physicalPath:C:\\images",
        ],
    },
    Help {
        object: Object::Vdir,
        verb: "delete",
        does: "Delete a virtual directory",
        parameters: &[VDIR, IN],
        examples: &["appcmd delete vdir \"Default Web Site/images\""],
    },
    Help {
        object: Object::AppPool,
        verb: "list",
        does: "List application pools",
        parameters: &[APPPOOL, FILTER, OUTPUT],
        examples: &[
            "appcmd list apppools",
            "appcmd list apppool DefaultAppPool /text:*",
            "appcmd list apppools /state:Stopped",
        ],
    },
    Help {
        object: Object::AppPool,
        verb: "set",
        does: "Configure an application pool",
        parameters: &[APPPOOL, SET, IN],
        examples: &["appcmd set apppool DefaultAppPool /processModel.idleTimeout:00:00:00"],
    },
    Help {
        object: Object::AppPool,
        verb: "add",
        does: "Add a new application pool",
        parameters: &[("/name", "Its name"), SET],
        examples: &["appcmd add apppool /name:Shop /managedRuntimeVersion:v4.0"],
    },
    Help {
        object: Object::AppPool,
        verb: "delete",
        does: "Delete an application pool",
        parameters: &[APPPOOL, IN],
        examples: &["appcmd delete apppool Shop"],
    },
    Help {
        object: Object::AppPool,
        verb: "start",
        does: "Start an application pool",
        parameters: &[APPPOOL, IN],
        examples: &["appcmd start apppool Shop"],
    },
    Help {
        object: Object::AppPool,
        verb: "stop",
        does: "Stop an application pool: its requests are answered 503",
        parameters: &[APPPOOL, IN],
        examples: &["appcmd stop apppool Shop"],
    },
    Help {
        object: Object::AppPool,
        verb: "recycle",
        does: "Recycle an application pool: new worker processes take over, the old ones finish what they have",
        parameters: &[APPPOOL, IN],
        examples: &[
            "appcmd recycle apppool Shop",
            "appcmd list apppool /state:Started /xml | appcmd recycle apppool /in",
        ],
    },
    Help {
        object: Object::Config,
        verb: "list",
        does: "List configuration sections as they take effect at a path",
        parameters: &[
            PATH,
            SECTION,
            (
                "/config:*",
                "Also what is not written, but inherited or a default",
            ),
            ("/xml", "For another appcmd's set config /in"),
        ],
        examples: &["appcmd list config \"Default Web Site/\" /section:defaultDocument"],
    },
    Help {
        object: Object::Config,
        verb: "set",
        does: "Set configuration sections",
        parameters: &[PATH, SECTION, SET, COMMIT, IN],
        examples: &[
            "appcmd set config /section:urlCompression /doDynamicCompression:true",
            "appcmd set config \"Default Web Site\" /section:defaultDocument /+files.[@start,value='home.htm']",
        ],
    },
    Help {
        object: Object::Config,
        verb: "search",
        does: "Find where sections are written, at a path and below",
        parameters: &[
            PATH,
            SECTION,
            (
                "/<property>",
                "Only where it is written, with this value if one is given",
            ),
            ("/xml", "For another appcmd's clear config /in"),
        ],
        examples: &[
            "appcmd search config \"Default Web Site/\" /section:directoryBrowse /enabled:true",
        ],
    },
    Help {
        object: Object::Config,
        verb: "lock",
        does: "Lock a section: inner levels may not have it",
        parameters: &[PATH, SECTION],
        examples: &["appcmd lock config /section:directoryBrowse"],
    },
    Help {
        object: Object::Config,
        verb: "unlock",
        does: "Unlock a section",
        parameters: &[PATH, SECTION],
        examples: &["appcmd unlock config /section:directoryBrowse"],
    },
    Help {
        object: Object::Config,
        verb: "clear",
        does: "Take a section away from where it is written",
        parameters: &[PATH, SECTION, COMMIT, IN],
        examples: &["appcmd clear config \"Default Web Site\" /section:defaultDocument"],
    },
    Help {
        object: Object::Config,
        verb: "reset",
        does: "Take a section away from where it is written",
        parameters: &[PATH, SECTION, COMMIT],
        examples: &["appcmd reset config /section:urlCompression"],
    },
    Help {
        object: Object::Wp,
        verb: "list",
        does: "List worker processes",
        parameters: &[("identifier", "A process id"), FILTER, OUTPUT],
        examples: &[
            "appcmd list wps",
            "appcmd list wp /apppool.name:DefaultAppPool",
        ],
    },
    Help {
        object: Object::Request,
        verb: "list",
        does: "List the requests that are being executed",
        parameters: &[
            (
                "/elapsed",
                "Only those that have run for so many milliseconds",
            ),
            ("/site.name, /apppool.name, /wp.name, /url", "Only of these"),
            OUTPUT,
        ],
        examples: &["appcmd list requests /elapsed:1000"],
    },
    Help {
        object: Object::Module,
        verb: "list",
        does: "List the modules that are enabled",
        parameters: &[
            ("identifier, /module.name", "Its name"),
            ("/app.name", "Of an application: \"Default Web Site/\""),
            ("/type", "native, managed, or the type of a managed module"),
            FILTER,
            OUTPUT,
        ],
        examples: &["appcmd list modules", "appcmd list modules /type:managed"],
    },
    Help {
        object: Object::Module,
        verb: "add",
        does: "Enable a module",
        parameters: &[
            ("/name", "Its name"),
            ("/type", "The type of a managed module"),
            ("/preCondition", "When it is loaded"),
            ("/app.name", "Of an application: \"Default Web Site/\""),
        ],
        examples: &["appcmd add module /name:Audit /type:Shop.AuditModule"],
    },
    Help {
        object: Object::Module,
        verb: "delete",
        does: "Disable a module",
        parameters: &[
            ("identifier, /module.name", "Its name"),
            ("/app.name", "Of an application: \"Default Web Site/\""),
        ],
        examples: &["appcmd delete module Audit"],
    },
    Help {
        object: Object::Module,
        verb: "set",
        does: "Edit a module",
        parameters: &[
            ("identifier, /module.name", "Its name"),
            ("/type, /preCondition", "What it is to be"),
            ("/app.name", "Of an application: \"Default Web Site/\""),
        ],
        examples: &["appcmd set module Audit /preCondition:managedHandler"],
    },
    Help {
        object: Object::Module,
        verb: "install",
        does: "Install a native module and enable it",
        parameters: &[
            ("/name", "Its name"),
            ("/image", "Its file"),
            ("/preCondition", "When it is loaded"),
        ],
        examples: &["appcmd install module /name:Filter /image:C:\\filter.dll"],
    },
    Help {
        object: Object::Module,
        verb: "uninstall",
        does: "Disable and uninstall a native module",
        parameters: &[("identifier, /module.name", "Its name")],
        examples: &["appcmd uninstall module Filter"],
    },
    Help {
        object: Object::Backup,
        verb: "list",
        does: "List backups of the configuration",
        parameters: &[("identifier, /backup.name", "Its name"), OUTPUT],
        examples: &["appcmd list backups"],
    },
    Help {
        object: Object::Backup,
        verb: "add",
        does: "Back the configuration up",
        parameters: &[("identifier", "Its name; the date and time if not given")],
        examples: &["appcmd add backup before-the-change"],
    },
    Help {
        object: Object::Backup,
        verb: "delete",
        does: "Delete a backup",
        parameters: &[("identifier, /backup.name", "Its name"), IN],
        examples: &["appcmd delete backup before-the-change"],
    },
    Help {
        object: Object::Backup,
        verb: "restore",
        does: "Put a backup in the place of the configuration",
        parameters: &[
            ("identifier", "Its name"),
            ("/stop", "false: while the services run"),
        ],
        examples: &["appcmd restore backup before-the-change"],
    },
];

/// The help for what was asked.
pub(super) fn of(sentence: &Sentence) -> String {
    // `appcmd site /?` has the object where the verb would be.
    let object = sentence.object.or_else(|| Object::parse(&sentence.verb));
    let Some(object) = object else {
        return GENERAL.to_owned();
    };
    let of_object = || COMMANDS.iter().filter(|help| help.object == object);
    if let Some(help) = of_object().find(|help| help.verb == sentence.verb) {
        return help.text();
    }
    let lines = of_object().map(|help| format!("  {:<8} {}\n", help.verb, help.does));
    let name = object.name();
    format!(
        "Commands of {name} (what one takes: appcmd <command> {name} /?):\n\n{}",
        lines.collect::<String>().trim_end()
    )
}

/// Whether an object has such a command.
pub(super) fn has_command(verb: &str, object: Object) -> bool {
    let mut all = COMMANDS.iter();
    all.any(|help| help.object == object && help.verb == verb)
}

impl Help {
    fn text(&self) -> String {
        let (verb, object) = (self.verb, self.object.name());
        let parameters = self
            .parameters
            .iter()
            .chain([&("/?", "Display this help")])
            .map(|(name, text)| format!(" {name}\n    {text}\n\n"));
        let examples = self.examples.iter().map(|line| format!(" {line}\n"));
        format!(
            "{}\n\nAPPCMD {verb} {object} <identifier> </parameter1:value1 ...>\n\nSupported parameters:\n\n{}Examples:\n\n{}",
            self.does,
            parameters.collect::<String>(),
            examples.collect::<String>().trim_end_matches('\n'),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(words: &str) -> String {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        of(&Sentence::parse(&words))
    }

    #[test]
    fn help_is_about_what_was_asked() {
        assert!(help("/?").starts_with("General purpose"));
        assert_eq!(help("-?"), help("/?"));
        assert_eq!(help("list site -?"), help("list site /?"));
        assert!(help("list site /?").starts_with("List virtual sites\n\nAPPCMD list SITE"));
        assert!(help("apppool /?").contains("  recycle  Recycle an application pool"));
        assert!(help("frobnicate wps /?").contains("  list     List worker processes"));
    }
}
