from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

from crossauth_django import crypto
from crossauth_django.exceptions import EncryptionError
from tests.reports import report_of

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


def test_secrets_carry_256_bits_and_differ():
    assert len({crypto.new_secret() for _ in range(100)}) == 100
    assert len(crypto.new_secret()) == 43


def test_digest_is_the_sha256_in_hex():
    assert crypto.digest("abc").startswith("ba7816bf8f01cfea414140de5dae2223")


def test_keyed_digest_separates_labels_and_keys(settings):
    first = crypto.keyed_digest("a", "name")
    assert first == crypto.keyed_digest("a", "name")
    assert first != crypto.keyed_digest("b", "name")
    assert first != crypto.keyed_digest("a", "name", key="another key")
    settings.SECRET_KEY = "rotated"
    assert first != crypto.keyed_digest("a", "name")
    settings.SECRET_KEY = b"rotated"
    assert len(crypto.keyed_digest("a", "name")) == 64


def test_lone_surrogates_have_a_digest():
    assert crypto.digest("\ud800") != crypto.digest("\ud801")
    assert crypto.keyed_digest("a", "\ud800") != crypto.keyed_digest("a", "\ud801")


def test_code_challenge_of_rfc_7636_appendix_b():
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert (
        crypto.code_challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    )


def test_what_the_old_key_encrypted_opens_after_a_rotation(settings):
    settings.CROSSAUTH_ENCRYPTION_KEYS = [OLD]
    stored = crypto.encrypt("token \U0001f511")
    settings.CROSSAUTH_ENCRYPTION_KEYS = [NEW, OLD]
    assert crypto.decrypt(stored) == "token \U0001f511"


def test_rotate_makes_the_old_key_unnecessary(settings):
    settings.CROSSAUTH_ENCRYPTION_KEYS = [OLD]
    stored = crypto.encrypt("token")
    settings.CROSSAUTH_ENCRYPTION_KEYS = [NEW, OLD]
    stored = crypto.rotate(stored)
    settings.CROSSAUTH_ENCRYPTION_KEYS = [NEW]
    assert crypto.decrypt(stored) == "token"


@pytest.mark.parametrize("stored", ["", "not a token", "\ud800"])
def test_what_no_key_opens_is_a_clear_error(settings, stored):
    settings.CROSSAUTH_ENCRYPTION_KEYS = [NEW]
    with pytest.raises(EncryptionError):
        crypto.decrypt(stored)


@pytest.mark.parametrize("keys", [[], ["too short"]])
def test_encrypting_without_a_valid_key_says_what_to_type(settings, keys):
    settings.CROSSAUTH_ENCRYPTION_KEYS = keys
    with pytest.raises(ImproperlyConfigured, match="CROSSAUTH_ENCRYPTION_KEYS"):
        crypto.encrypt("token")


def test_what_is_sealed_opens_with_its_secret_and_label_only():
    secret, other = crypto.new_secret(), crypto.new_secret()
    sealed = crypto.seal("state", secret, "ann@example.org \ud800")
    assert crypto.unseal("state", secret, sealed) == "ann@example.org \ud800"
    assert "ann" not in sealed
    for label, key in [("state", other), ("other", secret)]:
        with pytest.raises(EncryptionError):
            crypto.unseal(label, key, sealed)


def test_what_is_sealed_survives_a_rotated_secret_key_with_its_fallback(settings):
    secret = crypto.new_secret()
    before = settings.SECRET_KEY
    sealed = crypto.seal("state", secret, "plain")
    settings.SECRET_KEY = "rotated"
    with pytest.raises(EncryptionError):
        crypto.unseal("state", secret, sealed)
    settings.SECRET_KEY_FALLBACKS = [before]
    assert crypto.unseal("state", secret, sealed) == "plain"


@pytest.mark.parametrize("sealed", ["", "not sealed", "\ud800"])
def test_what_was_never_sealed_is_a_clear_error(sealed):
    with pytest.raises(EncryptionError):
        crypto.unseal("state", crypto.new_secret(), sealed)


def test_no_error_report_shows_a_key(settings):
    settings.CROSSAUTH_ENCRYPTION_KEYS = [NEW, "not a key"]
    with pytest.raises(ImproperlyConfigured) as caught:
        crypto.encrypt("a token")
    assert NEW not in report_of(caught)
