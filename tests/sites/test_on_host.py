"""The program that changes a host, on folders of this machine: whole or not at all, and back again."""

from __future__ import annotations

import base64
import grp
import hashlib
import io
import json
import os
import pwd
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from sites.desired import bundle
from sites.on_host import archives, change, look, program

ME, MINE = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name


@pytest.fixture(autouse=True)
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOCK", "FENCE"):
        monkeypatch.setattr(change, name, tmp_path / "state" / name.lower())


def put(path: Path, content: bytes, mode: int = 0o640) -> None:
    change.file(str(path), base64.b64encode(content).decode(), mode, ME, MINE)


def test_a_file_has_its_mode_from_the_first_moment(tmp_path: Path) -> None:
    put(tmp_path / "settings.json", b"one")
    put(tmp_path / "settings.json", b"two", 0o600)
    assert (tmp_path / "settings.json").read_bytes() == b"two"
    assert (tmp_path / "settings.json").stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["settings.json"]


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "f.towpath-new").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic"):
        put(tmp_path / "f", b"x")
    assert (tmp_path / "precious").read_text() == "kept"


def test_what_was_kept_comes_back_and_what_was_not_there_goes(tmp_path: Path) -> None:
    file, link, new = tmp_path / "file", tmp_path / "link", tmp_path / "new"
    put(file, b"before", 0o600)
    change.link(str(link), "target-before")
    former, pending = str(tmp_path / "former"), tmp_path / "pending"
    change.keep(former, [str(file), str(link), str(new)], str(pending))
    put(pending, b"")
    put(file, b"after", 0o644)
    change.link(str(link), "target-after")
    put(new, b"new")
    change.restore(former, str(pending))
    assert (file.read_bytes(), file.stat().st_mode & 0o777, str(link.readlink())) == (b"before", 0o600, "target-before")
    assert not new.exists()


def test_what_an_interrupted_change_kept_stays_and_the_next_adds_to_it(tmp_path: Path) -> None:
    first, second, former, pending = (tmp_path / each for each in ("first", "second", "former", "pending"))
    put(first, b"good")
    put(second, b"good")
    change.keep(str(former), [str(first)], str(pending))
    put(pending, b"")
    put(first, b"interrupted here")
    change.keep(str(former), [str(first), str(second)], str(pending))
    put(first, b"bad")
    put(second, b"bad")
    change.restore(str(former), str(pending))
    assert (first.read_bytes(), second.read_bytes()) == (b"good", b"good")


def test_nothing_is_put_back_when_nothing_was_begun(tmp_path: Path) -> None:
    """What was kept then is of a change before the last."""
    file, former, pending = tmp_path / "file", str(tmp_path / "former"), tmp_path / "pending"
    put(file, b"long ago")
    change.keep(former, [str(file)], str(pending))
    put(file, b"passed its gate")
    change.restore(former, str(pending))
    assert file.read_bytes() == b"passed its gate"


def archive(**members: Any) -> dict[str, Any]:
    """What ``release`` is told of one, and its bytes as they arrive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name.replace("__", "/").replace("UP", ".."))
            if content is None:
                entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
                tar.addfile(entry)
            else:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    raw = buffer.getvalue()
    return {"size": len(raw), "sha256": hashlib.sha256(raw).hexdigest(), "source": io.BytesIO(raw)}


def test_a_release_is_unpacked_whole_and_over_one_that_was_edited(tmp_path: Path) -> None:
    change.release(str(tmp_path / "r1"), **archive(towpath__main=b"pass"))
    (tmp_path / "r1" / "towpath" / "mine").write_text("edited")
    change.release(str(tmp_path / "r1"), **archive(towpath__main=b"pass"))
    assert not (tmp_path / "r1" / "towpath" / "mine").exists()
    assert (tmp_path / "r1" / "towpath" / "main").read_bytes() == b"pass"
    assert [each.name for each in tmp_path.iterdir()] == ["r1"]


@pytest.mark.parametrize("members", [{"link": None}, {"UP__escape": b"x"}, {"__etc__x": b"x"}])
def test_an_archive_that_would_leave_its_folder_is_refused(tmp_path: Path, members: dict[str, Any]) -> None:
    with pytest.raises(change.Refused, match="no plain file"):
        change.release(str(tmp_path / "r1"), **archive(**members))
    assert not (tmp_path / "r1").exists()


def test_an_archive_that_arrived_otherwise_is_refused(tmp_path: Path) -> None:
    sent = archive(a=b"x" * 1000)
    raw = sent["source"].getvalue()
    broken = raw[:30] + bytes([raw[30] ^ 1]) + raw[31:]
    for given in ({"sha256": "0" * 64}, {"source": io.BytesIO(raw[:-20])}, {"source": io.BytesIO(broken)}):
        with pytest.raises(change.Refused, match="not the one that was sent"):
            change.release(str(tmp_path / "r1"), **{**archive(a=b"x" * 1000), **given})
        assert list(tmp_path.iterdir()) == [], "what had arrived takes no room"
        assert not (tmp_path / "r1").exists()


def test_a_line_that_goes_silent_ends_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the host would be held for as long as TCP believes in the line."""
    monkeypatch.setattr(archives, "PATIENCE", 1)
    before = signal.signal(signal.SIGALRM, archives.went_silent)
    reading, writing = os.pipe()
    try:
        sent = archive(a=b"x")
        os.write(writing, sent["source"].getvalue()[:20])
        with os.fdopen(reading, "rb") as source, pytest.raises(change.Refused, match="nothing of the archive arrived"):
            change.release(str(tmp_path / "r1"), **{**sent, "source": source})
    finally:
        os.close(writing)
        signal.signal(signal.SIGALRM, before)
    assert not (tmp_path / "r1").exists()


