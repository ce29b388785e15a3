"""The operator's own objects: its Deployment and what stands around it."""

import functools
import itertools
import json
import re

import promql_parser
import pytest
from conftest import ROOT

DIGEST = "sha256:" + "a" * 64
VERSION = re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
UNIT = re.compile(r'register_with_unit\(\s*"(\w+)".*?Unit::(\w+)', re.DOTALL)
EVERYTHING = {
    "replicas": 2,
    "rbac": {"clusterMonitoring": True},
    "monitoring": {name: {"enabled": True} for name in ("serviceMonitor", "prometheusRule", "dashboard")},
    "networkPolicy": {"enabled": True},
}


def pod(objects):
    return objects.one("Deployment")["spec"]["template"]


def container(objects):
    (found,) = pod(objects)["spec"]["containers"]
    return found


def environment(objects):
    return {item["name"]: item.get("value") for item in container(objects)["env"]}


def selects(selector, labels):
    return selector.items() <= labels.items()


def test_its_version_is_the_workspace_s(operator, cluster):
    for chart in (operator, cluster):
        text = (chart.path / "Chart.yaml").read_text()
        assert re.findall(r"^(?:version|appVersion): (.*)$", text, re.MULTILINE) == [VERSION, VERSION]


def test_it_runs_the_controller_under_a_lease(operator):
    objects = operator.render()
    assert container(objects)["args"] == ["run"]
    assert environment(objects) == {
        "BRAINY_OPERATOR_LEADER_ELECT": "true",
        "BRAINY_OPERATOR_LEASE_NAMESPACE": "brainy-system",
        "BRAINY_OPERATOR_LEASE_NAME": "brainy-operator",
        "BRAINY_OPERATOR_DEFAULT_IMAGE": f"brainyd:{VERSION}",
        "BRAINY_OPERATOR_METRICS_LISTEN": "0.0.0.0:8080",
        "BRAINY_OPERATOR_LOG": "info",
        "BRAINY_OPERATOR_LOG_FORMAT": "json",
    }


def test_a_scope_of_namespaces_is_told_to_the_operator(operator):
    objects = operator.render({"scope": {"namespaces": ["team-a", "team-b"]}})
    assert environment(objects)["BRAINY_OPERATOR_NAMESPACES"] == "team-a,team-b"


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({}, "brainy-operator:" + VERSION),
        ({"repository": "r.example.com:5000/a/b", "tag": "1.2.3"}, "r.example.com:5000/a/b:1.2.3"),
        ({"tag": "1.2.3", "digest": DIGEST}, "brainy-operator@" + DIGEST),
    ],
)
def test_a_digest_wins_over_a_tag(operator, image, expected):
    objects = operator.render({"image": image})
    assert container(objects)["image"] == expected
    assert objects.one("Pod")["spec"]["containers"][0]["image"] == expected, "the test uses the same image"
    data_plane = operator.render({"clusterImage": {"repository": "brainy-operator", **image}})
    assert environment(data_plane)["BRAINY_OPERATOR_DEFAULT_IMAGE"] == expected


def test_pull_secrets_are_used_by_all_pods(operator):
    objects = operator.render({"imagePullSecrets": [{"name": "registry"}]})
    for spec in (pod(objects)["spec"], objects.one("Pod")["spec"]):
        assert spec["imagePullSecrets"] == [{"name": "registry"}]


@pytest.mark.parametrize(
    "values", [{}, {"podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}}]
)
def test_pods_meet_the_restricted_standard(operator, values):
    objects = operator.render(values)
    for spec in (pod(objects)["spec"], objects.one("Pod")["spec"]):
        ids = {"runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532} if not values else {}
        assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}, **ids}
        assert not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & spec.keys()
        for item in spec["containers"]:
            assert item["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert not [port for port in item.get("ports", []) if "hostPort" in port]


def test_only_the_operator_gets_a_token(operator):
    objects = operator.render()
    assert objects.one("ServiceAccount")["automountServiceAccountToken"] is False
    assert objects.one("Pod")["spec"]["automountServiceAccountToken"] is False
    assert pod(objects)["spec"]["automountServiceAccountToken"] is True
    assert pod(objects)["spec"]["serviceAccountName"] == "brainy-operator"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"create": True, "name": ""}, "brainy-operator"),
        ({"create": True, "name": "ours"}, "ours"),
        ({"create": False, "name": "theirs"}, "theirs"),
        ({"create": False}, "default"),
    ],
)
def test_the_service_account_may_be_another_s(operator, values, expected):
    objects = operator.render({"serviceAccount": values})
    assert pod(objects)["spec"]["serviceAccountName"] == expected
    assert [item["metadata"]["name"] for item in objects.of("ServiceAccount")] == [expected] * values["create"]
    for binding in objects.of("ClusterRoleBinding") + objects.of("RoleBinding"):
        assert binding["subjects"][0]["name"] == expected


