"""The policy against its Lua script and against a plain model of section 6, in any order."""

from __future__ import annotations

import copy
from collections import Counter
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from crossauth_django.lockout.index import SEAL
from crossauth_django.lockout.policy import JUDGE, SETTLE, live, parse
from crossauth_django.lockout.policy import Rules as PolicyRules
from tests.scripts import Lua

if TYPE_CHECKING:
    from crossauth_django.stores import Step, Write

LIMITS = {"p": 3, "u": 5, "a": 6, "d": 3, "k": 4}
INDEX, PASSWORD = "index", "password"


class Model:
    """Section 6 in lists: every attempt that counts has its own place in each."""

    def __init__(self, limit: int, lengths: dict[str, int]) -> None:
        self.limit, self.lengths = limit, lengths
        self.attempts: list[Any] = []
        self.start = self.full = self.rounds = self.until = self.locked = 0
        self.spellings: set[int] = set()

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

    def add(self, attempt: Any, now: int, spelling: int) -> None:
        if not self.attempts:
            self.start = now
            if not self.rounds:
                self.spellings = set()
        self.attempts.append(attempt)
        self.spellings.add(spelling)
        if self.is_over():
            self.full = now

    def has(self, attempt: Any, start: int) -> bool:
        """Windows of one subject that begin in one millisecond are one to who comes back."""
        return attempt in self.attempts or (bool(self.attempts) and self.start == start)

    def take_back(self, attempt: Any, start: int) -> None:
        if self.has(attempt, start):
            alike = [x for x in self.attempts if x[1] == attempt[1]]
            self.attempts.remove(
                attempt if attempt in self.attempts else (alike or self.attempts)[0]
            )

    def lock(self, now: int) -> int:
        self.rounds += 1
        length = self.lengths["base"]
        for _ in range(self.rounds - 1):
            length = min(2 * length, self.lengths["cap"])
        self.attempts, self.locked, self.until = [], now, now + length
        return length


