from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.contrib.auth import get_user
from jwt.algorithms import RSAAlgorithm

from crossauth_django.exceptions import IdTokenError, ProviderError
from crossauth_django.oauth import idtoken
from tests.oauth.browser import sign_in
from tests.provider import CLIENT_ID, CLIENT_SECRET, Key, Reply, make_key

pytestmark = pytest.mark.django_db


def refused(client: Any, provider: Any, *, code: str = "invalid_id_token") -> bool:
    response = sign_in(client, provider)
    assert response.status_code == 502
    assert code in response.content.decode()
    assert not get_user(client).is_authenticated
    return True


@pytest.mark.parametrize(
    "algorithm", ["RS256", "RS512", "PS256", "PS384", "ES256", "EdDSA"]
)
def test_every_common_asymmetric_algorithm_is_accepted(
    client, site, provider, algorithm
):
    provider.rotate(algorithm, algorithm)
    assert sign_in(client, provider).status_code == 302


@pytest.mark.parametrize("algorithm", ["ES384", "ES512"])
def test_the_other_curves_are_verified_with_their_own_hash(algorithm):
    assert idtoken.KEY_TYPES[algorithm] == "EC"
    hashed = hashlib.new(f"sha{algorithm[2:]}", b"token").digest()
    half = encoded(hashed[: len(hashed) // 2])
    assert idtoken._half_hash("token", algorithm) == half


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example.com"},
        {"iss": None},
        {"iss": ["https://evil.example.com"]},
        {"aud": "another client"},
        {"aud": ["another client", "a third"]},
        {"aud": []},
        {"aud": None},
        {"aud": {"client one": 1}},
        {"aud": [CLIENT_ID, "another client"]},  # several, and no azp
        {"aud": [CLIENT_ID, "another client"], "azp": "another client"},
        {"azp": "another client"},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 256},
        {"sub": "a\0b"},
        {"exp": None},
        {"exp": 1},
        {"exp": "soon"},
        {"exp": float("inf")},
        {"iat": None},
        {"iat": 2**40},
        {"nbf": 2**40},
        {"nonce": None},
        {"nonce": ""},
        {"nonce": "of another sign-in"},
        {"nonce": 7},
        {"nonce": "ünicode"},
        {"at_hash": "bm9uc2Vuc2U"},
        {"at_hash": 7},
        {"name": "a\0b"},
        {"name": "\ud800"},
    ],
    ids=repr,
)
def test_a_wrong_claim_signs_nobody_in(client, site, provider, claims):
    provider.claims = claims
    assert refused(client, provider)


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": [CLIENT_ID]},
        {"azp": CLIENT_ID},
        {"aud": [CLIENT_ID, "another client"], "azp": CLIENT_ID},
        {"at_hash": None},
        {"exp": 4e9 + 0.5},
        {"sub": "x" * 255},
        {"name": "Jäne \U0001f511"},
    ],
    ids=repr,
)
def test_a_right_claim_signs_in(client, site, provider, claims):
    provider.claims = claims
    assert sign_in(client, provider).status_code == 302


@pytest.mark.parametrize(("seconds", "accepted"), [(50, True), (75, False)])
def test_clocks_may_differ_by_a_minute(client, site, provider, seconds, accepted):
    now = int(time.time())
    provider.claims = {"iat": now + seconds}
    assert (sign_in(client, provider).status_code == 302) is accepted
    client.logout()
    provider.claims = {"exp": now - seconds}
    assert (sign_in(client, provider).status_code == 302) is accepted


# Signatures


def test_a_token_without_signature_signs_nobody_in(client, site, provider):
    provider.sign = lambda claims: jwt.encode(claims, None, "none")
    assert refused(client, provider)


@pytest.mark.parametrize("headers", [{}, {"kid": "first"}])
@pytest.mark.parametrize("secret", ["pem", "jwk", "client"])
def test_a_token_signed_with_what_others_know_signs_nobody_in(
    client, site, provider, headers, secret
):
    public = provider.key.private.public_key()
    secrets = {
        "pem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "jwk": json.dumps(provider.key.jwk).encode(),
        "client": CLIENT_SECRET.encode(),
    }
    provider.sign = lambda claims: signed_by_hand(claims, secrets[secret], headers)
    assert refused(client, provider)


def signed_by_hand(
    claims: dict[str, Any], secret: bytes, headers: dict[str, str]
) -> str:
    # The library would refuse to sign with a public key.
    parts = [{"alg": "HS256", "typ": "JWT", **headers}, claims]
    text = ".".join(encoded(json.dumps(part).encode()) for part in parts)
    return f"{text}.{encoded(hmac.digest(secret, text.encode(), 'sha256'))}"


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_a_symmetric_key_in_the_key_set_is_not_used(client, site, provider):
    key = {"kty": "oct", "k": "c2VjcmV0" * 8, "kid": "shared"}
    provider.published.append(Key("shared", "HS256", None, key))
    provider.sign = lambda claims: jwt.encode(
        claims, base64.b64decode(key["k"]), "HS256", {"kid": "shared"}
    )
    assert refused(client, provider)


