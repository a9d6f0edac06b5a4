//! What the REST API does with several clients at once, and what it refuses.

mod support;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use support::Up;
use support::api::Api;

#[test]
fn sites_that_are_made_at_the_same_time_get_a_number_each() {
    let up = Up::administered();
    let api = Api::of(&up);
    let made = |number: u16| {
        let name = format!("S{number}");
        let port = 9100 + number;
        if number.is_multiple_of(2) {
            let body = json!({
                "name": name, "physical_path": "C:\\inetpub\\wwwroot", "bindings": [{"port": port}],
            });
            let said = api.send("POST", "/webserver/websites", &body);
            assert_eq!(said.status, 201, "{}", said.body);
            assert_eq!(said.body["name"], json!(name));
        } else {
            let name = format!("/name:{name}");
            let bindings = format!("/bindings:http/*:{port}:");
            let words = [
                "appcmd",
                "add",
                "site",
                &name,
                &bindings,
                "/physicalPath:C:\\inetpub\\wwwroot",
            ];
            let output = up.tool(&words);
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stdout)
            );
        }
    };
    std::thread::scope(|scope| {
        for number in 0..8 {
            scope.spawn(move || made(number));
        }
    });
    let sites = api.get("/webserver/websites?fields=*");
    let sites = sites["websites"].as_array().unwrap();
    let keys: BTreeSet<u64> = sites
        .iter()
        .map(|site| site["key"].as_u64().unwrap())
        .collect();
    assert_eq!(keys, (1..=9).collect(), "{sites:?}");
    assert_ne!(sites[0]["id"], Value::Null);
}

#[test]
fn what_cannot_be_changed_is_refused_and_a_path_is() {
    let up = Up::administered();
    let api = Api::of(&up);
    let site = api.get("/webserver/websites")["websites"][0]["id"].clone();
    let body = json!({
        "path": "shop", "physical_path": "C:\\inetpub\\wwwroot", "website": {"id": site},
    });
    let made = api.send("POST", "/webserver/webapps", &body);
    assert_eq!(made.status, 201, "{}", made.body);
    let own = format!("/webserver/webapps/{}", made.body["id"].as_str().unwrap());
    assert_eq!(
        api.send("PATCH", &own, &made.body).status,
        200,
        "it is sent back as it came"
    );
    for (field, value) in [
        ("website", json!({"id": "zz"})),
        ("location", json!("X/y")),
        ("id", json!("zz")),
    ] {
        let said = api.send("PATCH", &own, &json!({ field: value }));
        assert_eq!(
            (said.status, &said.body["name"]),
            (400, &json!(field)),
            "{}",
            said.body
        );
    }
    let moved = api.send("PATCH", &own, &json!({"path": "/shop9"}));
    assert_eq!(
        (moved.status, &moved.body["path"]),
        (200, &json!("/shop9")),
        "{}",
        moved.body
    );
    assert_eq!(up.get("/shop9/default.aspx").status, 200);
    let odd = api.send("POST", "/webserver/webapps", &{
        let mut body = body.clone();
        body["path"] = json!("a?b");
        body
    });
    assert_eq!(odd.status, 400, "{}", odd.body);

    let apps = api.get("/webserver/webapps?fields=*");
    let root = apps["webapps"][0]["id"].as_str().unwrap();
    let root = format!("/webserver/webapps/{root}");
    assert_eq!(
        api.send("PATCH", &root, &json!({"path": "/zzz"})).status,
        400
    );
    let directories = api.get("/webserver/virtual-directories");
    for directory in directories["virtual_directories"].as_array().unwrap() {
        let id = directory["id"].as_str().unwrap();
        let own = format!("/webserver/virtual-directories/{id}");
        let renamed = api.send("PATCH", &own, &json!({"path": "/zzz"}));
        assert_eq!(
            (renamed.status, &renamed.body["name"]),
            (400, &json!("path"))
        );
        let moved = api.send("PATCH", &own, &json!({"webapp": {"id": "zz"}}));
        assert_eq!((moved.status, &moved.body["name"]), (400, &json!("webapp")));
    }
    let of_site = format!("/webserver/websites/{}", site.as_str().unwrap());
    assert_eq!(api.send("PATCH", &of_site, &json!({"key": 7})).status, 400);
}

