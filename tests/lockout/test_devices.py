from __future__ import annotations

import asyncio
import os
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.core.cache import caches
from django.test import Client
from redis import Redis

from crossauth_django import lockout
from crossauth_django.lockout import Owner, cookie_name, device_of
from crossauth_django.lockout.subjects import SLOT, owner_key
from crossauth_django.stores import get_store

OWNER = Owner("1" * 16, "2" * 16)
DJANGOS_SESSIONS = "django.contrib.sessions.backends.db"


def cookie_for(previous, names):
    return lockout.cookie_for(previous, dict.fromkeys(names, OWNER)) or previous


def test_a_device_is_known_for_who_has_signed_in_there():
    cookie = cookie_for(None, ["alice"])
    assert device_of(cookie, "alice")
    assert device_of(cookie, "bob") is None
    assert device_of(cookie, "") is None


def test_a_second_person_on_one_device_keeps_the_first_known():
    first = cookie_for(None, ["alice"])
    both = cookie_for(first, ["bob", ""])
    assert (
        device_of(both, "alice") == device_of(both, "bob") == device_of(first, "alice")
    )


def test_the_ninth_person_pushes_the_first_out():
    cookie = None
    for number in range(9):
        cookie = cookie_for(cookie, [f"user{number}"])
    assert device_of(cookie, "user0") is None
    assert device_of(cookie, "user1") is not None


def test_a_forged_cookie_is_no_device():
    cookie = cookie_for(None, ["alice"])
    assert device_of(cookie[:-1] + ("A" if cookie[-1] != "A" else "B"), "alice") is None
    assert device_of("rubbish", "alice") is None
    assert device_of("", "alice") is None
    assert device_of(None, "alice") is None


def test_a_cookie_shows_no_name():
    assert "alice" not in cookie_for(None, ["alice"])


def test_each_name_has_a_time_of_its_own(clock):
    cookie = cookie_for(None, ["alice"])
    clock.shift(timedelta(days=364))
    both = cookie_for(cookie, ["bob"])
    clock.shift(timedelta(days=2))
    assert device_of(both, "alice") is None
    assert device_of(both, "bob")


def test_a_cookie_that_says_the_same_and_is_young_is_not_set_again(clock):
    first = lockout.cookie_for(None, {"alice": OWNER})
    assert lockout.cookie_for(first, {"alice": OWNER}) is None
    assert lockout.cookie_for(first, {"alice": Owner(OWNER.id, "3" * 16)})
    assert lockout.cookie_for(first, {"alice": OWNER, "bob": OWNER})
    clock.shift(timedelta(days=1))
    assert lockout.cookie_for(first, {"alice": OWNER})


def test_who_signs_in_each_morning_stays_known_with_an_age_of_a_day(clock, settings):
    settings.CROSSAUTH_DEVICE_COOKIE_AGE = timedelta(days=1)
    cookie = cookie_for(None, ["alice"])
    for _ in range(3):
        clock.shift(timedelta(hours=23))
        assert device_of(cookie, "alice")
        cookie = cookie_for(cookie, ["alice"])


def test_a_cookie_ends_with_its_age(clock, settings):
    cookie = cookie_for(None, ["alice"])
    clock.shift(timedelta(days=365, seconds=1))
    assert device_of(cookie, "alice") is None


def test_an_age_of_0_turns_devices_off(settings):
    cookie = cookie_for(None, ["alice"])
    settings.CROSSAUTH_DEVICE_COOKIE_AGE = timedelta()
    assert device_of(cookie, "alice") is None


def test_a_new_secret_key_forgets_no_device(settings):
    cookie = cookie_for(None, ["alice"])
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another"
    assert device_of(cookie, "alice")


def test_the_cookie_is_bound_to_the_host_where_it_can_be(settings):
    assert cookie_name() == "crossauth_device"
    settings.SESSION_COOKIE_SECURE = True
    assert cookie_name() == "__Host-crossauth_device"
    settings.SESSION_COOKIE_DOMAIN = "example.org"
    assert cookie_name() == "crossauth_device"


def by_form(client, password):
    return client.post("/login/", {"username": "alice", "password": password})


def devices_that_knew(password, number):
    browsers = [Client() for _ in range(number)]
    for browser in browsers:
        assert by_form(browser, password).status_code == 302
    return browsers


def judged(browsers, each):
    return sum(
        by_form(browser, "wrong").status_code == 200
        for browser in browsers
        for _ in range(each)
    )


def by_manager(user):
    user.set_password("new")
    user.save()


def by_hash(user):
    other = get_user_model()(username="other")
    other.set_password("new")
    user.password = other.password
    user.save(update_fields=["password"])


@pytest.mark.parametrize("change", [by_manager, by_hash])
def test_who_knew_the_old_password_has_no_device_any_more(alice, clock, change):
    former = devices_that_knew("right", 8)
    change(alice)
    assert judged(former, 5) == 5  # the pair's
    clock.shift(3600)
    assert by_form(former[0], "new").status_code == 302
    assert lockout.device_of(former[0].cookies["crossauth_device"].value, "alice")


def test_who_had_a_name_before_has_no_device_for_it_any_more(alice, clock):
    former = devices_that_knew("right", 8)
    alice.delete()
    get_user_model().objects.create_user("alice", password="hers")
    assert judged(former, 5) == 5  # the pair's


def test_only_a_save_that_brings_a_password_writes_to_the_cache(alice):
    def written():
        return get_store().get(owner_key(lockout.owner_of(alice)), slot=SLOT)

    alice.save()
    assert written() is None
    by_manager(alice)
    assert written() is not None


