"""A node's settings from the topology: what each node is told, and that nothing of the topology is pasted in as text."""

from __future__ import annotations

from pathlib import Path

import pytest

from identity.grants import Action, WritePolicy
from registry_node.settings import NodeSettings, Rate, RateLimits, Tls
from sites.hosts import HostErrors
from sites.settings.addresses import Address, loopback_addresses
from sites.settings.credentials import ENGINE, engine_user, users_of
from sites.settings.node_settings import Placement, settings_of
from topology.load import loads
from topology.model import RateLimits as DeclaredLimits
from topology.model import Topology

QUICKSTART = Path(__file__).resolve().parents[3] / "examples" / "quickstart" / "topology.yaml"
BCRYPT = "$2b$10$" + "a" * 53


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "dev.bcrypt").write_text(f"{BCRYPT}\n")
    for robot in ("ci-runner", "k8s-eu", "k8s-us"):
        (tmp_path / "secrets" / f"{robot}.token").write_text(f"token-of-{robot}-long-enough\n")
    return tmp_path


def topology(base: Path, *changes: tuple[str, str]) -> Topology:
    text = QUICKSTART.read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    loaded = loads(text, base=base)
    assert loaded.topology is not None, loaded.findings
    return loaded.topology


def told(declared: Topology, node: str) -> NodeSettings:
    users = {**users_of(declared), **engine_user("the engine's own token")}
    return settings_of(declared, node, Placement(loopback_addresses(declared)[node], Path("/data") / node, users))


def test_sites_are_loopback_addresses_and_ports_stay(base: Path) -> None:
    found = loopback_addresses(topology(base))
    assert found["prod-eu"] == Address("127.0.1.1", 5003)
    assert found["prod-us"] == Address("127.0.2.1", 5003)
    assert found["prod-us"].url == "http://127.0.2.1:5003"


def test_certificate_and_key_where_the_host_has_them(base: Path) -> None:
    declared = topology(base)
    address, users = loopback_addresses(declared)["prod-eu"], users_of(declared)
    tls = Tls(certificate=Path('/etc/towpath/a "b".crt'), key=Path("/etc/towpath/tls.key"))
    assert settings_of(declared, "prod-eu", Placement(address, Path("/data"), users, tls)).tls == tls
    assert told(declared, "prod-eu").tls is None


def test_a_node_knows_its_scope_and_its_users_hashes(base: Path) -> None:
    found = told(topology(base), "ci-pool-eu")
    assert (found.node, found.scope, found.site) == ("ci-pool-eu", "ci-pool", "eu")
    assert (found.listen.host, found.listen.port) == ("127.0.1.1", 5002)
    assert found.users["dev"].password_bcrypt == BCRYPT
    assert found.users["dev"].groups == ("devs",)
    assert found.users["ci-runner"].robot
    assert "token-of" not in found.model_dump_json()
    assert "the engine's" not in found.model_dump_json()


def test_grants_hold_at_their_sites_alone(base: Path) -> None:
    eu, us = ({each.to for each in told(topology(base), node).grants} for node in ("prod-eu", "prod-us"))
    assert "prod-eu-pullers" in eu - us
    assert "prod-us-pullers" in us - eu


def test_the_engine_may_do_everything_everywhere(base: Path) -> None:
    declared = topology(base)
    for node in loopback_addresses(declared):
        (grant,) = (each for each in told(declared, node).grants if each.to == ENGINE)
        assert set(grant.allow) == set(Action)
        assert told(declared, node).users[ENGINE].robot


def test_rules_of_the_scope_reach_the_node(base: Path) -> None:
    found = told(topology(base), "prod-eu").rules
    assert found.write is WritePolicy.PROMOTION_ONLY
    assert found.immutable_tags == ("v*",)


def test_a_replica_of_an_open_scope_takes_no_pushes(base: Path) -> None:
    us = "prod-us:    {kind: local, scope: prod, role: replica"
    declared = topology(
        base, (us, "prod-us:    {kind: local, scope: sandbox, role: replica"), ("to: [prod-us]", "to: [archive-eu]")
    )
    assert told(declared, "prod-us").rules.write is WritePolicy.REPLICATION_ONLY


def test_text_that_looks_like_a_template_or_json_stays_text(base: Path) -> None:
    hostile = '\'{{ 7 * 7 }}", "write": "open\''
    declared = topology(base, ("immutableTags: ['v*']", f"immutableTags: [{hostile}]"))
    found = told(declared, "prod-eu").rules
    assert found.immutable_tags == (hostile.strip("'"),)
    assert found.write is WritePolicy.PROMOTION_ONLY


def test_all_missing_and_unusable_secrets_are_said_at_once(base: Path) -> None:
    (base / "secrets" / "dev.bcrypt").write_text("hunter2")
    (base / "secrets" / "k8s-eu.token").unlink()
    (base / "secrets" / "k8s-us.token").write_text("short")
    with pytest.raises(HostErrors) as raised:
        users_of(topology(base))
    assert [each.code for each in raised.value.errors] == ["not-a-bcrypt-hash", "secret-missing", "token-too-short"]
    assert "hunter2" not in str(raised.value)


def test_the_engines_name_is_taken(base: Path) -> None:
    declared = topology(
        base,
        ("  k8s-eu: {robot", f"  {ENGINE}: {{robot: true, token: {{file: secrets/k8s-eu.token}}}}\n  k8s-eu: {{robot"),
    )
    with pytest.raises(HostErrors, match="engine"):
        users_of(declared)


def test_rate_limits_of_a_scope_or_of_its_node_instead(base: Path) -> None:
    limits = "rateLimits: {perIdentity: {rate: 30/m, burst: 10}, failedLogins: {rate: 36/h, burst: 5}}"
    declared = topology(base, ("  ci-pool:\n", f"  ci-pool:\n    {limits}\n"))
    found = told(declared, "ci-pool-eu").rate_limits
    assert found.identity is not None and found.failed_logins is not None
    assert (found.identity.per_second, found.identity.burst, found.address) == (0.5, 10, None)
    assert found.failed_logins.per_second == pytest.approx(0.01)
    assert told(declared, "prod-eu").rate_limits == RateLimits()
    node = declared.nodes["ci-pool-eu"].model_copy(
        update={"rate_limits": DeclaredLimits.model_validate({"perAddress": {"rate": "9/s", "burst": 9}})}
    )
    instead = told(declared.model_copy(update={"nodes": {**declared.nodes, "ci-pool-eu": node}}), "ci-pool-eu")
    assert instead.rate_limits == RateLimits(address=Rate(per_second=9, burst=9))
