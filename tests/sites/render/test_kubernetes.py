"""The Kubernetes manifests: valid for the API, and saying what the topology declares."""

from __future__ import annotations

import json
from typing import Any

import kubernetes_validate
import pytest
import yaml

from registry_node.settings import NodeSettings
from tests.sites.render.conftest import PEM, Render

Documents = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture
def documents(render: Render) -> Documents:
    text = render("kubernetes", "--image", "registry.example/towpath:1")["towpath.yaml"]
    return {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(text)}


def settings(documents: Documents, node: str) -> NodeSettings:
    return NodeSettings.model_validate_json(documents["Secret", node]["stringData"]["settings.json"])


def test_the_api_takes_all_of_them(documents: Documents) -> None:
    for each in documents.values():
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)
    kinds = [kind for kind, _ in documents]
    assert (kinds.count("StatefulSet"), kinds.count("Service"), kinds.count("Secret")) == (5, 5, 5)


def test_the_validator_would_find_a_mistake(documents: Documents) -> None:
    broken = documents["StatefulSet", "pool-eu"]
    broken["spec"]["replicas"] = "one"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)


def test_the_node_reads_its_settings_from_the_secret(documents: Documents) -> None:
    local = settings(documents, "pool-eu")
    assert (local.listen.host, local.listen.port, str(local.data)) == ("0.0.0.0", 5001, "/var/lib/towpath")
    assert local.tls is not None and str(local.tls.key) == "/etc/towpath/tls/tls.key"
    pod = documents["StatefulSet", "pool-eu"]["spec"]["template"]["spec"]
    mounted = {each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    assert mounted == {"/var/lib/towpath", "/etc/towpath/node", "/etc/towpath/tls", "/tmp"}
    assert {"name": "tls", "secret": {"secretName": "pool-eu-tls", "defaultMode": 0o440}} in pod["volumes"]


def test_nodes_of_one_cluster_ask_each_other_by_service(documents: Documents) -> None:
    virtual = settings(documents, "all").virtual
    assert virtual is not None
    assert [each.url for each in virtual.members] == ["https://pool-eu:5001", "https://cache:5003"]
    assert [str(each.ca) for each in virtual.members] == ["/etc/towpath/ca/pool-eu.crt", "/etc/towpath/ca/cache.crt"]
    assert documents["ConfigMap", "all-ca"]["data"]["pool-eu.crt"] == PEM
    secret = documents["Secret", "all"]["stringData"]
    assert secret["pool-eu.login"].startswith("node-all:")
    robot = settings(documents, "pool-eu").users["node-all"]
    assert robot.robot and robot.token_sha256


def test_another_site_s_nodes_are_asked_where_the_topology_says(render: Render) -> None:
    text = render("kubernetes", "--image", "i", "--site", "us", "--namespace", "registries")["towpath.yaml"]
    found = list(yaml.safe_load_all(text))
    assert {each["metadata"]["name"] for each in found} == {"registries", "prod-us"}


def test_a_mirror_gets_the_login_of_its_upstream_and_no_other_node_does(documents: Documents) -> None:
    assert documents["Secret", "cache"]["stringData"]["hub.login"] == "acme:canary-of-the-hub\n"
    others = {name: json.dumps(each) for name, each in documents.items() if name != ("Secret", "cache")}
    assert not [name for name, text in others.items() if "canary" in text]


def test_storage_is_what_quota_and_cache_may_hold_with_room(documents: Documents) -> None:
    claims = {
        name: each["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"]
        for (kind, name), each in documents.items()
        if kind == "StatefulSet"
    }
    assert claims == {"pool-eu": "120Gi", "prod-eu": "60Gi", "prod-us": "60Gi", "cache": "360Gi", "all": "60Gi"}


def test_a_new_user_restarts_no_pod_and_a_new_rule_does(folder: Any, render: Render) -> None:
    def marks() -> dict[str, str]:
        text = render("kubernetes", "--image", "i")["towpath.yaml"]
        found = (each for each in yaml.safe_load_all(text) if each["kind"] == "StatefulSet")
        return {
            each["metadata"]["name"]: each["spec"]["template"]["metadata"]["annotations"]["towpath/settings"]
            for each in found
        }

    file, before = folder / "topology.yaml", marks()
    file.write_text(file.read_text().replace("{to: ana, allow: [pull]}]}", "{to: ana, allow: [pull, delete]}]}", 1))
    assert marks() == before
    file.write_text(file.read_text().replace("bytes: 100GiB", "bytes: 99GiB"))
    assert {name for name, mark in marks().items() if mark != before[name]} == {"pool-eu"}


def test_without_an_image_nothing_is_rendered(render: Render) -> None:
    assert render("kubernetes", expect=2)["code"] == "no-image"
    assert render("kubernetes", "--image", "i", "--site", "mars", expect=2)["code"] == "unknown-name"
