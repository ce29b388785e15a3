//! The operator's chart, rendered by Helm: the rights that the tests give the operator are those that users give it.

use std::process::Command;

use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::TypeMeta;
use kube::discovery::ApiResource;
use kube::{Api, Client};
use serde::Deserialize;
use serde_json::Value;

use crate::HarnessError;
use crate::kube::FIELD_MANAGER;
use crate::manifest::repository;

/// Release name in tests.
pub const RELEASE: &str = "brainy-operator";
/// Kinds that give rights.
const ACCESS: [&str; 5] = [
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ClusterRole",
    "ClusterRoleBinding",
];

/// All objects of the chart for `namespace`, with `--set` values.
///
/// # Errors
/// Helm is not there or refuses.
pub fn render(namespace: &str, values: &[String]) -> Result<Vec<Value>, HarnessError> {
    let chart = repository().join("charts/brainy-operator");
    let helm = helm()?;
    let mut command = Command::new(&helm);
    command
        .args(["template", RELEASE])
        .arg(&chart)
        .args(["--namespace", namespace]);
    for value in values {
        command.args(["--set", value]);
    }
    let output = command
        .output()
        .map_err(HarnessError::io("run", helm.clone()))?;
    let failed = |message: String| HarnessError::Content {
        path: chart.clone(),
        message,
    };
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let documents = serde_yaml::Deserializer::from_str(&text).map(Value::deserialize);
    let objects: Result<Vec<Value>, _> = documents.collect();
    let objects = objects.map_err(|e| failed(e.to_string()))?;
    Ok(objects.into_iter().filter(|o| !o.is_null()).collect())
}

/// Path of Helm, which is fetched once if it is not there.
///
/// # Errors
/// It cannot be had; the message says how to help.
pub fn helm() -> Result<std::path::PathBuf, HarnessError> {
    let script = repository().join("scripts/helm.sh");
    let output = Command::new("bash")
        .arg(&script)
        .arg("helm")
        .output()
        .map_err(HarnessError::io("run", &script))?;
    if !output.status.success() {
        return Err(HarnessError::Content {
            path: script,
            message: String::from_utf8_lossy(&output.stderr).into_owned(),
        });
    }
    let path = String::from_utf8_lossy(&output.stdout);
    Ok(path.trim().into())
}

/// Applies what of the chart gives rights, and returns the name of the operator's ServiceAccount.
///
/// # Errors
/// Helm's, or the API server's.
pub async fn grant(
    client: &Client,
    namespace: &str,
    values: &[String],
) -> Result<String, HarnessError> {
    let mut account = None;
    for object in render(namespace, values)? {
        let kind = object["kind"].as_str().unwrap_or_default();
        if !ACCESS.contains(&kind) || is_hook(&object) {
            continue;
        }
        if kind == "ServiceAccount" {
            account = object["metadata"]["name"].as_str().map(str::to_owned);
        }
        apply(client, namespace, object).await?;
    }
    account.ok_or_else(|| HarnessError::Content {
        path: "charts/brainy-operator".into(),
        message: "renders no ServiceAccount".to_owned(),
    })
}

fn is_hook(object: &Value) -> bool {
    object["metadata"]["annotations"]
        .get("helm.sh/hook")
        .is_some()
}

/// Applies any object; one without a namespace of its own goes to `namespace` if its kind has one.
///
/// # Errors
/// What the API server said.
pub async fn apply(client: &Client, namespace: &str, object: Value) -> Result<(), HarnessError> {
    let types: TypeMeta =
        serde_json::from_value(object.clone()).map_err(|e| HarnessError::Unexpected {
            request: "an object".to_owned(),
            message: e.to_string(),
        })?;
    let (group, version) = match types.api_version.split_once('/') {
        Some((group, version)) => (group, version),
        None => ("", types.api_version.as_str()),
    };
    let gvk = kube::core::GroupVersionKind::gvk(group, version, &types.kind);
    let resource = ApiResource::from_gvk(&gvk);
    let api: Api<DynamicObject> = match types.kind.as_str() {
        "ClusterRole" | "ClusterRoleBinding" | "CustomResourceDefinition" => {
            Api::all_with(client.clone(), &resource)
        }
        _ => {
            let own = object["metadata"]["namespace"].as_str();
            Api::namespaced_with(client.clone(), own.unwrap_or(namespace), &resource)
        }
    };
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(name, &params, &Patch::Apply(&object))
        .await
        .map(drop)
        .map_err(HarnessError::kube(format!("apply {} {name}", types.kind)))
}
