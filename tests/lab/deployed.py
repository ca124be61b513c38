"""A topology for the lab's hosts in a folder of its own, and towpath about it."""

from __future__ import annotations

import os
import subprocess
import sys
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
        if words[0] in ("plan", "apply", "destroy", "drift", "status", "unlock", "import"):
            given += ["--known-hosts", str(self.lab.known_hosts)]
        return self.lab.towpath(*given, check=check, env=env, **options)

    def skopeo(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """On the operator's network; give ``certificates`` to what speaks with nodes."""
        return self.lab.run(["skopeo", *words], env={"TMPDIR": os.environ.get("TMPDIR", "/tmp")}, **options)

    @property
    def certificates(self) -> str:
        """What clients are given as their folder of authorities."""
        folder = self.folder / "certs"
        folder.mkdir(exist_ok=True)
        (folder / "ca.crt").write_bytes((self.folder / "pki" / "ca.crt").read_bytes())
        return str(folder)


def image(folder: Path) -> Path:
    """An OCI image layout with one small image, as skopeo reads it."""
    subprocess.run([sys.executable, "-c", _IMAGE, str(folder)], check=True)
    return folder


_IMAGE = """
import hashlib, io, json, sys, tarfile
from pathlib import Path
top = Path(sys.argv[1]); blobs = top / "blobs" / "sha256"; blobs.mkdir(parents=True)
def put(content):
    digest = hashlib.sha256(content).hexdigest(); (blobs / digest).write_bytes(content)
    return {"digest": f"sha256:{digest}", "size": len(content)}
buffer = io.BytesIO()
with tarfile.open(fileobj=buffer, mode="w") as tar:
    entry = tarfile.TarInfo("hello"); entry.size = 5; tar.addfile(entry, io.BytesIO(b"hello"))
layer = buffer.getvalue()
config = json.dumps({"architecture": "amd64", "os": "linux", "config": {},
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]}}).encode()
oci = "application/vnd.oci.image."
manifest = json.dumps({"schemaVersion": 2, "mediaType": oci + "manifest.v1+json",
    "config": {"mediaType": oci + "config.v1+json", **put(config)},
    "layers": [{"mediaType": oci + "layer.v1.tar", **put(layer)}]}).encode()
index = {"schemaVersion": 2, "manifests": [{"mediaType": oci + "manifest.v1+json", **put(manifest),
    "annotations": {"org.opencontainers.image.ref.name": "1.0"}}]}
(top / "index.json").write_text(json.dumps(index)); (top / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
"""
