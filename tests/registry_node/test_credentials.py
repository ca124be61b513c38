from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from identity import passwords
from identity.signing_key import SigningKey
from identity.tokens import TokenSigner
from oci_wire.errors import TooManyRequests
from registry_node import credentials as module
from registry_node.credentials import Credentials, WrongCredentials
from tests.registry_node.conftest import DEV, ROBOT, settings


@pytest.fixture
def credentials(tmp_path: Path) -> Credentials:
    return Credentials(settings(tmp_path).users, TokenSigner(SigningKey.load_or_create(tmp_path / "key.pem"), "box"))


async def test_many_requests_with_one_password_cost_one_bcrypt(
    credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = 0

    def counted(stored: str | None, password: str, *, cost: int) -> bool:
        nonlocal checks
        checks += 1
        return passwords.check_password(stored, password, cost=cost)

    monkeypatch.setattr(module, "check_password", counted)
    found = await asyncio.gather(*(credentials.login(*DEV) for _ in range(50)))
    found.append(await credentials.login(*DEV))
    assert {each.name for each in found} == {"dev"}
    assert checks == 1
    for _ in range(5):
        with pytest.raises(WrongCredentials):
            await credentials.login("dev", "wrong")
    assert checks == 2


async def test_a_caller_who_leaves_does_not_spoil_the_check_for_others(credentials: Credentials) -> None:
    first = asyncio.create_task(credentials.login(*DEV))
    second = asyncio.create_task(credentials.login(*DEV))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).name == "dev"


async def test_who_is_what(credentials: Credentials) -> None:
    dev, robot = await credentials.login(*DEV), await credentials.login(*ROBOT)
    assert (dev.robot, dev.how, robot.robot, robot.how) == (False, "password", True, "token")
    assert (await credentials.login("", "")).anonymous
    for name, secret in (("", "x"), ("ci", DEV[1]), ("dev", ROBOT[1]), ("ci", "")):
        with pytest.raises(WrongCredentials):
            await credentials.login(name, secret)


async def test_the_memory_of_credentials_is_bounded(credentials: Credentials, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "check_password", lambda *_, cost: False)
    monkeypatch.setattr(module, "_REMEMBERED", 10)
    for n in range(30):
        with pytest.raises(WrongCredentials):
            await credentials.login("dev", f"guess {n}")
    assert len(credentials._seen) == 10
    assert not credentials._checking


async def test_a_flood_of_guesses_is_turned_away(credentials: Credentials, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(module, "check_password", lambda stored, password, cost: bool(go_on.wait(30)) and False)
    guesses = [asyncio.create_task(credentials.login("dev", f"guess {number}")) for number in range(100)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests):
        await credentials.login("dev", "one more")
    assert (await credentials.login(*ROBOT)).name == ROBOT[0]  # a token costs no bcrypt
    go_on.set()
    kinds = [type(each) for each in await asyncio.gather(*guesses, return_exceptions=True)]
    assert set(kinds) == {WrongCredentials, TooManyRequests}


def _token(folder: Path, credentials: Credentials) -> str:
    signer = TokenSigner(SigningKey.load_or_create(folder / "key.pem"), "box")
    return f"Bearer {signer.issue('dev', (), binding=credentials.binding('dev')).text}"


def test_a_token_of_ours_is_known_at_once(tmp_path: Path, credentials: Credentials) -> None:
    found = credentials.known(_token(tmp_path, credentials))
    assert found is not None and (found[1].name, found[2]) == ("dev", ())
    assert credentials.known("Basic ZGV2OmRldg==") is None


def test_a_forged_token_is_nobody_and_lets_new_ones_wait_a_moment(
    tmp_path: Path, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, verified = _token(tmp_path, credentials), []
    verify = credentials._signer.verify
    monkeypatch.setattr(credentials._signer, "verify", lambda text: verified.append(text) or verify(text))
    for number in range(100):
        assert credentials.known(f"{good[:-8]}{number:08}") is None
    assert len(verified) == 1, "a flood of forged tokens costs nothing here"
    assert credentials.known(good) is None
    monkeypatch.setattr(credentials, "_pause_until", 0.0)
    assert credentials.known(good) is not None