#[test]
fn what_is_wrong_is_told_by_its_field_and_what_has_links_is_hal() {
    let up = Up::administered();
    let api = Api::of(&up);
    let pools = "/webserver/application-pools";
    assert_eq!(
        api.send("POST", pools, &json!({"name": "Other"})).status,
        201
    );
    let own = api.pool("Other");
    let schedule = json!({"periodic_restart": {"schedule": ["03:00", "03:00"]}});
    for (body, status, field) in [
        (json!({"name": "DefaultAppPool"}), 409, "name"),
        (
            json!({"recycling": schedule}),
            409,
            "recycling.periodic_restart.schedule",
        ),
        (json!({"queue_length": 5}), 400, "queue_length"),
    ] {
        let said = api.send("PATCH", &own, &body);
        let told = (said.status, said.body["name"].as_str());
        assert_eq!(told, (status, Some(field)), "{}", said.body);
    }
    let accept = ["-H", "Accept: application/hal+json"];
    for path in [pools, &own] {
        let linked = api.curl(&accept, path, Some(&api.token));
        assert!(
            linked.head.contains("content-type: application/hal+json"),
            "{}",
            linked.head
        );
        let plain = api.curl(&[], path, Some(&api.token));
        assert!(
            plain.head.contains("content-type: application/json"),
            "{}",
            plain.head
        );
    }
}

#[test]
fn fields_of_an_inner_object_can_be_chosen() {
    let up = Up::administered();
    let api = Api::of(&up);
    let own = api.pool("DefaultAppPool");
    let chosen = api.get(&format!(
        "{own}?fields=name,process_model.idle_timeout,recycling.periodic_restart.time_interval"
    ));
    let expected = json!({
        "name": "DefaultAppPool",
        "id": chosen["id"],
        "process_model": {"idle_timeout": 20},
        "recycling": {"periodic_restart": {"time_interval": 1740}},
    });
    assert_eq!(chosen, expected);
}

#[test]
fn a_section_that_breaks_the_schema_is_neither_shown_nor_changed() {
    let up = Up::administered();
    let api = Api::of(&up);
    let pools = "/webserver/application-pools";
    let own = api.pool("DefaultAppPool");
    let config = up.host_path();
    let text = std::fs::read_to_string(&config).unwrap();
    let broken = text.replacen(
        "<add name=\"DefaultAppPool\"",
        "<add name=\"Odd\" nosuch=\"1\" />\n<add name=\"DefaultAppPool\"",
        1,
    );
    assert_ne!(broken, text);
    std::fs::write(&config, &broken).unwrap();
    let said = [
        api.curl(&[], pools, Some(&api.token)),
        api.curl(&[], &own, Some(&api.token)),
        api.send("POST", pools, &json!({"name": "New"})),
        api.send("PATCH", &own, &json!({"queue_length": 77})),
        api.send("PATCH", &own, &json!({"status": "recycling"})),
        api.send("DELETE", &own, &json!({})),
    ];
    for said in said {
        assert_eq!(said.status, 500, "{}", said.body);
        assert_eq!(said.body["title"], "Configuration error", "{}", said.body);
        let section = "system.applicationHost/applicationPools";
        assert_eq!(said.body["name"], section, "{}", said.body);
        let detail = said.body["detail"].as_str().unwrap();
        assert!(
            detail.contains("line ") && detail.contains("nosuch"),
            "{detail}"
        );
    }
    assert_eq!(std::fs::read_to_string(&config).unwrap(), broken);
    // Of the sites nothing is wrong.
    assert_eq!(
        api.get("/webserver/websites")["websites"][0]["name"],
        "Default Web Site"
    );
}
