from __future__ import annotations

import asyncio
import json
import logging
import signal
import time
from datetime import timedelta
from io import StringIO

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command

from crossauth_django import lockout, securitylog
from crossauth_django.exceptions import LockedOutError
from crossauth_django.lockout import Attempt
from tests.lockout.test_attempts import lock
from tests.services import start


@pytest.fixture
def with_key(settings):
    settings.CROSSAUTH_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]


def listed():
    out = StringIO()
    call_command("crossauth_lockouts", "--json", stdout=out)
    return json.loads(out.getvalue())


def test_locks_are_listed_with_rule_time_and_who(guess, clock, with_key):
    lock(guess, clock, name="Alice")
    clock.shift(10)
    (found,) = listed()
    assert found["rule"] == "pair"
    assert found["remaining_seconds"] == 50
    assert found["round"] == 1
    assert (found["username"], found["address"]) == ("alice", "192.0.2.1")
    assert found["until"].startswith("2026-09-21T14:14:")


@pytest.mark.parametrize("zone", [True, False])
def test_programs_read_these_fields(guess, clock, with_key, settings, zone):
    settings.USE_TZ, settings.TIME_ZONE = zone, "Asia/Tokyo"
    lock(guess, clock, device="browser")
    (found,) = listed()
    assert found == {
        "rule": "device",
        "username": "alice",
        "address": None,
        "username_digest": securitylog.name_digest("alice"),
        "address_digest": "",
        "round": 1,
        "remaining_seconds": 60,
        "until": "2026-09-21T14:14:23+00:00",
    }
    settings.CROSSAUTH_ENCRYPTION_KEYS = []
    assert listed() == [{**found, "username": None}]


def test_each_rule_says_only_whom_it_is_about(guess, clock, with_key):
    for number in range(20):
        guess(address=f"198.51.100.{number}")
    for number in range(50):
        guess(f"name{number}")
    lock(guess, clock, address="203.0.113.1")
    lock(guess, clock, name="new", address="192.0.2.1")
    lock(guess, clock, name="bob", device="browser")
    who = {found["rule"]: (found["username"], found["address"]) for found in listed()}
    assert who == {
        "user": ("alice", None),
        "address": (None, "192.0.2.1"),
        "device": ("bob", None),
    }


def test_without_the_key_who_is_a_digest(guess, clock, with_key, settings):
    lock(guess, clock)
    settings.CROSSAUTH_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    (sealed,) = listed()
    lockout.unlock_all()
    clock.shift(1)
    settings.CROSSAUTH_ENCRYPTION_KEYS = []
    lock(guess, clock)
    (digested,) = listed()
    assert sealed["username"] is digested["username"] is None
    assert sealed["username_digest"] == digested["username_digest"] != ""


def test_the_async_twin_seals_who_it_is_too(guess, clock, with_key):
    for _ in range(5):
        guess()
    clock.shift(3)
    with pytest.raises(LockedOutError):
        asyncio.run(lockout.areserve("alice", "192.0.2.1"))
    assert listed()[0]["username"] == "alice"


def test_a_cache_that_dies_before_the_seal_leaves_the_lock(
    settings, with_key, guess, caplog
):
    settings.CROSSAUTH_LOCKOUT_ATTEMPTS = 1
    server = own_redis(settings)
    guess()
    time.sleep(3.05)
    # What the log hears comes between the two steps.
    listener = logging.getLogger("crossauth_django.security")
    listener.addFilter(lambda record: server.stop(signal.SIGKILL) or True)
    try:
        assert guess() == 60
    finally:
        listener.filters.clear()
    assert "listed without a name" in caplog.text


def own_redis(settings):
    server = start("redis")
    own = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url}
    settings.CACHES = {**settings.CACHES, "own": own}
    settings.CROSSAUTH_CACHE_ALIAS = "own"
    return server


