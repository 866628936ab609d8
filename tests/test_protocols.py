from __future__ import annotations

import inspect
from typing import Any

import pytest

from crossauth_django import protocols, storage


@pytest.mark.parametrize(
    "name", ["AccountsStorage", "SecondaryStorage", "SessionStorage"]
)
def test_a_storage_takes_every_argument_of_its_protocol(name):
    protocol, ours = getattr(protocols, name), getattr(storage, name)
    methods = [method for method in vars(protocol) if not method.startswith("_")]
    assert methods
    for method in methods:
        wanted, found = _parameters(protocol, method), _parameters(ours, method)
        assert {n: found.get(n) for n in wanted} == wanted, method


@pytest.mark.parametrize("name", ["AccountsStorage", "SessionStorage"])
def test_a_protocol_has_every_method_of_its_storage(name):
    ours = {method for method in dir(getattr(storage, name)) if method[0] != "_"}
    assert ours == {
        method for method in vars(getattr(protocols, name)) if method[0] != "_"
    }


def _parameters(owner: Any, method: str) -> dict[str, Any]:
    parameters = inspect.signature(getattr(owner, method)).parameters.values()
    return {each.name: (each.kind, each.default) for each in parameters}
