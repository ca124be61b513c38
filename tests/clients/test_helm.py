"""helm keeps charts in the registry, and takes a chart's dependencies from there."""

from __future__ import annotations

import pytest

from tests.clients.journal import Journal
from tests.clients.programs import Clients, digest_at, tags_at
from tests.nodes import RunningNode

pytestmark = [pytest.mark.clients, pytest.mark.slow]
HTTP = "--plain-http"
CHART = """apiVersion: v2
name: {name}
version: {version}
"""
NEEDS = """dependencies:
- name: web
  version: ~0.1
  repository: oci://{host}/charts
"""
CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-web\n"


def packaged(clients: Clients, name: str, version: str, needs: str = "") -> str:
    """The file name of a chart's package in the home folder."""
    templates = clients.home / name / "templates"
    templates.mkdir(parents=True, exist_ok=True)
    (templates / "map.yaml").write_text(CONFIG_MAP)
    (templates.parent / "Chart.yaml").write_text(CHART.format(name=name, version=version) + needs)
    if needs:
        clients.run("helm", "dependency", "update", HTTP, name)
    clients.run("helm", "package", name)
    return f"{name}-{version}.tgz"


def test_a_chart_is_pushed_shown_pulled_and_depended_on(node: RunningNode, clients: Clients, seen: Journal) -> None:
    clients.login("helm", node, "registry", "login", HTTP)
    charts = f"oci://{node.host}/charts"
    package = packaged(clients, "web", "0.1.0")
    said = clients.attempt("helm", "push", HTTP, package, charts)
    assert said.returncode == 0, said.stderr
    assert digest_at(node, "charts/web", "0.1.0") in said.stdout + said.stderr
    seen.assert_signed_in("dev")
    assert "version: 0.1.0" in clients.run("helm", "show", "chart", HTTP, f"{charts}/web", "--version", "0.1.0")
    seen.turn_page()
    (clients.home / "out").mkdir()
    clients.run("helm", "pull", HTTP, f"{charts}/web", "--version", ">=0.1", "-d", "out")
    assert seen.count("GET", "^/v2/charts/web/tags/list$", 200) == 1, "a range of versions is resolved over the tags"
    assert (clients.home / "out" / package).read_bytes() == (clients.home / package).read_bytes()
    rendered = clients.run("helm", "template", "mine", HTTP, f"{charts}/web", "--version", "0.1.0")
    assert "name: mine-web" in rendered
    site = packaged(clients, "site", "1.0.0+build.7", NEEDS.format(host=node.host))
    assert (clients.home / "site" / "charts" / package).exists()
    clients.run("helm", "push", HTTP, site, charts)
    assert tags_at(node, "charts/site") == ["1.0.0_build.7"]
    clients.run("helm", "pull", HTTP, f"{charts}/site", "--version", "1.0.0+build.7", "-d", "out")
    assert (clients.home / "out" / site).read_bytes() == (clients.home / site).read_bytes()


def test_who_has_signed_out_is_refused(node: RunningNode, clients: Clients) -> None:
    clients.login("helm", node, "registry", "login", HTTP)
    clients.run("helm", "push", HTTP, packaged(clients, "private", "0.1.0"), f"oci://{node.host}/charts")
    clients.run("helm", "push", HTTP, packaged(clients, "open", "0.1.0"), f"oci://{node.host}/public")
    clients.run("helm", "registry", "logout", node.host)
    pull = ("pull", HTTP, "--version", "0.1.0")
    refused = clients.attempt("helm", *pull, f"oci://{node.host}/charts/private")
    assert refused.returncode != 0
    assert "401" in refused.stderr
    clients.run("helm", *pull, f"oci://{node.host}/public/open", "-d", str(clients.home / "site"), "--untar")
