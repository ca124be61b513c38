"""The command line's frame: help, verbs, usage, error form, exit statuses."""

from __future__ import annotations

import gc
import inspect
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from oci_wire import errors
from registry_node.imports import without_collection
from towpath.exits import Exit
from towpath.main import VERBS, app_of, root_help, run
from towpath.output import Output, aligned
from towpath.problem import Problem
from towpath.problems import TRANSLATORS, guarded, problem_of


def test_help_lists_every_verb_and_every_exit_status() -> None:
    text = root_help()
    assert all(f"  {name} " in text for name in VERBS)
    assert all(str(int(each)) in text for each in Exit)


def test_help_imports_no_command_line_library() -> None:
    """That import alone takes longer than a help may."""
    heavy = "[name for name in ('cyclopts', 'pydantic') if name in sys.modules]"
    program = f"import sys; from towpath.main import run; run(['--help']); print({heavy})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


def test_a_node_starts_without_the_parser_and_says_what_is_wrong_as_other_verbs_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "node.json"
    settings.write_text("{}")
    seen = "[name for name in ('cyclopts', 'towpath.workspace') if name in sys.modules]"
    program = f"""
import sys
from registry_node import server
from towpath import main
server.run = lambda *_: print({seen})
print(int(main.run(["serve", "--settings", sys.argv[1]])))"""
    given = {"node": "a", "scope": "a", "listen": {"port": 0}, "data": str(tmp_path)}
    (tmp_path / "good.json").write_text(json.dumps(given))
    command = [sys.executable, "-c", program, str(tmp_path / "good.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n0\n"
    assert run(["serve", "--settings", str(settings)]) is Exit.USAGE
    plain = capsys.readouterr().err
    assert "error[settings-invalid]" in plain
    assert run(["serve", f"--settings={settings}"]) is Exit.USAGE
    assert capsys.readouterr().err == plain
    assert run(["serve", "--settings", "--nope"]) is Exit.USAGE


def test_imports_without_collection_leave_it_on() -> None:
    before = gc.get_freeze_count()
    with pytest.raises(KeyError), without_collection():
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()
    assert gc.get_freeze_count() > before
    gc.unfreeze()


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_exists_and_has_the_options_that_all_have(name: str) -> None:
    module, _, function = VERBS[name].target.partition(":")
    found = getattr(import_module(module), function)
    assert inspect.getdoc(found)
    assert "options" in inspect.signature(found).parameters
    assert app_of(name).name == (f"towpath {name}",)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) is Exit.DONE
    assert capsys.readouterr().out.startswith("towpath ")


def test_an_unknown_verb_suggests_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["promot", "x"]) is Exit.USAGE
    assert "did you mean `towpath promote`?" in capsys.readouterr().err


def test_an_option_before_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-q", "status"]) is Exit.USAGE
    assert "-q stands before the verb" in capsys.readouterr().err


def test_an_argument_that_is_missing_is_named_as_the_help_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ls"]) is Exit.USAGE
    assert "PLACE requires" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["promote"], ["serve"], ["down", "--nope"], ["ls"], ["status", "-o", "xml"]])
def test_wrong_usage_is_exit_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) is Exit.USAGE
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error[")


@pytest.mark.parametrize("flag", [["-o", "json"], ["--output=json"], ["--output", "json"]])
def test_errors_are_json_when_asked(flag: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", *flag]) is Exit.USAGE
    body = json.loads(capsys.readouterr().err)["error"]
    assert body["exit"] == 2
    assert body["code"] == "usage"


def test_a_problem_says_what_where_why_and_next() -> None:
    problem = Problem("some-code", "it broke", where="there", why="one\ntwo", next="mend it")
    assert problem.as_text().splitlines() == [
        "error[some-code]: it broke",
        "  where: there",
        "  why:   one",
        "         two",
        "  next:  mend it",
    ]
    assert problem.as_json()["error"]["why"] == "one\ntwo"


def test_every_error_that_is_translated_exists() -> None:
    for name in TRANSLATORS:
        module, _, kind = name.rpartition(".")
        assert issubclass(getattr(import_module(module), kind), BaseException), name


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.Denied("no"), Exit.REFUSED),
        (errors.Unauthorized("who"), Exit.REFUSED),
        (errors.TagImmutable("no"), Exit.REFUSED),
        (errors.PreconditionFailed("moved"), Exit.CONFLICT),
        (errors.DigestInvalid("other bytes"), Exit.INTEGRITY),
        (errors.Unreachable("gone"), Exit.FAILED),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
        (RuntimeError("boom"), Exit.FAILED),
    ],
)
def test_what_an_error_means_as_exit_status(error: BaseException, status: Exit) -> None:
    assert problem_of(error).exit is status
    assert problem_of(error).next


def test_whatever_is_raised_is_reported_and_never_exit_0(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> Exit:
        raise ZeroDivisionError("by zero")

    assert guarded(broken, as_json=True) is Exit.FAILED
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "bug"


def test_a_reader_that_leaves_is_no_traceback() -> None:
    command = f"{sys.executable} -m towpath schema | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_data_and_talk_do_not_mix(capsys: pytest.CaptureFixture[str]) -> None:
    Output().talk("talk")
    Output().emit({"a": 1}, "data")
    Output(quiet=True).talk("nothing")
    Output(json=True).talk("nothing")
    Output(json=True).emit({"a": 1}, "data")
    shown = capsys.readouterr()
    assert shown.out == 'data\n{"a": 1}\n'
    assert shown.err == "talk\n"


def test_tables_are_aligned() -> None:
    rows = [{"node": "a", "url": None}, {"node": "long-name", "url": "http://x"}]
    assert aligned(rows, ("node", "url")) == ["NODE       URL", "a          -", "long-name  http://x"]
