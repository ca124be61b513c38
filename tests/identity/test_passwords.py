from __future__ import annotations

import pytest

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
