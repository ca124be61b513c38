"""The Compose file: valid for the specification's schema, no secret in it, no dollar that Compose would read; and the
folders of the nodes beside it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from registry_node.settings import NodeSettings
from tests.sites.render.conftest import DOLLARS, PEM, Render
from towpath.main import run

SCHEMA = Path(__file__).parent / "data" / "compose-spec.json"
VALIDATOR = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text()))


@pytest.fixture
def written(folder: Path, tmp_path: Path) -> Path:
    words = ["render", "compose", "--image", "registry.example/towpath:1", "--to", str(tmp_path / "out")]
    assert run([*words, "-f", str(folder / "topology.yaml")]) == 0
    return tmp_path / "out"


@pytest.fixture
def project(written: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((written / "compose.yaml").read_text())
    return found


def test_the_specification_takes_it(project: dict[str, Any]) -> None:
    VALIDATOR.validate(project)
    assert set(project["services"]) == {"pool-eu", "prod-eu", "prod-us", "cache", "all"}
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate({**project, "services": {"x": {"imago": 1}}})


def test_the_file_holds_no_secret_and_no_variable(written: Path) -> None:
    text = (written / "compose.yaml").read_text()
    assert not re.search(r"(?<!\$)\$(\$\$)*(?!\$)", text)
    assert "canary" not in text
    assert DOLLARS not in text


def test_a_node_is_given_its_folder_and_nothing_else(project: dict[str, Any], written: Path) -> None:
    assert project["services"]["cache"]["volumes"] == ["./cache:/etc/towpath:ro", "cache-data:/var/lib/towpath"]
    given = sorted(str(each.relative_to(written)) for each in (written / "cache").rglob("*") if each.is_file())
    logins = [f"cache/node/{each}.login" for each in ("hub", "pool-eu", "prod-eu")]
    assert given == ["cache/ca/pool-eu.crt", "cache/ca/prod-eu.crt", *logins, "cache/node/settings.json"]
    assert (written / "cache/node/hub.login").read_text() == "acme:canary-of-the-hub\n"
    assert (written / "all/ca/pool-eu.crt").read_text() == PEM


def test_the_settings_are_what_was_meant(written: Path) -> None:
    """Compose reads no file of a mount: their dollars stay."""
    settings = NodeSettings.model_validate_json((written / "pool-eu/node/settings.json").read_bytes())
    assert settings.users["ana"].password_bcrypt == DOLLARS
    assert settings.listen.port == 5001
    assert settings.tls is not None
    assert str(settings.tls.key) == "/etc/towpath/tls/tls.key"


def test_it_asks_itself_whether_it_is_well(project: dict[str, Any]) -> None:
    asked = project["services"]["pool-eu"]["healthcheck"]["test"]
    assert shlex.split(asked)[:3] == ["python3", "-I", "-c"]
    compile(shlex.split(asked)[3], "health", "exec")
    assert "https://127.0.0.1:5001/healthz" in asked


def test_files_are_written_for_their_owner_alone(written: Path) -> None:
    modes = {each.stat().st_mode & 0o777 for each in written.rglob("*") if each.is_file()}
    assert modes == {0o600}


def test_nothing_is_printed(render: Render) -> None:
    problem: Any = render("compose", "--image", "i", expect=2)
    assert problem["code"] == "no-folder"
