"""Values are refused by name before anything is sent, and documented."""

import subprocess
import sys

import pytest
from conftest import ROOT, helm

LINTED = [("brainy-operator", []), ("brainy-cluster", ["ci/s3-values.yaml"])]


@pytest.mark.parametrize(("chart", "files"), LINTED)
def test_helm_lint_finds_nothing(chart, files):
    path = ROOT / "charts" / chart
    run = helm("lint", "--strict", str(path), *[f"--values={path / file}" for file in files])
    assert run.returncode == 0, run.stdout + run.stderr


def test_what_is_made_from_values_is_current():
    run = subprocess.run(
        [sys.executable, ROOT / "scripts/chart_docs.py", "--check"], check=False, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"replica": 2}, "'replica' not allowed"),
        ({"replicas": 0}, "/replicas"),
        ({"replicas": "two"}, "/replicas"),
        ({"image": {"digest": "sha256:abc"}}, "/image/digest"),
        ({"image": {"repository": "Registry/X"}}, "/image/repository"),
        ({"image": {"repository": "brainy-operator:1.0"}}, "/image/repository"),
        ({"image": {"tag": "a b"}}, "/image/tag"),
        ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
        ({"clusterImage": {"pullPolicy": "Always"}}, "'pullPolicy' not allowed"),
        ({"imagePullSecrets": ["registry"]}, "/imagePullSecrets/0"),
        ({"scope": {"namespaces": "team-a"}}, "/scope/namespaces"),
        ({"scope": {"namespaces": ["Team A"]}}, "/scope/namespaces/0"),
        ({"scope": {"namespaces": ["a", "a"]}}, "/scope/namespaces"),
        ({"secrets": {"names": [""]}}, "/secrets/names/0"),
        ({"crds": {"keep": "yes"}}, "/crds/keep"),
        ({"log": {"format": "xml"}}, "/log/format"),
        ({"podSecurityContext": {"runAsUser": 0}}, "/podSecurityContext/runAsUser"),
        ({"podSecurityContext": {"runAsNonRoot": False}}, "'runAsNonRoot' not allowed"),
        ({"extraEnv": [{"name": "BRAINY_OPERATOR_LOG", "value": "debug"}]}, "/extraEnv/0/name"),
        ({"monitoring": {"serviceMonitor": {"interval": "often"}}}, "/monitoring/serviceMonitor/interval"),
        ({"networkPolicy": {"egress": {}}}, "/networkPolicy/egress"),
        ({"fullnameOverride": "n" * 64}, "/fullnameOverride"),
    ],
)
def test_a_bad_value_is_named(operator, values, where):
    assert where in operator.refusal(values)


def test_notes_lead_to_a_first_cluster(operator):
    wide = operator.notes()
    assert "runs the BrainyClusters of all namespaces" in wide
    assert "kind: BrainyCluster" in wide
    assert "kubectl -n brainy-system rollout status deployment/brainy-operator" in wide
    assert "--serviceaccount=brainy-system:brainy-operator" in wide, "clusters elsewhere need a right to their Secrets"


def test_notes_know_the_scope(operator):
    narrow = operator.notes({"scope": {"namespaces": ["team-a", "team-b"]}})
    assert "runs the BrainyClusters of team-a, team-b" in narrow
    assert "namespace: team-a" in narrow
    assert "may read Secrets in: brainy-system, team-a, team-b" in narrow
    assert "create rolebinding" not in narrow
    assert "has no rights until" in operator.notes({"rbac": {"create": False}})
