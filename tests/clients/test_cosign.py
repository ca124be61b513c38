"""cosign signs images in each of its layouts, attests, and verifies; without a transparency log.
(tests/promotions/test_cosign.py holds that we and cosign accept each other's signatures.)"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.clients.images import Layout
from tests.clients.journal import Journal
from tests.clients.programs import Clients, Failed, tags_at
from tests.nodes import SECRETS, RunningNode

pytestmark = [pytest.mark.clients, pytest.mark.slow]
OFFLINE = ("--tlog-upload=false", "--use-signing-config=false", "-y")
UNLOGGED = ("--insecure-ignore-tlog", "--private-infrastructure")
OLD = "--new-bundle-format=false"
# How cosign signs, and what it must be told to find that again. The tag is its old way, the bundle its new one.
LAYOUTS = {
    "tag": ((OLD,), (OLD,)),
    "referrer": ((OLD, "--registry-referrers-mode=oci-1-1"), (OLD, "--experimental-oci11")),
    "bundle": ((), ()),
}


class Cosign:
    """Signed in as dev, with a pair of keys."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        clients.environment |= {"COSIGN_PASSWORD": "pw", "COSIGN_EXPERIMENTAL": "1", "SIGSTORE_NO_CACHE": "1"}
        clients.run("cosign", "generate-key-pair", "--output-key-prefix", "made")

    def __call__(self, verb: str, *arguments: str) -> str:
        login = ("--allow-http-registry", "--registry-username=dev", f"--registry-password={SECRETS['dev']}")
        return self._clients.run("cosign", verb, *login, *arguments)


@pytest.fixture
def cosign(clients: Clients) -> Cosign:
    return Cosign(clients)


@pytest.mark.parametrize("form", list(LAYOUTS))
def test_a_signed_image_verifies(
    node: RunningNode, clients: Clients, cosign: Cosign, layout: Layout, seen: Journal, form: str
) -> None:
    signing, verifying = LAYOUTS[form]
    repository = f"cosign/{form}"
    clients.publish(layout, node, f"{repository}:1.0")
    reference = f"{node.host}/{repository}@{layout.index}"
    with pytest.raises(Failed, match=r"no signatures found|no matching"):
        cosign("verify", "--key", "made.pub", *UNLOGGED, *verifying, reference)
    seen.turn_page()
    cosign("sign", *OFFLINE, *signing, "--key", "made.key", reference)
    seen.assert_signed_in("dev")
    assert layout.index in cosign("verify", "--key", "made.pub", *UNLOGGED, *verifying, reference)
    with node.client() as client:
        referrers = client.get(f"/v2/{repository}/referrers/{layout.index}").json()["manifests"]
    tag = layout.index.replace(":", "-") + ".sig"
    assert (tag in tags_at(node, repository)) == (form == "tag")
    assert bool(referrers) == (form != "tag")
    clients.run("cosign", "generate-key-pair", "--output-key-prefix", "other")
    with pytest.raises(Failed):
        cosign("verify", "--key", "other.pub", *UNLOGGED, *verifying, reference)


@pytest.mark.parametrize("form", ["tag", "bundle"])
def test_an_attestation_is_found_with_what_it_says(
    node: RunningNode, clients: Clients, cosign: Cosign, layout: Layout, tmp_path: Path, form: str
) -> None:
    signing, verifying = LAYOUTS[form]
    clients.publish(layout, node, f"cosign/attest-{form}:1.0")
    reference = f"{node.host}/cosign/attest-{form}@{layout.index}"
    predicate = tmp_path / "predicate.json"
    predicate.write_text('{"findings": 0}')
    about = ("--type", "https://example.org/scan/v1")
    cosign("attest", *OFFLINE, *signing, "--key", "made.key", *about, "--predicate", str(predicate), reference)
    said = cosign("verify-attestation", "--key", "made.pub", *UNLOGGED, *verifying, *about, reference)
    statement = json.loads(base64.b64decode(json.loads(said.splitlines()[0])["payload"]))
    assert statement["predicate"] == {"findings": 0}
    assert statement["subject"][0]["digest"] == {"sha256": layout.index.partition(":")[2]}
