"""The JSON Schema: both examples fit it, and with a workspace's names an editor flags a wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from topology.load import read
from topology.schema import declared_names, json_schema, keys_at, workspace_schema

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def data_of(name: str) -> Any:
    return read((EXAMPLES / name / "topology.yaml").read_text()).data


@pytest.mark.parametrize("name", ["acme", "quickstart"])
def test_the_examples_fit(name: str) -> None:
    data = data_of(name)
    for schema in (json_schema(), workspace_schema(data)):
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.Draft202012Validator(schema).validate(data)


def test_a_workspace_flags_names_that_are_not_declared() -> None:
    data = data_of("quickstart")
    data["promotions"][0]["from"] = "ci-pol"
    data["gates"]["signed"]["by"] = "relase-key"
    data["nodes"]["prod-us"]["site"] = "su"
    wrong = {tuple(each.path)[:2] for each in jsonschema.Draft202012Validator(workspace_schema(data)).iter_errors(data)}
    assert wrong == {("promotions", 0), ("gates", "signed"), ("nodes", "prod-us")}
    assert list(jsonschema.Draft202012Validator(json_schema()).iter_errors(data)) == []


def test_no_mark_of_ours_is_left() -> None:
    assert "x-towpath" not in str(json_schema()) + str(workspace_schema(data_of("acme")))


@pytest.mark.parametrize("data", [None, [], {"sites": []}, {"sites": {"eu": {"hosts": [1]}}, "promotions": [1, {}]}])
def test_a_file_being_written_still_gives_a_schema(data: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(workspace_schema(data))
    assert declared_names(data)["words"] == ["everyone", "authenticated"]


def test_keys_are_known_at_each_place() -> None:
    assert {"scopes", "nodes", "apiVersion"} <= keys_at(())
    assert {"class", "onTagChange"} <= keys_at(("scopes", "prod"))
    assert "failureDomain" in keys_at(("sites", "eu", "hosts", "eu-1"))
    assert keys_at(("nodes", "x"), ("nodes", "x", "mirror")) >= {"upstreams", "tagTtl"}
    assert "upstreams" not in keys_at(("nodes", "x"), ("nodes", "x", "local"))
    assert "pushedWithin" in keys_at(("scopes", "prod", "cleanup", "keep", 0))