def test_it_is_small_probed_and_replaced_without_a_gap(operator):
    found = container(operator.render())
    assert found["resources"] == {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}}
    paths = {name: found[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
    assert found["ports"] == [{"name": "metrics", "containerPort": 8080}]
    strategy = operator.render().one("Deployment")["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}


def test_settings_of_pods_go_through(operator):
    values = {
        "podAnnotations": {"example.com/team": "search"},
        "podLabels": {"azure.workload.identity/use": "true", "app.kubernetes.io/component": "mine"},
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca"}],
        "log": {"level": "debug", "format": "text"},
    }
    objects = operator.render(values)
    template, spec = pod(objects), pod(objects)["spec"]
    assert template["metadata"]["annotations"]["example.com/team"] == "search"
    assert template["metadata"]["labels"]["azure.workload.identity/use"] == "true"
    assert template["metadata"]["labels"]["app.kubernetes.io/component"] == "operator", "the selector's labels win"
    for name in ("priorityClassName", "nodeSelector", "tolerations", "affinity"):
        assert spec[name] == values[name]
    assert spec["volumes"] == values["extraVolumes"]
    assert container(objects)["volumeMounts"] == values["extraVolumeMounts"]
    assert environment(objects)["HTTPS_PROXY"] == "http://proxy:3128"
    assert environment(objects)["BRAINY_OPERATOR_LOG"] == "debug"
    assert environment(objects)["BRAINY_OPERATOR_LOG_FORMAT"] == "text"


def test_pods_spread_over_nodes_where_they_can(operator):
    own = pod(operator.render())
    (term,) = own["spec"]["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert selects(term["podAffinityTerm"]["labelSelector"]["matchLabels"], own["metadata"]["labels"])
    constraint = {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"}
    other = {**constraint, "labelSelector": {"matchLabels": {"a": "b"}}}
    filled, kept = pod(operator.render({"topologySpreadConstraints": [constraint, other]}))["spec"][
        "topologySpreadConstraints"
    ]
    assert filled["topologyKey"] == constraint["topologyKey"]
    assert selects(filled["labelSelector"]["matchLabels"], own["metadata"]["labels"])
    assert kept == other


def test_a_budget_only_where_it_does_not_block_drains(operator):
    assert not operator.render().of("PodDisruptionBudget")
    assert not operator.render({"replicas": 2, "podDisruptionBudget": {"enabled": False}}).of("PodDisruptionBudget")
    budget = operator.render({"replicas": 2}).one("PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1


def test_selectors_find_the_operator_and_not_the_test(operator):
    objects = operator.render(EVERYTHING)
    labels, other = pod(objects)["metadata"]["labels"], objects.one("Pod")["metadata"]["labels"]
    service = objects.one("Service")
    selectors = [
        objects.one("Deployment")["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        objects.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        objects.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selects(selector, labels) and not selects(selector, other)
        assert "app.kubernetes.io/version" not in selector, "a selector cannot change with the version"
    assert selects(objects.one("ServiceMonitor")["spec"]["selector"]["matchLabels"], service["metadata"]["labels"])


def test_the_network_policy_opens_one_port(operator):
    assert not operator.render().of("NetworkPolicy")
    open_policy = operator.render({"networkPolicy": {"enabled": True}}).one("NetworkPolicy")["spec"]
    assert open_policy["policyTypes"] == ["Ingress"]
    assert open_policy["ingress"] == [{"ports": [{"port": "metrics"}]}]
    prometheus = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    egress = [{"ports": [{"port": 443}]}]
    objects = operator.render({"networkPolicy": {"enabled": True, "metricsFrom": [prometheus], "egress": egress}})
    closed = objects.one("NetworkPolicy")["spec"]
    (rule,) = closed["ingress"]
    assert rule["from"][0] == prometheus
    assert selects(rule["from"][1]["podSelector"]["matchLabels"], objects.one("Pod")["metadata"]["labels"])
    assert closed["policyTypes"] == ["Ingress", "Egress"] and closed["egress"] == egress


def test_helm_test_asks_the_operator_through_its_service(operator):
    objects = operator.render(release="east", namespace="ns")
    service, probe = objects.one("Service"), objects.one("Pod")
    assert probe["metadata"]["annotations"]["helm.sh/hook"] == "test"
    url = probe["spec"]["containers"][0]["args"][-1]
    assert url == f"http://{service['metadata']['name']}.ns.svc:{service['spec']['ports'][0]['port']}/readyz"
    assert service["spec"]["ports"][0]["targetPort"] == container(objects)["ports"][0]["name"]


def test_monitoring_is_off_by_default(operator):
    assert not [item for item in operator.render() if item["apiVersion"].startswith("monitoring.")]
    assert not operator.render().of("ConfigMap")


def test_monitoring_carries_labels_that_others_select_by(operator):
    names = {"serviceMonitor": "ServiceMonitor", "prometheusRule": "PrometheusRule", "dashboard": "ConfigMap"}
    for name, kind in names.items():
        values = {"monitoring": {name: {"enabled": True, "labels": {"release": "prometheus"}}}}
        assert operator.render(values).one(kind)["metadata"]["labels"]["release"] == "prometheus"
    dashboard = operator.render(EVERYTHING).one("ConfigMap")
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_metrics_of_a_cluster_keep_the_cluster_s_namespace(operator):
    (endpoint,) = operator.render(EVERYTHING).one("ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["honorLabels"] is True and endpoint["port"] == "metrics"


@functools.cache
def exported():
    """Names of the metrics that the operator registers, without what the text format appends by type."""
    source = (ROOT / "operator/src/controller/metrics.rs").read_text()
    prefix = re.search(r'with_prefix\("(\w+)"\)', source)[1]
    plain = re.findall(r'\.register\(\s*"(\w+)"', source)
    units = [f"{name}_{unit.lower()}" for name, unit in UNIT.findall(source)]
    return {f"{prefix}_{name}" for name in plain + units}


def metrics_of(expression):
    """Names of the metrics in a PromQL expression that is valid, as the operator registers them."""
    expression = expression.replace("$__rate_interval", "5m").replace("$namespace", ".*")
    promql_parser.parse(expression)
    return {re.sub("_(total|bucket|count|sum)$", "", name) for name in re.findall(r"\bbrainy_\w+", expression)}


def test_alerts_are_valid_and_say_what_to_do(operator):
    groups = operator.render(EVERYTHING).one("PrometheusRule")["spec"]["groups"]
    rules = list(itertools.chain.from_iterable(group["rules"] for group in groups))
    assert len({rule["alert"] for rule in rules}) == len(rules) > 0
    for rule in rules:
        assert metrics_of(rule["expr"]) and metrics_of(rule["expr"]) <= exported()
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"] and rule["annotations"]["description"]
    ready = next(rule for rule in rules if rule["alert"] == "BrainyClusterNotReady")
    assert "{{ $labels.namespace }}/{{ $labels.cluster }}" in ready["annotations"]["summary"], (
        "Helm left the braces alone"
    )


def test_the_dashboard_is_valid(operator):
    (text,) = operator.render(EVERYTHING).one("ConfigMap")["data"].values()
    dashboard = json.loads(text)
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 0
    for panel in panels:
        assert panel["title"] and panel["description"]
        for target in panel["targets"]:
            assert metrics_of(target["expr"]) and metrics_of(target["expr"]) <= exported()


@pytest.mark.parametrize("release", ["a", "brainy", "r" * 53, "x" * 38 + "-brainy-operator"[:15]])
@pytest.mark.parametrize("values", [EVERYTHING, {**EVERYTHING, "scope": {"namespaces": ["n" * 63]}}])
def test_names_and_labels_fit(operator, release, values):
    objects = operator.render(values, release=release)
    names = [(item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) for item in objects]
    assert len(set(names)) == len(names), "no two objects have one name"
    for item in objects:
        if item["kind"] == "CustomResourceDefinition":
            continue
        name = item["metadata"]["name"]
        assert len(name) <= 63 and re.fullmatch("[a-z0-9]([-a-z0-9]*[a-z0-9])?", name), name
        assert name.startswith(release), "releases do not share names"
        for value in item["metadata"]["labels"].values():
            assert len(value) <= 63


def test_names_can_be_given(operator):
    for values, expected in [
        ({"fullnameOverride": "bo"}, "bo"),
        ({"nameOverride": "vectors"}, "brainy-operator-vectors"),
    ]:
        assert operator.render(values).one("Deployment")["metadata"]["name"] == expected


def test_all_objects_are_labelled(operator):
    for item in operator.render({**EVERYTHING, "commonLabels": {"team": "search"}}):
        labels = item["metadata"]["labels"]
        assert labels["team"] == "search"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels["app.kubernetes.io/instance"] == "brainy-operator"
