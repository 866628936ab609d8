from __future__ import annotations

from datetime import timedelta

from crossauth_django.lockout import cookie_for, cookie_name, device_of


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
