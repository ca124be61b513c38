"""Secrets by reference: read where they lie, all checked at once, never shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from topology.load import Loaded, load
from topology.model import KeyTrust, SecretRef
from topology.report import as_text
from topology.secrets import SecretKind, SecretUnreadable, check, missing, needed, public_key, read

QUICKSTART = Path(__file__).resolve().parents[2] / "examples" / "quickstart" / "topology.yaml"


@pytest.fixture
def quickstart(tmp_path: Path) -> Loaded:
    """A copy of quickstart with every secret and key in its place."""
    (tmp_path / "topology.yaml").write_text(QUICKSTART.read_text())
    loaded = load(tmp_path / "topology.yaml")
    key = ec.generate_private_key(ec.SECP256R1())
    for need in needed(loaded.valid):
        assert need.ref.file is not None
        write(tmp_path / need.ref.file, b"canary\n")
    for trust in loaded.valid.trust.values():
        assert isinstance(trust, KeyTrust)
        write(tmp_path / trust.file, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return loaded


def write(path: Path, content: bytes, mode: int = 0o600) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def test_a_file_is_found_beside_the_topology_and_read_without_its_line_end(tmp_path: Path) -> None:
    write(tmp_path / "token", b" s3cret \r\n")
    assert read(SecretRef(file=Path("token")), tmp_path) == b" s3cret "
    assert read(SecretRef(file=tmp_path / "token"), Path("/elsewhere")) == b" s3cret "


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOWPATH_TEST_SECRET", "geheim")
    assert read(SecretRef(env="TOWPATH_TEST_SECRET"), Path()) == b"geheim"


def test_what_cannot_be_read_says_where_and_what_to_do(tmp_path: Path) -> None:
    write(tmp_path / "empty", b"\n")
    write(tmp_path / "huge", b"x" * 70_000)
    for ref, says in (
        (SecretRef(env="TOWPATH_TEST_ABSENT"), "TOWPATH_TEST_ABSENT is not set"),
        (SecretRef(file=Path("absent")), "does not exist"),
        (SecretRef(file=Path()), "cannot be read"),
        (SecretRef(file=Path("empty")), "is empty"),
        (SecretRef(file=Path("huge")), "larger than 64 KiB"),
    ):
        with pytest.raises(SecretUnreadable, match=says) as caught:
            read(ref, tmp_path)
        assert caught.value.help


def test_all_in_place_is_no_finding(quickstart: Loaded) -> None:
    assert check(quickstart) == ()
    assert missing(quickstart.valid) == ()


def test_everything_missing_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "topology.yaml").write_text(QUICKSTART.read_text())
    loaded = load(tmp_path / "topology.yaml")
    found = check(loaded)
    assert [each.code for each in found] == ["T020"] * 4 + ["T022", "T022", "T020"]
    assert len(missing(loaded.valid)) == 5
    assert "token of `ci-runner`" in as_text(found)
    assert {each.code for each in check(loaded, [SecretKind.PASSWORD])} == {"T020", "T022"}


def test_a_secret_that_others_can_read_is_a_warning(quickstart: Loaded) -> None:
    (quickstart.valid.base / "secrets" / "ci-runner.token").chmod(0o640)
    (finding,) = check(quickstart)
    assert (finding.code, finding.severity) == ("T021", "warning")
    assert "canary" not in as_text([finding])


@pytest.mark.parametrize("block", ["CERTIFICATE", "PRIVATE KEY", "EC PRIVATE KEY"])
def test_only_a_public_key_is_taken_for_one(quickstart: Loaded, block: str) -> None:
    write(quickstart.valid.base / "trust" / "release.pub", f"-----BEGIN {block}-----\ncanary\n".encode())
    (finding,) = check(quickstart)
    assert finding.code == "T022"
    assert "canary" not in as_text([finding])


def test_a_public_key_is_returned_as_it_is(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    write(tmp_path / "k.pub", pem)
    assert public_key(KeyTrust(type="key", file=Path("k.pub")), tmp_path) == pem
    write(tmp_path / "k.pub", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(SecretUnreadable, match="a private key"):
        public_key(KeyTrust(type="key", file=Path("k.pub")), tmp_path)


def test_a_topology_with_errors_has_no_secrets_to_check() -> None:
    assert check(Loaded(None, ())) == ()
