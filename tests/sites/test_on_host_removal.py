"""What a host does when something leaves it, on folders of this machine: never beyond ours, and never without a trace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sites.on_host import change, files, look


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Our folders, below a folder of the test's."""
    for name, part in (("SETTINGS", "etc"), ("UNITS", "units"), ("PROGRAMS", "opt"), ("DATA", "data")):
        (tmp_path / part).mkdir()
        monkeypatch.setattr(files, name, str(tmp_path / part))
    (tmp_path / "passwd").write_text("root")
    (tmp_path / "data" / ".trash").mkdir()
    return tmp_path


def laid(path: Path, text: str = "x") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_files_go_and_folders_that_are_empty_without_them(host: Path) -> None:
    there = [laid(host / "etc" / "n" / "settings.json"), laid(host / "units" / "towpath-n.service")]
    folders = [str(host / "etc" / "n" / "credentials"), str(host / "etc" / "n")]
    mine = laid(host / "etc" / "m" / "by-hand")
    change.prune(there, folders)
    assert not (host / "etc" / "n").exists() and not (host / "units" / "towpath-n.service").exists()
    change.prune([*there, laid(host / "etc" / "m" / "settings.json")], [str(host / "etc" / "m")])
    assert Path(mine).exists(), "what somebody else put there stays"


def test_a_folder_under_the_name_of_a_file_stays(host: Path) -> None:
    mine = laid(host / "etc" / "n" / "tls.key" / "by-hand")
    change.prune([str(host / "etc" / "n" / "tls.key")], [])
    assert Path(mine).exists()


@pytest.mark.attack("A-edited-inventory")
@pytest.mark.parametrize(
    "path",
    [
        "passwd",
        "etc/../passwd",
        "etc/n/../../passwd",
        "etc/link/passwd",
        "units/ssh.service",
        "units/n/towpath-x",
        "etcx",
        "etc/",
    ],
)
def test_nothing_beyond_our_folders_is_touched(host: Path, path: str) -> None:
    laid(host / "units" / "ssh.service")
    laid(host / "units" / "n" / "towpath-x")
    laid(host / "etc" / "n" / "settings.json")
    (host / "etc" / "link").symlink_to(host)
    before = sorted(str(each) for each in host.rglob("*"))
    for step in (
        lambda: change.prune([f"{host}/{path}"], []),
        lambda: change.discard(f"{host}/{path}", f"{host}/data/.trash/x", "{}"),
        lambda: change.discard(f"{host}/data/n", f"{host}/{path}", "{}"),
        lambda: change.empty(f"{host}/{path}"),
    ):
        with pytest.raises(change.Refused, match="left alone"):
            step()
    assert sorted(str(each) for each in host.rglob("*")) == before


def test_one_foreign_path_stops_all_of_it(host: Path) -> None:
    own = laid(host / "etc" / "n" / "settings.json")
    with pytest.raises(change.Refused):
        change.prune([own, str(host / "passwd")], [])
    assert Path(own).exists()


def test_our_folder_itself_may_lie_elsewhere(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (host / "large").mkdir()
    (host / "linked").symlink_to(host / "large")
    monkeypatch.setattr(files, "DATA", str(host / "linked"))
    assert files.ours(f"{host}/linked/n") == host / "linked" / "n"


def test_data_goes_to_the_trash_with_a_note_and_again_is_nothing(host: Path) -> None:
    laid(host / "data" / "n" / "registry.db", "precious")
    target = host / "data" / ".trash" / "n-20261123T120000Z"
    change.discard(str(host / "data" / "n"), str(target), json.dumps({"until": 7}))
    assert (target / "registry.db").read_text() == "precious"
    change.discard(str(host / "data" / "n"), str(target), "{}")
    asked = {part: str(host / part) for part in ("links", "former", "releases")}
    assert look.earlier({**asked, "trash": str(target.parent)})["trash"] == {target.name: {"until": 7}}
    change.empty(str(target))
    assert list(target.parent.iterdir()) == []


def test_data_is_never_put_over_other_data(host: Path) -> None:
    laid(host / "data" / "n" / "registry.db")
    laid(host / "data" / ".trash" / "n-1" / "registry.db", "older")
    with pytest.raises(change.Refused, match="in the way"):
        change.discard(str(host / "data" / "n"), str(host / "data" / ".trash" / "n-1"), "{}")
    assert (host / "data" / "n" / "registry.db").exists()


def test_only_the_trash_is_emptied(host: Path) -> None:
    laid(host / "data" / "n" / "registry.db")
    with pytest.raises(change.Refused, match="trash"):
        change.empty(str(host / "data" / "n"))
    (host / "data" / ".trash" / "n-1").symlink_to(host / "data" / "n")
    change.empty(str(host / "data" / ".trash" / "n-1"))
    assert (host / "data" / "n" / "registry.db").exists(), "of a link the link alone"


def test_a_release_that_a_link_names_is_never_swept(host: Path) -> None:
    folder, links, former = host / "opt" / "releases", host / "opt" / "nodes", host / "data" / ".former"
    for each in ("one", "two", "three", "four"):
        laid(folder / each / "towpath" / "main.py")
    links.mkdir()
    (links / "n").symlink_to("../releases/one")
    (former / "n").mkdir(parents=True)
    (former / "n" / "3").symlink_to("../releases/two")
    asked = {
        "links": str(links),
        "former": str(former),
        "releases": str(folder),
        "trash": str(host / "data" / ".trash"),
    }
    told = look.earlier(asked)
    assert (told["links"], told["former"]) == ({"n": ["../releases/one"]}, {"n": ["../releases/two"]})
    assert set(told["came"]) == {"one", "two", "three", "four"}
    change.sweep(str(folder), ["one", "two", "three"], str(links), str(former))
    assert sorted(each.name for each in folder.iterdir()) == ["four", "one", "two"]


def test_data_that_is_a_mount_of_its_own_is_left_where_it_is(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, place = host / "data" / "n", host / "data" / ".trash" / "n-1"
    laid(mine / "blob")
    monkeypatch.setattr(files.Path, "is_mount", lambda path: path == mine)
    with pytest.raises(change.Refused, match="mount of its own; umount it"):
        change.discard(str(mine), str(place), "{}")
    assert (mine / "blob").exists() and not list(place.parent.iterdir())
