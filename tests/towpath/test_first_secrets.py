"""Secrets that ``up --create-secrets`` makes: only what is missing, private, and accepted by everything that reads them."""

from __future__ import annotations

import stat
from pathlib import Path

import bcrypt
import pytest

from promotions.keys import load_private, load_public
from sites.settings.credentials import users_of
from topology.load import loads
from topology.model import Topology
from towpath.access import Who
from towpath.first_secrets import create_missing
from towpath.problem import Problem

QUICKSTART = Path(__file__).resolve().parent.parent.parent / "examples" / "quickstart" / "topology.yaml"


@pytest.fixture
def topology(tmp_path: Path) -> Topology:
    loaded = loads(QUICKSTART.read_text(), base=tmp_path)
    assert loaded.topology is not None
    return loaded.topology


def test_everything_that_is_missing_is_made_and_fits(topology: Topology, tmp_path: Path) -> None:
    made = create_missing(topology)
    assert {str(each.relative_to(tmp_path)) for each in made} == {
        "secrets/dev.bcrypt",
        "secrets/dev.password",
        "secrets/ci-runner.token",
        "secrets/k8s-eu.token",
        "secrets/k8s-us.token",
        "secrets/release.key",
        "secrets/towpath.key",
        "trust/release.pub",
        "trust/towpath.pub",
    }
    assert all(stat.S_IMODE(each.stat().st_mode) == 0o600 for each in made)
    assert set(users_of(topology)) == set(topology.users)
    password = (tmp_path / "secrets" / "dev.password").read_bytes().strip()
    assert bcrypt.checkpw(password, (tmp_path / "secrets" / "dev.bcrypt").read_bytes().strip())
    for name in ("release", "towpath"):
        public = load_public((tmp_path / "trust" / f"{name}.pub").read_bytes())
        private = load_private((tmp_path / "secrets" / f"{name}.key").read_bytes())
        assert private.public.pem == public.pem


def test_nothing_that_exists_is_replaced(topology: Topology, tmp_path: Path) -> None:
    first = {path: path.read_bytes() for path in create_missing(topology)}
    assert create_missing(topology) == []
    assert all(path.read_bytes() == content for path, content in first.items())


def test_half_a_key_pair_is_not_completed(topology: Topology, tmp_path: Path) -> None:
    create_missing(topology)
    (tmp_path / "secrets" / "towpath.key").unlink()
    with pytest.raises(Problem) as raised:
        create_missing(topology)
    assert raised.value.code == "half-a-key-pair"


def test_a_public_key_of_somebody_else_is_enough(topology: Topology, tmp_path: Path) -> None:
    """Whose private half the topology does not name need not be here."""
    create_missing(topology)
    (tmp_path / "secrets" / "release.key").unlink()
    assert create_missing(topology) == []


def test_who_one_is_must_be_proven(topology: Topology, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_missing(topology)
    monkeypatch.delenv("TOWPATH_USER", raising=False)
    assert Who().principal(topology).anonymous
    monkeypatch.setenv("TOWPATH_TOKEN", (tmp_path / "secrets" / "ci-runner.token").read_text().strip())
    proven = Who("ci-runner").principal(topology)
    assert (proven.name, proven.groups, proven.robot, proven.how) == ("ci-runner", frozenset({"ci"}), True, "token")
    for name in ("k8s-us", "dev", "nobody"):
        with pytest.raises(Problem) as raised:
            Who(name).principal(topology)
        assert (raised.value.code, raised.value.exit) == ("not-proven", 4)
    monkeypatch.delenv("TOWPATH_TOKEN")
    monkeypatch.setenv("TOWPATH_PASSWORD", (tmp_path / "secrets" / "dev.password").read_text().strip())
    assert Who("dev").principal(topology).how == "password"
    monkeypatch.delenv("TOWPATH_PASSWORD")
    with pytest.raises(Problem, match="no secret"):
        Who("dev").principal(topology)
