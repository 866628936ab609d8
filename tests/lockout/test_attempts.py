from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth.signals import user_login_failed
from django.test import RequestFactory

from crossauth_django import lockout, signals
from crossauth_django.exceptions import LockedOutError
from crossauth_django.lockout import Attempt
from tests.lockout.conftest import START


def lock(guess, clock, **who):
    """Use the budget up, wait until it counts as failed, and start the lock."""
    while isinstance(guess(**who), Attempt):
        pass
    clock.shift(3)
    return guess(**who)


def test_attempt_5_is_judged_and_attempt_6_is_refused(guess, clock):
    assert [isinstance(guess(), Attempt) for _ in range(6)] == [True] * 5 + [False]


def test_a_lock_starts_only_when_the_budget_has_been_full_for_3_seconds(guess, clock):
    for _ in range(5):
        guess()
    clock.shift(2.999)
    assert guess() == 1
    assert lockout.explain("alice", "192.0.2.1").standings[0].round == 0
    clock.shift(0.001)
    assert guess() == 60
    assert lockout.explain("alice", "192.0.2.1").standings[0].round == 1


def test_one_burst_adds_one_round_and_asking_changes_nothing(guess, clock):
    assert lock(guess, clock) == 60
    clock.shift(30)
    assert [guess() for _ in range(100)] == [30] * 100
    clock.shift(29.999)
    assert guess() == 1
    clock.shift(0.001)
    assert isinstance(guess(), Attempt)
    assert lockout.explain("alice", "192.0.2.1").standings[0].round == 1


def test_at_60_seconds_the_window_is_new(guess, clock):
    for _ in range(5):
        guess()
        clock.shift(0.5)
    clock.shift(57.499)
    assert guess() == 60
    lockout.unlock(username="alice", address="192.0.2.1")
    for _ in range(5):
        guess()
    clock.shift(60)
    assert isinstance(guess(), Attempt)


def test_at_60_seconds_it_is_new_also_while_a_round_is_remembered(guess, clock):
    clock.shift(lock(guess, clock))
    for _ in range(5):
        guess()
    clock.shift(60)
    assert isinstance(guess(), Attempt)


def test_a_full_address_begins_no_lock_while_a_locked_name_is_asked_for(guess, clock):
    lock(guess, clock)
    for number in range(45):
        guess(f"name{number}")
    clock.shift(3)
    assert guess() == 57
    assert lockout.explain("bob", "192.0.2.1").standings[-1].round == 0


def test_the_ladder_doubles_to_an_hour_and_stays_there(guess, clock):
    lengths = []
    for _ in range(10):
        lengths.append(lock(guess, clock))
        clock.shift(lengths[-1])
    assert lengths == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600]


@pytest.mark.parametrize(("hours", "length"), [(23.99, 120), (24, 60)])
def test_the_round_is_forgotten_24_hours_after_the_lock_ended(
    guess, clock, hours, length
):
    clock.shift(lock(guess, clock))
    clock.shift(timedelta(hours=hours) - timedelta(seconds=3))
    assert lock(guess, clock) == length


def test_on_redis_the_servers_clock_decides_and_not_the_workers(guess, on_redis):
    for hour in range(5):
        with time_machine.travel(START + 3600 * hour, tick=False):
            assert isinstance(guess(), Attempt)
    with time_machine.travel(START + 86_400, tick=False):
        assert guess() == 1


def test_what_the_pair_refuses_counts_nowhere_else(guess, clock):
    for _ in range(50):
        guess()
    counts = [each.count for each in lockout.explain("alice", "192.0.2.1").standings]
    assert counts == [5, 5, 5]


def test_20_failures_from_anywhere_lock_the_user_for_unknown_devices(guess, clock):
    for number in range(20):
        assert isinstance(guess(address=f"198.51.100.{number}"), Attempt)
    clock.shift(3)
    assert guess(address="203.0.113.1") == 60
    assert lockout.explain("alice", "203.0.113.1").rule == "user"


def test_50_failures_lock_the_address_for_whatever_name(guess, clock):
    for number in range(50):
        assert isinstance(guess(f"name{number}"), Attempt)
    clock.shift(3)
    assert guess("somebody else") == 60
    assert isinstance(guess("somebody else", address="192.0.2.2"), Attempt)


def test_rounds_of_junk_names_do_not_fall_on_a_victim(guess, clock):
    for _ in range(6):
        clock.shift(lock(guess, clock, name="junk"))
    assert lock(guess, clock, name="alice") == 60