def test_who_holds_a_host_is_told_without_waiting_for_his_work(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[dict[str, Any]] = []
    monkeypatch.setattr(change, "say", lambda **told: said.append(told))
    assert not change.held_by_another(lock={"id": "b"}), "nobody does"
    change.take({"id": "a", "owner": "ana"})
    assert not change.held_by_another(lock={"id": "a"}), "he asks himself"
    assert change.held_by_another(lock={"id": "b"}) and said[0]["answer"]["held"]["owner"] == "ana"


def test_of_two_archives_behind_one_order_each_takes_its_own(tmp_path: Path) -> None:
    first, second = archive(a=b"1"), archive(a=b"2")
    arriving = io.BytesIO(first["source"].getvalue() + second["source"].getvalue())
    for name, sent in (("r1", first), ("r2", second)):
        change.release(str(tmp_path / name), **{**sent, "source": arriving})
    assert [(tmp_path / name / "a").read_bytes() for name in ("r1", "r2")] == [b"1", b"2"]


def test_the_program_is_whole_and_has_each_of_our_modules_once() -> None:
    text = program("change")
    assert "sites.on_host" not in text
    assert [text.count(each) for each in ("class Refused", "class Arriving", "def release(", "def main(")] == [1] * 4
    compile(text, "change", "exec")


def test_the_lock_is_one_s_and_its_token_grows() -> None:
    first, second = {"id": "a", "owner": "ana"}, {"id": "b", "owner": "ben"}
    assert change.take(first) == {"token": 1}
    assert change.take(second)["held"]["owner"] == "ana"
    assert change.give_back("b")["held"]["owner"] == "ana"
    assert change.give_back("a") == {"free": True}
    assert change.take(second) == {"token": 2}


def test_nothing_is_done_without_the_lock(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change.take({"id": "a", "owner": "ana"})
    change.give_back("a")
    change.take({"id": "b", "owner": "ben"})
    action = {"do": "link", "path": str(tmp_path / "x"), "target": "y"}
    assert change.change({"id": "a", "token": 1}, [action]) == 1
    assert "ben does" in json.loads(capsys.readouterr().out)["error"]
    assert not (tmp_path / "x").exists()
    assert change.change({"id": "b", "token": 2}, [action]) == 0
    assert (tmp_path / "x").is_symlink()


def test_the_first_that_fails_is_named_and_ends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change.take({"id": "a"})
    good = {"do": "link", "path": str(tmp_path / "x"), "target": "y"}
    bad = {"do": "link", "path": str(tmp_path / "missing" / "x"), "target": "y"}
    assert change.change({"id": "a", "token": 1}, [good, bad, {**good, "path": str(tmp_path / "z")}]) == 1
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [next(iter(each)) for each in said] == ["done", "failed"] and said[1]["failed"] == 1
    assert not (tmp_path / "z").exists()


HOSTILE = [
    "$(touch {0})",
    "`touch {0}`",
    "; touch {0}",
    "\n touch {0}\n",
    "{{{{ 7 * 7 }}}}",
    "' || touch {0} || '",
    '"; touch {0}; "',
]


@pytest.mark.attack("A-topology-inert")
@pytest.mark.parametrize("text", HOSTILE)
def test_text_stays_text(tmp_path: Path, text: str) -> None:
    """Whatever comes as content or as a target is written down, never run."""
    hostile = text.format(tmp_path / "touched")
    put(tmp_path / "file", hostile.encode())
    change.link(str(tmp_path / "link"), hostile)
    assert (tmp_path / "file").read_text() == hostile
    assert str((tmp_path / "link").readlink()) == hostile
    assert not (tmp_path / "touched").exists()


def test_a_release_is_looked_at_file_by_file(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for name, text in (("a/one.py", "1"), ("a/two.py", "2"), ("three", "3")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "MANIFEST").write_text(bundle._manifest(tmp_path))
    whole = look.tree(tmp_path)
    assert whole == {"manifest": look.digest(tmp_path / "MANIFEST"), "differing": []}
    status = (tmp_path / "a" / "one.py").stat()
    (tmp_path / "a" / "one.py").write_text("x")
    os.utime(tmp_path / "a" / "one.py", ns=(status.st_atime_ns, status.st_mtime_ns))
    (tmp_path / "three").unlink()
    (tmp_path / "a" / "sitecustomize.py").write_text("import evil")
    (tmp_path / "linked").symlink_to(tmp_path / "a")
    (tmp_path / "a").chmod(0o777)
    (tmp_path / "a" / "two.py").chmod(0o600)
    differing = ["a", "a/one.py", "a/sitecustomize.py", "a/two.py", "linked", "three"]
    assert look.tree(tmp_path)["differing"] == differing, "what others can write and what a node cannot read too"
    (tmp_path / "MANIFEST").unlink()
    assert look.tree(tmp_path)["differing"] == ["MANIFEST"]


def test_both_programs_need_nothing_but_python(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    asked = {
        "paths": [str(tmp_path / "file"), str(tmp_path / "none")],
        "inventory": str(tmp_path / "inventory.json"),
        "lock": str(tmp_path / "lock"),
        "texts": [str(tmp_path / "file")],
        "units": [],
        "releases": str(tmp_path / "releases"),
        "trees": ["0123"],
        "data": str(tmp_path / "data"),
        "kept": [str(tmp_path / "data" / "node")],
        "user": "nobody-of-that-name",
        "ports": [],
        "table": "of-no-such-name",
        "rules": str(tmp_path / "firewall.nft"),
        "folders": [str(tmp_path), str(tmp_path / "none")],
        "earlier": {each: str(tmp_path / each) for each in ("links", "former", "releases", "trash")},
        "there": {each: str(tmp_path / each) for each in ("settings", "links", "units")},
    }
    words = [sys.executable, "-I", "-S", "-c", program("look")]
    said = json.loads(subprocess.run(words, input=json.dumps(asked), capture_output=True, text=True, check=True).stdout)
    assert said["paths"][str(tmp_path / "file")]["sha256"] == look.digest(tmp_path / "file")
    assert (said["paths"][str(tmp_path / "none")], said["user"], said["texts"]) == (
        None,
        False,
        {str(tmp_path / "file"): "x"},
    )
    assert list(said["at_rest"]) == asked["kept"]
    assert said["inside"] == {str(tmp_path): ["file"], str(tmp_path / "none"): []}
    assert said["table"] in (None, ""), "there is no such table, or no nft to ask"
    compile(program("change"), "change", "exec")


def test_what_a_folder_takes_counts_a_file_with_two_names_once(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "one").write_bytes(os.urandom(100_000))
    once = look.look({"sizes": [str(tmp_path)]})[str(tmp_path)]
    (tmp_path / "two").hardlink_to(tmp_path / "deep" / "one")
    assert once >= 100_000
    assert look.look({"sizes": [str(tmp_path), str(tmp_path / "nothing")]}) == {
        str(tmp_path): once,
        str(tmp_path / "nothing"): 0,
    }


@pytest.mark.parametrize(
    ("failing", "said", "told"),
    [
        ("nginx -T", "test failed", []),
        ("conflict", "another file of nginx has a server of this name", []),
        ("systemctl reload-or-restart", "systemctl reload-or-restart", ["reload-or-restart", "try-reload-or-restart"]),
        ("", "", ["reload-or-restart"]),
    ],
)
def test_what_nginx_refuses_gives_way_to_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, said: str, told: list[str]
) -> None:
    conf, former, pending = tmp_path / "towpath.conf", tmp_path / "former", tmp_path / "pending"
    put(conf, b"before", 0o644)
    change.keep(str(former), [str(conf)], str(pending))
    put(pending, b"on trial")
    put(conf, b"after", 0o644)
    verbs: list[str] = []

    def run(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        line = " ".join(words)
        if words[0] == "systemctl" and "reload" in words[1]:
            verbs.append(words[1])
        warning = 'nginx: [warn] conflicting server name "a" on 0.0.0.0:443, ignored' if failing == "conflict" else ""
        failed = bool(failing) and line.startswith(failing)
        if failed and check:
            raise change.Refused("nginx: configuration file test failed")
        return subprocess.CompletedProcess(words, int(failed), f"# configuration file {conf}:\n", warning)

    monkeypatch.setattr(change, "run", run)
    if not failing:
        change.nginx(str(conf), str(former), str(pending))
        assert (conf.read_bytes(), verbs) == (b"after", told)
        return
    with pytest.raises(change.Refused, match=said):
        change.nginx(str(conf), str(former), str(pending))
    assert (conf.read_bytes(), verbs) == (b"before", told)


def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    (tmp_path / "MANIFEST").write_text(f"{'0' * 64}  program.py\n")
    os.mkfifo(tmp_path / "program.py")
    assert look.text(str(tmp_path / "program.py")) is None
    assert look.path_facts(tmp_path / "program.py")["kind"] == "other"  # type: ignore[index]
    assert "program.py" in look.tree(tmp_path)["differing"]