def test_names_are_not_at_rest(guess, clock, with_key, on_redis):
    from django.core.cache import caches
    from django_redis import get_redis_connection

    guess("alice@example.org")
    redis = get_redis_connection("redis")
    kept = b"".join(key + redis.get(key) for key in redis.scan_iter())
    assert b"alice" not in kept
    assert b"192.0.2" not in kept
    caches["redis"].clear()


def test_the_most_recent_are_listed_first_and_ended_ones_not(guess, clock):
    lock(guess, clock, name="first")
    clock.shift(1)
    lock(guess, clock, name="second", address="192.0.2.2")
    assert [found["remaining_seconds"] for found in listed()] == [60, 56]
    clock.shift(56)
    assert len(listed()) == 1
    clock.shift(60)
    assert listed() == []


def test_at_most_so_many_are_listed(guess, clock):
    for number in range(3):
        lock(guess, clock, address=f"192.0.2.{number}")
    assert len(lockout.current_locks(limit=2)) == 2


def test_an_index_key_keeps_the_newest(guess, clock, settings):
    settings.CROSSAUTH_LOCKOUT_ATTEMPTS = 1
    settings.CROSSAUTH_LOCKOUT_USER_ATTEMPTS = (
        settings.CROSSAUTH_LOCKOUT_ADDRESS_ATTEMPTS
    ) = 0
    settings.CROSSAUTH_LOCKOUT_BASE = timedelta(hours=1)
    names = [f"name{number}" for number in range(1100)]
    for name in names:
        guess(name)
    clock.shift(3)
    for name in names:
        guess(name)
    assert len(lockout.current_locks()) == 1000


def test_people_read_lines(guess, clock, with_key):
    lock(guess, clock, name="eve\u202e\x1b[2J")
    out = StringIO()
    call_command("crossauth_lockouts", stdout=out)
    assert "pair" in out.getvalue()
    assert "'eve[2j'" in out.getvalue()
    assert "1 locked." in out.getvalue()


def test_a_line_says_only_whom_the_rule_is_about(guess, clock, with_key):
    for number in range(20):
        guess(address=f"198.51.100.{number}")
    for number in range(50):
        guess(f"name{number}")
    lock(guess, clock, address="203.0.113.1")
    lock(guess, clock, name="new", address="192.0.2.1")
    out = StringIO()
    call_command("crossauth_lockouts", stdout=out)
    address, user = sorted(out.getvalue().splitlines()[:2])
    assert "username" not in address
    assert "address" not in user


def test_explain_says_what_counts_and_why(guess, clock):
    for _ in range(4):
        guess()
    before = lockout.explain("ALICE", "192.0.2.1")
    assert before.is_allowed
    assert str(before).splitlines()[:2] == [
        "allowed",
        "pair: 4 of 5, counted for 60 s more",
    ]
    guess()
    full = lockout.explain("alice", "192.0.2.1")
    assert (full.is_allowed, full.rule, full.retry_after) == (False, "pair", 1)
    lock(guess, clock)
    text = str(lockout.explain("alice", "192.0.2.1"))
    assert text.startswith("refused for 60 s by the pair rule")
    assert "pair: 0 of 5, locked for 60 s more, round 1" in text
    assert isinstance(guess(device="browser"), Attempt)
    assert (
        lockout.explain("alice", "192.0.2.1", device="browser").standings[0].count == 1
    )


@pytest.mark.parametrize(("seconds", "wait"), [(2.999, 1), (3, 60), (4, 60)])
def test_explain_knows_of_the_lock_that_an_attempt_would_start(
    guess, clock, seconds, wait
):
    for _ in range(5):
        guess()
    clock.shift(seconds)
    assert lockout.explain("alice", "192.0.2.1").retry_after == wait
    assert guess() == wait


def test_explain_knows_the_next_round(guess, clock):
    clock.shift(lock(guess, clock))
    for _ in range(5):
        guess()
    clock.shift(3)
    assert lockout.explain("alice", "192.0.2.1").retry_after == 120


