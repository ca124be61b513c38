"""We and the real cosign accept each other's signatures, offline, in every layout."""

import base64
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from oci_wire.manifest import Manifest
from promotions import attest
from promotions.gates import Answer, Question, ask
from promotions.keys import generate, load_private
from promotions.place import Place
from promotions.registries import Address, RemoteRegistries
from promotions.sign import Layout, sign
from tests.nodes import SECRETS, RunningNode
from tests.promotions.world import CALL, index, key, topology
from tests.tools import require

pytestmark = [pytest.mark.clients, pytest.mark.slow]
ENGINE = ("towpath-engine", SECRETS["towpath-engine"])
OFFLINE = ["--tlog-upload=false", "--use-signing-config=false"]
SIGN_FLAGS = {
    Layout.TAG: ["--new-bundle-format=false"],
    Layout.REFERRER: ["--new-bundle-format=false", "--registry-referrers-mode=oci-1-1"],
    Layout.BUNDLE: [],
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    running = RunningNode(tmp_path_factory.mktemp("node"), node="ci-pool-eu", scope="ci-pool")
    running.start()
    yield running
    running.stop()


@pytest.fixture
async def place(node: RunningNode, tmp_path: Path) -> AsyncIterator[Place]:
    addresses = {"ci-pool-eu": Address(node.url, *ENGINE)}
    async with RemoteRegistries(topology(tmp_path), addresses) as registries:
        yield registries.place("ci-pool-eu", f"apps/{os.urandom(4).hex()}")


def cosign(*arguments: str, password: str = "") -> subprocess.CompletedProcess[str]:
    login = ["--allow-http-registry", f"--registry-username={ENGINE[0]}", f"--registry-password={ENGINE[1]}"]
    verb, *rest = arguments
    return subprocess.run(
        [require("cosign"), verb, *login, *rest],
        env=os.environ | {"COSIGN_PASSWORD": password, "COSIGN_EXPERIMENTAL": "1", "SIGSTORE_NO_CACHE": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def verify(place: Place, made: Manifest, public: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    reference = f"{place.origin.removeprefix('http://')}/{place.repository}@{made.digest}"
    return cosign(
        "verify", "--key", str(public), "--insecure-ignore-tlog", "--private-infrastructure", *flags, reference
    )


@pytest.mark.parametrize("layout", list(Layout))
async def test_cosign_verifies_what_we_sign(place: Place, tmp_path: Path, layout: Layout) -> None:
    made = await index(place, "1.0")
    await sign(place, CALL, made.digest, key("release"), layout=layout)
    flags = ["--new-bundle-format=false", "--experimental-oci11"] if layout is Layout.REFERRER else []
    done = verify(place, made, tmp_path / "release.pub", *flags)
    assert done.returncode == 0, done.stderr
    assert str(made.digest) in done.stdout
    assert verify(place, made, tmp_path / "towpath.pub", *flags).returncode != 0


@pytest.mark.parametrize("layout", list(Layout))
async def test_the_gate_accepts_what_cosign_signs(place: Place, tmp_path: Path, layout: Layout) -> None:
    made = await index(place, "1.0")
    private, public = generate(b"a password")
    (tmp_path / "cosign.key").write_bytes(private)
    (tmp_path / "release.pub").write_bytes(public)
    reference = f"{place.origin.removeprefix('http://')}/{place.repository}@{made.digest}"
    flags = [*OFFLINE, *SIGN_FLAGS[layout], "-y", "--key", str(tmp_path / "cosign.key")]
    done = cosign("sign", *flags, reference, password="a password")
    assert done.returncode == 0, done.stderr
    question = Question("signed", topology(tmp_path, keys=False), place, made.digest, CALL)
    verdict = await ask(question)
    assert verdict.answer is Answer.PASS, verdict
    assert len(verdict.evidence) == 1


async def test_signing_twice_keeps_both_signers_and_one_signature_each(place: Place, tmp_path: Path) -> None:
    made = await index(place, "1.0")
    for name in ("release", "towpath", "release"):
        await sign(place, CALL, made.digest, key(name))
    held = await place.registry.get_manifest(CALL, place.repository, f"sha256-{made.digest.hex}.sig")
    assert len(held.blobs) == 3  # the config and two signatures
    for name in ("release", "towpath"):
        assert verify(place, made, tmp_path / f"{name}.pub").returncode == 0


def test_we_read_the_keys_that_cosign_makes(tmp_path: Path) -> None:
    subprocess.run(
        [require("cosign"), "generate-key-pair", "--output-key-prefix", str(tmp_path / "made")],
        env=os.environ | {"COSIGN_PASSWORD": "pw"},
        capture_output=True,
        check=True,
    )
    private = load_private((tmp_path / "made.key").read_bytes(), b"pw")
    assert private.public.pem == (tmp_path / "made.pub").read_bytes()


async def test_cosign_reads_our_promotion_evidence(place: Place, tmp_path: Path) -> None:
    made = await index(place, "1.0")
    predicate = attest.summary(
        resource="towpath:prod/apps/api", policy="p", binding="0" * 64, verdicts=[], at=0, promotion="pr_1"
    )
    await attest.push(place, CALL, attest.make(key("towpath"), made.descriptor, predicate))
    reference = f"{place.origin.removeprefix('http://')}/{place.repository}@{made.digest}"
    known = ["--key", str(tmp_path / "towpath.pub"), "--insecure-ignore-tlog", "--type", attest.VSA]
    done = cosign("verify-attestation", *known, reference)
    assert done.returncode == 0, done.stderr
    payload = json.loads(base64.b64decode(json.loads(done.stdout.splitlines()[0])["payload"]))
    assert payload["predicate"]["towpathPromotion"] == "pr_1"
