"""One image travels: pushed, refused, signed, promoted, replicated, pulled from the other side, and traced."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import image as made
from shell import Shell, StoryBroken, check, say, title

NAME = "apps/api"
VERSION = "1.8.2"
REPLICATION_PATIENCE = 60.0  # seconds


@dataclass
class Story:
    """``top`` is the repository, ``folder`` what the story writes to, ``given`` an image to use instead of ours."""

    top: Path
    folder: Path
    given: str = ""
    port_shift: int = 0

    def __post_init__(self) -> None:
        self.work = self.folder / "quickstart"
        self.shell = Shell(self.work)
        self.secrets = self.work / "secrets"
        self.image = f"oci:../image:{VERSION}"
        self.digest = ""

    def prepare(self) -> None:
        """A work copy of the example, so that nothing in the repository changes; and the image."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(
            self.top / "examples" / "quickstart", self.work, ignore=shutil.ignore_patterns(".towpath", "secrets")
        )
        if self.port_shift:
            self.move_ports()
        if not self.given:
            created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            self.digest = made.make(self.folder / "image", version=VERSION, created=created)
            return
        if Path(self.given.removeprefix("oci:").partition(":")[0]).exists() and not self.given.startswith("oci:"):
            self.given = f"oci:{Path(self.given).resolve()}"
        said = self.shell.towpath("copy", "-o", "json", self.given, self.image)
        self.digest = str(json.loads(said.splitlines()[-1])["digest"])

    def move_ports(self) -> None:
        """Other ports than the declared ones, where those are taken."""
        file = self.work / "topology.yaml"
        file.write_text(
            re.sub(r"port: (\d+)", lambda found: f"port: {int(found[1]) + self.port_shift}", file.read_text())
        )

    def stop_earlier(self) -> None:
        """A demo that was left running (KEEP=1) would be in the way."""
        state = self.work / ".towpath"
        if any(state.glob("nodes/*/pid")) or (state / "control.pid").exists():
            self.stop()

    def stop(self) -> None:
        self.shell.quietly("down")

    def start_again(self) -> None:
        """All of it, for KEEP=1: the story has stopped the eu nodes."""
        say()
        self.shell.towpath("up", "--detach")

    def address(self, node: str) -> str:
        """HOST:PORT, as `towpath up` wrote it down."""
        known = json.loads((self.work / ".towpath" / "addresses.json").read_text())
        return str(known[node]["url"]).removeprefix("http://")

    def tell(self) -> None:
        self.start()
        self.sandbox()
        self.unsigned()
        self.signed_and_promoted()
        self.replicated()
        self.pulled_from_us()

    def start(self) -> None:
        title(1, "The whole topology starts on this machine: a process a node, sites as loopback addresses.")
        self.shell.towpath("up", "--detach", "--create-secrets")

    def sandbox(self) -> None:
        title(2, "A developer pushes a multi-platform image freely to sandbox, and asks for prod.")
        dev = self.secrets / "dev.password"
        self.shell.towpath("copy", "--user", "dev", self.image, f"sandbox/{NAME}:{VERSION}", secret=dev)
        asked = ("promote", "--user", "dev", "--from", "sandbox", "--to", "prod", f"{NAME}:{VERSION}")
        said = self.shell.towpath(*asked, secret=dev, expect=4)
        check("no edge leads from sandbox to prod" in said, "refused: no edge leads from sandbox to prod")

    def unsigned(self) -> None:
        title(3, "CI pushes to ci-pool and asks for prod; nobody has signed the image.")
        robot = self.secrets / "ci-runner.token"
        self.shell.towpath("copy", "--user", "ci-runner", self.image, f"ci-pool/{NAME}:{VERSION}", secret=robot)
        said = self.shell.towpath(
            "promote", "--user", "ci-runner", "to-prod", f"{NAME}:{VERSION}", secret=robot, expect=4
        )
        check(
            "signed" in said and "towpath sign" in said,
            "refused: the gate `signed` says what is missing and what to do",
        )

    def signed_and_promoted(self) -> None:
        title(4, "It is signed, and promoted: blobs, platforms, index, signature, evidence, read back, tags last.")
        robot = self.secrets / "ci-runner.token"
        signing = ("sign", "--user", "ci-runner", "--key", "secrets/release.key", f"ci-pool/{NAME}:{VERSION}")
        self.shell.towpath(*signing, secret=robot)
        said = self.shell.towpath("promote", "--user", "ci-runner", "to-prod", f"{NAME}:{VERSION}", secret=robot)
        check(self.digest in said, f"prod (eu) shows {self.digest}")

    def replicated(self) -> None:
        title(5, "An event carries it to us. Then the eu nodes stop.")
        began = time.monotonic()
        while self._shown_in_us() != self.digest:
            if time.monotonic() - began > REPLICATION_PATIENCE:
                raise StoryBroken(f"prod-us does not show {NAME}:{VERSION} after {REPLICATION_PATIENCE:.0f} s")
            time.sleep(0.1)
        check(True, f"prod (us) shows {self.digest}")
        self.shell.towpath("down", "--site", "eu")

    def _shown_in_us(self) -> str:
        """The digest that the tag shows there, as any client asks for it; "" when it shows none."""
        token = (self.secrets / "k8s-us.token").read_text().strip()
        login = base64.b64encode(f"k8s-us:{token}".encode()).decode()
        url = f"http://{self.address('prod-us')}/v2/{NAME}/manifests/{VERSION}"
        asked = urllib.request.Request(
            url, method="HEAD", headers={"Authorization": f"Basic {login}", "Accept": made.INDEX}
        )
        try:
            with urllib.request.urlopen(asked, timeout=10) as answer:
                return str(answer.headers["Docker-Content-Digest"])
        except urllib.error.HTTPError:
            return ""

    def pulled_from_us(self) -> None:
        title(6, "The image is pulled from us, by tag and by digest, and says where it came from.")
        robot = self.secrets / "k8s-us.token"
        for name, reference in (("by-tag", f":{VERSION}"), ("by-digest", f"@{self.digest}")):
            source = f"{self.address('prod-us')}/{NAME}{reference}"
            self.shell.towpath("copy", "--user", "k8s-us", source, f"oci:../{name}:{VERSION}", secret=robot)
            same_bytes(self.folder / "image", self.folder / name)
        check(True, "both are byte-identical to what was pushed")
        said = self.shell.towpath("trace", f"prod/{NAME}:{VERSION}")
        check(self.digest in said and "to-prod" in said, "trace says by which edge, when, by whom and on what evidence")


