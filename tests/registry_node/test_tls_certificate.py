"""Certificate and key: what is refused and how it is said, when a new pair is taken, what is warned of."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from registry_node import tls_certificate
from registry_node.tls_certificate import Certificates, CertificateUnusable
from tests.certificates import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def pair(authority: Authority, tmp_path: Path) -> dict[str, str]:
    return authority.issue(tmp_path / "node")


def opened(pair: dict[str, str]) -> Certificates:
    return Certificates(Path(pair["certificate"]), Path(pair["key"]))


def said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_good_pair(pair: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    certificates = opened(pair)
    assert certificates.context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert 89 * 86400 < certificates.seconds_left() < 91 * 86400
    assert said(capsys) == []


def _locked(path: Path) -> None:
    key = load_pem_private_key(path.read_bytes(), None)
    sealed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))  # type: ignore[call-arg]
    path.write_bytes(sealed)


@pytest.mark.parametrize(
    ("which", "spoil", "message"),
    [
        ("key", lambda path: path.chmod(0o640), "is open to others (mode 0640); chmod 600"),
        ("key", lambda path: path.chmod(0o604), "is open to others (mode 0604); chmod 600"),
        ("key", Path.unlink, "cannot be read: No such file"),
        ("key", lambda path: path.write_bytes(b"no key"), "holds no private key"),
        ("key", _locked, "has a passphrase"),
        ("certificate", Path.unlink, "cannot be read: No such file"),
        ("certificate", lambda path: path.write_bytes(b""), "holds no certificate"),
        ("certificate", lambda path: path.write_bytes(path.read_bytes()[:200]), "holds no certificate"),
    ],
)
def test_what_cannot_be_used(pair: dict[str, str], which: str, spoil: Any, message: str) -> None:
    spoil(Path(pair[which]))
    with pytest.raises(CertificateUnusable) as refused:
        opened(pair)
    assert pair[which] in str(refused.value)
    assert message in str(refused.value)


def test_a_key_of_another_certificate(authority: Authority, pair: dict[str, str], tmp_path: Path) -> None:
    other = authority.issue(tmp_path / "other")
    with pytest.raises(CertificateUnusable, match="is not the key of the first certificate"):
        opened({**pair, "key": other["key"]})


def test_a_new_pair_is_taken(authority: Authority, pair: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    certificates = opened(pair)
    before = certificates.context
    certificates.look()
    assert certificates.context is before
    authority.issue(Path(pair["key"]).parent, ends=timedelta(days=300))
    certificates.look()
    assert certificates.context is not before
    assert certificates.seconds_left() > 299 * 86400
    assert [each["event"] for each in said(capsys)] == ["certificate taken"]


def test_a_link_that_is_switched(authority: Authority, tmp_path: Path) -> None:
    """As Kubernetes swaps a mounted secret: ..data points to another folder, the names in front of it stay."""
    for name in ("first", "second"):
        authority.issue(tmp_path / name)
    data = tmp_path / "..data"
    data.symlink_to("first")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    certificates = opened({"certificate": str(tmp_path / "tls.crt"), "key": str(tmp_path / "tls.key")})
    before = certificates.context
    (tmp_path / "..data_tmp").symlink_to("second")
    (tmp_path / "..data_tmp").replace(data)
    certificates.look()
    assert certificates.context is not before


def test_a_broken_pair_is_refused_once_and_the_old_one_stays(
    authority: Authority, pair: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certificates = opened(pair)
    before = certificates.context
    other = authority.issue(tmp_path / "other")
    shutil.copy(other["certificate"], pair["certificate"])  # the key comes later
    for _ in range(3):
        certificates.look()
    assert certificates.context is before
    (line,) = said(capsys)
    assert (line["level"], line["event"]) == ("error", "certificate refused")
    assert "The one before stays in use" in line["message"]
    shutil.copy(other["key"], pair["key"])
    certificates.look()
    assert certificates.context is not before


def test_one_that_has_expired_is_not_taken(
    authority: Authority, pair: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    certificates = opened(pair)
    before = certificates.context
    authority.issue(Path(pair["key"]).parent, begins=timedelta(days=-9), ends=timedelta(days=-1))
    certificates.look()
    assert certificates.context is before
    assert "is not valid now" in said(capsys)[0]["message"]


@pytest.mark.parametrize(
    ("begins", "ends", "today", "tomorrow"),
    [
        (timedelta(days=-80), timedelta(days=10), "warning", "warning"),
        (timedelta(days=-80), timedelta(days=15), None, "warning"),
        (timedelta(hours=-40), timedelta(hours=8), "warning", "error"),
        (timedelta(hours=-8), timedelta(hours=40), None, None),  # short-lived: a fifth of its life counts
        (timedelta(days=-9), timedelta(seconds=-1), "error", "error"),
        (timedelta(days=1), timedelta(days=90), "error", None),
    ],
)
def test_the_end_is_warned_of_once_a_day(
    authority: Authority,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    begins: timedelta,
    ends: timedelta,
    today: str | None,
    tomorrow: str | None,
) -> None:
    certificates = opened(authority.issue(tmp_path / "node", begins=begins, ends=ends))
    certificates.look()
    assert [each["level"] for each in said(capsys)] == ([today] if today else [])
    later = time.time() + 86401
    monkeypatch.setattr(tls_certificate.time, "time", lambda: later)
    certificates.look()
    certificates.look()
    assert [each["level"] for each in said(capsys)] == ([tomorrow] if tomorrow else [])


@pytest.fixture
def _unowned(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(tls_certificate.os, "geteuid", lambda: 1000)
    yield


@pytest.mark.usefixtures("_unowned")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs a file that belongs to root")
def test_root_may_hand_the_key_to_the_group_of_the_node(pair: dict[str, str]) -> None:
    Path(pair["key"]).chmod(0o640)
    opened(pair)
    Path(pair["key"]).chmod(0o660)
    with pytest.raises(CertificateUnusable, match="mode 0660"):
        opened(pair)
