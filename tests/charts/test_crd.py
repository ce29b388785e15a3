"""The CustomResourceDefinition comes with the release, is upgraded with it, and outlives it."""

import copy

import pytest
import yaml
from conftest import ROOT

DEFINITION = yaml.safe_load((ROOT / "crds/brainycluster.yaml").read_text())


def test_it_is_the_one_of_the_types(operator):
    found = copy.deepcopy(operator.render().one("CustomResourceDefinition"))
    assert found["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert found["metadata"].pop("labels")["app.kubernetes.io/managed-by"] == "Helm"
    assert found == DEFINITION


def test_its_text_is_not_changed_on_the_way(operator):
    spec = (ROOT / "crds/brainycluster.yaml").read_text().partition("\nspec:\n")[2]
    assert spec and spec in operator.text()


def test_an_upgrade_renders_it(operator):
    assert operator.render(flags=("--is-upgrade",)).one("CustomResourceDefinition")["spec"] == DEFINITION["spec"]
    assert not (operator.path / "crds").exists(), "Helm never upgrades what is in crds/"


def test_it_goes_with_the_release_only_if_asked_for(operator):
    definition = operator.render({"crds": {"keep": False}}).one("CustomResourceDefinition")
    assert "annotations" not in definition["metadata"]
    assert "deletes the CustomResourceDefinition" in operator.notes({"crds": {"keep": False}})


@pytest.mark.parametrize("keep", [True, False])
def test_it_can_be_left_to_others(operator, keep):
    values = {"crds": {"install": False, "keep": keep}}
    assert not operator.render(values).of("CustomResourceDefinition")
    assert "kubectl apply --server-side" in operator.notes(values)
