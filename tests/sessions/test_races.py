"""Nobody brings a session back that has ended: not a save, not a touch, not a refill."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import re
import time
from datetime import timedelta

import pytest
import redis
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import UpdateError
from django.core.cache import caches
from django.db import transaction
from django.test import override_settings

from crossauth_django.conf import conf
from crossauth_django.managers.copies import get_copies
from crossauth_django.models import UserSession
from crossauth_django.sessions import SessionStore
from tests.accounts.conftest import make_user
from tests.caches import aliases
from tests.concurrency import Crew
from tests.sessions.distance import at_a_distance

BATCH = 100
# How late a third of what is sent to the cache arrives there, at most.
MILLISECONDS = 3


@pytest.fixture(scope="module")
def pair(django_db_setup):
    """Two processes: one that uses a session, and one that ends it."""
    crew = Crew(2)
    yield crew
    crew.close()


@functools.cache
def counters():
    return redis.Redis.from_url(os.environ["CROSSAUTH_TEST_REDIS_URL"], db=7)


def meet(name):
    """Wait for the other process: what follows starts in both at the same moment."""
    position = counters().incr(name) - 1
    if position:
        counters().rpush(f"{name}:go", "")
    else:
        counters().blpop([f"{name}:go"], timeout=60)
    return position


def race(alias, name, keys, port, use, finish):
    """Do one half of each round: use the session from afar, or end it; return what revived."""
    role = meet(f"{name}:roles")
    far = {"CACHES": moved(alias, port)} if role == 0 and port else {}
    with override_settings(CROSSAUTH_CACHE_ALIAS=alias, **far):
        revived = []
        for number, key in enumerate(keys):
            if role:
                finish(key, f"{name}:{number}")
            else:
                use(key, f"{name}:{number}")
            meet(f"{name}:{number}:after")
            if role and SessionStore(key).load() != {}:
                revived.append((number, key))
        return revived


def moved(alias, port):
    """The same cache, by another port."""
    cache = settings.CACHES[alias]
    location = re.sub(r":[0-9]+", f":{port}", cache["LOCATION"])
    return {**settings.CACHES, alias: {**cache, "LOCATION": location}}


def save(key, name):
    session = SessionStore(key)
    session["turn"] = 1
    meet(name)
    with contextlib.suppress(UpdateError):
        session.save()


def touch(key, name):
    with override_settings(CROSSAUTH_SESSION_TOUCH_INTERVAL=timedelta(0)):
        meet(name)
        SessionStore(key).load()


def refill(key, name):
    get_copies().drop([SessionStore(key).digest])
    meet(name)
    SessionStore(key).load()


def end(key, name):
    """End it in the midst of that, and half of the time forget all that the cache knows."""
    digest = SessionStore(key).digest
    meet(name)
    time.sleep(random.uniform(0, 0.002))
    UserSession.objects.filter(token_hash=digest).end("user_revoked")
    if digest[-1] < "8":
        caches[conf.CROSSAUTH_CACHE_ALIAS].clear()


def end_all(key, name):
    """End it with all others of its user, which writes neither its row nor its copy."""
    digest = SessionStore(key).digest
    user_id = UserSession.objects.get(token_hash=digest).user_id
    meet(name)
    time.sleep(random.uniform(0, 0.002))
    UserSession.objects.end_all(user_id, "logout_all")
    if digest[-1] < "4":
        caches[conf.CROSSAUTH_CACHE_ALIAS].clear()


def new_sessions(users):
    keys = []
    # One commit for all of them.
    with transaction.atomic():
        for user in users:
            session = SessionStore()
            session[SESSION_KEY] = str(user.pk)
            session.save()
            keys.append(session.session_key)
    for number, key in enumerate(keys, 1):
        if number % 3:
            # The copy is there before the race.
            SessionStore(key).load()
    return keys


ROUNDS = [
    *((save, end, 1000), (touch, end, 200), (refill, end, 200)),
    *((save, end_all, 300), (touch, end_all, 200), (refill, end_all, 200)),
]


@pytest.mark.parametrize(("use", "finish", "rounds"), ROUNDS)
@pytest.mark.parametrize("alias", aliases("redis", "pymemcache"))
def test_a_save_never_revives_what_was_revoked(
    alias, use, finish, rounds, settings, transactional_db, pair
):
    port = int(re.search(r":([0-9]+)", settings.CACHES[alias]["LOCATION"])[1])
    with at_a_distance(port, milliseconds=MILLISECONDS) as far:
        run_races(alias, use, finish, rounds, settings, pair, far)


@pytest.mark.django_db(transaction=True, databases=list(settings.DATABASES))
@pytest.mark.parametrize("finish", [end, end_all])
@pytest.mark.parametrize("alias", aliases("database_postgres"))
def test_nor_does_it_where_the_copies_are_in_a_database(alias, finish, settings, pair):
    run_races(alias, save, finish, 200, settings, pair, None)


def run_races(alias, use, finish, rounds, settings, pair, far):
    settings.CROSSAUTH_CACHE_ALIAS = alias
    settings.CROSSAUTH_MAX_SESSIONS_PER_USER = None
    # Each round's session is its user's only one.
    users = [make_user(f"{number}@example.org") for number in range(BATCH)]
    for batch in range(rounds // BATCH):
        keys = new_sessions(users)
        name = f"{alias}:{random.random()}"
        assert pair.run(race, alias, name, keys, far, use, finish) == [[], []], batch
    assert not UserSession.objects.not_ended().exists()
