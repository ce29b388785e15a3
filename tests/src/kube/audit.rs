//! What the API server was asked, and by whom.

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;

use crate::HarnessError;

/// Who is asked about: everybody but the control plane itself. The first stage is written before a request is worked on,
/// so whatever has been answered is in the log.
pub(super) const POLICY: &str = r#"{
  "apiVersion": "audit.k8s.io/v1",
  "kind": "Policy",
  "omitStages": ["ResponseStarted", "Panic"],
  "rules": [
    {"level": "None", "users": ["system:apiserver", "system:kube-controller-manager", "system:kube-scheduler"]},
    {"level": "None", "nonResourceURLs": ["/healthz*", "/livez*", "/readyz*"]},
    {"level": "Metadata"}
  ]
}
"#;

/// A place in the log: what came later is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditMark(u64);

/// A request to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiRequest {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, ...
    pub verb: String,
    /// API group, empty for the core one.
    pub group: String,
    /// Resource in plural, with its subresource if any (`pods/status`); empty for what is not a resource.
    pub resource: String,
    /// Namespace, empty for what has none.
    pub namespace: String,
    /// Name of the object, empty where none was named.
    pub name: String,
    /// Path and query.
    pub uri: String,
    /// What the client calls itself.
    pub user_agent: String,
    /// HTTP status; none while the request (a watch) goes on.
    pub code: Option<u16>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    audit_id: String,
    stage: String,
    verb: String,
    user: User,
    #[serde(rename = "requestURI")]
    request_uri: String,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    response_status: Option<ResponseStatus>,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}

impl From<Event> for ApiRequest {
    fn from(event: Event) -> Self {
        let object = event.object_ref;
        let resource = match object.subresource.as_str() {
            "" => object.resource,
            subresource => format!("{}/{subresource}", object.resource),
        };
        Self {
            verb: event.verb,
            group: object.api_group,
            resource,
            namespace: object.namespace,
            name: object.name,
            uri: event.request_uri,
            user_agent: event.user_agent,
            code: None,
        }
    }
}

/// The end of the log.
pub(super) fn mark(log: &Path) -> AuditMark {
    AuditMark(std::fs::metadata(log).map_or(0, |meta| meta.len()))
}

/// Requests that `user` began after `since`, in order.
pub(super) fn requests_by(
    log: &Path,
    user: &str,
    since: AuditMark,
) -> Result<Vec<ApiRequest>, HarnessError> {
    let mut text = String::new();
    std::fs::File::open(log)
        .and_then(|mut file| {
            file.seek(SeekFrom::Start(since.0))?;
            file.read_to_string(&mut text)
        })
        .map_err(HarnessError::io("read", log))?;
    parse(&text, user).map_err(|e| HarnessError::Content {
        path: log.to_owned(),
        message: e.to_string(),
    })
}

fn parse(text: &str, user: &str) -> Result<Vec<ApiRequest>, serde_json::Error> {
    let mut requests: Vec<ApiRequest> = Vec::new();
    let mut positions = HashMap::new();
    // A line that is being written has no end yet: it is not of a request that was answered.
    for line in text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
    {
        let event: Event = serde_json::from_str(line)?;
        if event.user.username != user {
            continue;
        }
        if event.stage == "RequestReceived" {
            positions.insert(event.audit_id.clone(), requests.len());
            requests.push(event.into());
        } else if let Some(position) = positions.get(&event.audit_id) {
            requests[*position].code = event.response_status.map(|status| status.code);
        }
    }
    Ok(requests)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn line(id: &str, stage: &str, user: &str, rest: &str) -> String {
        format!(
            r#"{{"auditID":"{id}","stage":"{stage}","verb":"update","user":{{"username":"{user}"}},"requestURI":"/x"{rest}}}"#
        ) + "\n"
    }

    #[test]
    fn answers_are_joined_to_their_requests_and_others_do_not_count() {
        let object =
            r#","objectRef":{"resource":"pods","subresource":"status","namespace":"n","name":"p"}"#;
        let text = [
            line("0", "ResponseComplete", "me", ""), // Began before the mark.
            line("1", "RequestReceived", "me", object),
            line("2", "RequestReceived", "other", object),
            line("3", "RequestReceived", "me", ""),
            line(
                "1",
                "ResponseComplete",
                "me",
                r#","responseStatus":{"code":409}"#,
            ),
            r#"{"auditID":"4","stage":"Req"#.to_owned(),
        ]
        .concat();
        let requests = parse(&text, "me").unwrap();
        assert_eq!(requests.len(), 2);
        let first = (requests[0].resource.as_str(), requests[0].code);
        assert_eq!(first, ("pods/status", Some(409)));
        assert_eq!(
            (requests[1].resource.as_str(), requests[1].code),
            ("", None)
        );
    }
}
