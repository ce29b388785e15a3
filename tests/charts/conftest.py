"""The Helm charts, rendered for many values; no cluster is needed.

HELM  the Helm to use (default: the one that scripts/helm.sh pins and fetches)
"""

import functools
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
RELEASE = "brainy-operator"
NAMESPACE = "brainy-system"


@functools.cache
def helm_binary():
    return subprocess.run([ROOT / "scripts/helm.sh"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@functools.cache
def helm(*arguments, stdin=""):
    """Runs Helm without any cluster; the same call is run once."""
    environment = {**os.environ, "KUBECONFIG": "/dev/null"}
    return subprocess.run(
        [helm_binary(), *arguments], input=stdin, check=False, capture_output=True, text=True, env=environment
    )


class Objects(list):
    """What a chart renders to."""

    def of(self, kind):
        return [item for item in self if item["kind"] == kind]

    def one(self, kind, name=None):
        """The object of this kind, and of this name if one is given: there is exactly one."""
        found = [item for item in self.of(kind) if name in (None, item["metadata"]["name"])]
        assert len(found) == 1, f"{len(found)} objects of kind {kind} with name {name or 'any'}"
        return found[0]


@dataclass(frozen=True)
class Chart:
    """A chart of this repository."""

    name: str
    release: str
    namespace: str

    @property
    def path(self):
        return ROOT / "charts" / self.name

    def _run(self, command, values, release, namespace, *flags):
        arguments = [release or self.release, str(self.path), "--namespace", namespace or self.namespace, *flags]
        return helm(*command, *arguments, "--values", "-", stdin=json.dumps(values or {}))

    def text(self, values=None, release=None, namespace=None, flags=()):
        run = self._run(["template"], values, release, namespace, *flags)
        assert run.returncode == 0, run.stderr
        return run.stdout

    def render(self, values=None, release=None, namespace=None, flags=()):
        """The objects for these values. No key may stand twice in a mapping, which YAML readers else let pass."""
        documents = yaml.load_all(self.text(values, release, namespace, flags), Loader=StrictLoader)
        return Objects(item for item in documents if item)

    def notes(self, values=None, release=None, namespace=None):
        """What `helm install` says at the end."""
        run = self._run(["install", "--dry-run=client"], values, release, namespace)
        assert run.returncode == 0, run.stderr
        return run.stdout.partition("\nNOTES:\n")[2]

    def refusal(self, values, release=None):
        """Why Helm refuses these values."""
        run = self._run(["template"], values, release, None)
        assert run.returncode != 0, f"Helm takes {values}"
        return run.stderr


class StrictLoader(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):
    """A YAML reader that refuses a key that stands twice."""


def _mapping(loader, node):
    keys = [loader.construct_object(key) for key, _ in node.value]
    twice = {key for key in keys if keys.count(key) > 1}
    assert not twice, f"{twice} stand twice{node.start_mark}"
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


@pytest.fixture(scope="session")
def operator():
    return Chart("brainy-operator", RELEASE, NAMESPACE)


@pytest.fixture(scope="session")
def cluster():
    return Chart("brainy-cluster", "search", "team-a")
