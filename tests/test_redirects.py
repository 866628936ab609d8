from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crossauth_django.redirects import same_origin_path

PIECES = st.sampled_from(
    [
        *("/", "\\", "//", ":", "@", "?", "#", ".", "..", "%2f", "%5c", "%00", " "),
        *(
            "\t",
            "\n",
            "\r",
            "\0",
            "\x7f",
            "\x85",
            "\u2028",
            "\ufeff",
            "\u3000",
            "\uff0f",
        ),
        *("http", "https:", "javascript:", "evil.example", "user", "a", "[", "]", "é"),
    ]
)


@pytest.mark.parametrize(
    "path", ["/", "/a", "/a/b/?c=d#e", "/ü/", "/a//b", "/?next=//x", "/@a", "/a:b"]
)
def test_a_path_of_this_site_stays_as_it_is(path):
    assert same_origin_path(path) == path


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "a",
        "a/b",
        "?a",
        "#a",
        "//",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\/evil.example",
        "/a\\b",
        "/\t/evil.example",
        "/\n/evil.example",
        "/a b",
        "/a\0",
        "/\x7f",
        "/\u2028",
        " /a",
        "\t/a",
        "http://evil.example",
        "https:evil.example",
        "https:///evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "user@evil.example",
        "http://testserver/",
        "/" + "a" * 2000,
    ],
)
def test_everything_else_is_refused(text):
    assert same_origin_path(text) is None


@given(st.one_of(st.lists(PIECES, max_size=8).map("".join), st.text(max_size=30)))
@example("/\\evil.example")
@example("//evil.example")
def test_what_is_accepted_stays_on_this_site_in_every_reading(text):
    path = same_origin_path(text)
    if path is None:
        return
    # What browsers do before they parse: strip, drop tabs and newlines, turn backslashes.
    read = path.strip().replace("\t", "").replace("\n", "").replace("\r", "")
    for variant in (path, read, read.replace("\\", "/")):
        joined = urlsplit(urljoin("https://site.example/accounts/", variant))
        assert (joined.scheme, joined.netloc) == ("https", "site.example")
        assert not variant.startswith("//")
    assert path.isprintable()
