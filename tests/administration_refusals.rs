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
