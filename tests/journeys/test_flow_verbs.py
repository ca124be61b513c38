"""why, promote --wait, replicate and cleanup at a running deployment, as a person uses them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.journeys.deployment import Deployment
from towpath.exits import Exit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def pushed(deployment: Deployment, image: str, target: str, *, user: str = "ci-runner") -> str:
    said = deployment.towpath("copy", "-o", "json", image, target, user=user)
    return str(json.loads(said.out.splitlines()[-1])["digest"])


def signed(deployment: Deployment, image: str) -> None:
    deployment.towpath("sign", "--key", "secrets/release.key", image, user="ci-runner")


def tags(deployment: Deployment, place: str, *, user: str) -> dict[str, str]:
    said = deployment.towpath("ls", "-o", "json", place, user=user, expect=None)
    return {each["tag"]: each["digest"] for each in map(json.loads, said.out.splitlines())} if said.exit == 0 else {}


def test_why_says_what_is_missing_then_what_would_happen_then_that_nothing_would(
    running: Deployment, image: str
) -> None:
    digest = pushed(running, image, "ci-pool/apps/asked:1")
    said = running.towpath("why", "ci-pool/apps/asked:1", user="ci-runner", expect=4)
    assert "to-prod: ci-pool -> prod" in said.out
    assert "✗ signed" in said.out
    assert "towpath sign ci-pool/apps/asked@" in said.out
    signed(running, "ci-pool/apps/asked:1")
    said = running.towpath("why", "-o", "json", "ci-pool/apps/asked:1", user="ci-runner")
    record = json.loads(said.out)
    assert (record["ending"], record["digest"], record["would_change"]["1"]) == ("planned", digest, None)
    assert tags(running, "prod/apps/asked", user="ci-runner") == {}
    running.towpath("promote", "to-prod", "apps/asked:1", user="ci-runner")
    assert "UNCHANGED" in running.towpath("why", "ci-pool/apps/asked:1", user="ci-runner").out


def test_why_of_what_is_not_there_and_of_a_scope_that_leads_nowhere(running: Deployment) -> None:
    assert "does not exist" in running.towpath("why", "ci-pool/apps/none:1", user="ci-runner", expect=1).out
    assert "no edge leads out of prod" in running.towpath("why", "prod/apps/none:1", user="ci-runner", expect=4).err


def test_promote_wait_stays_until_every_replica_shows_it(running: Deployment, image: str) -> None:
    digest = pushed(running, image, "ci-pool/apps/awaited:1")
    signed(running, "ci-pool/apps/awaited:1")
    said = running.towpath("promote", "--wait", "-o", "json", "to-prod", "apps/awaited:1", user="ci-runner")
    replicas = {each["node"]: each for each in map(json.loads, said.out.splitlines()) if "seconds" in each}
    assert replicas["prod-us"]["objective"] == 30.0
    assert set(replicas) == {"prod-us", "archive-eu"}
    assert tags(running, "prod-us/apps/awaited", user="ci-runner")["1"] == digest


def test_a_scope_written_where_the_edge_says_it(running: Deployment) -> None:
    said = running.towpath("promote", "to-prod", "ci-pool/apps/api:1", user="ci-runner", expect=1)
    assert "leave the scope out: towpath promote to-prod apps/api:1" in said.err


def test_promote_wait_waits_for_a_freeze_to_end(fresh: Deployment, image: str) -> None:
    start = (datetime.now(UTC) - timedelta(minutes=1)).replace(second=0, microsecond=0)
    fresh.up()
    pushed(fresh, image, "ci-pool/apps/frozen:1")
    signed(fresh, "ci-pool/apps/frozen:1")
    lasts = int((datetime.now(UTC) - start).total_seconds()) + 12
    freeze = (
        f"{{name: now, edges: [to-prod], cron: '{start.minute} {start.hour} * * *', for: {lasts}s, reason: nobody}}"
    )
    fresh.file.write_text(fresh.file.read_text() + f"\nfreezes:\n  - {freeze}\n")
    asked = fresh.begin("promote", "--wait", "to-prod", "apps/frozen:1", user="ci-runner")
    out, err = asked.communicate(timeout=120)
    assert asked.returncode == 0, out + err
    assert "waiting   " in err
    assert "nobody" in err
    assert "PROMOTED" in out
    assert "prod-us replicated in" in out


def test_replicate_by_hand_when_the_controller_does_not_run(fresh: Deployment, image: str) -> None:
    fresh.up()
    os.kill(fresh.pids()["control"], signal.SIGKILL)
    digest = pushed(fresh, image, "ci-pool/apps/moved:1")
    signed(fresh, "ci-pool/apps/moved:1")
    said = fresh.towpath("promote", "--wait", "-o", "json", "to-prod", "apps/moved:1", user="ci-runner", expect=5)
    assert said.error["code"] == "not-replicated"
    assert "towpath replicate prod-" in said.error["next"]
    (done,) = replicated(fresh, "prod-everywhere", "apps/moved")
    assert (done["target"], done["problem"]) == ("prod-us", "")
    assert {"1", "stable"} <= set(done["moved"])
    assert done["sent"] > 0
    assert tags(fresh, "prod-us/apps/moved", user="k8s-us")["1"] == digest
    (again,) = replicated(fresh, "prod-everywhere")
    assert (again["moved"], again["sent"]) == ([], 0)


def test_a_primary_that_was_lost_gets_back_what_its_replica_has(fresh: Deployment, image: str) -> None:
    fresh.up()
    for tag in ("1", "2"):
        digest = pushed(fresh, image, f"ci-pool/apps/lost:{tag}")
        signed(fresh, f"ci-pool/apps/lost:{tag}")
        fresh.towpath("promote", "--wait", "to-prod", f"apps/lost:{tag}", user="ci-runner")
    had = tags(fresh, "prod-us/apps/lost", user="k8s-us")
    assert had.keys() >= {"1", "2", "stable"}
    fresh.towpath("down")
    shutil.rmtree(fresh.state / "nodes" / "prod-eu")
    fresh.up()
    os.kill(fresh.pids()["control"], signal.SIGKILL)
    assert tags(fresh, "prod/apps/lost", user="ci-runner") == {}
    fresh.towpath("promote", "to-prod", "apps/lost:1", user="ci-runner")
    said = fresh.towpath("replicate", "prod-everywhere", "apps/lost", expect=None)
    assert said.exit in (Exit.FAILED, Exit.SOME_SITES_FAILED)
    assert "it was emptied or restored" in said.out
    assert tags(fresh, "prod-us/apps/lost", user="k8s-us") == had
    (given,) = replicated(fresh, "prod-everywhere", "apps/lost", "--from", "prod-us")
    assert (given["target"], given["problem"]) == ("prod-eu", "")
    assert tags(fresh, "prod/apps/lost", user="ci-runner")["2"] == digest
    assert tags(fresh, "prod/apps/lost", user="ci-runner") == had
    assert [each["problem"] for each in replicated(fresh, "prod-everywhere", "apps/lost")] == [""]


def replicated(deployment: Deployment, *words: str) -> list[dict[str, object]]:
    """Its results; what it tells on the way has an ``event``."""
    records = map(json.loads, deployment.towpath("replicate", "-o", "json", *words).out.splitlines())
    return [each for each in records if "event" not in each]


def test_replicate_wrong_names(running: Deployment) -> None:
    assert running.towpath("replicate", "-o", "json", "nope", expect=2).error["code"] == "unknown-name"
    said = running.towpath("replicate", "-o", "json", "prod-everywhere", "apps/misspelt", expect=1)
    assert said.error["code"] == "name-unknown"
    said = running.towpath("replicate", "-o", "json", "prod-everywhere", "--from", "prod-eu", expect=2)
    assert (said.error["code"], "its targets: prod-us" in said.error["next"]) == ("unknown-name", True)


def test_cleanup_says_first_and_then_does_just_that(fresh: Deployment, image: str) -> None:
    fresh.file.write_text(fresh.file.read_text().replace("pushedWithin: 3d", "pushedWithin: 20s"))
    fresh.up()
    pushed(fresh, image, "sandbox/apps/old:1", user="dev")
    pushed(fresh, image, "sandbox/apps/old:2", user="dev")
    time.sleep(21)
    pushed(fresh, image, "sandbox/apps/old:2", user="dev")
    pushed(fresh, image, "sandbox/apps/old:3", user="dev")
    foreseen = fresh.towpath("cleanup", "sandbox", "--dry-run", "-o", "json")
    going = [json.loads(line) for line in foreseen.out.splitlines()]
    assert "1" in {each["tag"] for each in going}
    assert set(tags(fresh, "sandbox/apps/old", user="dev")) == {"1", "2", "3"}
    removed = fresh.towpath("cleanup", "sandbox", "--confirm", "-o", "json")
    assert {json.loads(line)["tag"] for line in removed.out.splitlines()} == {each["tag"] for each in going}
    left = set(tags(fresh, "sandbox/apps/old", user="dev"))
    assert left == {"1", "2", "3"} - {each["tag"] for each in going}
    assert "3" in left


def test_cleanup_wrong_names(running: Deployment) -> None:
    assert running.towpath("cleanup", "-o", "json", "nope", expect=2).error["code"] == "unknown-name"
    assert running.towpath("cleanup", "-o", "json", "prod", expect=4).error["code"] == "no-cleanup"