def test_one_address_never_lengthens_anothers_lock(guess, clock):
    for _ in range(6):
        clock.shift(lock(guess, clock, address="198.51.100.1"))
    assert lock(guess, clock, address="192.0.2.1") == 60


def test_a_known_device_is_let_in_while_its_pair_user_and_address_are_locked(
    guess, clock
):
    for number in range(10_000):
        guess(address=f"198.51.{number % 200}.{number // 200}")
    for number in range(51):
        guess(f"name{number}")
    lock(guess, clock)
    assert isinstance(guess(device="a browser"), Attempt)


def test_a_device_has_the_budget_of_a_pair(guess, clock):
    assert [isinstance(guess(device="browser"), Attempt) for _ in range(6)] == [
        True
    ] * 5 + [False]
    assert isinstance(guess(device="another browser"), Attempt)
    assert isinstance(guess(), Attempt)


def test_an_empty_name_locks_nobody_but_its_own_pair(guess, clock):
    assert lock(guess, clock, name="  ") == 60
    assert len(lockout.explain("", "192.0.2.1").standings) == 1
    assert [each.count for each in lockout.explain("alice", "192.0.2.1").standings] == [
        0,
        0,
        0,
    ]


@pytest.mark.parametrize(
    "spelling",
    [
        "ALICE",
        " alice\t",
        "\uff41\uff4c\uff49\uff43\uff45",
        "al\u200bice",
        "\ufeffalice",
        "ali\u00adce",
    ],
)
def test_spellings_of_one_name_share_its_budget(guess, clock, spelling):
    for _ in range(5):
        guess()
    assert guess(spelling) == 1


def test_neighbours_in_one_ipv6_network_share_its_budget(guess, clock):
    for number in range(5):
        guess(address=f"2001:db8::{number}")
    assert guess(address="2001:db8::ffff:1") == 1
    assert isinstance(guess(address="2001:db8:0:1::1"), Attempt)


def test_without_an_address_only_the_user_counts(guess, clock):
    assert [isinstance(guess(address=""), Attempt) for _ in range(21)] == [
        True
    ] * 20 + [False]
    assert [each.rule for each in lockout.explain("alice", "").standings] == ["user"]
    assert [each.rule for each in lockout.explain("", "").standings] == ["pair"]


def test_four_failures_and_a_success_start_afresh(guess, clock):
    for _ in range(4):
        guess()
    lockout.clear(guess())
    assert [isinstance(guess(), Attempt) for _ in range(6)] == [True] * 5 + [False]


def test_a_sprayers_own_success_takes_back_only_its_own(guess, clock):
    for number in range(15):
        for victim in range(3):
            guess(f"victim{number}-{victim}")
        lockout.clear(guess("sprayer"))
    standings = lockout.explain("anybody", "192.0.2.1").standings
    assert standings[-1].count == 45


def test_clear_user_only_leaves_the_failures_on_the_address(guess, clock, settings):
    settings.CROSSAUTH_LOCKOUT_ON_SUCCESS = "clear_user_only"
    for _ in range(4):
        guess()
    lockout.clear(guess())
    counts = [each.count for each in lockout.explain("alice", "192.0.2.1").standings]
    assert counts == [0, 0, 4]


def test_a_refund_takes_back_one_attempt_and_only_in_its_own_window(guess, clock):
    first, second = guess(), guess()
    lockout.give_back(first)
    counts = [each.count for each in lockout.explain("alice", "192.0.2.1").standings]
    assert counts == [1, 1, 1]
    clock.shift(60)
    guess()
    lockout.give_back(second)
    counts = [each.count for each in lockout.explain("alice", "192.0.2.1").standings]
    assert counts == [1, 1, 1]


def test_a_refund_after_the_address_was_unlocked_takes_the_pairs_alone(guess, clock):
    first, _ = guess(), guess()
    lockout.unlock(address="192.0.2.1")
    clock.shift(1)
    guess("bob")
    lockout.give_back(first)
    counts = [each.count for each in lockout.explain("alice", "192.0.2.1").standings]
    assert counts == [1, 1, 1]


def test_a_refund_after_a_sign_in_takes_nothing_from_others(guess, clock):
    right, in_flight = guess(), guess()
    guess("bob")
    lockout.clear(right)
    lockout.give_back(in_flight)
    assert lockout.explain("bob", "192.0.2.1").standings[-1].count == 1