def test_a_device_is_a_stranger_until_the_new_password_signs_in_there(alice, clock):
    (browser,) = devices_that_knew("right", 1)
    by_manager(alice)
    for _ in range(2):
        assert by_form(browser, "new").status_code == 302
    assert judged([Client()], 5) == 5
    assert by_form(browser, "new").status_code == 302


def change_own(browser):
    new = {f"new_password{n}": "Brand-new-1!" for n in (1, 2)}
    data = {"old_password": "right", **new}
    assert browser.post("/admin/password_change/", data).status_code == 302
    browser.post("/admin/logout/")


@pytest.mark.parametrize("engine", ["crossauth_django.sessions", DJANGOS_SESSIONS])
def test_the_browser_in_which_its_user_changes_the_password_stays_known(
    alice, clock, settings, engine
):
    settings.SESSION_ENGINE = engine
    mine, other = devices_that_knew("right", 2)
    change_own(mine)
    for number in range(20):
        lockout.reserve("alice", f"198.51.100.{number}")
    assert by_form(other, "Brand-new-1!").status_code == 429
    assert by_form(mine, "Brand-new-1!").status_code == 302


def test_whose_password_somebody_else_changes_is_a_stranger_there(alice, clock):
    bob = get_user_model().objects.create_user("bob", password="right")
    (browser,) = devices_that_knew("right", 1)
    cookie = browser.cookies["crossauth_device"].value
    both = lockout.cookie_for(cookie, {"bob": lockout.owner_of(bob)})
    browser.cookies["crossauth_device"] = both
    new = {f"password{n}": "Brand-new-1!" for n in (1, 2)}
    data = {"usable_password": "true", **new}
    page = f"/admin/auth/user/{bob.pk}/password/"
    assert browser.post(page, data).status_code == 302
    assert browser.cookies["crossauth_device"].value == both


def test_a_browser_that_knows_nobody_is_not_made_known_by_another_password(
    alice, clock
):
    (browser,) = devices_that_knew("right", 1)
    del browser.cookies["crossauth_device"]
    change_own(browser)
    assert "crossauth_device" not in browser.cookies


def test_who_signs_in_and_has_another_password_in_one_request_is_known(alice):
    tried = lockout.SignIns()
    tried.succeeded(["alice"], lockout.owner_of(alice))
    tried.succeeded(["bob"], OWNER)
    alice.set_password("new")
    tried.password_changed(lockout.owner_of(alice))
    assert tried.signed_in == {"alice": lockout.owner_of(alice), "bob": OWNER}


def test_a_sign_in_settles_what_was_changed_past_the_models_save(alice, clock):
    by_manager(alice)
    alice.set_password("newer")
    get_user_model().objects.filter(pk=alice.pk).update(password=alice.password)
    (browser,) = devices_that_knew("newer", 1)
    assert by_form(browser, "newer").status_code == 302
    judged([Client()], 5)
    assert by_form(browser, "newer").status_code == 302


def test_a_renewed_hash_makes_no_stranger(alice, clock, settings):
    (browser,) = devices_that_knew("right", 1)
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.MD5PasswordHasher",
        *settings.PASSWORD_HASHERS,
    ]
    (other,) = devices_that_knew("right", 1)
    alice.refresh_from_db()
    assert alice.password.startswith("md5$")
    judged([Client()], 5)
    assert by_form(browser, "right").status_code == 302
    assert by_form(other, "right").status_code == 302


def test_saving_a_user_makes_no_stranger(alice, clock):
    (browser,) = devices_that_knew("right", 1)
    alice.refresh_from_db()
    alice.first_name = "Alice"
    alice.save()
    judged([Client()], 5)
    assert by_form(browser, "right").status_code == 302


def test_all_devices_of_a_name_at_one_address_share_20_guesses(alice, clock):
    assert judged(devices_that_knew("right", 8), 5) == 20


def test_others_at_the_address_use_up_nothing_of_a_known_device(alice, clock):
    (browser,) = devices_that_knew("right", 1)
    for number in range(60):
        Client().post("/login/", {"username": f"name{number}", "password": "wrong"})
    judged([Client()], 30)
    assert by_form(browser, "right").status_code == 302


def test_a_password_that_was_rolled_back_makes_no_stranger(transactional_db, alice):
    from django.db import transaction

    (browser,) = devices_that_knew("right", 1)
    with transaction.atomic():
        by_manager(alice)
        transaction.set_rollback(True)
    judged([Client()], 5)
    assert by_form(browser, "right").status_code == 302


def test_the_async_twin_knows_a_forgotten_device_too(alice, clock):
    device = lockout.Device("browser", lockout.owner_of(alice))
    known = asyncio.run(lockout.areserve("alice", "192.0.2.1", device=device))
    by_manager(alice)
    stranger = asyncio.run(lockout.areserve("alice", "192.0.2.1", device=device))
    assert [attempt.was_forgotten for attempt in (known, stranger)] == [False, True]


def kept() -> int:
    with Redis.from_url(os.environ["CROSSAUTH_TEST_REDIS_URL"]) as redis:
        return redis.dbsize()


def test_only_a_saved_password_is_kept_and_with_devices_off_none(
    alice, settings, on_redis
):
    alice.save(update_fields=["email"])
    assert kept() == 0
    by_manager(alice)
    assert kept() == 1
    caches["redis"].clear()
    settings.CROSSAUTH_DEVICE_COOKIE_AGE = timedelta()
    by_manager(alice)
    assert kept() == 0


def test_a_cache_that_is_down_keeps_nobody_from_a_new_password(alice, settings, caplog):
    down = {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": "redis://127.0.0.1:1",
    }
    settings.CACHES = {**settings.CACHES, "down": down}
    settings.CROSSAUTH_CACHE_ALIAS = "down"
    by_manager(alice)
    assert "Devices stay known" in caplog.text
