"""``towpath can``: yes or no, the exit code, and the line of the file that decides it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from towpath.main import run

TOPOLOGY = """apiVersion: towpath/v1
kind: Topology
metadata: {name: rights}
sites: {eu: {hosts: {eu-1: {}}}}
users:
  ana: {password: {file: ana.hash}}
  ci: {robot: true, token: {file: ci.token}}
groups: {devs: {users: [ana]}, builders: {users: [ci]}}
scopes:
  sandbox:
    class: dev
    naming: {repository: 'apps/.*'}
    grants:
      - {to: devs, allow: [pull, push]}
      - {to: everyone, allow: [pull], repositories: ['apps/public/**']}
  prod:
    class: ci
    write: promotion-only
    grants: [{to: devs, allow: [pull]}]
nodes:
  sandbox-eu: {kind: local, scope: sandbox, site: eu, host: eu-1, port: 5001}
  prod-eu: {kind: local, scope: prod, site: eu, host: eu-1, port: 5002}
  all:
    kind: virtual
    members: [sandbox-eu]
    owns: {'apps/**': [sandbox-eu]}
    pushTo: sandbox-eu
    site: eu
    host: eu-1
    port: 5003
promotions:
  - {id: release, from: sandbox, to: prod, by: [builders]}
"""
LINES = TOPOLOGY.splitlines()


def line(text: str) -> str:
    return f"topology.yaml:{next(at for at, each in enumerate(LINES, 1) if text in each)}"


@pytest.fixture
def can(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "topology.yaml").write_text(TOPOLOGY)
    monkeypatch.chdir(tmp_path)

    def asked(*arguments: str) -> tuple[int, str, str]:
        code = int(run(["can", *arguments]))
        said = capsys.readouterr()
        return code, said.out, said.err

    return asked


def test_yes_with_the_grant_and_its_line(can: Any) -> None:
    code, out, _ = can("ana", "push", "sandbox/apps/api:x")
    assert code == 0
    assert out.splitlines() == [
        "yes  ana may push sandbox/apps/api:x (at sandbox-eu)",
        f"  {line('to: devs, allow: [pull, push]')}  granted to devs, which ana belongs to: pull, push",
    ]


def test_no_with_what_would_be_needed(can: Any) -> None:
    code, out, _ = can("ci", "push", "prod/apps/api:1.0", "-o", "json")
    found = json.loads(out)
    assert code == 4
    assert (found["allowed"], found["node"], found["action"]) == (False, "prod-eu", "push")
    assert found["because"] == [
        {"says": "prod is promotion-only: images come over an edge", "place": line("write: promotion-only")},
        {"says": "edge release from sandbox: builders may ask for it", "place": line("id: release")},
    ]
    assert can("ci", "promote", "prod/apps/api:1.0")[0] == 0
    assert can("ana", "promote", "prod/apps/api:1.0")[0] == 4
    code, out, _ = can("ci", "pull", "sandbox/apps/api:x")
    assert code == 4
    assert "it is granted to devs" in out
    code, out, _ = can("ana", "push", "sandbox/web:x")
    assert (code, line("naming:") in out) == (4, True)


def test_through_a_virtual(can: Any) -> None:
    code, out, _ = can("ana", "push", "all/apps/api:x")
    assert code == 0
    assert line("pushTo:") in out and line("to: devs, allow: [pull, push]") in out
    code, out, _ = can("ana", "pull", "all/library/debian")
    assert (code, line("owns:") in out) == (4, True)


def test_everybody_who_may(can: Any) -> None:
    code, out, _ = can("--who", "pull", "sandbox/apps/public/site:1", "-o", "json")
    assert code == 0
    assert {each["who"] for each in map(json.loads, out.splitlines())} == {"everyone", "ana", "ci"}
    code, out, _ = can("--who", "push", "sandbox/apps/api")
    assert (code, [each.split()[0] for each in out.splitlines()]) == (0, ["WHO", "ana"])
    code, out, err = can("--who", "delete", "sandbox/apps/api")
    assert (code, out) == (4, "")
    assert "nobody may" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("anna", "push", "sandbox/apps/api:x"), "did you mean `ana`?"),
        (("ana", "shove", "sandbox/apps/api:x"), "actions: pull, push, delete, promote"),
        (("ana", "push", "sandbx/apps/api:x"), "did you mean `sandbox`?"),
        (("ana", "push", "sandbox"), "SCOPE/REPOSITORY"),
        (("ana", "push", "sandbox/Apps"), "SCOPE/REPOSITORY"),
        (("ana", "push"), "towpath can WHO ACTION"),
        (("--who", "ana", "push", "sandbox/apps/api:x"), "towpath can WHO ACTION"),
    ],
)
def test_what_cannot_be_read_is_a_usage_error(can: Any, arguments: tuple[str, ...], says: str) -> None:
    code, out, err = can(*arguments)
    assert (code, out) == (2, "")
    assert says in err