def same_bytes(pushed: Path, pulled: Path) -> None:
    """Every content that was pushed is in what was pulled, and every content there is what its name says."""
    wanted, found = blobs(pushed), blobs(pulled)
    lost = [name for name in wanted if found.get(name) != wanted[name]]
    wrong = [
        name
        for name, content in found.items()
        if hashlib.new(*_named(name, content)).hexdigest() != name.partition("/")[2]
    ]
    if lost or wrong:
        raise StoryBroken(f"{pulled} lacks {lost} and has damaged {wrong}")


def _named(name: str, content: bytes) -> tuple[str, bytes]:
    return name.partition("/")[0], content


def blobs(layout: Path) -> dict[str, bytes]:
    folder = layout / "blobs"
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def invitation(story: Story) -> None:
    """What to try while everything runs (KEEP=1)."""
    work, sandbox = os.path.relpath(story.work), story.address("sandbox-eu")
    towpath = os.path.relpath(Path(sys.executable).parent / "towpath")
    say("\nEverything runs. Try:")
    say(f"  skopeo copy --dest-tls-verify=false --dest-creds dev:$(cat {work}/secrets/dev.password) \\")
    say(f"    oci:{os.path.relpath(story.folder)}/image:{VERSION} docker://{sandbox}/apps/mine:1")
    say(f"  docker login {sandbox} -u dev --password-stdin < {work}/secrets/dev.password")
    say(f"  docker tag IMAGE {sandbox}/apps/mine:2 && docker push {sandbox}/apps/mine:2")
    say(f"  {towpath} status -f {work}/topology.yaml")
    say(f"and, when done:\n  {towpath} down -f {work}/topology.yaml")
