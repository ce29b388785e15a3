//! The environment and command line of a container, resolved as a kubelet resolves them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod, ResourceFieldSelector};

use super::addresses::as_ipv6;
use super::node::CAPACITY;
use super::quantity;
use super::references::{Names, References};

/// What a pod may ask about itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) pod: &'a Pod,
    pub(super) pod_ip: Ipv4Addr,
    pub(super) host_ip: Ipv4Addr,
}

impl Facts<'_> {
    /// The value of a `fieldRef`.
    pub(super) fn field(&self, path: &str) -> Result<String, String> {
        let meta = &self.pod.metadata;
        let spec = self.pod.spec.as_ref();
        let text = |value: Option<&String>| Ok(value.cloned().unwrap_or_default());
        let entry =
            |of: Option<&BTreeMap<String, String>>, key: &str| text(of.and_then(|m| m.get(key)));
        let inside = |field: &str| {
            let rest = path.strip_prefix(field)?.strip_prefix("['")?;
            rest.strip_suffix("']").map(str::to_owned)
        };
        if let Some(key) = inside("metadata.labels") {
            return entry(meta.labels.as_ref(), &key);
        }
        if let Some(key) = inside("metadata.annotations") {
            return entry(meta.annotations.as_ref(), &key);
        }
        match path {
            "metadata.name" => text(meta.name.as_ref()),
            "metadata.namespace" => text(meta.namespace.as_ref()),
            "metadata.uid" => text(meta.uid.as_ref()),
            "metadata.labels" => Ok(lines(meta.labels.as_ref())),
            "metadata.annotations" => Ok(lines(meta.annotations.as_ref())),
            "spec.nodeName" => text(spec.and_then(|s| s.node_name.as_ref())),
            "spec.serviceAccountName" => text(spec.and_then(|s| s.service_account_name.as_ref())),
            "status.podIP" => Ok(self.pod_ip.to_string()),
            "status.podIPs" => Ok(format!("{},{}", self.pod_ip, as_ipv6(self.pod_ip))),
            "status.hostIP" | "status.hostIPs" => Ok(self.host_ip.to_string()),
            _ => Err(format!("unsupported fieldPath: {path}")),
        }
    }

    /// The value of a `resourceFieldRef`; what has no limit may have the whole node.
    pub(super) fn resource(
        &self,
        container: &str,
        field: &ResourceFieldSelector,
    ) -> Result<String, String> {
        let container = field.container_name.as_deref().unwrap_or(container);
        let containers = self.pod.spec.iter().flat_map(|spec| &spec.containers);
        let resources = containers
            .filter(|c| c.name == container)
            .find_map(|c| c.resources.as_ref());
        let unsupported = || format!("unsupported resource: {}", field.resource);
        let (kind, resource) = field.resource.split_once('.').ok_or_else(unsupported)?;
        let amounts = resources.and_then(|r| match kind {
            "limits" => r.limits.as_ref(),
            _ => r.requests.as_ref(),
        });
        let amount = amounts.and_then(|a| a.get(resource)).map(|q| q.0.as_str());
        let of_node = CAPACITY.iter().find(|(name, _)| *name == resource);
        let amount = match (amount, kind) {
            (Some(amount), _) => amount,
            (None, "limits") => of_node.ok_or_else(unsupported)?.1,
            (None, _) => "0",
        };
        let divisor = field.divisor.as_ref().map_or("1", |q| q.0.as_str());
        quantity::divided(amount, divisor).map(|value| value.to_string())
    }
}

fn lines(of: Option<&BTreeMap<String, String>>) -> String {
    let lines = of.into_iter().flatten();
    let lines: Vec<String> = lines
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    lines.join("\n")
}

/// The Secrets and ConfigMaps that a container's environment names.
pub(super) fn names(container: &Container) -> Names {
    let mut names = Names::default();
    for source in container.env_from.iter().flatten() {
        let secret = source.secret_ref.as_ref().map(|r| r.name.clone());
        names.secrets.extend(secret);
        let map = source.config_map_ref.as_ref().map(|r| r.name.clone());
        names.config_maps.extend(map);
    }
    for variable in container.env.iter().flatten() {
        let Some(from) = &variable.value_from else {
            continue;
        };
        let secret = from.secret_key_ref.as_ref().map(|r| r.name.clone());
        names.secrets.extend(secret);
        let map = from.config_map_key_ref.as_ref().map(|r| r.name.clone());
        names.config_maps.extend(map);
    }
    names
}

/// The variables of a container.
///
/// # Errors
/// As the waiting container tells it: a Secret, a ConfigMap or a key that must be there is not.
pub(super) fn resolve(
    container: &Container,
    facts: Facts<'_>,
    references: &References,
) -> Result<BTreeMap<String, String>, String> {
    let mut env = BTreeMap::new();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let secret = source.secret_ref.as_ref();
        let secret = secret.map(|r| references.secret(&r.name, r.optional == Some(true)));
        let map = source.config_map_ref.as_ref();
        let map = map.map(|r| references.config_map(&r.name, r.optional == Some(true)));
        for data in [secret, map].into_iter().flatten() {
            for (key, value) in data?.into_iter().flatten() {
                env.insert(format!("{prefix}{key}"), text(value));
            }
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            Some(from) => valued(from, &container.name, facts, references)?,
            None => Some(expand(variable.value.as_deref().unwrap_or_default(), &env)),
        };
        if let Some(value) = value {
            env.insert(variable.name.clone(), value);
        }
    }
    Ok(env)
}

