from __future__ import annotations

import hmac

import bcrypt
import pytest

from identity import passwords
from identity.passwords import check_password, check_token, hash_password, hash_token, new_token


def test_a_password_fits_its_own_hash_alone() -> None:
    stored = hash_password("secret", cost=4)
    assert check_password(stored, "secret")
    assert check_password(stored.replace("$2b$", "$2y$"), "secret")  # as htpasswd writes it
    assert not check_password(stored, "Secret")
    assert not check_password(stored, "")
    assert not check_password(None, "secret")


def test_a_password_longer_than_bcrypt_reads_is_refused_not_cut() -> None:
    with pytest.raises(ValueError, match="72 bytes"):
        hash_password("x" * 73)
    assert not check_password(hash_password("x" * 72, cost=4), "x" * 73)
    with pytest.raises(ValueError, match="72 bytes"):
        hash_password("ä" * 37)  # two bytes each


def test_a_token_fits_its_own_hash_alone() -> None:
    token = new_token()
    assert token != new_token()
    assert check_token(hash_token(token), token)
    assert not check_token(hash_token(token), token + "x")


@pytest.mark.attack("A-constant-time")
def test_every_refusal_takes_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    cheap, dear = hash_password("secret", cost=4), hash_password("secret", cost=6)
    done: list[int] = []
    real = bcrypt.checkpw
    monkeypatch.setattr(bcrypt, "checkpw", lambda a, b: done.append(2 ** int(b[4:6])) or real(a, b))
    work = []
    for stored, password in (
        (cheap, "wrong"),
        (dear, "wrong"),
        (None, "wrong"),
        (cheap, "x" * 80),
        (None, ""),
        (None, "\0"),
    ):
        assert not check_password(stored, password, cost=6)
        work.append(sum(done))
        done.clear()
    assert work == [2**6] * 6


def test_the_work_in_vain_is_real_and_fits_nothing() -> None:
    """The hash that nobody has is one that bcrypt takes: a malformed one would be refused at once."""
    for cost in (4, 5, 10):
        made = bcrypt.hashpw(b"", f"$2b${cost:02d}${'.' * 53}".encode())
        assert made.startswith(f"$2b${cost:02d}$".encode())
        assert not check_password(None, "", cost=cost)


def test_nothing_is_computed_when_the_module_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    monkeypatch.setattr(bcrypt, "hashpw", lambda *_: pytest.fail("bcrypt at import: it costs a node's start"))
    importlib.reload(passwords)


@pytest.mark.attack("A-constant-time")
def test_a_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: seen.append((a, b)) or a == b)
    assert check_token(hash_token("right"), "right")
    assert not check_token(hash_token("right"), "wrong")
    assert [len(a) == len(b) == 64 for a, b in seen] == [True, True]
