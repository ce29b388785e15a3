//! Volumes of a pod as directories.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    Container, DownwardAPIVolumeFile, KeyToPath, PersistentVolumeClaim, Pod, ServiceAccount,
    ServiceAccountTokenProjection, Volume, VolumeProjection,
};
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};

use super::env::Facts;
use super::provisioner;
use super::references::{Data, Names, References};
use super::sandbox::Mount;

/// Files by their path in the volume.
type Files = BTreeMap<String, File>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct File {
    content: Vec<u8>,
    mode: u32,
}

/// Kubernetes' default for files of volumes.
const MODE: i32 = 0o644;

/// Directories of one pod's volumes.
#[derive(Debug)]
pub(super) struct Volumes {
    /// Of this pod alone; removed with it.
    dir: PathBuf,
    /// Of persistent volumes.
    claims: PathBuf,
    /// By name.
    dirs: BTreeMap<String, PathBuf>,
    /// What was written, by name.
    written: BTreeMap<String, Files>,
    /// Tokens are asked for once: pods of tests live shorter.
    tokens: BTreeMap<(String, String), Vec<u8>>,
}

impl Volumes {
    pub(super) fn new(dir: PathBuf, claims: PathBuf) -> Self {
        Self {
            dir,
            claims,
            dirs: BTreeMap::new(),
            written: BTreeMap::new(),
            tokens: BTreeMap::new(),
        }
    }

    /// Makes what is missing and brings what has changed up to date.
    ///
    /// # Errors
    /// Why a volume cannot be mounted, in words; try again later.
    pub(super) async fn sync(&mut self, client: &Client, facts: Facts<'_>) -> Result<(), String> {
        let pod = facts.pod;
        let namespace = pod.namespace().unwrap_or_default();
        let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
        let volumes: Vec<&Volume> = volumes.collect();
        let names = names(&volumes);
        let references = References::fetch(client, &namespace, &names).await;
        let references = references.map_err(|e| e.to_string())?;
        for volume in volumes {
            let failed = |e: String| {
                format!(
                    "MountVolume.SetUp failed for volume \"{}\": {e}",
                    volume.name
                )
            };
            let place = self
                .place(client, &namespace, volume)
                .await
                .map_err(failed)?;
            std::fs::create_dir_all(&place).map_err(|e| failed(e.to_string()))?;
            self.dirs.insert(volume.name.clone(), place.clone());
            let token = self.token(client, pod, volume).await.map_err(failed)?;
            let files = files(volume, facts, &references, &token).map_err(failed)?;
            if let Some(files) = files
                && self.written.get(&volume.name) != Some(&files)
            {
                write(&place, &files).map_err(|e| failed(e.to_string()))?;
                self.written.insert(volume.name.clone(), files);
            }
        }
        Ok(())
    }

    /// Whether anything may change while the pod lives.
    pub(super) fn may_change(&self) -> bool {
        !self.written.is_empty()
    }

    async fn place(
        &self,
        client: &Client,
        namespace: &str,
        volume: &Volume,
    ) -> Result<PathBuf, String> {
        if let Some(path) = &volume.host_path {
            return Ok(PathBuf::from(&path.path));
        }
        let Some(claim) = &volume.persistent_volume_claim else {
            return Ok(self.dir.join("volumes").join(&volume.name));
        };
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
        let found = claims.get(&claim.claim_name).await;
        let found = found.map_err(|e| e.to_string())?;
        let bound = found.spec.and_then(|spec| spec.volume_name);
        let bound = bound.ok_or_else(|| format!("claim {} is not bound", claim.claim_name))?;
        Ok(provisioner::directory(&self.claims, &bound))
    }

    /// Tokens for the ServiceAccount, by audience.
    async fn token(
        &mut self,
        client: &Client,
        pod: &Pod,
        volume: &Volume,
    ) -> Result<BTreeMap<String, Vec<u8>>, String> {
        let mut tokens = BTreeMap::new();
        for source in sources(volume) {
            let Some(wanted) = &source.service_account_token else {
                continue;
            };
            let audience = wanted.audience.clone().unwrap_or_default();
            let key = (volume.name.clone(), audience.clone());
            if !self.tokens.contains_key(&key) {
                let token = request_token(client, pod, wanted).await?;
                self.tokens.insert(key.clone(), token);
            }
            tokens.extend(self.tokens.get(&key).map(|token| (audience, token.clone())));
        }
        Ok(tokens)
    }

