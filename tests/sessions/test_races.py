"""Nobody brings a session back that has ended: not a save, not a touch, not a refill."""

from __future__ import annotations

import os
import random
import time
from datetime import timedelta

import pytest
import redis
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import UpdateError
from django.core.cache import caches
from django.test import override_settings

from crossauth_django.conf import conf
from crossauth_django.models import UserSession
from crossauth_django.sessions import SessionStore
from tests.accounts.conftest import make_user
from tests.caches import aliases
from tests.concurrency import Crew

ROUNDS, BATCH = 1000, 100


@pytest.fixture(scope="module")
def pair(django_db_setup):
    """Two processes: one that uses a session, and one that ends it."""
    crew = Crew(2)
    yield crew
    crew.close()


def meet(name, size=2):
    """Wait for the others, without sleeping: what follows starts at the same moment."""
    counter = redis.Redis.from_url(os.environ["CROSSAUTH_TEST_REDIS_URL"], db=7)
    try:
        position = counter.incr(name) - 1
        deadline = time.monotonic() + 60
        while int(counter.get(name)) < size and time.monotonic() < deadline:
            time.sleep(0.0001)
        return position
    finally:
        counter.close()


def race(alias, name, keys):
    """Do one half of each round; return how often a session was seen alive after its end."""
    role = meet(f"{name}:roles")
    with override_settings(
        CROSSAUTH_CACHE_ALIAS=alias, CROSSAUTH_SESSION_TOUCH_INTERVAL=timedelta(0)
    ):
        for number, key in enumerate(keys):
            meet(f"{name}:{number}")
            (use, end)[role](key, number)
    return 0


def use(key, number):
    """Refill, touch and save, as quickly as it goes, until the session is over."""
    for turn in range(4):
        session = SessionStore(key)
        if session.load() == {}:
            return
        session["turn"] = turn
        try:
            session.save()
        except UpdateError:
            return


def end(key, number):
    time.sleep(random.uniform(0, 0.004))
    UserSession.objects.filter(token_hash=SessionStore(key).digest).end("user_revoked")
    if number % 2:
        # Takes along whatever said in the cache that the session has ended.
        caches[conf.CROSSAUTH_CACHE_ALIAS].clear()


def new_sessions(user, count):
    keys = []
    for _ in range(count):
        session = SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session.save()
        keys.append(session.session_key)
        if len(keys) % 3:
            # The copy is there before the race.
            SessionStore(session.session_key).load()
    return keys


@pytest.mark.parametrize("alias", aliases("redis", "pymemcache"))
def test_a_save_never_revives_what_was_revoked(alias, settings, transactional_db, pair):
    settings.CROSSAUTH_CACHE_ALIAS = alias
    settings.CROSSAUTH_MAX_SESSIONS_PER_USER = None
    user = make_user()
    revived = []
    for batch in range(ROUNDS // BATCH):
        keys = new_sessions(user, BATCH)
        name = f"{alias}:{random.random()}"
        assert pair.run(race, alias, name, keys) == [0, 0], batch
        revived += [key for key in keys if SessionStore(key).load() != {}]
    assert revived == []
    assert not UserSession.objects.filter(revoked_at=None).exists()
