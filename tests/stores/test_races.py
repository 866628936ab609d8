"""The promises among processes and threads: 8 of 8, released together."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

from crossauth_django.limits import RateLimit
from tests.concurrency import Crew, run_together
from tests.stores import jobs


def race(alias: str, crew: Crew, job: Any, *args: Any) -> list[Any]:
    """Run the job in 64 threads: of 8 processes, or of this one where memory is not shared."""
    if alias == "default":
        results = run_together(64, lambda: job(alias, *args))
    else:
        results = crew.run(job, alias, *args, threads=8)
    failures = [result for result in results if isinstance(result, Exception)]
    assert failures == []
    return results


def test_200_keys_are_popped_exactly_once(alias, store, keys, crew):
    names = keys(200)
    for name in names:
        store.set(name, f"value of {name}", 600)
    popped = race(alias, crew, jobs.pop_all, names)
    by_key = zip(*popped, strict=True)
    for name, answers in zip(names, by_key, strict=True):
        assert Counter(answers) == {None: 63, f"value of {name}": 1}


def test_an_add_has_one_winner(alias, store, keys, crew):
    names = keys(20)
    for name in names[:10]:
        store.set(name, "expired", 0.001)
    added = race(alias, crew, jobs.add_all, names)
    assert [sum(answers) for answers in zip(*added, strict=True)] == [1] * 20


def test_a_set_that_races_with_pops_is_popped_once(alias, store, key, crew):
    popped = race(alias, crew, jobs.set_or_pop, key, 20)
    assert Counter(value for values in popped for value in values) == {
        str(number): 1 for number in range(20)
    }


def test_steps_on_one_key_count_exactly(alias, store, key, crew):
    counted = race(alias, crew, jobs.count, [key], "", 5)
    assert sorted(n for counts in counted for (n,) in counts) == list(range(1, 321))


def test_steps_on_two_keys_count_exactly(alias, store, key, crew):
    counted = race(alias, crew, jobs.count, [key, key + "b"], "slot", 3)
    assert sorted(pair for counts in counted for pair in counts) == [
        [n, n] for n in range(1, 193)
    ]


def test_steps_over_two_keys_keep_their_sum(alias, store, key, crew):
    store.set(f"{key}-a", "100", 60, slot=key)
    seen = race(alias, crew, jobs.move_about, key, 3)
    assert {sum(pair) for pairs in seen for pair in pairs} == {100}


def test_a_set_is_not_lost_among_steps(alias, store, key, crew):
    lost = race(alias, crew, jobs.set_or_append, key, 5)
    assert [text for texts in lost for text in texts] == []


def test_pops_among_steps_take_what_was_counted(alias, store, key, crew):
    popped = race(alias, crew, jobs.count_or_pop, key, 5)
    rest = int(store.get(key, slot=key) or 0)
    assert sum(popped) + rest == 32 * 5


def test_a_budget_of_5_lets_5_of_64_through(alias, store, keys, crew):
    # What comes back meanwhile is one in two minutes.
    limit = RateLimit(5, 600)
    budget = (limit.times, limit.interval_us)
    allowed = race(alias, crew, jobs.take_from_budgets, keys(10), *budget)
    assert [sum(answers) for answers in zip(*allowed, strict=True)] == [5] * 10


def test_processes_really_are_several(crew):
    assert len(set(crew.run(os.getpid))) == 8
