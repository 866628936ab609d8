from __future__ import annotations

import pytest
from django.test import RequestFactory, override_settings
from hypothesis import given
from hypothesis import strategies as st

from crossauth_django.addresses import canonical, client_address, network_of, reduced

PEER = "192.0.2.1"


def behind(hops: int, chain: str | None, peer: str | None = PEER) -> str:
    meta = {} if peer is None else {"REMOTE_ADDR": peer}
    if chain is not None:
        meta["HTTP_X_FORWARDED_FOR"] = chain
    with override_settings(CROSSAUTH_TRUSTED_PROXY_HOPS=hops):
        return client_address(meta)


def test_a_header_is_not_believed_without_trusted_proxies():
    assert behind(0, "198.51.100.7") == PEER


def test_a_request_is_as_good_as_its_meta():
    request = RequestFactory().get("/", REMOTE_ADDR="203.0.113.9")
    assert client_address(request) == "203.0.113.9"


def test_a_frameworks_own_request_is_as_good_as_the_one_inside():
    class Wrapper:
        META = {"REMOTE_ADDR": "203.0.113.9"}

    assert client_address(Wrapper()) == "203.0.113.9"


@pytest.mark.parametrize(
    ("hops", "expected"),
    [(1, "203.0.113.3"), (2, "203.0.113.2"), (3, "203.0.113.1"), (4, PEER)],
)
def test_hops_count_from_the_right_and_a_short_chain_is_the_peers(hops, expected):
    chain = "203.0.113.1, 203.0.113.2,203.0.113.3"
    assert behind(hops, chain) == expected


def test_what_the_client_wrote_itself_changes_nothing():
    for spoofed in ("198.51.100.7, ", "rubbish, ", "a" * 100_000 + ",", ",,,,"):
        assert behind(1, spoofed + "203.0.113.3") == "203.0.113.3"


@pytest.mark.parametrize(
    "chain",
    ["", " ", ",", "unknown", "_hidden", "999.1.1.1", "1.2.3", "[::1", "[::1]x",
     "1.2.3.4:port", "1.2.3.4:", "[::1]:x", "203.0.113.3,", "203.0.113.3 203.0.113.4",
     "203.0.113.3\x00", "٢.2.2.2", "x" * 1000],
)  # fmt: skip
def test_a_malformed_chain_is_the_peers(chain):
    assert behind(1, chain) == PEER


def test_one_malformed_entry_among_the_trusted_ones_spoils_the_chain():
    assert behind(2, "203.0.113.1, rubbish") == PEER


def test_a_missing_header_is_the_peers():
    assert behind(2, None) == PEER


@pytest.mark.parametrize("peer", [None, "", "unix:"])
def test_a_unix_socket_has_no_address_of_its_own(peer):
    assert behind(0, None, peer) == ""
    assert behind(1, "203.0.113.3", peer) == "203.0.113.3"
    assert behind(1, "rubbish", peer) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("203.0.113.3:8080", "203.0.113.3"),
        ("[2001:DB8::1]:443", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:0db8:0:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:203.0.113.3", "203.0.113.3"),
        ("64:ff9b::203.0.113.3", "203.0.113.3"),
    ],
)
def test_one_address_has_one_spelling(text, expected):
    assert canonical(text) == expected


def test_ipv6_neighbours_share_their_network():
    assert network_of("2001:db8:1:2::1") == network_of("2001:db8:1:2:ffff::")
    assert network_of("2001:db8:1:2::1") == "2001:db8:1:2::/64"
    assert network_of("2001:db8:1:3::1") != network_of("2001:db8:1:2::1")


def test_ipv4_stands_for_itself_and_so_does_no_address():
    assert network_of("203.0.113.3") == "203.0.113.3"
    assert network_of("") == ""


def test_logs_get_a_neighbourhood():
    assert reduced("203.0.113.77") == "203.0.113.0/24"
    assert reduced("2001:db8:1:2::1") == "2001:db8:1::/48"
    assert reduced("rubbish") == ""


@given(st.text(), st.integers(0, 5))
def test_no_header_ever_raises_or_yields_anything_but_an_address(chain, hops):
    address = behind(hops, chain)
    assert address == canonical(address) != ""
