//! The IIS Administration REST API, as a foreign client (curl) uses it.

mod support;

use std::path::Path;
use std::process::Command;

use serde_json::json;
use support::api::Api;
use support::{Up, is_alive};

#[test]
fn only_whoever_has_the_token_may_ask() {
    let up = Up::administered();
    let api = Api::of(&up);
    let pools = "/webserver/application-pools";
    assert_eq!(api.curl(&[], pools, None).status, 401);
    let wrong = api.curl(&[], pools, Some("0000"));
    assert_eq!(
        (wrong.status, wrong.body["status"].as_u64()),
        (403, Some(403))
    );
    assert!(
        wrong.head.contains("application/problem+json"),
        "{}",
        wrong.head
    );
    let right = api.curl(&[], pools, Some(&api.token));
    assert_eq!(right.status, 200);
    assert!(right.head.contains("x-total-count: 1"), "{}", right.head);
    let token = Path::new(up.ready["administration"]["token"].as_str().unwrap());
    let mode = std::os::unix::fs::PermissionsExt::mode(&token.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_pool_is_shown_changed_renamed_and_deleted() {
    let up = Up::administered();
    let api = Api::of(&up);
    let body = json!({"name": "Shop", "queue_length": "2000", "auto_start": true,
                      "process_model": {"idle_timeout": 5}});
    let made = api.send("POST", "/webserver/application-pools", &body);
    assert_eq!(made.status, 201, "{}", made.body);
    assert!(
        made.head
            .contains("location: /api/webserver/application-pools/")
    );
    assert_eq!(made.body["queue_length"], 2000);
    assert_eq!(made.body["process_model"]["idle_timeout"], 5);
    assert_eq!(made.body["status"], "started");
    let again = api.send("POST", "/webserver/application-pools", &body);
    assert_eq!(again.status, 409, "{}", again.body);

    let shop = api.pool("Shop");
    let body = json!({"pipeline_mode": "classic", "recycling": {
        "log_events": {"time": false},
        "periodic_restart": {"time_interval": 60, "schedule": ["03:00", "04:30"]}}});
    let changed = api.send("PATCH", &shop, &body).body;
    assert_eq!(changed["pipeline_mode"], "Classic");
    assert_eq!(changed["recycling"]["log_events"]["time"], false);
    assert_eq!(changed["recycling"]["log_events"]["memory"], true);
    assert_eq!(
        changed["recycling"]["periodic_restart"]["time_interval"],
        60
    );
    let schedule = &changed["recycling"]["periodic_restart"]["schedule"];
    assert_eq!(*schedule, json!(["03:00", "04:30"]));
    let listed = up.said(&["appcmd", "list", "apppool", "Shop", "/text:queueLength"]);
    assert!(listed.contains("2000"), "{listed}");

    let config = up.host_path();
    let before = std::fs::read(&config).unwrap();
    let whole = api.get(&shop);
    let same = api.send("PATCH", &shop, &whole);
    assert_eq!(same.status, 200, "{}", same.body);
    assert_eq!(
        std::fs::read(&config).unwrap(),
        before,
        "nothing was changed"
    );

    let renamed = api.send("PATCH", &shop, &json!({"name": "Store"}));
    assert_eq!(renamed.status, 200, "{}", renamed.body);
    assert_ne!(renamed.body["id"], whole["id"]);
    assert!(renamed.head.contains("location: "), "{}", renamed.head);
    assert_eq!(api.curl(&[], &shop, Some(&api.token)).status, 404);
    let store = api.pool("Store");
    assert_eq!(
        api.curl(&["-X", "DELETE"], &store, Some(&api.token)).status,
        204
    );
    assert_eq!(api.curl(&[], &store, Some(&api.token)).status, 404);
}

#[test]
fn a_binding_that_cannot_be_is_refused_and_server_name_indication_is_kept() {
    let up = Up::administered();
    let api = Api::of(&up);
    let sites = api.get("/webserver/websites");
    let id = sites["websites"][0]["id"].as_str().unwrap();
    let site = format!("/webserver/websites/{id}");
    let before = api.get(&site)["bindings"].clone();
    for (binding, field) in [
        (json!({"protocol": "http", "port": 99999}), "port"),
        (json!({"protocol": "http", "port": "many"}), "port"),
        (json!({"protocol": "http", "port": 0}), "port"),
        (json!({"port": 81, "require_sni": "yes"}), "require_sni"),
        (json!({"port": 81, "hostnam": "a"}), "hostnam"),
        (
            json!({"protocol": "http", "binding_information": "bad"}),
            "bindings",
        ),
        (json!({"port": 81, "ip_address": "elsewhere"}), "bindings"),
    ] {
        let said = api.send("PATCH", &site, &json!({"bindings": [&binding]}));
        assert_eq!(said.status, 400, "{binding}: {}", said.body);
        assert_eq!(
            said.body["name"].as_str().unwrap_or_default(),
            field,
            "{binding}"
        );
    }
    assert_eq!(api.get(&site)["bindings"], before);
    let of = |sni: bool| {
        let secure =
            json!({"protocol": "https", "port": 8443, "hostname": "a.example", "require_sni": sni});
        let said = api.send("PATCH", &site, &json!({"bindings": [before[0], secure]}));
        assert_eq!(said.status, 200, "{}", said.body);
        said.body["bindings"][1]["require_sni"].clone()
    };
    let flags = || {
        up.said(&["appcmd", "list", "site", "/config"])
            .contains("sslFlags=\"1\"")
    };
    assert!(of(true) == json!(true) && flags());
    assert!(of(false) == json!(false) && !flags());
}

#[test]
fn what_is_wrong_with_a_request_is_said_and_changes_nothing() {
    let up = Up::administered();
    let api = Api::of(&up);
    let pool = api.pool("DefaultAppPool");
    for (body, field) in [
        (json!({"queue_lenght": 5}), "queue_lenght"),
        (json!({"queue_length": "many"}), "queue_length"),
        (json!({"queue_length": -1}), "queue_length"),
        (json!({"start_mode": "Sometimes"}), "start_mode"),
        (
            json!({"process_model": {"idle_timeout": 1.5}}),
            "process_model.idle_timeout",
        ),
        (json!({"status": "dancing"}), "status"),
        (json!([1]), "model"),
    ] {
        let said = api.send("PATCH", &pool, &body);
        assert_eq!(said.status, 400, "{body}: {}", said.body);
        assert_eq!(said.body["name"], field, "{body}: {}", said.body);
    }
    let out_of_range = api.send("PATCH", &pool, &json!({"queue_length": 5}));
    assert_eq!(out_of_range.status, 400, "{}", out_of_range.body);
    assert!(
        out_of_range.body["detail"]
            .as_str()
            .unwrap()
            .contains("10 to 65535")
    );
    let garbage = api.curl(&["-X", "PATCH", "-d", "{"], &pool, Some(&api.token));
    assert_eq!(garbage.status, 400);
    let huge = up.root.join("huge");
    std::fs::write(&huge, vec![b'1'; 3 << 20]).unwrap();
    let huge = format!("@{}", huge.display());
    let huge = api.curl(
        &["-X", "PATCH", "--data-binary", &huge],
        &pool,
        Some(&api.token),
    );
    assert_eq!(huge.status, 413);
    for path in [
        "/webserver/nonsense",
        "/webserver/application-pools/zz",
        "/webserver/websites/7a",
    ] {
        assert_eq!(api.curl(&[], path, Some(&api.token)).status, 404, "{path}");
    }
    for put in [&["-X", "PUT", "-d", "{}"][..], &["-X", "PUT"]] {
        assert_eq!(api.curl(put, &pool, Some(&api.token)).status, 405);
    }
    let flat = api.send("PATCH", &pool, &json!({"process_model": 5}));
    let detail = flat.body["detail"].as_str().unwrap();
    assert!(detail.contains("an object is expected"), "{detail}");
    assert_eq!(api.get(&pool)["queue_length"], 1000);
}

#[test]
fn what_is_sent_back_as_it_came_changes_nothing_and_a_wrong_part_changes_nothing_else() {
    let up = Up::administered();
    let api = Api::of(&up);
    let config = up.host_path();
    let add = "/+bindings.[protocol='https',bindingInformation='*:443:a.example',sslFlags='1']";
    up.said(&["appcmd", "set", "site", "Default Web Site", add]);
    let before = std::fs::read(&config).unwrap();
    let list = api.get("/webserver/websites");
    let of_site = list["websites"][0]["id"].as_str().unwrap();
    let site = format!("/webserver/websites/{of_site}");
    let app = api.get("/webserver/webapps")["webapps"][0]["id"].clone();
    let app = format!("/webserver/webapps/{}", app.as_str().unwrap());
    for path in [&site, &app] {
        let same = api.send("PATCH", path, &api.get(path));
        assert_eq!(same.status, 200, "{path}: {}", same.body);
    }
    for (method, path, body, field) in [
        (
            "PATCH",
            &site[..],
            json!({"limits": {"max_connections": 7}, "status": "x"}),
            "status",
        ),
        (
            "PATCH",
            &site,
            json!({"application_pool": {"name": "Shop"}}),
            "application_pool",
        ),
        (
            "PATCH",
            &app,
            json!({"physical_path": "C:\\x", "preload": true}),
            "preload",
        ),
        (
            "POST",
            "/webserver/webapps",
            json!({"path": "/x", "physical_path": "C:\\x", "website": {"id": of_site}, "pool": 1}),
            "pool",
        ),
    ] {
        let said = api.send(method, path, &body);
        assert_eq!(
            (said.status, &said.body["name"]),
            (400, &json!(field)),
            "{body}"
        );
    }
    assert_eq!(std::fs::read(&config).unwrap(), before);

    let bindings = json!({"bindings": [
        {"protocol": "https", "binding_information": "*:443:a.example"},
        {"protocol": "http", "port": 8080, "hostname": "b.example"},
    ]});
    let rebound = api.send("PATCH", &site, &bindings);
    assert_eq!(rebound.status, 200, "{}", rebound.body);
    assert_eq!(rebound.body["bindings"][1]["hostname"], "b.example");
    let after = std::fs::read_to_string(&config).unwrap();
    assert!(
        after.contains("sslFlags=\"1\""),
        "a binding that stays keeps its flags: {after}"
    );
    assert!(!after.contains("*:80:"), "{after}");

    let body = json!({"path": "/x", "physical_path": "C:\\x", "website": {"id": of_site},
                      "preload_enabled": true});
    let made = api.send("POST", "/webserver/webapps", &body);
    assert_eq!(
        (made.status, &made.body["preload_enabled"]),
        (201, &json!(true)),
        "{}",
        made.body
    );
    let body = json!({"name": "Renamed", "status": "started"});
    let renamed = api.send("PATCH", &site, &body);
    assert_eq!(
        (renamed.status, &renamed.body["status"]),
        (200, &json!("started")),
        "{}",
        renamed.body
    );
}

#[test]
fn a_recycle_replaces_the_worker_and_a_delete_kills_it() {
    let up = Up::administered();
    let api = Api::of(&up);
    let first = up.get("/default.aspx").worker();
    let pool = api.pool("DefaultAppPool");
    let recycled = api.send("PATCH", &pool, &json!({"status": "recycling"}));
    assert_eq!(recycled.status, 200, "{}", recycled.body);
    up.until("another worker", || {
        up.get("/default.aspx").worker() != first
    });
    let second = up.get("/default.aspx").worker();
    up.until("one worker", || up.workers() == [second]);
    let list = api.get("/webserver/worker-processes");
    let [worker] = list["worker_processes"].as_array().unwrap().as_slice() else {
        panic!("{list}");
    };
    assert_eq!(worker["process_id"], second);
    let path = format!(
        "/webserver/worker-processes/{}",
        worker["id"].as_str().unwrap()
    );
    assert_eq!(
        api.curl(&["-X", "DELETE"], &path, Some(&api.token)).status,
        204
    );
    up.until("its end", || !is_alive(second));
    up.until("event 5009", || up.events().contains("\"EventID\":5009,"));
    let audit = up
        .root
        .join("Windows/System32/LogFiles/iis-sim/audit.jsonl");
    let audit = std::fs::read_to_string(audit).unwrap();
    assert!(
        audit.contains("\"on_behalf_of\":\"IIS Administration API"),
        "{audit}"
    );
    assert!(audit.contains("RecycleApplicationPool") && audit.contains("KillWorkerProcess"));
}

#[test]
fn a_virtual_directory_is_made_moved_and_deleted() {
    let up = Up::administered();
    let api = Api::of(&up);
    let app = api.get("/webserver/webapps")["webapps"][0]["id"].clone();
    for (folder, text) in [("pictures", "first"), ("other", "second")] {
        std::fs::create_dir_all(up.root.join(folder)).unwrap();
        std::fs::write(up.root.join(folder).join("a.txt"), text).unwrap();
    }
    let all = "/webserver/virtual-directories";
    let body = json!({"path": "img", "physical_path": "C:\\pictures", "webapp": {"id": app}});
    let made = api.send("POST", all, &body);
    assert_eq!(
        (made.status, &made.body["path"]),
        (201, &json!("/img")),
        "{}",
        made.body
    );
    assert_eq!(made.body["location"], "Default Web Site/img");
    assert_eq!(up.get("/img/a.txt").body, b"first");
    let own = format!("{all}/{}", made.body["id"].as_str().unwrap());
    let moved = api.send("PATCH", &own, &json!({"physical_path": "C:\\other"}));
    assert_eq!(moved.body["physical_path"], "C:\\other", "{}", moved.body);
    up.until("the other folder", || {
        up.get("/img/a.txt").body == b"second"
    });
    assert_eq!(
        api.send("POST", all, &body).status,
        409,
        "there is one of that path"
    );
    let unknown = api.send("PATCH", &own, &json!({"colour": "red"}));
    assert_eq!(
        (unknown.status, &unknown.body["name"]),
        (400, &json!("colour"))
    );
    assert_eq!(api.send("DELETE", &own, &json!({})).status, 204);
    up.until("nothing there", || up.get("/img/a.txt").status == 404);
    let root = api.get(all)["virtual_directories"][0]["id"].clone();
    let root = format!("{all}/{}", root.as_str().unwrap());
    assert_eq!(
        api.send("DELETE", &root, &json!({})).status,
        400,
        "it goes with its application"
    );
}

#[test]
fn sites_applications_requests_services_and_counters() {
    let up = Up::administered();
    let api = Api::of(&up);
    let sites = api.get("/webserver/websites?fields=*");
    let site = &sites["websites"][0];
    assert_eq!(
        (&site["name"], &site["status"]),
        (&json!("Default Web Site"), &json!("started"))
    );
    assert_eq!(site["bindings"][0]["port"], 80);
    let of_site = site["id"].as_str().unwrap();
    let body =
        json!({"path": "api", "physical_path": "C:\\inetpub\\wwwroot", "website": {"id": of_site}});
    let made = api.send("POST", "/webserver/webapps", &body);
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(up.get("/api/default.aspx").status, 200);
    let apps = api.get(&format!("/webserver/webapps?website.id={of_site}"));
    assert_eq!(apps["webapps"].as_array().unwrap().len(), 2, "{apps}");
    let directories = api.get("/webserver/virtual-directories");
    assert_eq!(
        directories["virtual_directories"].as_array().unwrap().len(),
        2
    );

    let address = up.address("http");
    let waiting = std::thread::spawn(move || {
        let mut client = support::Browser::connect(address);
        client.get("/wait.aspx?time=1500").map(|page| page.status)
    });
    up.until("an executing request", || {
        let requests = api.get("/webserver/http-request-monitor/requests?fields=*");
        requests["requests"][0]["url"] == "/wait.aspx?time=1500"
    });
    assert_eq!(waiting.join().unwrap().unwrap(), 200);
    let counters = api.get("/webserver/monitoring");
    assert!(
        counters["requests"]["total"].as_u64().unwrap() >= 1,
        "{counters}"
    );
    let of_site = api.get(&format!("/webserver/websites/monitoring/{of_site}"));
    assert!(
        of_site["network"]["total_bytes_sent"].as_u64().unwrap() > 0,
        "{of_site}"
    );

    let groups = ["network", "requests", "memory", "cpu", "disk", "cache"];
    assert!(
        groups.iter().all(|group| of_site[group].is_object()),
        "{of_site}"
    );
    assert!(
        of_site["requests"]["total"].as_u64().unwrap() >= 1,
        "{of_site}"
    );
    assert!(
        of_site["memory"]["private_bytes"].as_u64().unwrap() > 0,
        "{of_site}"
    );
    let pools = api.get("/webserver/application-pools");
    let of_pool = pools["app_pools"][0]["id"].as_str().unwrap().to_owned();
    let of_pool = api.get(&format!(
        "/webserver/application-pools/monitoring/{of_pool}"
    ));
    assert!(
        groups.iter().all(|group| of_pool[group].is_object()),
        "{of_pool}"
    );
    assert_eq!(of_pool["requests"]["total"], counters["requests"]["total"]);
    let old = up.workers();
    up.said(&["appcmd", "recycle", "apppool", "DefaultAppPool"]);
    up.until("a new worker alone", || {
        let workers = up.workers();
        workers.len() == 1 && workers != old
    });
    let counters = api.get("/webserver/monitoring");
    assert_eq!(of_site["requests"]["total"], counters["requests"]["total"]);

    assert_eq!(
        api.get("/webserver/transactions"),
        json!({"transactions": []})
    );
    let logging = api.get("/webserver/logging");
    assert_eq!(logging["log_format"], "w3c", "{logging}");
    let site = api.get("/webserver/websites")["websites"][0]["id"].clone();
    let own = api.get(&format!(
        "/webserver/logging?website.id={}",
        site.as_str().unwrap()
    ));
    assert_eq!(
        (&own["website"]["id"], &own["rollover"]["period"]),
        (&site, &json!("daily")),
        "{own}"
    );
    let same = api.get(&format!(
        "/webserver/logging/{}",
        own["id"].as_str().unwrap()
    ));
    assert_eq!(same, own);
    let tracing = api.get("/webserver/http-request-tracing");
    assert_eq!(
        (&tracing["enabled"], &tracing["maximum_number_trace_files"]),
        (&json!(false), &json!(50)),
        "{tracing}"
    );

    let controller = "/webserver/service-controller";
    let stopped = api.send("PATCH", controller, &json!({"status": "stopped"}));
    assert_eq!(stopped.body["status"], "stopped", "{}", stopped.body);
    let refused = Command::new("curl")
        .arg(format!("http://{address}/"))
        .status();
    assert_eq!(refused.unwrap().code(), Some(7), "nobody listens");
    let started = api.send("PATCH", controller, &json!({"status": "started"}));
    assert_eq!(started.body["status"], "started", "{}", started.body);
    let links = api.curl(
        &["-H", "Accept: application/hal+json"],
        "/webserver/websites",
        Some(&api.token),
    );
    assert!(
        links.body["websites"][0]["_links"]["self"]["href"].is_string(),
        "{}",
        links.body
    );
}
