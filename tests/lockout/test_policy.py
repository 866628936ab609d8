"""The policy against its Lua script and against a plain model of section 6, in any order."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from crossauth_django.lockout.policy import LOCKOUT, live, parse
from crossauth_django.lockout.policy import Rules as PolicyRules
from tests.scripts import Lua

LIMITS = {"p": 3, "u": 5, "a": 6, "d": 3}
INDEX = "index"


class Model:
    """Section 6 in lists: every attempt that counts has its own place in each."""

    def __init__(self, limit: int, lengths: dict[str, int]) -> None:
        self.limit, self.lengths = limit, lengths
        self.attempts: list[Any] = []
        self.start = self.full = self.rounds = self.until = self.locked = 0

    def at(self, now: int) -> Model:
        if self.attempts and now - self.start >= self.lengths["window"]:
            self.attempts = []
        if self.rounds and now >= self.until + self.lengths["retention"]:
            self.rounds = 0
        return self

    def forget_until(self, cleared: int) -> Model:
        if self.locked <= cleared:
            self.rounds = 0
        if self.start <= cleared:
            self.attempts = []
        return self

    def is_locked(self, now: int) -> bool:
        return self.rounds > 0 and self.until > now

    def is_over(self) -> bool:
        return len(self.attempts) >= self.limit

    def add(self, attempt: Any, now: int) -> None:
        if not self.attempts:
            self.start = now
        self.attempts.append(attempt)
        if self.is_over():
            self.full = now

    def lock(self, now: int) -> int:
        self.rounds += 1
        length = self.lengths["base"]
        for _ in range(self.rounds - 1):
            length = min(2 * length, self.lengths["cap"])
        self.attempts, self.locked, self.until = [], now, now + length
        return length


class Attempts(RuleBasedStateMachine):
    """Time moves, keys expire, attempts succeed, fail and are forgotten, all in any order."""

    lua: Lua

    @initialize(
        base=st.sampled_from([20_000, 60_000]),
        on_success=st.sampled_from(["clear_all", "clear_user_only"]),
    )
    def begin(self, base: int, on_success: str) -> None:
        self.lengths = {
            "window": 60_000,
            "grace": 3000,
            "base": base,
            "cap": 240_000,
            "retention": 600_000,
        }
        self.on_success = on_success
        self.now = 1_790_000_000_000
        self.store: dict[str, tuple[str, int]] = {}
        self.models: dict[str, Model] = {}
        self.flying: list[tuple[list[str], list[int], int]] = []
        self.cleared = 0

    def step(self, mode: str, ids: list[str], numbers: list[int]) -> list[Any]:
        settles = mode in ("clear", "return")
        keys = ids if settles else [*ids, INDEX]
        self.now += 1
        values = [self.value(key) for key in keys]
        who = self.on_success if settles else f"who-{self.now}"
        pairs = [
            text
            for n, name in zip(numbers, ids, strict=True)
            for text in (str(n), name)
        ]
        args = [mode, *map(str, self.lengths.values()), who, *pairs]
        outcome = LOCKOUT.twin(values, self.now, args)
        assert outcome == self.lua.outcome(LOCKOUT, values, self.now, args)
        for position, write in outcome.writes.items():
            self.store.pop(keys[position], None)
            if write.value is not None:
                self.store[keys[position]] = (write.value, self.now + write.ttl_ms)
        return outcome.reply

    def value(self, key: str) -> str | None:
        value, ends = self.store.get(key, (None, 0))
        return value if ends > self.now else None

    def model(self, name: str) -> Model:
        model = self.models.setdefault(name, Model(LIMITS[name[0]], self.lengths))
        return model.at(self.now)

    def asked(self, ids: list[str]) -> list[Model]:
        """The subjects of an attempt; an unlocking of all is looked up by who is refused."""
        models = [self.model(name) for name in ids]
        if not any(m.is_locked(self.now) or m.is_over() for m in models):
            return models
        return [copy.deepcopy(model).forget_until(self.cleared) for model in models]

    subjects = st.one_of(
        st.builds(
            lambda user, place: [f"p{user}{place}", f"u{user}", f"a{place}"],
            st.sampled_from("xyz"),
            st.sampled_from("12"),
        ),
        st.sampled_from([["dx"], ["p1"]]),
    )

    @rule(ids=subjects)
    def attempt(self, ids: list[str]) -> None:
        reply = self.step("reserve", ids, [LIMITS[name[0]] for name in ids])
        models = self.asked(ids)
        if reply[0]:
            assert not any(m.is_locked(self.now) or m.is_over() for m in models)
            attempt = self.now
            for name, model in zip(ids, models, strict=True):
                model.add((attempt, ids[0]), self.now)
                self.models[name] = model
            self.flying.append((ids, reply[1:], attempt))
            return
        locked = [m.until - self.now for m in models if m.is_locked(self.now)]
        over = [m for m in models if m.is_over()]
        assert locked or over
        waits = locked + [1000 for _ in over]
        if not locked:
            waits = [
                m.lock(self.now) if self.now - m.full >= 3000 else 1000 for m in over
            ]
        assert reply[1] == max(waits)
        started = {
            n: m for n, m in zip(ids, models, strict=True) if m.locked == self.now
        }
        assert len(reply[4].split()) == len(started)
        self.models.update(started)

    @rule(user=st.sampled_from("xyz"), mode=st.sampled_from(["check", "count"]))
    def attempt_without_request(self, user: str, mode: str) -> None:
        reply = self.step(mode, [f"u{user}"], [LIMITS["u"]])
        (model,) = self.asked([f"u{user}"])
        locked, over = model.is_locked(self.now), model.is_over()
        assert reply[0] == (not locked and not over)
        if mode == "count" and reply[0]:
            model.add((self.now, "nobody"), self.now)
            self.models[f"u{user}"] = model
        if mode == "check" and over and self.now - model.full >= 3000:
            model.lock(self.now)
            self.models[f"u{user}"] = model

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), mode=st.sampled_from(["clear", "return"]))
    def success(self, data: st.DataObject, mode: str) -> None:
        self.settle(data.draw(st.integers(0, len(self.flying) - 1)), mode)

    @rule(ids=subjects, mode=st.sampled_from(["clear", "return"]))
    def success_that_outlives_its_window(self, ids: list[str], mode: str) -> None:
        before = len(self.flying)
        self.attempt(ids)
        if len(self.flying) > before:
            self.time_moves(60)
            self.attempt(ids)
            self.settle(before, mode)

    def settle(self, number: int, mode: str) -> None:
        ids, starts, attempt = self.flying.pop(number)
        self.step(mode, ids, starts)
        mine = (attempt, ids[0])
        models = {
            name[0]: self.models[name].at(self.now)
            for name in ids
            if name in self.models
        }
        pair = models.get("p")
        still = pair is not None and mine in pair.attempts
        address = models.get("a")
        if mode == "clear":
            for name in ids:
                if name[0] != "a":
                    self.models.pop(name, None)
            if address and self.on_success == "clear_all":
                address.attempts = [x for x in address.attempts if x[1] != ids[0]]
            elif address and mine in address.attempts:
                address.attempts.remove(mine)
            return
        for kind, model in models.items():
            if kind == "a" and not still and self.on_success == "clear_all":
                continue
            if mine in model.attempts:
                model.attempts.remove(mine)

    @rule(name=st.sampled_from(["ux", "uy", "a1", "a2", "dx"]))
    def unlock(self, name: str) -> None:
        self.now += 1
        self.store.pop(name, None)
        self.models.pop(name, None)

    @rule()
    def unlock_all(self) -> None:
        self.now += 1
        self.store[INDEX] = (str(self.now), self.now + 10**9)
        self.cleared = self.now
        self.now += 1

    @rule(seconds=st.sampled_from([0, 1, 2.999, 3, 19, 59, 60, 61, 240, 599, 600]))
    def time_moves(self, seconds: float) -> None:
        self.now += int(seconds * 1000)

    @invariant()
    def every_key_ends_and_says_what_the_model_says(self) -> None:
        if not hasattr(self, "store"):
            return
        rules = PolicyRules(*self.lengths.values())
        for name in self.store:
            assert self.store[name][1] > 0
        for name, model in self.models.items():
            kept = live(parse(self.value(name)), self.now, rules, self.cleared)
            model = copy.deepcopy(model).at(self.now).forget_until(self.cleared)
            assert kept.count == len(model.attempts), name
            assert (kept.until > self.now) == model.is_locked(self.now)


def test_a_new_lock_takes_the_place_of_its_old_line_and_of_those_that_ended():
    now = 1_790_000_000_000
    lines = ["0", f"{now + 5} pold 1 x", f"{now} pended 1 x", f"{now + 5} pother 1 x"]
    values = [f"3 {now - 9000} {now - 9000} 0 0", "\n".join(lines)]
    args = ["reserve", "60000", "3000", "60000", "240000", "600000", "who", "3", "pold"]
    outcome, lua = LOCKOUT.twin(values, now, args), Lua()
    assert outcome == lua.outcome(LOCKOUT, values, now, args)
    lua.close()
    kept = outcome.writes[1].value
    assert kept == f"0\n{now + 5} pother 1 x\n{now + 60000} pold 1 who"
    assert outcome.writes[1].ttl_ms == 60000


def test_script_twin_and_model_decide_alike():
    Attempts.lua = Lua()
    Attempts.TestCase.settings = settings(
        max_examples=60,
        stateful_step_count=50,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    try:
        Attempts.TestCase("runTest").runTest()
    finally:
        Attempts.lua.close()
