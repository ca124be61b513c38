"""What goes wrong says what, where, why and what next, with the right exit status, and leaves nothing half done."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.journeys.deployment import Deployment, command_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def push(deployment: Deployment, image: str, target: str) -> str:
    said = deployment.towpath("copy", "-o", "json", image, target, user="ci-runner")
    return str(json.loads(said.out.splitlines()[-1])["digest"])


def living(deployment: Deployment) -> list[str]:
    return [name for name, pid in deployment.pids().items() if str(deployment.folder) in command_of(pid)]


# Before anything starts


BROKEN = {
    "syntax": ("groups:\n", "groups: {\n"),
    "unknown scope": ("scope: prod, role: primary", "scope: prodd, role: primary"),
    "a cycle": (
        "  - {id: to-prod,",
        "  - {id: back, from: prod, to: ci-pool, by: [ci], gates: [signed]}\n  - {id: to-prod,",
    ),
    "a secret inline": ("token: {file: secrets/ci-runner.token}", "token: hunter2hunter2hunter2"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_topology_starts_nothing(fresh: Deployment, name: str) -> None:
    before, after = BROKEN[name]
    text = fresh.file.read_text()
    assert before in text
    fresh.file.write_text(text.replace(before, after))
    said = fresh.towpath("up", "--detach", "--create-secrets", expect=2)
    assert "topology.yaml:" in said.err
    assert "nothing was started" in said.err
    assert "hunter2" not in said.err + said.out
    assert not fresh.state.exists()
    assert not (fresh.folder / "secrets").exists()


def test_every_finding_is_said_at_once(fresh: Deployment) -> None:
    text = fresh.file.read_text()
    fresh.file.write_text(
        text.replace("scope: archive,", "scope: archiv,").replace("gates: [signed]", "gates: [signd]")
    )
    said = fresh.towpath("up", "--detach", "-o", "json", expect=2)
    findings = said.error["findings"]
    assert {"archiv", "signd"} <= {word for each in findings for word in each["message"].replace("`", " ").split()}


def test_missing_secrets_are_all_named(fresh: Deployment) -> None:
    said = fresh.towpath("up", "--detach", expect=2)
    for name in ("dev.bcrypt", "ci-runner.token", "k8s-us.token", "release.pub"):
        assert name in said.err
    assert not fresh.state.exists()


def test_no_topology_at_all(tmp_path: Path, fresh: Deployment) -> None:
    said = fresh.towpath("up", "-o", "json", "-f", str(tmp_path / "none.yaml"), expect=2)
    assert said.error["code"] == "no-topology"


# While it starts


def test_a_port_in_use_names_who_has_it(fresh: Deployment) -> None:
    port = int(fresh.file.read_text().partition("prod-us:")[2].partition("port: ")[2].partition("}")[0])
    with socket.socket() as taken:
        taken.bind(("127.0.2.1", port))
        taken.listen()
        said = fresh.towpath("up", "--detach", "--create-secrets", "-o", "json", expect=1)
    assert said.error["code"] == "port-in-use"
    assert f"127.0.2.1:{port}" in said.error["what"]
    assert "prod-us" in said.error["where"]
    assert "process" in said.error["why"]
    assert living(fresh) == []


def test_a_port_that_another_topology_s_node_has_names_that_node(running: Deployment, tmp_path: Path) -> None:
    second = tmp_path / "second folder"
    shutil.copytree(running.folder, second, ignore=shutil.ignore_patterns(".towpath"))
    said = running.towpath("up", "--detach", "-f", str(second / "topology.yaml"), expect=1)
    assert f"another topology's node, {running.state}/nodes/" in said.err
    assert "(process " in said.err


def test_the_state_folder_of_another_topology_is_refused(fresh: Deployment) -> None:
    other = fresh.folder / "other-state"
    other.mkdir()
    (other / "topology.json").write_text(json.dumps({"name": "acme", "file": "acme.yaml"}))
    said = fresh.towpath("up", "--detach", "--create-secrets", "--state", str(other), "-o", "json", expect=2)
    assert said.error["code"] == "state-of-another-topology"
    assert "acme" in said.error["what"]
    assert [each.name for each in other.iterdir()] == ["topology.json"]


def test_a_folder_with_something_else_in_it_is_refused(fresh: Deployment) -> None:
    other = fresh.folder / "mine"
    other.mkdir()
    (other / "thesis.txt").write_text("chapter one")
    said = fresh.towpath("up", "--detach", "--create-secrets", "--state", str(other), "-o", "json", expect=2)
    assert said.error["code"] == "not-a-state-folder"
    assert [each.name for each in other.iterdir()] == ["thesis.txt"]


def test_a_corrupt_database_stops_the_start_and_says_which(fresh: Deployment) -> None:
    fresh.up()
    fresh.towpath("down")
    data = fresh.state / "nodes" / "prod-eu" / "data"
    index = next(each for each in data.rglob("*.db") if each.is_file())
    for beside in index.parent.glob(f"{index.name}-*"):
        beside.unlink()
    content = index.read_bytes()
    index.write_bytes(content[:512] + b"\xff" * 4096 + content[4608:])
    said = fresh.towpath("up", "--detach", "-o", "json", expect=1)
    assert said.error["code"] == "node-died"
    assert "prod-eu" in said.error["what"]
    assert index.name in said.error["why"]
    assert living(fresh) == []


# While it runs


def test_a_wrong_secret_is_refused(running: Deployment, image: str) -> None:
    wrong = {**running.environment("dev"), "TOWPATH_TOKEN": "not-the-password-of-dev"}
    running.environment = lambda user="": wrong  # type: ignore[method-assign] # for these two commands
    try:
        asked = running.towpath("promote", "-o", "json", "to-prod", "apps/wrong:1", expect=4)
        pushed = running.towpath("copy", "-o", "json", image, "sandbox/apps/wrong:1", expect=4)
    finally:
        del running.environment
    assert asked.error["code"] == "not-proven"
    assert pushed.error["code"] in ("unauthorized", "denied")


def test_a_wrong_key_is_refused_at_the_gate(running: Deployment, image: str) -> None:
    from promotions.keys import generate

    private, _ = generate(b"")
    stranger = running.folder / "stranger.key"
    stranger.write_bytes(private)
    push(running, image, "ci-pool/apps/stranger:1")
    running.towpath("sign", "--key", str(stranger), "ci-pool/apps/stranger:1", user="ci-runner")
    said = running.towpath("promote", "-o", "json", "to-prod", "apps/stranger:1", user="ci-runner", expect=4)
    assert said.error["code"] == "gate-refused"
    assert "signed" in said.error["what"]
    assert tags_in_prod(running, "apps/stranger") == []


def test_a_key_that_is_none(running: Deployment) -> None:
    broken = running.folder / "broken.key"
    broken.write_text("-----BEGIN NOTHING-----\n")
    said = running.towpath("sign", "-o", "json", "--key", str(broken), "ci-pool/apps/any:1", user="ci-runner", expect=2)
    assert said.error["code"] == "key-invalid"


def test_a_source_tag_that_does_not_exist(running: Deployment) -> None:
    said = running.towpath("promote", "-o", "json", "to-prod", "apps/none:9.9", user="ci-runner", expect=1)
    assert said.error["code"] == "source-unknown"
    assert "ci-pool/apps/none:9.9" in said.error["what"]
    assert said.error["next"]


def test_no_edge(running: Deployment) -> None:
    words = ("promote", "-o", "json", "--from", "sandbox", "--to", "prod", "apps/api:1")
    said = running.towpath(*words, user="dev", expect=4)
    assert said.error["code"] == "no-edge"
    assert "no edge leads from sandbox to prod" in said.error["what"]
    assert "ci-pool" in said.error["next"]


def test_somebody_who_may_not_ask(running: Deployment, image: str) -> None:
    push(running, image, "ci-pool/apps/mine:1")
    said = running.towpath("promote", "-o", "json", "to-prod", "apps/mine:1", user="dev", expect=4)
    assert said.error["code"] == "not-allowed"
    anonymous = running.towpath("promote", "-o", "json", "to-prod", "apps/mine:1", expect=4)
    assert anonymous.error["code"] == "not-allowed"


def test_a_push_straight_to_prod_says_how_images_get_there(running: Deployment, image: str) -> None:
    said = running.towpath("copy", "-o", "json", image, "prod/apps/direct:1", user="ci-runner", expect=4)
    assert "promotion" in said.error["what"]


def test_a_layer_missing_at_the_source(running: Deployment, image: str) -> None:
    layout = Path(image.removeprefix("oci:").rpartition(":")[0])
    damaged = running.folder / "damaged"
    shutil.copytree(layout, damaged)
    layers = sorted((damaged / "blobs" / "sha256").iterdir(), key=lambda each: each.stat().st_size)
    layers[-1].unlink()
    said = running.towpath(
        "copy", "-o", "json", f"oci:{damaged}:1.0", "ci-pool/apps/damaged:1", user="ci-runner", expect=8
    )
    assert said.error["code"] == "source-incomplete"
    assert layers[-1].name in said.error["what"]
    gone = running.towpath("inspect", "-o", "json", "ci-pool/apps/damaged:1", user="ci-runner", expect=1)
    assert gone.error["code"] in ("manifest-unknown", "name-unknown")


def test_an_unreachable_node(fresh: Deployment, image: str) -> None:
    fresh.up()
    digest = push(fresh, image, "ci-pool/apps/api:1")
    fresh.towpath("sign", "--key", "secrets/release.key", "ci-pool/apps/api:1", user="ci-runner")
    fresh.towpath("down", "--node", "prod-eu")
    said = fresh.towpath("promote", "-o", "json", "to-prod", "apps/api:1", user="ci-runner", expect=1)
    assert fresh.address("prod-eu") in said.error["what"]
    assert said.error["next"]
    assert fresh.towpath("status", expect=7).out.count("stopped") == 1
    fresh.towpath("up", "--detach")
    done = fresh.towpath("promote", "-o", "json", "to-prod", "apps/api:1", user="ci-runner")
    assert json.loads(done.out.splitlines()[-1])["digest"] == digest


def test_ctrl_c_in_mid_copy_tags_nothing_and_the_same_command_goes_on(running: Deployment, tmp_path: Path) -> None:
    import image as made

    big = tmp_path / "big"
    digest = made.make(big, version="1.0", created="2026-01-01T00:00:00Z", mib=48)
    target = "ci-pool/apps/big:1.0"
    copying = running.begin("copy", "-o", "json", f"oci:{big}:1.0", target, user="ci-runner")
    data = running.state / "nodes" / "ci-pool-eu" / "data"
    wait_until(lambda: any(size > 5 * 2**20 for size in sizes_of(data)) or copying.poll() is not None)
    copying.send_signal(signal.SIGINT)
    _, err = copying.communicate(timeout=60)
    assert copying.returncode == 130, err
    assert json.loads(err.strip().splitlines()[-1])["error"]["code"] == "interrupted"
    running.towpath("inspect", "-o", "json", target, user="ci-runner", expect=1)
    again = running.towpath("copy", "-o", "json", f"oci:{big}:1.0", target, user="ci-runner")
    assert json.loads(again.out.splitlines()[-1])["digest"] == digest


def test_ctrl_c_stops_a_deployment_in_good_order_and_up_resumes_it(fresh: Deployment, image: str) -> None:
    foreground = fresh.begin("up", "--create-secrets")
    wait_until(lambda: len(living(fresh)) == 6 and ready(fresh), seconds=120)
    digest = push(fresh, image, "ci-pool/apps/kept:1")
    foreground.send_signal(signal.SIGINT)
    _, err = foreground.communicate(timeout=60)
    assert foreground.returncode == 130, err
    assert living(fresh) == []
    fresh.towpath("up", "--detach")
    found = fresh.towpath("inspect", "-o", "json", "ci-pool/apps/kept:1", user="ci-runner")
    assert json.loads(found.out)["digest"] == digest


def ready(deployment: Deployment) -> bool:
    said = deployment.towpath("status", "-o", "json", expect=None)
    return said.exit == 0 and (deployment.state / "control.ready").exists()


def tags_in_prod(deployment: Deployment, repository: str) -> list[str]:
    said = deployment.towpath("ls", "-o", "json", f"prod/{repository}", user="ci-runner", expect=None)
    return [json.loads(line)["tag"] for line in said.out.splitlines()] if said.exit == 0 else []


def sizes_of(folder: Path) -> list[int]:
    """Bytes of every file; one that goes away meanwhile is left out."""
    found = []
    for each in folder.rglob("*"):
        with suppress(FileNotFoundError):
            found.append(each.stat().st_size if each.is_file() else 0)
    return found


def wait_until(true: object, seconds: float = 60) -> None:
    assert callable(true)
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
