"""Steps that only the tests know, each with its twin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crossauth_django.stores import Outcome, Step, Write


class TestStep(Step):
    """A step whose script stands beside the tests."""

    __test__ = False

    @property
    def source(self) -> str:
        return (Path(__file__).parent / "scripts" / f"{self.script}.lua").read_text()


def _count(values: Sequence[str | None], now: int, args: Sequence[str]) -> Outcome:
    counts = [int(value or 0) + 1 for value in values]
    life = int(args[0])
    return Outcome(
        list(counts), {n: Write(str(count), life) for n, count in enumerate(counts)}
    )


def _append(values: Sequence[str | None], now: int, args: Sequence[str]) -> Outcome:
    value = (values[0] or "") + args[0]
    return Outcome([value], {0: Write(value, 60_000)})


def _move(values: Sequence[str | None], now: int, args: Sequence[str]) -> Outcome:
    source, target = (int(value or 0) for value in values)
    amount = min(int(args[0]), source)
    source, target = source - amount, target + amount
    writes = {0: Write(str(source), 60_000), 1: Write(str(target), 60_000)}
    return Outcome([source, target], writes)


def _show(values: Sequence[str | None], now: int, args: Sequence[str]) -> Outcome:
    return Outcome([values[0], now, *args, None], {0: Write(None)})


# Adds one to each key, for as many milliseconds as its argument says; replies the counts.
COUNT = TestStep("count", _count)
# Adds its argument to the key's text.
APPEND = TestStep("append", _append)
# Moves up to its argument from the first key to the second.
MOVE = TestStep("move", _move)
# Replies all that a step sees, and deletes its key.
SHOW = TestStep("show", _show)
