"""What a row keeps of the client: its address and its user agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crossauth_django.addresses import client_address
from crossauth_django.managers.identifiers import storable

# Longer than any real one; the text is the client's.
_USER_AGENT_LENGTH = 1000


def client_of(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns for a request's ``META``."""
    agent = str(meta.get("HTTP_USER_AGENT") or "")
    return {
        "user_agent": storable(agent[:_USER_AGENT_LENGTH]),
        "ip": client_address(meta),
    }


def meta_of(scope: Mapping[str, Any]) -> dict[str, Any]:
    """Return of an ASGI scope what ``client_of`` asks for, named as in ``META``."""
    meta: dict[str, Any] = {"REMOTE_ADDR": (scope.get("client") or ("",))[0]}
    for name, value in scope["headers"]:
        key = f"HTTP_{name.decode('latin1').upper().replace('-', '_')}"
        text = value.decode("latin1")
        # As Django joins headers that come twice.
        meta[key] = f"{meta[key]},{text}" if key in meta else text
    return meta
