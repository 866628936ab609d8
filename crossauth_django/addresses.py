"""The client's address behind trusted proxies, and the network that stands for it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

from django.http import HttpRequest

from crossauth_django.conf import conf

# Where stateless translators put the whole of IPv4 (RFC 6052 section 2.1): one /64 for everybody.
_TRANSLATED = IPv6Network("64:ff9b::/96")


def client_address(source: HttpRequest | Mapping[str, Any]) -> str:
    """Return the client's address in its canonical form, ``""`` when there is none.

    ``source`` is a request, a framework's own around it, or its ``META``. With
    ``CROSSAUTH_TRUSTED_PROXY_HOPS = n`` it is the n-th entry of ``X-Forwarded-For`` from the right,
    the one that the outermost proxy of yours wrote; what stands further left is the client's own
    text and is not looked at. A chain that is too short, or malformed within those n entries,
    counts as the peer's. A Unix socket has no peer address.
    """
    # Django REST framework's request is no HttpRequest, and has the META of the one inside.
    meta = source if isinstance(source, Mapping) else source.META
    return _forwarded_address(meta) or canonical(str(meta.get("REMOTE_ADDR") or ""))


def canonical(text: str) -> str:
    """Return the one spelling of an IP address, ``""`` for text that is none.

    Takes what proxies write: ``192.0.2.1:443``, ``[2001:db8::1]:443``, a zone. IPv4 inside IPv6
    (mapped, or translated by RFC 6052) is IPv4, so that both ways in count as one.
    """
    address = _parse(text.strip())
    return "" if address is None else str(address)


def typed(address: str) -> str:
    """Return the canonical form of an address that somebody typed, or of the /64 of an IPv6 one.

    ``""`` for blanks; ``ValueError`` for other text that is none.
    """
    text = address.strip()
    found = canonical(text.removesuffix("/64") if ":" in text else text)
    if text and not found:
        raise ValueError(f"{text[:100]!a} is no IP address and no /64 of IPv6.")
    return found


def network_of(address: str) -> str:
    """Return whom an address stands for: an IPv4 address itself, of IPv6 its /64.

    One subscriber has a whole /64, and could otherwise take a new address for each guess.
    Text that is no address stands for itself.
    """
    parsed = _parse(address)
    if isinstance(parsed, IPv6Address):
        return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"
    return address if parsed is None else str(parsed)


def reduced(address: str) -> str:
    """Return an address for logs, without the part that names one household: /24 or /48."""
    parsed = _parse(address)
    if isinstance(parsed, IPv6Address):
        return f"{IPv6Address(int(parsed) >> 80 << 80)}/48"
    if isinstance(parsed, IPv4Address):
        return f"{IPv4Address(int(parsed) >> 8 << 8)}/24"
    return ""


def _forwarded_address(meta: Mapping[str, Any]) -> str:
    hops = conf.CROSSAUTH_TRUSTED_PROXY_HOPS
    if hops < 1:
        return ""
    # One more piece than the trusted entries: whatever the client sent, unread.
    entries = str(meta.get("HTTP_X_FORWARDED_FOR") or "").rsplit(",", hops)[-hops:]
    addresses = [canonical(entry) for entry in entries]
    return addresses[0] if len(addresses) == hops and all(addresses) else ""


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    # The longest spelling with port and zone is shorter; longer text need not be looked at.
    return _parsed(text) if len(text) <= 100 else None


@functools.lru_cache(maxsize=1024)
def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(_without_port(text).partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _TRANSLATED:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _without_port(text: str) -> str:
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        # "[::1]x" is not an address.
        return host if bracket and _is_port(port) else ""
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host if port.isdecimal() and port.isascii() else ""
    return text


def _is_port(text: str) -> bool:
    return not text or (text[0] == ":" and text[1:].isdecimal() and text.isascii())