def test_a_refund_knows_which_of_the_addresss_windows_it_is_of(guess, clock):
    guess("bob")
    clock.shift(59)
    old = guess()
    clock.shift(1.5)
    new = guess()
    lockout.give_back(old)
    counts = [each.count for each in lockout.explain("alice", "192.0.2.1").standings]
    assert counts == [1, 1, 1]
    lockout.clear(new)
    assert lockout.explain("bob", "192.0.2.1").standings[-1].count == 0


def test_a_failure_is_found_among_several_attempts():
    alice, bob = (Attempt(name, (), (), name) for name in ("alice", "bob"))
    tried = lockout.SignIns(pending=[alice, bob])
    tried.failed("nobody")
    tried.failed("alice")
    assert tried.pending == [bob]


def test_a_failure_whose_name_django_masks_stays_counted(guess, clock):
    request = RequestFactory().get("/")
    lockout.sign_ins(request).pending.append(guess())
    masked = {"username": "*" * 20, "password": "*" * 20}
    user_login_failed.send(sender="", credentials=masked, request=request)
    assert lockout.sign_ins(request).pending == []


def test_a_changed_length_holds_at_once(guess, clock, settings):
    assert lock(guess, clock) == 60
    settings.CROSSAUTH_LOCKOUT_BASE = timedelta(seconds=90)
    assert lock(guess, clock, name="bob", address="192.0.2.2") == 90


def test_a_limit_of_0_turns_a_dimension_off(guess, clock, settings):
    settings.CROSSAUTH_LOCKOUT_ATTEMPTS = 0
    settings.CROSSAUTH_LOCKOUT_USER_ATTEMPTS = 0
    assert [each.rule for each in lockout.explain("alice", "192.0.2.1").standings] == [
        "address"
    ]
    settings.CROSSAUTH_LOCKOUT_ADDRESS_ATTEMPTS = 0
    assert guess() is None
    assert lockout.explain("alice", "192.0.2.1").is_allowed
    assert lockout.check("alice") is lockout.count("alice") is None
    assert asyncio.run(lockout.areserve("alice", "192.0.2.1")) is None
    assert asyncio.run(lockout.acheck("alice")) is None


def test_a_limit_beyond_999_counts_on(guess, clock, settings):
    settings.CROSSAUTH_LOCKOUT_ATTEMPTS = 1002
    settings.CROSSAUTH_LOCKOUT_USER_ATTEMPTS = (
        settings.CROSSAUTH_LOCKOUT_ADDRESS_ATTEMPTS
    ) = 0
    assert sum(isinstance(guess(), Attempt) for _ in range(1005)) == 1002


def test_signals_tell_which_rule_fired(guess, clock):
    events = []

    def listen(signal, **event):
        events.append((signal, event["rule"], event["round"], event["retry_after"]))
        assert (event["username"], event["address"]) == ("alice", "192.0.2.1")

    for signal in (signals.lockout_triggered, signals.lockout_refused):
        signal.connect(listen)
    try:
        lock(guess, clock)
    finally:
        for signal in (signals.lockout_triggered, signals.lockout_refused):
            signal.disconnect(listen)
    assert events == [
        (signals.lockout_refused, "pair", 0, 1),
        (signals.lockout_triggered, "pair", 1, 60),
        (signals.lockout_refused, "pair", 1, 60),
    ]


def test_the_async_twins_decide_alike(clock):
    async def attempts():
        counted = [await lockout.areserve("alice", "192.0.2.1") for _ in range(5)]
        with pytest.raises(LockedOutError) as refused:
            await lockout.areserve("alice", "192.0.2.1")
        assert refused.value.rule == "pair"
        await lockout.agive_back(counted[0])
        await lockout.areserve("alice", "192.0.2.1")

    asyncio.run(attempts())


def test_without_a_request_only_the_user_counts_and_only_failures(clock):
    for _ in range(20):
        lockout.check("alice")
        lockout.count("alice")
    with pytest.raises(LockedOutError):
        lockout.check("alice")
    with pytest.raises(LockedOutError):
        asyncio.run(lockout.acheck("alice"))
    lockout.count("alice")
    assert lockout.explain("alice", "").standings[0].count == 20
    assert asyncio.run(lockout.acheck("bob")) is None


def test_a_device_is_bounded_also_where_the_address_alone_is(guess, clock, settings):
    settings.CROSSAUTH_LOCKOUT_ATTEMPTS = 0
    settings.CROSSAUTH_LOCKOUT_USER_ATTEMPTS = 0
    judged = [isinstance(guess(device="browser"), Attempt) for _ in range(60)]
    assert judged == [True] * 50 + [False] * 10
    assert isinstance(guess(device="browser", address="192.0.2.2"), Attempt)