def test_explain_knows_that_one_lock_keeps_the_next_from_starting(guess, clock):
    clock.shift(lock(guess, clock))
    lock(guess, clock)
    clock.shift(80)
    for number in range(20):
        guess(address=f"198.51.100.{number}")
    clock.shift(4)
    found = lockout.explain("alice", "192.0.2.1")
    assert (found.rule, found.retry_after, guess()) == ("pair", 36, 36)
    found = lockout.explain("alice", "192.0.2.2")
    assert (found.rule, found.retry_after) == ("user", 60)


def unlock(*arguments: str) -> str:
    out = StringIO()
    call_command("crossauth_unlock", *arguments, stdout=out)
    return out.getvalue()


def forgot(count: int) -> str:
    return f"Counters and locks forgotten: {count}.\n"


def test_a_username_is_unlocked_wherever_it_is_locked(guess, clock):
    for number in range(3):
        lock(guess, clock, address=f"192.0.2.{number}")
    lock(guess, clock, device="browser")
    lock(guess, clock, name="bob")
    assert unlock("--username", " ALICE ") == forgot(5)
    assert len(lockout.current_locks()) == 1
    assert isinstance(guess(), Attempt)


def test_the_log_says_who_was_unlocked(guess, clock, settings, caplog):
    settings.CROSSAUTH_LOG_NAMES = True
    lock(guess, clock)
    unlock("--username", "ALICE", "--address", "192.0.2.1")
    record = caplog.records[-1]
    assert (record.event, record.count) == ("lockout_cleared", 3)
    assert (record.username, record.address) == ("alice", "192.0.2.1")
    assert record.rule == "address,pair,user"


def test_an_address_is_unlocked_with_its_pairs(guess, clock):
    lock(guess, clock, address="2001:db8::1")
    lock(guess, clock, name="bob", address="192.0.2.9")
    unlock("--address", "2001:db8::2")
    assert isinstance(guess(address="2001:db8::1"), Attempt)
    assert len(lockout.current_locks()) == 1


def test_both_let_this_user_in_from_there(guess, clock):
    lock(guess, clock)
    unlock("--username", "alice", "--address", "192.0.2.1")
    assert isinstance(guess(), Attempt)


def test_both_end_the_locks_of_the_users_devices_too(guess, clock):
    lock(guess, clock, device="browser")
    lock(guess, clock, name="bob", device="browser")
    unlock("--username", "alice", "--address", "192.0.2.1")
    assert isinstance(guess(device="browser"), Attempt)
    assert len(lockout.current_locks()) == 1


def test_an_address_alone_ends_no_devices_lock(guess, clock):
    lock(guess, clock, device="browser")
    unlock("--address", "192.0.2.1")
    assert len(lockout.current_locks()) == 1


@pytest.mark.parametrize("more", [[], ["--address", "192.0.2.1"]])
def test_the_empty_name_is_unlocked_and_nobody_else(guess, clock, more):
    lock(guess, clock, name="-", address="192.0.2.2")
    lock(guess, clock, name="")
    unlock("--username", "", *more)
    assert isinstance(guess(""), Attempt)
    assert len(lockout.current_locks()) == 1
    assert lockout.explain("-", "192.0.2.3").standings[1].count == 5


def test_the_empty_name_is_unlocked_where_its_budget_is_full(guess, clock):
    for _ in range(5):
        guess("")
    assert unlock("--username", "", "--address", "192.0.2.1") == forgot(1)
    assert isinstance(guess(""), Attempt)


@pytest.mark.parametrize(
    ("address", "spelling"),
    [
        ("203.0.113.8", " 203.0.113.8 "),
        ("203.0.113.8", "::ffff:203.0.113.8"),
        ("2001:db8::1", "2001:DB8:0::2"),
        ("2001:db8::1", "2001:db8::/64"),
    ],
)
def test_an_address_may_be_spelt_as_it_comes(guess, clock, address, spelling):
    lock(guess, clock, address=address)
    assert not lockout.explain("alice", spelling).is_allowed
    unlock("--address", spelling)
    assert isinstance(guess(address=address), Attempt)


