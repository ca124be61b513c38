"""What README and docs show is true: the topology lints, the picture is the program's, every command line parses."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_node.settings import NodeSettings
from topology.load import load
from towpath.exits import Exit
from towpath.main import VERBS, app_of, run

TOP = Path(__file__).resolve().parent.parent
PAGES = [TOP / "README.md", *sorted((TOP / "docs").rglob("*.md")), *sorted((TOP / "examples").rglob("*.md"))]
FENCED = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
VERB_ALONE = re.compile(r"towpath [a-z]+( --?[a-z-]+)?")  # a verb as it is named in a sentence, not a command line


def command_lines(page: Path) -> Iterator[str]:
    """Those in code blocks, continued lines joined, and those between backticks."""
    text = page.read_text()
    blocks = [found[1].replace("\\\n", " ") for found in FENCED.finditer(text)]
    yield from (line.strip() for block in blocks for line in block.splitlines() if re.match(r"\s*towpath \S", line))
    yield from re.findall(r"`(towpath [^`]+)`", FENCED.sub("", text).replace("\n", " "))


COMMANDS = [(page, line) for page in PAGES for line in command_lines(page)]


def test_there_are_commands_to_look_at() -> None:
    assert len(COMMANDS) > 15


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[f"{page.name}: {line[:60]}" for page, line in COMMANDS])
def test_a_command_line_in_the_docs_parses(page: Path, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    assert words[0] in VERBS, f"{page.name} names a verb that does not exist"
    app = app_of(words[0])
    if VERB_ALONE.fullmatch(line):
        shown = {name for argument in app.assemble_argument_collection() for name in argument.names}
        assert set(words[1:]) <= shown
    else:
        app.parse_args(words[1:], exit_on_error=False, print_error=False)


def test_the_topology_in_the_readme_lints_clean(tmp_path: Path) -> None:
    (shown,) = re.findall(r"^```yaml\n(.*?)^```", (TOP / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    file = tmp_path / "topology.yaml"
    file.write_text(shown)
    loaded = load(file)
    assert [str(each) for each in loaded.findings] == []
    assert loaded.topology is not None
    assert len(shown.splitlines()) <= 12


def test_the_picture_in_the_readme_names_what_the_quickstart_has() -> None:
    (drawn,) = re.findall(r"^```mermaid\n(.*?)^```", (TOP / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    topology = load(TOP / "examples" / "quickstart" / "topology.yaml").topology
    assert topology is not None
    assert set(re.findall(r"subgraph (\S+)", drawn)) == set(topology.sites)
    for edge in topology.promotions:
        assert f"{edge.source} -->|{edge.id}: {', '.join(edge.gates)}| {edge.target}" in drawn


def test_the_quickstart_s_picture_is_what_the_program_draws(capsys: pytest.CaptureFixture[str]) -> None:
    file = TOP / "examples" / "quickstart" / "topology.yaml"
    assert run(["graph", "--format", "svg", "-f", str(file)]) is Exit.DONE
    assert capsys.readouterr().out.strip() == (TOP / "docs" / "quickstart.svg").read_text().strip()


def test_the_reference_of_settings_is_the_code_s() -> None:
    """Run scripts/settings-reference after a change of registry_node/settings.py."""
    script = TOP / "scripts" / "settings-reference"
    printed = subprocess.run(
        [sys.executable, str(script), "--print"], capture_output=True, text=True, check=True
    ).stdout
    assert (TOP / "docs" / "reference-node-settings.md").read_text() == printed
    rows = [line for line in printed.splitlines() if line.startswith("| `")]
    assert len(rows) > 30
    assert [row for row in rows if row.endswith("|  |")] == [], "every setting says what it means"


def test_the_smallest_settings_file_of_the_reference_works() -> None:
    text = (TOP / "docs" / "reference-node-settings.md").read_text()
    (shown,) = re.findall(r"^```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert NodeSettings.model_validate_json(shown).grants[0].to == "everyone"