    /// What a container sees, and where it is.
    ///
    /// # Errors
    /// A volume that the pod does not have, or a `subPath` that cannot be made.
    pub(super) fn mounts(&self, container: &Container) -> Result<Vec<Mount>, String> {
        let mounts = container.volume_mounts.iter().flatten();
        mounts
            .map(|mount| {
                let dir = self.dirs.get(&mount.name);
                let dir = dir.ok_or_else(|| format!("there is no volume {}", mount.name))?;
                let dir = match mount.sub_path.as_deref() {
                    Some(path) if !path.is_empty() => dir.join(path),
                    _ => dir.clone(),
                };
                if !dir.exists() {
                    std::fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
                }
                Ok(Mount {
                    name: mount.name.clone(),
                    path: mount.mount_path.clone(),
                    dir,
                })
            })
            .collect()
    }
}

async fn request_token(
    client: &Client,
    pod: &Pod,
    wanted: &ServiceAccountTokenProjection,
) -> Result<Vec<u8>, String> {
    let account = pod.spec.as_ref();
    let account = account.and_then(|spec| spec.service_account_name.clone());
    let account = account.unwrap_or_else(|| "default".to_owned());
    let accounts: Api<ServiceAccount> =
        Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: wanted.audience.iter().cloned().collect(),
            expiration_seconds: wanted.expiration_seconds,
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
        },
        ..TokenRequest::default()
    };
    let answer = accounts
        .create_token_request(&account, &PostParams::default(), &request)
        .await
        .map_err(|e| format!("no token for ServiceAccount {account}: {e}"))?;
    let status = answer.status.ok_or("the token has no status")?;
    Ok(status.token.into_bytes())
}

fn sources(volume: &Volume) -> impl Iterator<Item = &VolumeProjection> {
    let projected = volume.projected.iter();
    projected.flat_map(|p| p.sources.iter().flatten())
}

/// The Secrets and ConfigMaps that volumes show.
fn names(volumes: &[&Volume]) -> Names {
    let mut names = Names::default();
    for volume in volumes {
        let secret = volume.secret.as_ref().and_then(|s| s.secret_name.clone());
        names.secrets.extend(secret);
        let map = volume.config_map.as_ref().map(|m| m.name.clone());
        names.config_maps.extend(map);
        for source in sources(volume) {
            let secret = source.secret.as_ref().map(|s| s.name.clone());
            names.secrets.extend(secret);
            let map = source.config_map.as_ref().map(|m| m.name.clone());
            names.config_maps.extend(map);
        }
    }
    names
}

/// The content of a volume whose content Kubernetes gives; `None` for the others.
fn files(
    volume: &Volume,
    facts: Facts<'_>,
    references: &References,
    tokens: &BTreeMap<String, Vec<u8>>,
) -> Result<Option<Files>, String> {
    let mut files = Files::new();
    if let Some(secret) = &volume.secret {
        let name = secret.secret_name.as_deref().unwrap_or_default();
        let optional = secret.optional == Some(true);
        let data = references.secret(name, optional)?;
        let mode = secret.default_mode.unwrap_or(MODE);
        add_data(&mut files, data, secret.items.as_deref(), mode, optional)?;
    } else if let Some(map) = &volume.config_map {
        let optional = map.optional == Some(true);
        let data = references.config_map(&map.name, optional)?;
        let mode = map.default_mode.unwrap_or(MODE);
        add_data(&mut files, data, map.items.as_deref(), mode, optional)?;
    } else if let Some(fields) = &volume.downward_api {
        let mode = fields.default_mode.unwrap_or(MODE);
        add_fields(&mut files, fields.items.as_deref(), facts, mode)?;
    } else if let Some(projected) = &volume.projected {
        let mode = projected.default_mode.unwrap_or(MODE);
        for source in sources(volume) {
            if let Some(secret) = &source.secret {
                let optional = secret.optional == Some(true);
                let data = references.secret(&secret.name, optional)?;
                add_data(&mut files, data, secret.items.as_deref(), mode, optional)?;
            } else if let Some(map) = &source.config_map {
                let optional = map.optional == Some(true);
                let data = references.config_map(&map.name, optional)?;
                add_data(&mut files, data, map.items.as_deref(), mode, optional)?;
            } else if let Some(fields) = &source.downward_api {
                add_fields(&mut files, fields.items.as_deref(), facts, mode)?;
            } else if let Some(token) = &source.service_account_token {
                let audience = token.audience.as_deref().unwrap_or_default();
                let content = tokens.get(audience).cloned().unwrap_or_default();
                add(&mut files, &token.path, content, mode);
            } else {
                return Err("a projection that the test kubelet does not know".to_owned());
            }
        }
    } else if volume.empty_dir.is_some()
        || volume.host_path.is_some()
        || volume.persistent_volume_claim.is_some()
    {
        return Ok(None);
    } else {
        return Err("a kind of volume that the test kubelet does not know".to_owned());
    }
    Ok(Some(files))
}

fn add(files: &mut Files, path: &str, content: Vec<u8>, mode: i32) {
    let mode = u32::try_from(mode).unwrap_or(MODE.unsigned_abs());
    files.insert(path.to_owned(), File { content, mode });
}