@pytest.mark.parametrize(
    "text", ["garbage", "203.0.113.0/24", "203.0.113.8/64", "2001:db8::/48", "/64"]
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(CommandError, match="no IP address"):
        unlock("--address", text)
    with pytest.raises(ValueError, match="no IP address"):
        lockout.explain("alice", text)


def test_all_unlocks_everybody_and_forgets_the_rounds(guess, clock):
    clock.shift(lock(guess, clock))
    assert lock(guess, clock) == 120
    for number in range(2, 5):
        lock(guess, clock, address=f"192.0.2.{number}")
    assert unlock("--all") == "Nobody is locked out any more.\n"
    assert lockout.current_locks() == []
    assert lockout.explain("alice", "192.0.2.1").is_allowed
    clock.shift(1)
    assert isinstance(guess(), Attempt)
    assert lock(guess, clock) == 60


def test_all_by_a_clock_that_is_ahead_turns_nothing_off(guess, clock):
    assert lock(guess, clock) == 60
    clock.shift(600)
    unlock("--all")
    clock.shift(-600)
    assert guess() == 60
    clock.shift(601)
    assert lock(guess, clock) == 60


def test_a_listed_lock_is_unlocked_by_its_digests(guess, clock):
    lock(guess, clock)
    lock(guess, clock, address="192.0.2.2")
    lock(guess, clock, name="bob", address="192.0.2.2")
    first = next(each for each in listed() if each["remaining_seconds"] == 54)
    name, address = first["username_digest"], first["address_digest"]
    assert unlock("--digest", name, address) == forgot(1)
    assert isinstance(guess(), Attempt)
    assert unlock("--digest", name) == forgot(1)
    assert unlock("--digest", name) == forgot(0)
    assert lockout.unlock_listed() == 0
    assert len(listed()) == 1


def test_an_empty_digest_is_nobodys(guess, clock):
    lock(guess, clock, device="browser")
    assert unlock("--digest", "") == forgot(0)
    assert len(listed()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--all", "--username", "alice"],
        ["--all", "--digest", "0123456789abcdef"],
        ["--username", "alice", "--digest", "0123456789abcdef"],
    ],
)
def test_unlock_wants_to_know_whom(arguments):
    with pytest.raises(CommandError, match="Say whom"):
        unlock(*arguments)


def test_unlocking_nobody_forgets_nothing(guess, clock):
    lock(guess, clock)
    assert lockout.unlock() == 0
    assert len(lockout.current_locks()) == 1


@pytest.mark.parametrize(
    "command",
    [
        ["crossauth_lockouts", "--json"],
        ["crossauth_unlock", "--all"],
        ["crossauth_unlock", "--username", "alice"],
    ],
)
@pytest.mark.parametrize("alias", ["default", "redis"])
def test_a_cache_in_memory_is_said_to_be_another_than_the_servers(
    settings, command, alias
):
    settings.CROSSAUTH_CACHE_ALIAS = alias
    error = StringIO()
    call_command(*command, stdout=StringIO(), stderr=error)
    assert ("Restart the server" in error.getvalue()) is (alias == "default")


@pytest.mark.parametrize(
    "command", [["crossauth_lockouts"], ["crossauth_unlock", "--all"]]
)
def test_a_dead_cache_is_said_to_be_dead(settings, command):
    own_redis(settings).stop(signal.SIGKILL)
    with pytest.raises(CommandError, match="does not answer"):
        call_command(*command)


def test_a_digest_that_nothing_is_listed_with_clears_nothing_in_the_log(clock, caplog):
    assert lockout.unlock_listed("0" * 16) == 0
    assert "lockout_cleared" not in caplog.text
