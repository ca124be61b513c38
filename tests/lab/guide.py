"""The commands of a guide, as a reader types them: blocks of its own text, in one shell, on the lab's machines.

A block says in its first line whose it is: ``# where you deploy from``, ``# on each host, as root``, or the name of a file.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.lab import Lab
from tests.tools import require

_FENCED = re.compile(r"^```\w+\n# (?P<where>[^\n]*)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
OPERATOR, ON_HOSTS = "where you deploy from", "on each host, as root"


@dataclass(frozen=True)
class Block:
    where: str
    text: str


def blocks(page: Path, heading: str) -> list[Block]:
    """Those of one section, in order."""
    section = page.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [Block(each["where"], each["text"]) for each in _FENCED.finditer(section)]


@dataclass
class Reader:
    """Types what is written: at ``folder``, and on hosts. ``instead``: what of the text is another thing in the lab."""

    lab: Lab
    folder: Path
    instead: dict[str, str]
    _checkout: Path = field(default=Path(__file__).resolve().parent.parent.parent, init=False)

    def __post_init__(self) -> None:
        programs = self.folder / "bin"
        programs.mkdir(parents=True)
        (programs / "towpath").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m towpath "$@"\n')
        (programs / "towpath").chmod(0o755)
        path = f"{programs}:{Path(require('skopeo')).parent}:{os.environ['PATH']}"
        self._shell = f"cd {shlex.quote(str(self.folder))}\nexport PATH={shlex.quote(path)}\n"

    def does(self, block: Block, *hosts: str, installed: Path | None = None) -> str:
        """What it printed. ``hosts``: where a block for hosts is run; ``installed``: the towpath that is at hand."""
        text = block.text
        for theirs, ours in self.instead.items():
            text = text.replace(theirs, ours)
        if block.where == ON_HOSTS:
            return "".join(self.lab.on(host, f"set -e\n{text}", timeout=100).stdout for host in hosts)
        if not block.where.startswith(OPERATOR):
            (self._folder_now() / block.where).write_text(text)
            return ""
        after = self.folder / "shell"
        kept = f'{{ echo cd "$(printf %q "$PWD")"; export -p | grep -E \' (PATH|TOWPATH_|SSL_CERT)\'; }} > {after}'
        done = self._bash(f"{self._shell}set -e\n{text}\n{kept}\n", installed or self._checkout)
        self._shell = after.read_text()
        return done.stdout + done.stderr

    def _folder_now(self) -> Path:
        return Path(self._bash(f"{self._shell}pwd", self._checkout).stdout.strip())

    def _bash(self, text: str, installed: Path) -> subprocess.CompletedProcess[str]:
        return self.lab.run(["bash", "-c", text], env={"PYTHONPATH": str(installed)}, timeout=250)
