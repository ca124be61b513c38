"""A topology for the lab's hosts in a folder of its own, and towpath about it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import bcrypt

from tests.lab.lab import Lab
from tests.sites.deployed import authority

PASSWORD = "canary-password-of-dev"
TOKEN = "canary-token-of-the-robot"


class Deployment:
    """``text``: the topology, without its head; ``file`` may be written anew between two verbs."""

    def __init__(self, lab: Lab, folder: Path, text: str) -> None:
        self.lab, self.folder, self.file = lab, folder, folder / "topology.yaml"
        authority(folder)
        (folder / "secrets" / "dev.bcrypt").write_bytes(bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)))
        (folder / "secrets" / "robot.token").write_text(f"{TOKEN}\n")
        self.write(text)

    def write(self, text: str) -> None:
        head = "apiVersion: towpath/v1\nkind: Topology\nmetadata: {name: lab}\n"
        self.file.write_text(f"{head}{text}")

    def change(self, before: str, after: str) -> None:
        text = self.file.read_text()
        assert before in text
        self.file.write_text(text.replace(before, after))

    def towpath(self, *words: str, check: bool = True, env: dict[str, str] | None = None, **options: Any) -> Any:
        """One verb about this topology, hosts known by the lab's keys. Raises LabError."""
        given = [*words, "-f", str(self.file)]
        if words[0] in ("plan", "apply", "drift", "status", "unlock"):
            given += ["--known-hosts", str(self.lab.known_hosts)]
        return self.lab.towpath(*given, check=check, env=env, **options)

    def skopeo(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """With the topology's authority in the client's folder of certificates."""
        folder = self.folder / "certs"
        folder.mkdir(exist_ok=True)
        (folder / "ca.crt").write_bytes((self.folder / "pki" / "ca.crt").read_bytes())
        return self.lab.run(["skopeo", *words], env={"TMPDIR": os.environ.get("TMPDIR", "/tmp")}, **options)

    @property
    def certificates(self) -> str:
        return str(self.folder / "certs")
