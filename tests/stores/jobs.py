"""What the processes of the crew do to a store, all at the same moment."""

from __future__ import annotations

import time

from crossauth_django.limits.budget import _TAKE
from crossauth_django.stores import get_store
from tests.stores.steps import APPEND, COUNT, MOVE


def pop_all(alias: str, keys: list[str]) -> list[str | None]:
    store = get_store(alias)
    return [store.pop(key) for key in keys]


def add_all(alias: str, keys: list[str]) -> list[bool]:
    store = get_store(alias)
    return [store.add(key, "mine", 60) for key in keys]


def count(alias: str, keys: list[str], slot: str, times: int) -> list[list[int]]:
    store = get_store(alias)
    return [store.step(COUNT, keys, [60_000], slot=slot) for _ in range(times)]


def set_or_pop(alias: str, key: str, rounds: int) -> list[str]:
    """One sets a value whenever the last is gone; all others pop. Return what was popped."""
    store = get_store(alias)
    popped = []
    if store.add(f"{key}-setter", "", 60):
        for number in range(rounds):
            store.set(key, str(number), 60)
            while store.get(key) is not None:
                time.sleep(0.0005)
        store.set(f"{key}-done", "", 60)
    while store.get(f"{key}-done") is None:
        value = store.pop(key)
        if value is None:
            time.sleep(0.002)
        else:
            popped.append(value)
    return popped


def set_or_append(alias: str, key: str, rounds: int) -> list[str]:
    """One sets and reads, all others append in steps. Return what was read unexpectedly."""
    store = get_store(alias)
    lost = []
    if store.add(f"{key}-setter", "", 60):
        for number in range(rounds):
            store.set(key, f"{number}:", 60)
            value = store.get(key) or ""
            if not value.startswith(f"{number}:"):
                lost.append(f"{number}: became {value}")
        store.set(f"{key}-done", "", 60)
    while store.get(f"{key}-done") is None:
        store.step(APPEND, [key], ["+"])
        time.sleep(0.002)
    return lost


def count_or_pop(alias: str, key: str, times: int) -> int:
    """Half count in steps, half pop what was counted; return the sum of what was popped."""
    store = get_store(alias)
    is_first = store.step(COUNT, [f"{key}-half"], [60_000])[0] % 2  # type: ignore[operator]
    if is_first:
        for _ in range(times):
            store.step(COUNT, [key], [60_000], slot=key)
        return 0
    return sum(int(store.pop(key, slot=key) or 0) for _ in range(times))


def move_about(alias: str, key: str, times: int) -> list[list[int]]:
    """Move amounts both ways, and pop and set at the side; return what each step saw."""
    store = get_store(alias)
    seen = []
    for number in range(times):
        names = [f"{key}-a", f"{key}-b"][:: 1 if number % 2 else -1]
        seen.append(store.step(MOVE, names, [number % 7], slot=key))
    return seen


def take_from_budgets(alias: str, keys: list[str], *limit: int) -> list[bool]:
    store = get_store(alias)
    return [bool(store.step(_TAKE, [key], limit)[0]) for key in keys]