fn add_data(
    files: &mut Files,
    data: Option<&Data>,
    items: Option<&[KeyToPath]>,
    mode: i32,
    optional: bool,
) -> Result<(), String> {
    let Some(data) = data else {
        return Ok(());
    };
    let Some(items) = items else {
        for (key, content) in data {
            add(files, key, content.clone(), mode);
        }
        return Ok(());
    };
    for item in items {
        match data.get(&item.key) {
            Some(content) => add(
                files,
                &item.path,
                content.clone(),
                item.mode.unwrap_or(mode),
            ),
            None if optional => {}
            None => return Err(format!("references non-existent key: {}", item.key)),
        }
    }
    Ok(())
}

fn add_fields(
    files: &mut Files,
    items: Option<&[DownwardAPIVolumeFile]>,
    facts: Facts<'_>,
    mode: i32,
) -> Result<(), String> {
    for item in items.into_iter().flatten() {
        let content = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => facts.field(&field.field_path)?,
            (None, Some(field)) => facts.resource("", field)?,
            (None, None) => String::new(),
        };
        add(
            files,
            &item.path,
            content.into_bytes(),
            item.mode.unwrap_or(mode),
        );
    }
    Ok(())
}

/// Writes all files, so that a reader sees those of before or those of now: a new directory, and one link that is swapped,
/// as a kubelet does.
fn write(dir: &Path, files: &Files) -> std::io::Result<()> {
    let link = dir.join("..data");
    let old = std::fs::read_link(&link).ok();
    let name = format!("..{:016x}", rand::random::<u64>());
    for (path, file) in files {
        let target = dir.join(&name).join(path);
        std::fs::create_dir_all(target.parent().unwrap_or(dir))?;
        std::fs::write(&target, &file.content)?;
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(file.mode))?;
    }
    std::fs::create_dir_all(dir.join(&name))?;
    let swap = dir.join("..data_tmp");
    symlink(&name, &swap)?;
    std::fs::rename(&swap, &link)?;
    let shown = |path: &String| path.split('/').next().map(str::to_owned);
    let shown: Vec<String> = files.keys().filter_map(shown).collect();
    for entry in &shown {
        let path = dir.join(entry);
        if path.symlink_metadata().is_err() {
            symlink(Path::new("..data").join(entry), path)?;
        }
    }
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !shown.contains(&name) {
            std::fs::remove_file(entry.path())?;
        }
    }
    match old {
        Some(old) => std::fs::remove_dir_all(dir.join(old)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn content(text: &str) -> File {
        File {
            content: text.into(),
            mode: 0o644,
        }
    }

    #[test]
    fn files_are_replaced_together_and_those_that_are_gone_disappear() {
        let dir = tempfile::tempdir().unwrap();
        let first = [("a", content("1")), ("b/c", content("2"))];
        let second = [("a", content("3")), ("d", content("4"))];
        let named =
            |files: [(&str, File); 2]| files.map(|(name, file)| (name.to_owned(), file)).into();
        write(dir.path(), &named(first)).unwrap();
        assert_eq!(
            std::fs::read_to_string(dir.path().join("b/c")).unwrap(),
            "2"
        );
        write(dir.path(), &named(second)).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("a")).unwrap(), "3");
        assert!(!dir.path().join("b").exists());
        let entries = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(entries, 4, "a, d, ..data and what it shows");
    }

    #[test]
    fn a_projected_volume_shows_all_its_sources() {
        let volume: Volume = serde_json::from_value(json!({"name": "v", "projected": {"sources": [
            {"secret": {"name": "s", "items": [{"key": "k", "path": "in/k"}]}},
            {"configMap": {"name": "none", "optional": true}},
            {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
            {"serviceAccountToken": {"path": "token"}},
        ]}}))
        .unwrap();
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}})).unwrap();
        let address = std::net::Ipv4Addr::LOCALHOST;
        let facts = Facts {
            pod: &pod,
            pod_ip: address,
            host_ip: address,
        };
        let data = BTreeMap::from([("k".to_owned(), b"1".to_vec())]);
        let mut references = References::default();
        references.secrets.insert("s".to_owned(), data);
        let tokens = BTreeMap::from([(String::new(), b"t".to_vec())]);
        let found = files(&volume, facts, &references, &tokens)
            .unwrap()
            .unwrap();
        let expected = [("in/k", "1"), ("name", "p"), ("token", "t")];
        let expected = expected.map(|(name, text)| (name.to_owned(), content(text)));
        assert_eq!(found, expected.into());
        references.secrets.clear();
        let error = files(&volume, facts, &references, &tokens).unwrap_err();
        assert_eq!(error, "secret \"s\" not found");
    }
}
