"""The files in which clients keep logins: what is written, what stays, what is refused."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from towpath.auth_file import Login, docker_config, files_of_clients, write_logins
from towpath.problem import Problem

EU = Login("10.1.0.11:5004", "k8s-eu", "s3cret:with:colons")


def test_an_entry_is_user_and_secret_in_base64() -> None:
    auth = docker_config([EU])["auths"]["10.1.0.11:5004"]["auth"]
    assert base64.b64decode(auth) == b"k8s-eu:s3cret:with:colons"


def test_a_login_does_not_show_its_secret() -> None:
    assert "s3cret" not in repr(EU)


def test_what_else_the_file_says_stays(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"auths": {"quay.io": {"auth": "eA=="}}, "HttpHeaders": {"X": "y"}}))
    write_logins(path, [EU])
    content = json.loads(path.read_text())
    assert content["HttpHeaders"] == {"X": "y"} and set(content["auths"]) == {"quay.io", "10.1.0.11:5004"}
    assert path.stat().st_mode & 0o777 == 0o600


def test_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "home" / ".docker" / "config.json"
    write_logins(path, [EU])
    assert json.loads(path.read_text()) == docker_config([EU])


@pytest.mark.parametrize("content", ["[]", "{", '{"auths": []}', "\x00"])
def test_a_file_of_something_else_is_left_as_it_is(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(Problem) as raised:
        write_logins(path, [EU])
    assert raised.value.code == "auth-file-unreadable" and path.read_text() == content


@pytest.mark.parametrize("store", [{"credsStore": "pass"}, {"credHelpers": {"10.1.0.11:5004": "pass"}}])
def test_beside_a_credential_store_an_entry_would_not_be_read(tmp_path: Path, store: dict[str, object]) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(store))
    with pytest.raises(Problem) as raised:
        write_logins(path, [EU])
    assert raised.value.code == "credential-store" and json.loads(path.read_text()) == store


def test_podman_s_file_is_written_too_when_it_is_there(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    docker, podman = tmp_path / ".docker" / "config.json", tmp_path / "run" / "containers" / "auth.json"
    assert files_of_clients(environment) == (docker,)
    podman.parent.mkdir(parents=True)
    podman.write_text("{}")
    assert files_of_clients(environment) == (docker, podman)
    assert files_of_clients({**environment, "REGISTRY_AUTH_FILE": "/elsewhere"}) == (Path("/elsewhere"),)
    assert files_of_clients({**environment, "DOCKER_CONFIG": "/d"}) == (Path("/d/config.json"), podman)
