"""What stands in the cache for a session is read as it was written, or not at all."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from hypothesis import given
from hypothesis import strategies as st

from crossauth_django.managers.copy_format import NONCE, ROW, VISITOR, Copy
from crossauth_django.sessions import SessionStore

DIGEST = hashlib.sha256(b"key").hexdigest()
# From 1970 to 9999, to the millisecond.
moments = st.integers(0, 253_402_300_799_999).map(lambda number: number / 1000)
copies = st.builds(
    Copy,
    kind=st.sampled_from([ROW, VISITOR]),
    nonce=st.text("abcXYZ019-_", min_size=NONCE, max_size=NONCE),
    stamp=st.sampled_from(["", "a1b2c3d4"]),
    seen=moments,
    created=moments,
    ends=moments,
    expires=moments,
    version=st.integers(0, 253_402_300_799_999_999),
    text=st.text(st.characters(exclude_categories=["Cs"])),
)


@given(copies)
def test_a_copy_is_read_as_it_was_written(copy):
    assert Copy.parse(DIGEST, copy.dump(DIGEST)) == copy


@given(copies, st.data())
def test_an_altered_copy_is_none(copy, data):
    text = copy.dump(DIGEST)
    at = data.draw(st.integers(1 + NONCE, len(text) - 1))
    other = data.draw(st.characters(exclude_characters=text[at], codec="utf-8"))
    assert Copy.parse(DIGEST, text[:at] + other + text[at + 1 :]) is None
    assert Copy.parse(hashlib.sha256(text.encode()).hexdigest(), text) is None


@pytest.mark.parametrize(
    "text", ["", "s", "s|", "v||", "x|y|z", "l9|", "m", "s|||||||"]
)
def test_what_others_have_made_is_none(text):
    assert Copy.parse(DIGEST, text) is None


@given(st.text())
def test_any_text_is_none_and_no_error(text):
    assert Copy.parse(DIGEST, text) is None


PHRASES = [
    *(SESSION_KEY, BACKEND_SESSION_KEY, HASH_SESSION_KEY),
    *(f'"{SESSION_KEY}":', "django.contrib.auth.backends.ModelBackend", "\1", "\4"),
]
texts = st.text() | st.sampled_from(PHRASES)


@given(st.dictionaries(texts, texts | st.integers() | st.dictionaries(texts, texts)))
def test_data_come_back_as_they_were(data):
    store = SessionStore()
    assert store._open(store._close(data)) == data


class ControlSerializer:
    """Writes what JSON never does."""

    def dumps(self, data: Any) -> bytes:
        return b"\1\4" + json.dumps(data, separators=(",", ":")).encode()

    def loads(self, raw: bytes) -> Any:
        assert raw.startswith(b"\1\4")
        return json.loads(raw[2:])


def test_text_with_control_characters_comes_back_too(settings):
    settings.SESSION_SERIALIZER = f"{__name__}.ControlSerializer"
    store, data = SessionStore(), dict.fromkeys(PHRASES, "text")
    assert store._open(store._close(data)) == data


def test_what_signs_nearly_everybody_in_is_short():
    data = {
        SESSION_KEY: "1",
        BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend",
        HASH_SESSION_KEY: "f" * 64,
    }
    assert len(SessionStore()._close(data)) < 80