fn valued(
    from: &EnvVarSource,
    container: &str,
    facts: Facts<'_>,
    references: &References,
) -> Result<Option<String>, String> {
    let namespace = &references.namespace;
    if let Some(field) = &from.field_ref {
        return facts.field(&field.field_path).map(Some);
    }
    if let Some(field) = &from.resource_field_ref {
        return facts.resource(container, field).map(Some);
    }
    if let Some(wanted) = &from.secret_key_ref {
        let optional = wanted.optional == Some(true);
        let data = references.secret(&wanted.name, optional)?;
        return match data.and_then(|data| data.get(&wanted.key)) {
            None if !optional => Err(format!(
                "couldn't find key {} in Secret {namespace}/{}",
                wanted.key, wanted.name
            )),
            value => Ok(value.map(|value| text(value))),
        };
    }
    if let Some(wanted) = &from.config_map_key_ref {
        let optional = wanted.optional == Some(true);
        let data = references.config_map(&wanted.name, optional)?;
        return match data.and_then(|data| data.get(&wanted.key)) {
            None if !optional => Err(format!(
                "couldn't find key {} in ConfigMap {namespace}/{}",
                wanted.key, wanted.name
            )),
            value => Ok(value.map(|value| text(value))),
        };
    }
    Err("a source of a variable that the test kubelet does not know".to_owned())
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

/// Replaces `$(NAME)`; what is not defined stays as it is, and `$$` is one `$`.
pub(super) fn expand(text: &str, env: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out += &rest[..at];
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$$") {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix("$(").and_then(|r| r.split_once(')'))
        {
            match env.get(name) {
                Some(value) => out += value,
                None => out += &format!("$({name})"),
            }
            rest = after;
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn variables_expand_as_in_kubernetes() {
        let env = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        for (text, expected) in [
            ("$(A)-$(A)", "1-1"),
            ("$(B)", "$(B)"),
            ("$$(A)", "$(A)"),
            ("$A $", "$A $"),
            ("$(A", "$(A"),
        ] {
            assert_eq!(expand(text, &env), expected, "{text}");
        }
    }

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p-0", "namespace": "n", "uid": "u", "labels": {"a.b/c": "l"}, "annotations": {"x": "y"}},
            "spec": {"nodeName": "node-0", "containers": [{"name": "c",
                "resources": {"limits": {"memory": "1Gi"}},
                "envFrom": [{"configMapRef": {"name": "map"}, "prefix": "M_"}],
                "env": [
                    {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a.b/c']"}}},
                    {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                    {"name": "ADDRESS", "value": "$(IP):1 $(LATER)"},
                    {"name": "LATER", "value": "x"},
                    {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
                    {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "k"}}},
                    {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k", "optional": true}}},
                ]}]},
        }))
        .unwrap()
    }

    fn references() -> References {
        let data = |key: &str| BTreeMap::from([(key.to_owned(), b"v".to_vec())]);
        References {
            namespace: "n".to_owned(),
            secrets: BTreeMap::from([("secret".to_owned(), data("k"))]),
            config_maps: BTreeMap::from([("map".to_owned(), data("m"))]),
        }
    }

    fn of(pod: &Pod, references: &References) -> Result<BTreeMap<String, String>, String> {
        let facts = Facts {
            pod,
            pod_ip: Ipv4Addr::new(127, 1, 1, 2),
            host_ip: Ipv4Addr::new(127, 1, 1, 1),
        };
        let container = &pod.spec.as_ref().unwrap().containers[0];
        resolve(container, facts, references)
    }

    #[test]
    fn every_source_gives_its_value() {
        let pod = pod();
        let names = names(&pod.spec.as_ref().unwrap().containers[0]);
        assert_eq!(names.secrets, ["none", "secret"].map(String::from).into());
        assert_eq!(names.config_maps, ["map"].map(String::from).into());
        let env = of(&pod, &references()).unwrap();
        let expected = [
            ("ADDRESS", "127.1.1.2:1 $(LATER)"),
            ("IP", "127.1.1.2"),
            ("KEY", "v"),
            ("LABEL", "l"),
            ("LATER", "x"),
            ("MEMORY", "1024"),
            ("M_m", "v"),
            ("NAME", "p-0"),
        ];
        let expected = expected.map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(env, expected.into());
    }

    #[test]
    fn what_is_missing_is_named_as_a_kubelet_names_it() {
        let pod = pod();
        let mut given = references();
        given.secrets.insert("secret".to_owned(), BTreeMap::new());
        let error = of(&pod, &given).unwrap_err();
        assert_eq!(error, "couldn't find key k in Secret n/secret");
        given.secrets.clear();
        let error = of(&pod, &given).unwrap_err();
        assert_eq!(error, "secret \"secret\" not found");
    }
}