class Attempts(RuleBasedStateMachine):
    """Time moves, keys expire, attempts succeed, fail and are forgotten, all in any order.

    ``met`` counts how often it came to what all this is about, in all examples.
    """

    lua: Lua
    met: Counter[str] = Counter()

    @initialize(
        base=st.sampled_from([20_000, 60_000]),
        on_success=st.sampled_from(["clear_all", "clear_user_only"]),
    )
    def begin(self, base: int, on_success: str) -> None:
        self.lengths = {
            "window": 60_000,
            "base": base,
            "cap": 240_000,
            "retention": 600_000,
            "grace": 3000,
        }
        # Whatever happens: nothing outlives a lock at the cap, what it adds to the next one, and
        # a window.
        self.longest = sum(self.lengths[x] for x in ("cap", "retention", "window"))
        self.on_success = on_success
        self.count = 0
        self.now = 1_790_000_000_000
        self.store: dict[str, tuple[str, int]] = {}
        self.models: dict[str, Model] = {}
        self.flying: list[tuple[list[str], list[int], int, int]] = []
        self.cleared = 0

    def step(
        self,
        mode: str,
        ids: list[str],
        numbers: list[int],
        spelling: int,
        known: str = "",
    ) -> list[Any]:
        settles = mode in ("clear", "return")
        keys = ids if settles else [*ids] + [PASSWORD] * bool(known) + [INDEX]
        values = [self.value(key) for key in keys]
        args = [mode, "".join(name[0] for name in ids), str(spelling)]
        args += [self.on_success if settles else known]
        args += [*map(str, self.lengths.values())] + [" ".join(ids)] * (not settles)
        args += [*map(str, numbers)]
        step = SETTLE if settles else JUDGE
        outcome = step.twin(values, self.now, args)
        assert outcome == self.lua.outcome(step, values, self.now, args)
        for position, write in outcome.writes.items():
            self.store.pop(keys[position], None)
            if write.value is not None:
                assert 0 < write.ttl_ms <= self.longest
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
        st.sampled_from([["d1", "kx1"], ["d2", "kx1"], ["d2", "kx2"], ["p1"]]),
    )

    spellings = st.sampled_from([0, 0, 7, 8])

    @rule(ids=subjects, spelling=spellings, password=st.sampled_from(["old", "new"]))
    def attempt(self, ids: list[str], spelling: int, password: str = "old") -> None:
        known = password if ids[0][0] == "d" else ""
        limits = [LIMITS[name[0]] for name in ids]
        reply = self.step("reserve", ids, limits, spelling, known)
        if known and self.value(PASSWORD) not in (None, known):
            assert reply == [2]
            return
        models = self.asked(ids)
        if reply[0]:
            assert not any(m.is_locked(self.now) or m.is_over() for m in models)
            self.count = attempt = self.count + 1
            for name, model in zip(ids, models, strict=True):
                model.add((attempt, ids[0]), self.now, spelling)
                self.models[name] = model
            self.flying.append((ids, reply[1:], attempt, spelling))
            return
        locked = [m.until - self.now for m in models if m.is_locked(self.now)]
        over = [m for m in models if m.is_over()]
        assert locked or over
        waits = locked + [1000 for _ in over]
        ripe = [m for m in over if self.now - m.full >= 3000 and not locked]
        self.met["asked while another was full"] += bool(locked and over)
        self.met["refused before the grace was over"] += bool(not locked and not ripe)
        if not locked:
            waits = [m.lock(self.now) if m in ripe else 1000 for m in over]
        assert reply[1] == max(waits)
        assert len(reply[4].split()) == len(ripe)
        for model in ripe:
            self.met[f"lock of round {min(model.rounds, 5)}"] += 1
        self.models.update(
            (n, m) for n, m in zip(ids, models, strict=True) if m in ripe
        )

    @rule(
        ids=subjects,
        spelling=spellings,
        seconds=st.sampled_from([0.001, 2.999, 3, 20, 60]),
    )
    def burst(self, ids: list[str], spelling: int, seconds: float) -> None:
        for _ in range(LIMITS[ids[0][0]]):
            self.attempt(ids, spelling)
        self.time_moves(seconds)
        self.attempt(ids, spelling)

    @rule(ids=subjects, times=st.integers(2, 6))
    def locks_in_a_row(self, ids: list[str], times: int) -> None:
        for _ in range(times):
            self.burst(ids, 0, 3)
            self.time_moves(240)

    @rule(place=st.sampled_from("12"), names=st.permutations("xyz"))
    def locked_name_at_a_full_address(self, place: str, names: list[str]) -> None:
        first, second = ([f"p{n}{place}", f"u{n}", f"a{place}"] for n in names[:2])
        self.burst(first, 0, 3)
        self.burst(second, 0, 0.001)
        self.time_moves(3)
        self.attempt(first, 0)
        self.attempt(second, 0)

    @rule(
        user=st.sampled_from("xyz"),
        mode=st.sampled_from(["check", "count"]),
        spelling=spellings,
    )
    def attempt_without_request(self, user: str, mode: str, spelling: int) -> None:
        reply = self.step(mode, [f"u{user}"], [LIMITS["u"]], spelling)
        (model,) = self.asked([f"u{user}"])
        locked, over = model.is_locked(self.now), model.is_over()
        assert reply[0] == (not locked and not over)
        if mode == "count" and reply[0]:
            model.add((None, "nobody"), self.now, spelling)
            self.models[f"u{user}"] = model
        if mode == "check" and over and self.now - model.full >= 3000:
            model.lock(self.now)
            self.models[f"u{user}"] = model

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), mode=st.sampled_from(["clear", "return"]))
    def success(self, data: st.DataObject, mode: str) -> None:
        self.settle(data.draw(st.integers(0, len(self.flying) - 1)), mode)

    @rule(ids=subjects, mode=st.sampled_from(["clear", "return"]), spelling=spellings)
    def success_that_outlives_its_window(
        self, ids: list[str], mode: str, spelling: int
    ) -> None:
        before = len(self.flying)
        self.attempt(ids, spelling)
        if len(self.flying) > before:
            self.time_moves(60)
            self.attempt(ids, spelling)
            self.settle(before, mode)

    def settle(self, number: int, mode: str) -> None:
        ids, starts, attempt, spelling = self.flying.pop(number)
        self.step(mode, ids, starts, spelling)
        mine = (attempt, ids[0])
        found = {
            name: (self.models[name].at(self.now), start)
            for name, start in zip(ids, starts, strict=True)
            if name in self.models
        }
        alike = {name for name in found if self.models[name].spellings == {spelling}}
        is_of_pair = self.on_success == "clear_all" and ids[0][0] == "p"
        still = ids[0] in found and found[ids[0]][0].has(mine, found[ids[0]][1])
        for name, (model, start) in found.items():
            if name[0] != "a":
                if mode == "clear" and name in alike:
                    del self.models[name]
                else:
                    model.take_back(mine, start)
            elif mode == "clear" and is_of_pair and ids[0] in alike:
                model.attempts = [x for x in model.attempts if x[1] != ids[0]]
            elif still or not is_of_pair:
                model.take_back(mine, start)

    @rule(password=st.sampled_from(["old", "new"]))
    def change_password(self, password: str) -> None:
        self.store[PASSWORD] = (password, self.now + 10**9)

    @rule(name=st.sampled_from(["ux", "uy", "a1", "a2", "d1", "kx1"]))
    def unlock(self, name: str) -> None:
        self.store.pop(name, None)
        self.models.pop(name, None)

    @rule()
    def unlock_all(self) -> None:
        self.store[INDEX] = (str(self.now), self.now + self.longest)
        self.cleared = self.now

    @rule(seconds=st.sampled_from([0.001, 1, 2.999, 3, 19, 59, 60, 61, 240, 599, 600]))
    def time_moves(self, seconds: float) -> None:
        self.now += int(seconds * 1000)

    @invariant()
    def every_key_says_what_the_model_says(self) -> None:
        if not hasattr(self, "store"):
            return
        rules = PolicyRules(*self.lengths.values())
        for name, model in self.models.items():
            kept = live(parse(self.value(name)), self.now, rules, self.cleared)
            model = copy.deepcopy(model).at(self.now).forget_until(self.cleared)
            assert kept.count == len(model.attempts), name
            assert (kept.until > self.now) == model.is_locked(self.now)


