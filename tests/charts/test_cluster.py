"""The chart of a BrainyCluster hands the spec through and refuses what the CRD's schema refuses."""

import pytest
import yaml
from conftest import ROOT

SMALL = {"storage": {"bucket": "example-search"}}
PRODUCTION = yaml.safe_load((ROOT / "examples/production.yaml").read_text())


def with_spec(**fields):
    return {"spec": {**SMALL, **fields}}


def test_a_bucket_is_enough(cluster):
    objects = cluster.render({"spec": SMALL})
    found = objects.one("BrainyCluster")
    assert objects == [found]
    assert found["apiVersion"] == "brainy.io/v1alpha1"
    assert found["metadata"]["name"] == "search" and found["metadata"]["namespace"] == "team-a"
    assert found["spec"] == SMALL


def test_every_field_goes_through_unchanged(cluster):
    assert cluster.render({"spec": PRODUCTION["spec"]}).one("BrainyCluster")["spec"] == PRODUCTION["spec"]


def test_large_numbers_stay_whole(cluster):
    text = cluster.text(with_spec(sharedConfig={"flushBytes": 1073741824, "maxRequestBytes": 33554432}))
    assert "flushBytes: 1073741824\n" in text and "maxRequestBytes: 33554432\n" in text


def test_names_labels_and_annotations(cluster):
    values = {
        "name": "vectors",
        "labels": {"team": "a"},
        "annotations": {"brainy.io/restarted-at": "now"},
        "spec": SMALL,
    }
    metadata = cluster.render(values).one("BrainyCluster")["metadata"]
    assert metadata["name"] == "vectors"
    assert metadata["labels"]["team"] == "a" and metadata["labels"]["app.kubernetes.io/instance"] == "vectors"
    assert metadata["annotations"] == {"brainy.io/restarted-at": "now"}


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({}, "missing property 'bucket'"),
        ({"spec": {"storage": {"bucket": "No_Bucket"}}}, "/spec/storage/bucket"),
        (with_spec(writer={"replicas": 3}), "'writer' not allowed"),
        (with_spec(writers={"replica": 3}), "'replica' not allowed"),
        (with_spec(writers={"replicas": "3"}), "/spec/writers/replicas"),
        (with_spec(writers={"replicas": -1}), "/spec/writers/replicas"),
        (with_spec(coordination={"method": "gossip"}), "/spec/coordination/method"),
        (with_spec(coordination={"leaseTtl": "soon"}), "/spec/coordination/leaseTtl"),
        (with_spec(readers={"memoryBudget": "much"}), "/spec/readers/memoryBudget"),
        (with_spec(image={"digest": "sha256:1"}), "/spec/image/digest"),
        (with_spec(apiKeys={"secretRef": {}}), "missing property 'name'"),
        (with_spec(paused="yes"), "/spec/paused"),
        ({"spec": SMALL, "name": "n" * 41}, "/name"),
        ({"spec": SMALL, "nme": "x"}, "'nme' not allowed"),
    ],
)
def test_a_bad_value_is_named(cluster, values, where):
    assert where in cluster.refusal(values)


def test_a_release_name_that_is_too_long_says_what_to_do(cluster):
    assert "set name" in cluster.refusal({"spec": SMALL}, release="r" * 41)


def test_the_operator_gets_exactly_the_secrets_that_are_named(cluster):
    spec = {
        "storage": {**SMALL["storage"], "credentials": {"secretRef": {"name": "s3"}}},
        "apiKeys": {"secretRef": {"name": "keys"}},
        "tls": {"secretRef": {"name": "s3"}},
        "image": {"pullSecrets": [{"name": "registry"}]},
    }
    access = {"create": True, "serviceAccountName": "op", "serviceAccountNamespace": "ops"}
    objects = cluster.render({"spec": spec, "secretAccess": access})
    (rule,) = objects.one("Role")["rules"]
    assert rule == {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["s3", "keys"], "verbs": ["get"]}
    binding = objects.one("RoleBinding")
    assert binding["roleRef"]["name"] == objects.one("Role")["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "op", "namespace": "ops"}]
    assert not cluster.render({"spec": spec}).of("Role")


def test_no_named_secret_is_no_right_to_all_of_them(cluster):
    assert not cluster.render({"spec": SMALL, "secretAccess": {"create": True}}).of("Role")


def test_notes_say_what_is_at_stake(cluster):
    plain = cluster.notes({"spec": SMALL})
    assert "s3://example-search/team-a/search" in plain
    assert "http://search.team-a.svc:6333" in plain
    assert "leaves the data" in plain and "No apiKeys are set" in plain
    production = cluster.notes({"spec": PRODUCTION["spec"]})
    assert "s3://example-search-prod/clusters/search" in production
    assert "https://search.team-a.svc:6333" in production
    assert "No apiKeys" not in production
    assert "deletes the data" in cluster.notes(with_spec(deletionPolicy="Delete"))
