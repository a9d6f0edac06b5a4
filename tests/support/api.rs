//! The IIS Administration REST API, asked as a foreign client (curl) asks it.

use std::process::Command;

use serde_json::Value;

use super::Up;

/// The API of a running server, and its token.
pub struct Api {
    url: String,
    /// As its file has it.
    pub token: String,
}

/// Status, headers and body.
pub struct Said {
    /// The status.
    pub status: u16,
    /// The headers, in lower case.
    pub head: String,
    /// The body.
    pub body: Value,
}

impl Api {
    /// That of a server with `--administration`.
    pub fn of(up: &Up) -> Self {
        let served = &up.ready["administration"];
        let file = served["token"].as_str().unwrap();
        Self {
            url: served["url"].as_str().unwrap().to_owned(),
            token: std::fs::read_to_string(file).unwrap(),
        }
    }

    /// What curl gets, with these words.
    pub fn curl(&self, words: &[&str], path: &str, token: Option<&str>) -> Said {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--insecure", "--include"])
            .args(words);
        if let Some(token) = token {
            curl.args(["-H", &format!("Access-Token: Bearer {token}")]);
        }
        let output = curl.arg(format!("{}{path}", self.url)).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let text = text.replace("HTTP/1.1 100 Continue\r\n\r\n", "");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
        Said {
            status: status.unwrap_or_else(|| panic!("{words:?} {path}: {text:?}")),
            head: head.to_ascii_lowercase(),
            body: serde_json::from_str(body).unwrap_or(Value::Null),
        }
    }

    /// Gets what is there.
    pub fn get(&self, path: &str) -> Value {
        let said = self.curl(&[], path, Some(&self.token));
        assert_eq!(said.status, 200, "{path}: {}", said.body);
        said.body
    }

    /// Sends a body.
    pub fn send(&self, method: &str, path: &str, body: &Value) -> Said {
        let body = body.to_string();
        let words = [
            "-X",
            method,
            "-H",
            "Content-Type: application/json",
            "-d",
            &body,
        ];
        self.curl(&words, path, Some(&self.token))
    }

    /// The path of a pool.
    pub fn pool(&self, name: &str) -> String {
        let list = self.get("/webserver/application-pools");
        let pools = list["app_pools"].as_array().unwrap();
        let pool = pools.iter().find(|pool| pool["name"] == name);
        let id = pool.unwrap_or_else(|| panic!("no {name} in {list}"))["id"].as_str();
        format!("/webserver/application-pools/{}", id.unwrap())
    }
}