def both(
    step: Step, values: list[str | None], now: int, args: list[str]
) -> dict[int, Write]:
    """What the script and its twin would write."""
    outcome, lua = step.twin(values, now, args), Lua()
    assert outcome == lua.outcome(step, values, now, args)
    lua.close()
    return outcome.writes


def reserve(values: list[str | None], now: int, limit: int, subject: str) -> Any:
    lengths = ["60000", "60000", "240000", "600000", "3000"]
    args = ["reserve", subject[0], "0", "", *lengths, subject, str(limit)]
    return both(JUDGE, values, now, args)


def seal(index: str | None, now: int, subjects: str) -> dict[int, Write]:
    return both(SEAL, [index], now, ["who", "840000", subjects])


def test_a_new_lock_takes_the_place_of_its_old_line_and_of_those_that_ended():
    now = 1_790_000_000_000
    lines = ["0", f"{now + 5} pold 1 x", f"{now} pended 1 x", f"{now + 5} pother 1 x"]
    values = [f"3 {now - 9000} {now - 9000} 0 0", "\n".join(lines)]
    writes = reserve(values, now, 3, "pold")
    assert writes[1].value == f"0\n{now + 5} pother 1 x\n{now + 60000} pold 1 -"
    assert writes[1].ttl_ms == 60000


def test_of_60_locks_an_index_keeps_the_newest_48():
    now = 1_790_000_000_000
    lines = [f"{now + 1000 - n} p{n} 1 -" for n in range(59)]
    values = [f"3 {now - 9000} {now - 9000} 0 0", "\n".join(["0", *lines])]
    kept = reserve(values, now, 3, "p59")[1].value
    assert kept == "\n".join(["0", *lines[12:], f"{now + 60000} p59 1 -"])


def test_whom_a_lock_is_about_is_added_to_its_line_alone():
    now = 1_790_000_000_000
    index = f"7\n{now} pended 1 -\n{now + 5} pother 1 -\n{now + 9} pmine 2 -"
    writes = seal(index, now, "pmine ugone")
    assert writes[0].value == f"7\n{now + 5} pother 1 -\n{now + 9} pmine 2 who"
    assert seal(None, now, "pmine") == {}
    assert seal(f"0\n{now} pmine 1 -", now, "pmine") == {}


def test_the_lifetime_of_an_index_is_that_of_its_last_lock_or_unlocking():
    now = 1_790_000_000_000
    assert seal(f"0\n{now + 9} p1 1 -", now, "p1")[0].ttl_ms == 9
    assert seal(f"{now - 1}\n{now + 9} p1 1 -", now, "p1")[0].ttl_ms == 839_999


def test_an_unlocking_by_a_clock_that_is_ahead_opens_nothing_meanwhile():
    now = 1_790_000_000_000
    counted = f"3 {now - 9000} {now - 9000} 0 0"
    assert reserve([counted, f"{now}"], now, 3, "p1")[0].value is not None
    writes = reserve([counted, f"{now + 1}"], now, 3, "p1")
    assert writes[1].value == f"{now + 1}\n{now + 60000} p1 1 -"


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
    expected = {f"lock of round {number}" for number in (1, 2, 3, 4, 5)}
    expected |= {"asked while another was full", "refused before the grace was over"}
    assert {each for each, times in Attempts.met.items() if times} == expected
