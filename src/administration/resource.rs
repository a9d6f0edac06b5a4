//! What the API says of an object, what of that a client has chosen, and what is wrong with a request.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value, json};
use sim_was::config::edit::EditError;
use sim_was::control::client::AskError;
use sim_was::control::{ObjectState, Refusal};

use super::fields::{field_of, put};
use super::store::StoreError;

/// A request, understood.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    /// `GET`, `POST`, `PATCH`, `DELETE`.
    pub(super) method: String,
    /// The parts of the path, decoded, without `api`.
    pub(super) path: Vec<String>,
    /// The query, decoded.
    pub(super) query: BTreeMap<String, String>,
    /// The body, if there is one.
    pub(super) body: Map<String, Value>,
    /// Whether links are wanted: `Accept: application/hal+json`.
    pub(super) links: bool,
}

/// A reply.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<Value>,
}

impl Reply {
    pub(super) fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: None,
        }
    }
}

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{title}: {detail}")]
pub(super) struct ApiError {
    pub(super) status: u16,
    title: &'static str,
    detail: String,
    /// The field or the object.
    name: String,
}

impl ApiError {
    /// Source: microsoft/IIS.Administration: `{title, detail, name, status}`, "Invalid parameter".
    pub(super) fn field(name: &str, detail: &str) -> Self {
        Self::new(400, "Invalid parameter", name, detail)
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::new(404, "Not found", what, "there is no such object")
    }

    pub(super) fn method(allowed: &str) -> Self {
        Self::new(
            405,
            "Method not allowed",
            "",
            &format!("known here: {allowed}"),
        )
    }

    pub(super) fn new(status: u16, title: &'static str, name: &str, detail: &str) -> Self {
        Self {
            status,
            title,
            detail: detail.to_owned(),
            name: name.to_owned(),
        }
    }

    pub(super) fn reply(&self) -> Reply {
        let body = json!({
            "title": self.title, "detail": self.detail, "name": self.name, "status": self.status,
        });
        Reply {
            status: self.status,
            headers: vec![("content-type", "application/problem+json".to_owned())],
            body: Some(body),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Refused(Refusal::NotFound { object, identifier }) => Self::new(
                404,
                "Not found",
                object,
                &format!("there is no {identifier}"),
            ),
            StoreError::Refused(Refusal::Failed { message, .. }) => {
                Self::new(409, "Conflict", "", message)
            }
            StoreError::Refused(_) => Self::new(409, "Conflict", "", &error.to_string()),
            StoreError::Edit(wrong @ EditError::Duplicate { place, keys }) => {
                let attribute = keys.first().map_or("path", |(name, _)| name);
                let field = field_of(place, attribute);
                Self::new(409, "Conflict", &field, &wrong.to_string())
            }
            StoreError::Edit(
                wrong @ EditError::Invalid {
                    place, attribute, ..
                },
            ) => Self::field(&field_of(place, attribute), &wrong.to_string()),
            StoreError::Edit(wrong) => Self::new(400, "Invalid parameter", "", &wrong.to_string()),
            StoreError::Config(wrong) => {
                Self::new(500, "Configuration error", "", &wrong.to_string())
            }
            // Assumed: as for a file that cannot be read; of the section the client has not said anything wrong.
            StoreError::Section { section, fault } => {
                Self::new(500, "Configuration error", section, &fault.to_string())
            }
            // Its process is being started again, or stands still: whoever asks may try again.
            StoreError::Ask(
                AskError::NotRunning { .. } | AskError::NoAnswer { .. } | AskError::TimedOut { .. },
            ) => Self::new(503, "Service unavailable", "", &error.to_string()),
            StoreError::File { .. } | StoreError::Ask(AskError::Denied { .. }) => {
                Self::new(500, "Server error", "", &error.to_string())
            }
        }
    }
}

impl From<sim_was::config::ConfigError> for ApiError {
    fn from(error: sim_was::config::ConfigError) -> Self {
        Self::new(500, "Configuration error", "", &error.to_string())
    }
}

/// The id of an object: opaque to clients, and ours to read again.
pub(super) fn id(kind: char, name: &str) -> String {
    hex(std::iter::once(kind as u8).chain(name.bytes()))
}

/// Two digits a byte.
pub(super) fn hex(bytes: impl IntoIterator<Item = u8>) -> String {
    let mut text = String::new();
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The name in an id of this kind.
pub(super) fn name_in(kind: char, id: &str) -> Option<String> {
    let digits = id.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> = digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    let text = String::from_utf8(bytes?).ok()?;
    text.strip_prefix(kind).map(str::to_owned)
}

/// The fields of an object that was written with `json!`.
pub(super) fn fields_of(object: Value) -> Map<String, Value> {
    if let Value::Object(fields) = object {
        fields
    } else {
        Map::new()
    }
}

/// The status of a pool or a site. Source: microsoft/IIS.Administration, `Status`.
pub(super) fn status(state: ObjectState) -> &'static str {
    match state {
        ObjectState::Starting => "starting",
        ObjectState::Started => "started",
        ObjectState::Stopping => "stopping",
        ObjectState::Stopped => "stopped",
        ObjectState::Unknown => "unknown",
    }
}