@pytest.mark.parametrize("kid", ["first", None])
def test_a_signature_by_another_key_signs_nobody_in(client, site, provider, kid):
    headers = {"kid": kid} if kid else {}
    foreign = make_key("foreign")
    provider.sign = lambda claims: jwt.encode(claims, foreign.private, "ES256", headers)
    assert refused(client, provider)


def test_a_changed_token_signs_nobody_in(client, site, provider):
    def change(claims: dict[str, Any]) -> str:
        header, _, signature = provider._sign(claims).split(".")
        other = json.dumps({**claims, "sub": "admin"}).encode()
        return f"{header}.{encoded(other)}.{signature}"

    provider.sign = change
    assert refused(client, provider)


@pytest.mark.parametrize(
    "token", ["", "x", "a.b.c", "a.b.c.d.e", "é.é.é", "e30.e30.", '{"alg":"RS256"}']
)
def test_what_is_no_token_signs_nobody_in(client, site, provider, token):
    provider.sign = lambda claims: token
    assert refused(client, provider)


def test_a_token_response_without_an_id_token_signs_nobody_in(client, site, provider):
    provider.token = {"id_token": None}
    assert refused(client, provider)


@pytest.mark.parametrize(
    "change", [{"use": "enc"}, {"alg": "ES384"}, {"kty": "RSA"}, {"crv": "unknown"}]
)
def test_a_key_for_another_purpose_is_not_used(client, site, provider, change):
    key = provider.key
    provider.published = [key._replace(jwk={**key.jwk, **change})]
    assert refused(client, provider)


def test_an_unusable_key_does_not_spoil_the_others(client, site, provider):
    key = provider.key
    broken = key._replace(jwk={**key.jwk, "x": "!"})
    provider.published = [broken, key]
    assert sign_in(client, provider).status_code == 302


def test_a_short_rsa_key_is_refused(client, site, provider):
    private = rsa.generate_private_key(65537, 1024)
    jwk = RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
    jwk.pop("key_ops")
    provider.published = [Key("short", "RS256", private, {**jwk, "kid": "short"})]
    body = jwt.PyJWT(options={"enforce_minimum_key_length": False})
    with pytest.warns(Warning, match="key"):
        signed = body.encode({"sub": "x"}, private, "RS256", {"kid": "short"})
    provider.sign = lambda claims: signed
    assert refused(client, provider)


# Key sets


def test_a_token_without_kid_finds_its_key(client, site, provider):
    provider.headers = {"kid": None}
    provider.published = [make_key("old"), provider.key]
    assert sign_in(client, provider).status_code == 302


def test_the_key_set_is_fetched_once_for_many(client, site, provider):
    for _ in range(3):
        sign_in(client, provider)
    assert provider.asked("/jwks") == 1


@pytest.mark.parametrize("kid", ["second", None])
def test_a_new_key_of_the_issuer_is_found(client, site, provider, kid):
    provider.headers = {"kid": kid} if kid is None else {}
    sign_in(client, provider)
    client.logout()
    provider.rotate()
    assert sign_in(client, provider).status_code == 302
    assert provider.asked("/jwks") == 2


def test_tokens_of_unknown_keys_make_one_request_a_minute(client, site, provider):
    sign_in(client, provider)
    client.logout()
    provider.headers = {"kid": "made up"}
    for _ in range(4):
        assert refused(client, provider)
    assert provider.asked("/jwks") == 2


@pytest.mark.parametrize("body", [[], {}, {"keys": {}}, {"keys": None}])
def test_a_key_set_that_is_none_is_not_kept(client, site, provider, body):
    provider.answers["/jwks"] = lambda handler: Reply(200, body)
    assert refused(client, provider, code="server_error")
    del provider.answers["/jwks"]
    assert sign_in(client, provider).status_code == 302


def test_members_of_a_key_set_that_are_no_keys_are_passed_over(client, site, provider):
    keys = [7, None, "x", {}, {"kty": "EC"}, provider.key.jwk]
    provider.answers["/jwks"] = lambda handler: Reply(200, {"keys": keys})
    assert sign_in(client, provider).status_code == 302


def test_a_key_set_that_cannot_be_had_is_the_providers_failure(provider):
    url = f"{provider.issuer}/nowhere"
    token = provider._sign({"sub": "x"})
    with pytest.raises(ProviderError):
        idtoken.verify(
            token,
            issuer=provider.issuer,
            client_id=CLIENT_ID,
            nonce="n",
            access_token="a",
            jwks_url=url,
        )


def test_messages_do_not_quote_the_token(provider):
    with pytest.raises(IdTokenError) as caught:
        idtoken.verify(
            "secret.secret.secret",
            issuer=provider.issuer,
            client_id=CLIENT_ID,
            nonce="n",
            access_token="a",
            jwks_url=f"{provider.issuer}/jwks",
        )
    assert str(caught.value) == "DecodeError"
