"""What stands in the cache for a session is read as it was written, or not at all."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossauth_django.managers.copies import ROW, VISITOR, Copy

DIGEST = hashlib.sha256(b"key").hexdigest()
# From 1970 to 9999, to the millisecond.
moments = st.integers(0, 253_402_300_799_999).map(lambda number: number / 1000)
copies = st.builds(
    Copy,
    kind=st.sampled_from([ROW, VISITOR]),
    nonce=st.text("abcXYZ019-_", max_size=12),
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
    at = data.draw(st.integers(len(copy.mark), len(text) - 1))
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
