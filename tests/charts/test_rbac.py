"""The operator's rights are those that it needs and no more."""

import itertools
import re

import pytest

SCOPES = [{}, {"scope": {"namespaces": ["team-a", "team-b"]}}]
OPERATOR = "brainy-operator"
WRITES = {"create", "update", "patch", "delete", "deletecollection"}


def bound_rules(objects):
    """(namespace or None for everywhere, rule) of everything that the operator's ServiceAccount is bound to."""
    subject = {"kind": "ServiceAccount", "name": OPERATOR, "namespace": "brainy-system"}
    result = []
    for binding in objects.of("ClusterRoleBinding") + objects.of("RoleBinding"):
        assert binding["subjects"] == [subject]
        role = binding["roleRef"]
        namespace = binding["metadata"].get("namespace")
        found = [
            item
            for item in objects.of(role["kind"])
            if item["metadata"]["name"] == role["name"] and item["metadata"].get("namespace") == namespace
        ]
        assert len(found) == 1, role
        result += [(namespace, rule) for rule in found[0]["rules"]]
    return result


def rights(objects):
    """The same as a set of (namespace, group, resource, verb)."""
    return {
        (namespace, group, resource, verb)
        for namespace, rule in bound_rules(objects)
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize("values", SCOPES)
def test_no_right_is_a_wildcard_or_a_way_to_more_rights(operator, values):
    for _, group, resource, verb in rights(operator.render(values)):
        assert "*" not in (group, resource, verb)
        assert group not in ("rbac.authorization.k8s.io", "admissionregistration.k8s.io", "apiextensions.k8s.io")
        assert resource not in ("pods/exec", "pods/attach", "serviceaccounts/token", "nodes", "namespaces")
        assert verb not in ("impersonate", "bind", "escalate", "deletecollection")


def test_what_the_operator_may_do_everywhere(operator):
    everywhere = {right[1:] for right in rights(operator.render()) if right[0] is None}
    owned = {"get", "list", "watch", "create", "patch", "delete"}
    expected = {
        ("brainy.io", "brainyclusters"): {"get", "list", "watch", "patch"},
        ("brainy.io", "brainyclusters/status"): {"patch"},
        ("brainy.io", "brainyclusters/finalizers"): {"update"},
        ("apps", "statefulsets"): owned,
        ("", "pods"): {"get", "list", "watch", "delete"},
        ("", "services"): owned,
        ("", "serviceaccounts"): owned,
        ("", "configmaps"): owned,
        ("policy", "poddisruptionbudgets"): owned,
        ("networking.k8s.io", "networkpolicies"): owned,
        ("events.k8s.io", "events"): {"create", "patch"},
    }
    assert everywhere == {(*resource, verb) for resource, verbs in expected.items() for verb in verbs}


def test_no_cluster_role_speaks_of_secrets(operator):
    for role in operator.render({"rbac": {"clusterMonitoring": True}}).of("ClusterRole"):
        assert all("secrets" not in rule["resources"] for rule in role["rules"])


@pytest.mark.parametrize(
    ("values", "namespaces"),
    [
        ({}, {"brainy-system"}),
        ({"scope": {"namespaces": ["team-a"]}}, {"brainy-system", "team-a"}),
        ({"scope": {"namespaces": ["brainy-system"]}}, {"brainy-system"}),
        ({"secrets": {"namespaces": ["team-a", "team-b"]}}, {"team-a", "team-b"}),
        ({"scope": {"namespaces": ["team-a"]}, "secrets": {"namespaces": ["team-a"]}}, {"team-a"}),
    ],
)
def test_secrets_are_got_one_by_one_in_listed_namespaces(operator, values, namespaces):
    found = {right for right in rights(operator.render(values)) if right[2] == "secrets"}
    assert found == {(namespace, "", "secrets", "get") for namespace in namespaces}


def test_secrets_can_be_limited_to_names(operator):
    objects = operator.render({"secrets": {"names": ["search-s3", "search-tls"]}})
    rules = [rule for _, rule in bound_rules(objects) if "secrets" in rule["resources"]]
    assert [rule["resourceNames"] for rule in rules] == [["search-s3", "search-tls"]]


def test_a_scope_of_namespaces_needs_no_cluster_role(operator):
    objects = operator.render({"scope": {"namespaces": ["team-a", "team-b"]}})
    assert not objects.of("ClusterRole") and not objects.of("ClusterRoleBinding")
    wide = {right[1:] for right in rights(operator.render()) if right[0] is None}
    for namespace in ("team-a", "team-b"):
        narrow = {right[1:] for right in rights(objects) if right[0] == namespace}
        assert narrow - {("", "secrets", "get")} == wide
    assert {right[0] for right in rights(objects)} == {"team-a", "team-b", "brainy-system"}
    here = {right[1:3] for right in rights(objects) if right[0] == "brainy-system"}
    assert here == {("coordination.k8s.io", "leases"), ("", "secrets")}


@pytest.mark.parametrize("values", SCOPES)
def test_leader_election_reaches_one_lease(operator, values):
    objects = operator.render(values, release="east")
    role = objects.one("Role", "east-brainy-operator-lease")
    assert role["metadata"]["namespace"] == "brainy-system"
    create, use = role["rules"]
    assert create["verbs"] == ["create"]
    assert use["verbs"] == ["get", "patch"]
    container = objects.one("Deployment")["spec"]["template"]["spec"]["containers"][0]
    environment = {item["name"]: item["value"] for item in container["env"]}
    assert use["resourceNames"] == [environment["BRAINY_OPERATOR_LEASE_NAME"]]
    assert environment["BRAINY_OPERATOR_LEASE_NAMESPACE"] == "brainy-system"


@pytest.mark.parametrize("values", SCOPES)
def test_objects_of_the_prometheus_operator_only_if_asked_for(operator, values):
    def groups(more):
        return {right[1] for right in rights(operator.render({**values, **more}))}

    assert "monitoring.coreos.com" not in groups({})
    assert "monitoring.coreos.com" in groups({"rbac": {"clusterMonitoring": True}})


def test_rights_of_people_do_not_reach_the_status(operator):
    objects = operator.render()
    edit, view = objects.one("ClusterRole", f"{OPERATOR}-edit"), objects.one("ClusterRole", f"{OPERATOR}-view")
    assert not [rule for rule in view["rules"] if WRITES & set(rule["verbs"])]
    assert not [rule for rule in edit["rules"] if "brainyclusters/status" in rule["resources"]]
    assert edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
    assert "rbac.authorization.k8s.io/aggregate-to-view" not in edit["metadata"]["labels"]
    assert view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    names = {
        role["metadata"]["name"] for role in operator.render({"rbac": {"aggregateToUsers": False}}).of("ClusterRole")
    }
    assert names == {OPERATOR}


@pytest.mark.parametrize("values", SCOPES)
def test_rights_can_be_left_to_others(operator, values):
    objects = operator.render({**values, "rbac": {"create": False}})
    assert not [item for item in objects if item["apiVersion"].startswith("rbac.")]


def test_each_rule_has_its_reason_beside_it(operator, cluster):
    seen = 0
    for template in [
        *operator.path.glob("templates/*rbac*"),
        operator.path / "templates/_rules.tpl",
        *cluster.path.glob("templates/*access*"),
    ]:
        lines = [line for line in template.read_text().splitlines() if not re.match(r"\s*\{\{.*\}\}\s*$", line)]
        for before, line in itertools.pairwise(lines):
            if line.strip().startswith("- apiGroups:"):
                seen += 1
                assert before.strip().startswith("#"), f"{template.name}: no reason above {line.strip()}"
    assert seen > 12
