"""The Compose file: valid for the specification's schema, no secret in it, no dollar that Compose would read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from registry_node.settings import NodeSettings
from tests.sites.render.conftest import DOLLARS, Render

SCHEMA = Path(__file__).parent / "data" / "compose-spec.json"
VALIDATOR = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text()))


@pytest.fixture
def project(render: Render) -> dict[str, Any]:
    text = render("compose", "--image", "registry.example/towpath:1")["compose.yaml"]
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def test_the_specification_takes_it(project: dict[str, Any]) -> None:
    VALIDATOR.validate(project)
    assert set(project["services"]) == {"pool-eu", "prod-eu", "prod-us", "cache", "all"}
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate({**project, "services": {"x": {"imago": 1}}})


def test_compose_gives_the_node_what_was_meant(project: dict[str, Any]) -> None:
    """As Compose interpolates: $$ is a dollar, a single one would be a variable."""
    content = project["configs"]["pool-eu-settings"]["content"]
    assert not re.search(r"(?<!\$)\$(\$\$)*(?!\$)", content)
    settings = NodeSettings.model_validate_json(content.replace("$$", "$"))
    assert settings.users["ana"].password_bcrypt == DOLLARS
    assert settings.listen.port == 5001


def test_logins_are_mounted_from_their_files(project: dict[str, Any]) -> None:
    assert "canary" not in json.dumps(project)
    secret = project["secrets"]["cache-login-hub"]
    assert Path(secret["file"]).read_text() == "acme:canary-of-the-hub\n"
    mounted = {each["source"]: each["target"] for each in project["services"]["cache"]["secrets"]}
    assert mounted["cache-login-hub"] == "/etc/towpath/node/hub.login"


def test_files_are_written_for_their_owner_alone(render: Render, folder: Path, tmp_path: Path) -> None:
    from towpath.main import run

    words = ["render", "compose", "--image", "i", "--to", str(tmp_path / "out"), "-f", str(folder / "topology.yaml")]
    assert run(words) == 0
    assert (tmp_path / "out" / "compose.yaml").stat().st_mode & 0o777 == 0o600
