"""The signature gate against evidence that is missing, wrong, broken or hostile: it fails closed, and says why."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import Unreachable
from oci_wire.manifest import OCI_MANIFEST, Manifest
from promotions import attest, dsse
from promotions.gates import Answer, Question, Verdict, ask
from promotions.gates.evidence import SIGNATURE, SIMPLE_SIGNING
from promotions.keys import KeyInvalid, PrivateKey, PublicKey, load_public
from promotions.sign import Layout, sign, simple_signing
from tests.promotions.world import CALL, World, index, key, put


async def verdict(world: World, made: Manifest) -> Verdict:
    return await ask(Question("signed", world.topology, world.place("ci-pool"), made.digest, CALL))


async def unsigned(world: World) -> Manifest:
    return await index(world.place("ci-pool"), "1.0")


async def put_signature(world: World, made: Manifest, payload: bytes, signature: bytes | str) -> None:
    """A ``.sig`` tag with exactly this in it."""
    source = world.place("ci-pool")
    text = signature if isinstance(signature, str) else base64.b64encode(signature).decode()
    layer = await put(source, payload, SIMPLE_SIGNING)
    layer = Descriptor(layer.media_type, layer.digest, layer.size, {SIGNATURE: text})
    config = await put(source, b"{}", "application/vnd.oci.image.config.v1+json")
    body = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config.to_json(), "layers": [layer.to_json()]}
    manifest = Manifest.parse(json.dumps(body).encode(), OCI_MANIFEST)
    await source.registry.put_manifest(CALL, source.repository, manifest, tags=(f"sha256-{made.digest.hex}.sig",))


async def put_bundle(world: World, made: Manifest, bundle: bytes) -> None:
    source = world.place("ci-pool")
    layer = Descriptor(dsse.BUNDLE, Digest.of(bundle), len(bundle))
    await attest.push(source, CALL, attest.Evidence(bundle, attest.referrer(made.descriptor, dsse.BUNDLE, layer)))


@pytest.mark.parametrize("layout", list(Layout))
async def test_every_layout_passes(world: World, layout: Layout) -> None:
    made = await world.signed_image(layout=layout)
    found = await verdict(world, made)
    assert (found.answer, found.reasons) == (Answer.PASS, ("signed by release-key",))
    assert len(found.evidence) == 1


@pytest.mark.parametrize("layout", list(Layout))
async def test_another_key_is_no_signature(world: World, layout: Layout) -> None:
    made = await unsigned(world)
    await sign(world.place("ci-pool"), CALL, made.digest, key("towpath"), layout=layout)
    found = await verdict(world, made)
    assert found.answer is Answer.REFUSE and "signed by none of release-key" in " ".join(found.reasons)


async def test_a_good_signature_of_another_image_does_not_count(world: World) -> None:
    other = await index(world.place("ci-pool"), "other", salt="other")
    made = await unsigned(world)
    payload = simple_signing(world.place("ci-pool"), other.digest)
    await put_signature(world, made, payload, key("release").sign(payload))
    found = await verdict(world, made)
    assert found.answer is Answer.REFUSE and f"but for {other.digest}" in " ".join(found.reasons)


async def test_a_good_bundle_of_another_image_does_not_count(world: World) -> None:
    other = await index(world.place("ci-pool"), "other", salt="other")
    made = await unsigned(world)
    payload = dsse.statement_bytes(other.digest, dsse.COSIGN_SIGN, {})
    await put_bundle(world, made, dsse.sign_bundle(key("release"), payload))
    assert (await verdict(world, made)).answer is Answer.REFUSE


async def test_an_attestation_is_no_signature(world: World) -> None:
    made = await unsigned(world)
    payload = dsse.statement_bytes(made.digest, attest.VSA, {"verificationResult": "PASSED"})
    await put_bundle(world, made, dsse.sign_bundle(key("release"), payload))
    assert (await verdict(world, made)).answer is Answer.REFUSE


async def test_both_spellings_of_the_claim(world: World) -> None:
    made = await unsigned(world)
    payload = simple_signing(world.place("ci-pool"), made.digest).replace(b"docker-manifest", b"Docker-manifest")
    await put_signature(world, made, payload, key("release").sign(payload))
    assert (await verdict(world, made)).answer is Answer.PASS


def _edited(made: Manifest, edit: Any) -> bytes:
    body = json.loads(dsse.sign_bundle(key("release"), dsse.statement_bytes(made.digest, dsse.COSIGN_SIGN, {})))
    edit(body)
    return json.dumps(body).encode()


HOSTILE_BUNDLES = {
    "truncated": lambda made: _edited(made, lambda body: None)[:-40],
    "no signatures": lambda made: _edited(made, lambda body: body["dsseEnvelope"].update(signatures=[])),
    "signature of nothing": lambda made: _edited(
        made, lambda body: body["dsseEnvelope"]["signatures"][0].update(sig="")
    ),
    "no envelope": lambda made: _edited(made, lambda body: body.pop("dsseEnvelope")),
    "payload type": lambda made: _edited(made, lambda body: body["dsseEnvelope"].update(payloadType="text/plain")),
    "certificate": lambda made: _edited(
        made, lambda body: body.update(verificationMaterial={"certificate": {"rawBytes": "AAAA"}})
    ),
    "old media type": lambda made: _edited(made, lambda body: body.update(mediaType="application/x-bundle")),
    "not an object": lambda made: b"[]",
    "deep": lambda made: b"[" * 20_000,
    "empty": lambda made: b"",
}


@pytest.mark.parametrize("name", HOSTILE_BUNDLES)
async def test_broken_bundles_refuse(world: World, name: str) -> None:
    made = await unsigned(world)
    await put_bundle(world, made, HOSTILE_BUNDLES[name](made))
    assert (await verdict(world, made)).answer is Answer.REFUSE


@pytest.mark.parametrize(
    ("payload", "signature"),
    [
        (b"", b"x"),
        (b"{}", b"x"),
        (b'{"critical":{"image":{"docker-manifest-digest":7}}}', b"x"),
        (b'{"critical":null}', b"x"),
        (b"[" * 5000, b"x"),
        (b"\xff\xfe", b"x"),
        (b"{}", "not base64!"),
        (b"{}", ""),
    ],
)
async def test_broken_payloads_refuse(world: World, payload: bytes, signature: bytes | str) -> None:
    made = await unsigned(world)
    await put_signature(world, made, payload, signature)
    found = await verdict(world, made)
    assert found.answer is Answer.REFUSE and len(found.reasons) > 1


async def test_a_truncated_signature_refuses(world: World) -> None:
    made = await unsigned(world)
    payload = simple_signing(world.place("ci-pool"), made.digest)
    await put_signature(world, made, payload, key("release").sign(payload)[:-3])
    assert (await verdict(world, made)).answer is Answer.REFUSE


async def test_junk_beside_a_good_signature_does_not_matter(world: World) -> None:
    made = await world.signed_image()
    await put_bundle(world, made, b"junk")
    assert (await verdict(world, made)).answer is Answer.PASS


async def test_threshold_counts_keys_not_signatures(tmp_path: Path) -> None:
    world = World(
        tmp_path, lambda document: document["gates"]["signed"].update(by=["release-key", "towpath-key"], threshold=2)
    )
    made = await world.signed_image()
    await sign(world.place("ci-pool"), CALL, made.digest, key("release"), layout=Layout.BUNDLE)
    assert (await verdict(world, made)).answer is Answer.REFUSE
    await sign(world.place("ci-pool"), CALL, made.digest, key("towpath"))
    assert (await verdict(world, made)).answer is Answer.PASS


async def test_no_answer_is_no_verdict(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await unsigned(world)

    async def cut(*_: object, **__: object) -> None:
        raise Unreachable("cut")

    monkeypatch.setattr(world.nodes.of("ci-pool-eu"), "referrers", cut)
    with pytest.raises(Unreachable):
        await verdict(world, made)


async def test_gates_of_other_types_refuse(tmp_path: Path) -> None:
    def soaked(document: dict[str, Any]) -> None:
        document["gates"]["signed"] = {"type": "soak", "in": "ci-pool", "for": "1h"}

    world = World(tmp_path, soaked)
    found = await verdict(world, await unsigned(world))
    assert found.answer is Answer.REFUSE and "'soak' are not built yet" in found.reasons[0]


def _certificate() -> bytes:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "release")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(private.public_key())
    start = __import__("datetime").datetime(2020, 1, 1)
    builder = builder.serial_number(1).not_valid_before(start).not_valid_after(start.replace(year=2040))
    return builder.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (_certificate(), "certificate, not a public key"),
        (b"", "holds 0"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no public key that can be read"),
    ],
)
async def test_a_trust_file_that_is_no_key_refuses(world: World, content: bytes, why: str) -> None:
    made = await world.signed_image()
    (world.folder / "release.pub").write_bytes(content)
    found = await verdict(world, made)
    assert found.answer is Answer.REFUSE and why in found.reasons[0]


async def test_a_trust_file_that_is_not_there_refuses(world: World) -> None:
    made = await world.signed_image()
    (world.folder / "release.pub").unlink()
    found = await verdict(world, made)
    assert found.answer is Answer.REFUSE and "cannot be read" in found.reasons[0]


@pytest.mark.parametrize(
    "private",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["p384", "p521", "ed25519", "rsa"],
)
async def test_other_kinds_of_keys(world: World, private: Any) -> None:
    made = await unsigned(world)
    signer = PrivateKey(private)
    (world.folder / "release.pub").write_bytes(signer.public.pem)
    await sign(world.place("ci-pool"), CALL, made.digest, signer)
    assert (await verdict(world, made)).answer is Answer.PASS


def test_short_rsa_keys_are_refused() -> None:
    short = PublicKey(rsa.generate_private_key(65537, 1024).public_key())
    with pytest.raises(KeyInvalid, match="2048 bits"):
        load_public(short.pem)
