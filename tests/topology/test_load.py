"""The loader: YAML 1.2 scalars, marks, limits, files, and text that is anything at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from topology.load import TopologyInvalid, load, loads, read
from topology.model import Topology
from topology.report import as_sarif, as_text

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
QUICKSTART = (EXAMPLES / "quickstart" / "topology.yaml").read_text()
ACME = (EXAMPLES / "acme" / "topology.yaml").read_text()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("2026-11-23", "2026-11-23"),
        ("0755", 755),
        ("0o17", 15),
        ("0x1F", 31),
        ("-7", -7),
        ("+7", 7),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("! 5", "5"),
        ("!!float 5", 5.0),
        ("3GiB", "3GiB"),
        ("-", None),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    if text == "-":
        assert read("- -\n").data == [[None]]
        return
    found = read(f"key: {text}\n").data["key"]
    assert (found, type(found)) == (value, type(value))


def test_keys_are_text_however_they_look() -> None:
    assert read("{1: a, on: b, null: c, 1.0: d}").data == {"1": "a", "on": "b", "null": "c", "1.0": "d"}


@pytest.mark.parametrize(
    "text", ["!!int five", "!!bool no", "!local x", "!!python/object:os.system {}", "!!timestamp 2026"]
)
def test_tags_beyond_the_core_schema_are_refused(text: str) -> None:
    assert [finding.code for finding in read(f"key: {text}").findings] == ["T009"]


def test_marks_lead_to_keys_and_values() -> None:
    document = read("a:\n  b: [x, {c: 'é d'}]\n")
    spot = document.spot(("a", "b", 1, "c"))
    assert spot.key is not None
    assert (spot.key.line, spot.key.column, spot.value.column, spot.value.end_column) == (1, 10, 13, 18)
    assert document.spot(("a", "tag-of-a-union", "b")) is document.spot(("a", "b"))


def test_aliases_stand_for_what_they_name() -> None:
    document = read("a: &x {n: 1}\nb: *x\n")
    assert document.data == {"a": {"n": 1}, "b": {"n": 1}}
    assert document.spot(("b", "n")).value.line == 0


@pytest.mark.attack("A-yaml-bombs")
def test_aliases_of_aliases_are_not_followed_without_end() -> None:
    """Nine of nine of nine ...: 282 thousand million scalars in 400 bytes."""
    levels = [f"{chr(98 + at)}: &{chr(98 + at)} [{','.join([f'*{chr(97 + at)}'] * 9)}]\n" for at in range(11)]
    loaded = loads("a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(levels))
    assert loaded.topology is None
    assert [each.code for each in loaded.findings] == ["T003"]


@pytest.mark.attack("A-yaml-bombs")
def test_a_key_twice_is_a_finding() -> None:
    twice = loads(QUICKSTART + "\nusers: {}\n")
    assert twice.topology is None
    assert {each.code for each in twice.findings} == {"T002"}


def test_an_alias_of_nothing_is_a_syntax_error() -> None:
    assert [(each.code, each.line) for each in loads("a: 1\nb: *nothing\n").findings] == [("T001", 2)]


@pytest.mark.parametrize("bracket", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_a_finding_and_no_stack_overflow(bracket: str) -> None:
    loaded = loads(bracket * 300_000)
    assert loaded.topology is None
    assert {each.code for each in loaded.findings} - {"T009"} == {"T003"}


def test_a_character_that_yaml_forbids_is_found_where_it_stands() -> None:
    (finding,) = loads("a: 1\nb: \x07\n").findings
    assert (finding.code, finding.line) == ("T001", 2)
    assert "\x07" not in as_text([finding])


def test_nothing_is_too_little() -> None:
    for text in ("", "\n# only a comment\n", "just text", "[]", "---\n...\n"):
        assert [each.code for each in loads(text).findings] == ["T005"], text


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("name: café".encode("latin-1"))
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (10 * 1024 * 1024 + 1))
    for path, code in ((tmp_path / "none.yaml", "T004"), (tmp_path, "T004"), (latin, "T004"), (large, "T003")):
        loaded = load(path)
        assert [each.code for each in loaded.findings] == [code]
        assert loaded.topology is None


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "topology.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + QUICKSTART.replace("\n", "\r\n").encode())
    assert load(path).valid.base == tmp_path


def test_valid_raises_with_every_finding() -> None:
    loaded = loads(QUICKSTART.replace("class: dev", "class: devel").replace("by: [ci]", "by: [cy]"))
    with pytest.raises(TopologyInvalid) as caught:
        _ = loaded.valid
    assert sorted(finding.code for finding in caught.value.findings) == ["T008", "T010"]


def test_the_finding_of_the_design_reads_word_for_word() -> None:
    text = ACME.replace("    from: ci-snapshots\n", "    from: ci-snapshot\n")
    line = text.splitlines().index("    from: ci-snapshot") + 1
    shown = as_text(loads(text).findings)
    gutter = " " * len(str(line))
    assert shown == (
        f"topology.yaml:{line}:11: error[T010]: promotion `to-prod` comes from an unknown scope `ci-snapshot`\n"
        f"{gutter} |\n{line} |     from: ci-snapshot\n{gutter} |           ^^^^^^^^^^^\n"
        f"{gutter} = help: did you mean `ci-snapshots`?  (towpath explain T010)"
    )


def test_one_mistake_in_a_node_brings_no_others_with_it() -> None:
    text = QUICKSTART.replace("prod-us:    {kind: local,", "prod-us:    {kind: local, colour: red,")
    assert [each.code for each in loads(text).findings] == ["T006"]


def test_long_lines_are_cut_around_the_caret() -> None:
    text = QUICKSTART.replace("class: dev\n", f"class: {'x' * 80} # {'y' * 200}\n")
    (finding,) = loads(text).findings
    assert all(len(line) < 140 for line in as_text([finding]).splitlines()[1:4])


def test_nothing_of_the_file_moves_the_terminal() -> None:
    text = QUICKSTART.replace("from: ci-pool", 'from: "ci\\e[2J\\npool"')
    shown = as_text(loads(text).findings)
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 5


def _never_raises(text: str) -> None:
    loaded = loads(text)
    assert isinstance(loaded.topology, Topology) or loaded.findings
    as_text(loaded.findings)
    as_sarif(loaded.findings, "0")


@given(st.text(max_size=300))
@settings(max_examples=150, deadline=None)
def test_any_text_gives_findings_or_a_topology(text: str) -> None:
    _never_raises(text)


@given(st.text(alphabet="{}[]:,-?&*!|>'\"#% \n\tab<=", max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_punctuation_gives_findings_or_a_topology(text: str) -> None:
    _never_raises(text)


VALUES = st.recursive(
    st.sampled_from(["x", "''", "1", "-1", "1.5", "true", "~", "no", "7d", "5GiB", "everyone", "prod", "'**'"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.dictionaries(st.sampled_from(["from", "to", "kind", "env", "scope", "every", "x"]), inner, max_size=3).map(
            lambda items: "{" + ", ".join(f"{key}: {value}" for key, value in items.items()) + "}"
        ),
    ),
    max_leaves=6,
)
TOKENS = ACME.split()


@given(st.integers(0, len(TOKENS) - 1), VALUES)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_acme_with_any_one_word_replaced_gives_findings_or_a_topology(at: int, value: str) -> None:
    word = TOKENS[at]
    position = -1
    for _ in range(TOKENS[: at + 1].count(word)):
        position = ACME.index(word, position + 1)
    _never_raises(ACME[:position] + value + ACME[position + len(word) :])


@given(st.integers(0, len(ACME) - 2), st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_acme_with_any_piece_cut_out_gives_findings_or_a_topology(at: int, length: int) -> None:
    _never_raises(ACME[:at] + ACME[at + length :])


def test_a_flood_of_mistakes_stays_small() -> None:
    loaded = loads("{" + "a: 1, " * 50_000 + "}")
    assert [each.code for each in loaded.findings[-1:]] == ["T003"]
    assert len(loaded.findings) == 1001
    assert sum(len(each.source) for each in loaded.findings) < 1_000_000
    assert all(len(line) < 200 for line in as_text(loaded.findings[500:502]).splitlines())
    users = ", ".join(f"u{number}" for number in range(5000))
    assert len(loads(QUICKSTART.replace("devs: {users: [dev]}", f"devs: {{users: [{users}]}}")).findings) == 5000
