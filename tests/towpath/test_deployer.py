"""plan, apply, drift, destroy and unlock as people and programs use them, over hosts in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sites.hosts import HostError
from sites.rollout.contents import Content
from sites.rollout.rolling import HostResult, Outcome
from sites.rollout.ssh import Lock
from tests.sites import deployed
from tests.towpath.hosts import Hosts, Killed, Operator, Said, operator
from towpath.exits import Exit
from towpath.output import Output
from towpath.plan_shown import told

CI = "  ci-2: {kind: local, scope: ci, site: eu, host: eu-2, port: 5002}\n"
ONE_NODE = "  sandbox-2: {kind: local, scope: sandbox, role: replica, site: eu, host: eu-2, port: 5001}\n"
CI_SCOPE = (
    "  ci: {class: ci, grants: [{to: robot, allow: [pull, push]}], cleanup: {every: 1h, keep: [{pushedWithin: 3d}]}}\n"
)
THIRD = "  sandbox-3: {kind: local, scope: sandbox, role: replica, site: eu, host: eu-2, port: 5003}\n"
OF_EU_2 = deployed.TOPOLOGY[deployed.TOPOLOGY.index(ONE_NODE) :]


@pytest.fixture
def us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Operator:
    """Applied once."""
    made = operator(tmp_path, monkeypatch, capsys)
    made.towpath("apply")
    return made


def leave_eu_2(us: Operator) -> None:
    us.edit(OF_EU_2, "")
    us.edit(CI_SCOPE, "")


# -- names


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (("--remove", "all-3"), "node-unknown", "did you mean `all-2`?"),
        (("--remove-protected", "sandbox-22"), "node-unknown", "did you mean `sandbox-2`?"),
        (("--remove", "nobody"), "node-unknown", "look at towpath plan"),
        (("--forget", "eu-3"), "host-unknown", "did you mean `eu-2`?"),
        (("--remove", "sandbox-1"), "node-not-left", None),
        (("--forget", "eu-1"), "host-not-left", None),
    ],
)
def test_a_name_that_does_not_leave_is_refused(us: Operator, words: tuple[str, ...], code: str, hint: str) -> None:
    leave_eu_2(us)
    before, changes = us.remembered, us.hosts.changes
    for more in ((), ("--dry-run",)):
        error = us.towpath("apply", *words, *more, expect=Exit.USAGE).error
        assert error["code"] == code
        if hint:
            assert hint in error["next"]
        if code == "node-unknown":
            assert "all-2, ci-2, hub-2, sandbox-2" in error["why"]
    assert (us.remembered, us.hosts.changes) == (before, changes)


def test_a_command_that_named_a_node_is_given_again_after_it_left(us: Operator) -> None:
    us.hosts.holds["sandbox-2"] = Content(1, 1, 1, 1, 1)
    leave_eu_2(us)
    assert us.towpath("apply", expect=Exit.REFUSED).error["code"] == "removal-not-empty"
    us.towpath("apply", "--remove", "sandbox-2")
    us.towpath("apply", "--remove", "sandbox-2")
    assert us.towpath("apply", "--remove", "sandbox-9", expect=Exit.USAGE).error["code"] == "node-unknown"


def test_images_without_a_tag_are_content(us: Operator) -> None:
    us.hosts.holds["sandbox-2"] = Content(repositories=1, manifests=3, rare=2)
    leave_eu_2(us)
    (row,) = [each for each in us.towpath("plan").of("row") if each["node"] == "sandbox-2"]
    assert row["change"].endswith("holds 0 tags, none without another copy; 3 manifests in all, 2 without another copy")
    assert us.towpath("apply", expect=Exit.REFUSED).error["code"] == "removal-not-empty"


# -- what is remembered


def test_to_forget_counts_only_when_the_run_goes_on(us: Operator) -> None:
    leave_eu_2(us)
    us.edit("2TiB", "3TiB")
    us.hosts.down["eu-2"] = "host-unreachable"
    us.towpath("apply", "--forget", "eu-2", "--dry-run")
    us.towpath("apply", "--forget", "eu-2", "--remove", "nobody", expect=Exit.USAGE)
    us.hosts.locks["eu-1"] = {"id": "other", "owner": "ann"}
    assert us.towpath("apply", "--forget", "eu-2", expect=Exit.CONFLICT).error["code"] == "host-locked"
    assert "eu-2" in us.remembered, "nothing of these runs went on"
    us.hosts.locks.clear()
    said = us.towpath("apply", "--forget", "eu-2")
    assert [each["host"] for each in said.of("forgotten")] == ["eu-2"]
    assert (list(us.remembered), said.results) == (["eu-1"], {"eu-1": "done"})


def test_a_host_that_left_is_remembered_until_its_trash_is_empty(us: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_eu_2(us)
    us.towpath("apply")
    assert us.remembered["eu-2"]["nodes"] == {}
    assert {name.rpartition("-")[0] for name in us.remembered["eu-2"]["trash"]} == {
        "all-2",
        "ci-2",
        "hub-2",
        "sandbox-2",
    }
    us.hosts.asked.clear()
    us.hosts.down["eu-2"] = "host-unreachable"
    kept = us.towpath("plan", "--detailed-exitcode").of("row")
    assert {(row["host"], row["sign"], row["operation"]) for row in kept} == {("eu-2", "=", "trash")}
    assert us.towpath("apply").results == {"eu-1": "unchanged"}
    assert "eu-2" not in us.hosts.asked, "there is nothing to do there, so nobody waits for it"
    over = {name: {"until": 1.0} for name in us.hosts.trash["eu-2"]}
    us.hosts.trash["eu-2"] = over
    state = us.remembered
    state["eu-2"]["trash"] = dict.fromkeys(over, 1.0)
    (us.folder / ".towpath" / "hosts.json").write_text(json.dumps(state))
    silent = us.towpath("apply", expect=Exit.SOME_SITES_FAILED)
    assert silent.results == {"eu-1": "unchanged", "eu-2": "not asked"}
    assert "towpath apply --forget eu-2" in silent.of("result")[-1]["next"]
    us.hosts.down.clear()
    gone = us.towpath("apply")
    assert [row["sign"] for row in gone.of("row")] == ["-"] * 4
    assert (us.hosts.trash["eu-2"], list(us.remembered)) == ({}, ["eu-1"])
    assert us.towpath("plan").of("row") == []


# -- what programs read


def test_a_plan_ends_with_its_counts_and_a_summary(us: Operator) -> None:
    us.edit("2TiB", "3TiB")
    said = us.towpath("plan", "--detailed-exitcode", expect=Exit.CHANGES)
    (row, _) = said.of("row")
    assert row.keys() == {
        *("type", "site", "host", "sign", "node", "operation", "change", "place", "commands", "diff"),
    }
    assert (row["sign"], row["node"], row["change"]) == ("~", "sandbox-1", "2 TiB -> 3 TiB")
    assert row["place"].endswith(":17")
    assert said.of("planned") == [{"type": "planned", "add": 0, "change": 2, "destroy": 0, "unchanged": 3}]
    assert said.lines[-1] == {"type": "summary", "verb": "plan", "exit": 3, "pending": True, "saved": None}
    assert said.errors == []


def test_apply_says_what_became_of_each_host(us: Operator) -> None:
    us.edit("2TiB", "3TiB")
    dry = us.towpath("apply", "--dry-run")
    assert dry.lines[-1] == {"type": "summary", "verb": "apply", "exit": 0, "dryRun": True}
    us.hosts.deaf = {"eu-1"}
    failed = us.towpath("apply", expect=Exit.SOME_SITES_FAILED)
    assert failed.lines[-1] == {"type": "summary", "verb": "apply", "exit": 7}
    results = {each["host"]: each for each in failed.of("result")}
    assert set(results) == {"eu-1", "eu-2"}
    for each in results.values():
        assert each.keys() == {"type", "host", "site", "outcome", "code", "what", "where", "why", "next"}
        assert each["next"], "each that is not done says what to do"
    codes = {each["outcome"]: each["code"] for each in results.values()}
    assert "host-change-failed" in codes.values()
    us.hosts.deaf.clear()
    assert set(us.towpath("apply").results.values()) <= {"done", "unchanged"}
    again = us.towpath("apply")
    assert again.results == {"eu-1": "unchanged", "eu-2": "unchanged"}
    assert again.lines[-1] == {"type": "summary", "verb": "apply", "exit": 0}


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("next", [None, "", "see that it runs"])
def test_each_host_that_is_not_done_says_what_to_do(
    outcome: Outcome, next: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    error = None if next is None else HostError("host-lost", "host eu-1 stopped answering", next=next)
    exit = told([HostResult("eu-1", "eu", outcome, error)], Output(json=True), "Done.")
    line = json.loads(capsys.readouterr().out)
    assert exit == (Exit.SOME_SITES_FAILED if error else Exit.DONE)
    assert bool(line["next"]) == (error is not None or outcome is Outcome.NOT_REACHED)
    assert line["next"] == next or not next


def test_errors_are_json_on_stderr_and_no_summary_follows(us: Operator) -> None:
    us.hosts.down = {"eu-1": "host-unreachable", "eu-2": "sudo-refused"}
    for verb in ("plan", "apply"):
        said = us.towpath(verb, expect=Exit.FAILED)
        assert (said.lines, [each["error"]["code"] for each in said.errors]) == (
            [],
            ["host-unreachable", "sudo-refused"],
        )


def test_drift_counts_what_it_shows(us: Operator) -> None:
    clean = us.towpath("drift")
    assert clean.lines == [
        {"type": "summary", "verb": "drift", "exit": 0, "differences": 0, "neverApplied": [], "recordLost": []}
    ]
    del us.hosts.there["eu-2"]
    assert us.towpath("drift").lines[-1]["neverApplied"] == ["eu-2"]


def test_unlock_says_who_holds_each_host(us: Operator) -> None:
    us.hosts.targets = {"eu-1": None, "eu-2": None}
    us.hosts.locks["eu-2"] = {"id": "other", "owner": "ann"}
    said = us.towpath("unlock", "mine", expect=Exit.CONFLICT)
    assert said.lines == [
        {"type": "lock", "host": "eu-1", "held": None},
        {"type": "lock", "host": "eu-2", "held": {"id": "other", "owner": "ann"}},
        {"type": "summary", "verb": "unlock", "exit": 6},
    ]
    assert us.towpath("unlock", "other").lines[-1]["exit"] == 0


def test_status_says_why_a_host_does_not_answer(us: Operator) -> None:
    us.hosts.down["eu-2"] = "host-unreachable"
    said = us.towpath("status", expect=Exit.SOME_SITES_FAILED)
    states = {each["node"]: (each["state"], each["why"]) for each in said.lines}
    assert states["sandbox-1"] == ("active", None)
    assert states["ci-2"] == ("host-unreachable", "host eu-2 cannot be reached")


def added(said: Said) -> list[dict[str, Any]]:
    return [each for each in said.of("row") if (each["sign"], each["operation"]) == ("+", "node")]


def test_a_size_that_takes_too_long_is_said_in_the_row(us: Operator) -> None:
    us.edit("  hub-2:", f"{THIRD}  hub-2:")
    us.edit("to: [sandbox-2]", "to: [sandbox-2, sandbox-3]")
    (row,) = added(us.towpath("plan"))
    assert row["change"] == "local of sandbox, port 5003, needs 1 GiB, 512 GiB free"
    us.hosts.slow = True
    said = us.towpath("plan")
    (row,) = added(said)
    assert row["change"] == "local of sandbox, port 5003, size unknown (did not answer in 5 s), 512 GiB free"
    assert said.of("warning") == []


# -- destroy


def destroyed(us: Operator, *words: str, expect: Exit = Exit.DONE) -> dict[str, str]:
    return us.towpath("destroy", "deployed", "--yes", *words, expect=expect).results


def test_destroy_says_what_became_of_each_host(us: Operator) -> None:
    said = us.towpath("destroy", "deployed", "--yes")
    assert said.results == {"eu-1": "done", "eu-2": "done"}
    assert said.lines[-1] == {"type": "summary", "verb": "destroy", "exit": 0}
    assert {row["node"] for row in said.of("row") if row["operation"] == "node"} == {
        "sandbox-1",
        "sandbox-2",
        "ci-2",
        "hub-2",
        "all-2",
    }
    assert us.hosts.there == {}
    assert destroyed(us) == {"eu-1": "unchanged", "eu-2": "unchanged"}


def test_destroy_with_a_host_that_is_down_does_the_others_and_goes_on_later(us: Operator) -> None:
    us.hosts.down["eu-2"] = "host-unreachable"
    assert destroyed(us, expect=Exit.SOME_SITES_FAILED) == {"eu-1": "done", "eu-2": "not asked"}
    assert (list(us.hosts.there), set(us.remembered["eu-2"]["nodes"])) == (
        ["eu-2"],
        {"sandbox-2", "ci-2", "hub-2", "all-2"},
    )
    assert destroyed(us, expect=Exit.SOME_SITES_FAILED) == {"eu-1": "unchanged", "eu-2": "not asked"}
    us.hosts.down.clear()
    assert destroyed(us) == {"eu-1": "unchanged", "eu-2": "done"}
    assert us.hosts.there == {}


def test_destroy_does_nothing_by_what_it_saw_before_the_lock(us: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    take_lock = Hosts.take_lock

    async def then_silent(self: Hosts, host: str, told: Mapping[str, Any]) -> Lock | dict[str, Any]:
        self.down = {"eu-2": "host-unreachable"}
        return await take_lock(self, host, told)

    monkeypatch.setattr(Hosts, "take_lock", then_silent)
    assert destroyed(us, expect=Exit.SOME_SITES_FAILED) == {"eu-1": "done", "eu-2": "not asked"}
    assert (list(us.hosts.there), list(us.remembered)) == (["eu-2"], ["eu-1", "eu-2"])


def test_destroy_says_in_words_what_to_do_at_each_host(us: Operator) -> None:
    us.hosts.down["eu-2"] = "host-unreachable"
    exit, _, err = us.in_words("destroy", "deployed", "--yes")
    assert exit == Exit.SOME_SITES_FAILED
    assert "eu-2 was not asked, and its nodes may still run there: host eu-2 cannot be reached" in err
    assert "bring it back and run the same command again" in err


def test_destroy_of_a_host_that_takes_no_change_names_it(us: Operator) -> None:
    us.hosts.deaf = {"eu-2"}
    assert destroyed(us, expect=Exit.SOME_SITES_FAILED) == {"eu-1": "done", "eu-2": "failed"}
    us.hosts.deaf.clear()
    assert destroyed(us) == {"eu-1": "unchanged", "eu-2": "done"}


def test_a_node_that_is_protected_on_a_host_that_is_down_is_protected_all_the_same(us: Operator) -> None:
    us.edit(CI, CI.replace("}\n", ", protect: true}\n"))
    us.towpath("apply")
    us.hosts.down["eu-2"] = "host-unreachable"
    error = us.towpath("destroy", "deployed", "--yes", expect=Exit.REFUSED).error
    assert (error["code"], error["what"]) == (
        "removal-protected",
        "node ci-2 is protected and was not removed; nothing was changed",
    )
    assert "eu-1" in us.hosts.there


@pytest.mark.parametrize("at", [1, 2, 7, 20, 33])
def test_destroy_that_was_killed_anywhere_is_ended_by_the_same_command(us: Operator, at: int) -> None:
    begun = us.hosts.changes
    us.hosts.kill_at = begun + at
    with pytest.raises(Killed):
        us.towpath("destroy", "deployed", "--yes")
    us.capture.readouterr()
    us.hosts.kill_at = 0
    error = us.towpath("destroy", "deployed", "--yes", expect=Exit.CONFLICT).errors[0]["error"]
    assert error["code"] == "host-locked"
    us.hosts.targets = {"eu-1": None, "eu-2": None}
    us.towpath("unlock", error["next"].rsplit(" ", 1)[1])
    assert set(destroyed(us).values()) <= {"done", "unchanged"}
    assert us.hosts.there == {}
    nodes = {name.rpartition("-")[0] for trash in us.hosts.trash.values() for name in trash}
    assert nodes == {"sandbox-1", "sandbox-2", "ci-2", "hub-2", "all-2"}