impl Asked {
    /// Answers with an object, as far as it is asked for.
    pub(super) fn object(&self, status: u16, object: Map<String, Value>, href: &str) -> Reply {
        let mut headers = self.kind_of_body();
        if status == 201 {
            headers.push(("location", href.to_owned()));
        }
        Reply {
            status,
            headers,
            body: Some(Value::Object(self.chosen(object, href, true))),
        }
    }

    /// Answers with a list; each object comes with its address.
    pub(super) fn list(&self, name: &str, objects: Vec<(Map<String, Value>, String)>) -> Reply {
        let total = objects.len().to_string();
        let objects: Vec<Value> = objects
            .into_iter()
            .map(|(object, href)| Value::Object(self.chosen(object, &href, false)))
            .collect();
        let mut headers = self.kind_of_body();
        headers.push(("x-total-count", total));
        Reply {
            status: 200,
            headers,
            body: Some(json!({ name: objects })),
        }
    }

    /// Source: microsoft/IIS.Administration: what has links is `application/hal+json`.
    pub(super) fn kind_of_body(&self) -> Vec<(&'static str, String)> {
        let kind = self.links.then(|| "application/hal+json".to_owned());
        kind.map(|kind| ("content-type", kind))
            .into_iter()
            .collect()
    }

    /// Source: microsoft/IIS.Administration, `Fields`: lists give references, `?fields=` asks for more or
    /// less, `*` for everything.
    fn chosen(&self, object: Map<String, Value>, href: &str, whole: bool) -> Map<String, Value> {
        const REFERENCE: [&str; 8] = [
            "name",
            "id",
            "status",
            "path",
            "location",
            "process_id",
            "application_pool",
            "url",
        ];
        let fields = self.query.get("fields").map(String::as_str);
        let is_chosen = |name: &str| match fields {
            None => whole || REFERENCE.contains(&name),
            Some("*") => true,
            Some(fields) => name == "id" || fields.split(',').any(|f| f.trim() == name),
        };
        let fields_of = fields.unwrap_or_default().split(',').map(str::trim);
        let mut chosen = Map::new();
        for (name, value) in object {
            // Assumed: of an inner object some fields may be chosen, too: `process_model.idle_timeout`.
            let inner = fields_of
                .clone()
                .filter_map(|f| f.strip_prefix(&name)?.strip_prefix('.'));
            if is_chosen(&name) {
                chosen.insert(name, value);
            } else {
                for path in inner {
                    if let Some(inner) = value.pointer(&format!("/{}", path.replace('.', "/"))) {
                        put(&mut chosen, &format!("{name}.{path}"), inner.clone());
                    }
                }
            }
        }
        if self.links {
            chosen.insert("_links".to_owned(), json!({"self": {"href": href}}));
        }
        chosen
    }

    /// A text of the body.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        match self.body.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(ApiError::field(name, &format!("{other} is not a string"))),
        }
    }

    /// A text that the body must have.
    pub(super) fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.text(name)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| ApiError::field(name, "is required"))
    }

    /// The id of the object that a field of the body names, e.g. `application_pool`.
    pub(super) fn relation(&self, name: &str) -> Result<Option<&str>, ApiError> {
        let Some(of) = self.body.get(name) else {
            return Ok(None);
        };
        let id = of.get("id").and_then(Value::as_str);
        id.map(Some)
            .ok_or_else(|| ApiError::field(name, "give an object with the id of one that exists"))
    }

    /// Refuses a body that gives another value to what is as it is; what is sent back as it came is no wish. Of an
    /// object that is named by its id only that counts.
    pub(super) fn leaves(&self, now: &Map<String, Value>, names: &[&str]) -> Result<(), ApiError> {
        let key = |value: &Value| value.get("id").unwrap_or(value).clone();
        for name in names {
            if let Some(wanted) = self.body.get(*name)
                && now.get(*name).map(key) != Some(key(wanted))
            {
                return Err(ApiError::field(name, "cannot be changed"));
            }
        }
        Ok(())
    }

    /// The status that is asked for, one of `known`.
    pub(super) fn status(&self, known: &[&'static str]) -> Result<Option<&'static str>, ApiError> {
        let Some(wanted) = self.text("status")? else {
            return Ok(None);
        };
        let found = known.iter().find(|word| word.eq_ignore_ascii_case(wanted));
        found.copied().map(Some).ok_or_else(|| {
            let detail = format!("\"{wanted}\" is not valid; give {}", known.join(", "));
            ApiError::field("status", &detail)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_was_is_started_again_the_service_is_unavailable() {
        let status = |error: AskError| ApiError::from(StoreError::Ask(error)).status;
        let root = std::path::PathBuf::from("root");
        let source = std::io::ErrorKind::ConnectionRefused.into();
        let not_running = AskError::NotRunning {
            root: root.clone(),
            source,
        };
        assert_eq!(status(not_running), 503);
        assert_eq!(status(AskError::TimedOut { root: root.clone() }), 503);
        assert_eq!(status(AskError::Denied { root }), 500);
    }
}
