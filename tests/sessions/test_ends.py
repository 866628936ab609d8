"""What ends sessions by itself, and what does not."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth import get_user_model, login
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.contrib.auth.tokens import default_token_generator
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.models import Session
from django.db import DEFAULT_DB_ALIAS, models
from django.db.models.deletion import Collector
from django.db.models.signals import post_save, pre_delete, pre_save
from django.test import Client
from django.utils.http import urlsafe_base64_encode

from crossauth_django import devices, signals
from crossauth_django.models import SocialAccount, UserSession
from crossauth_django.sessions import SessionStore
from tests.accounts.conftest import make_user, only_where, set_email
from tests.concurrency import run_together
from tests.sessions.conftest import PASSWORD, sign_in, whoami

NEW = "battery staple"


def reasons(user):
    found = devices.list_sessions(user, include_ended=True)
    return sorted(device.end_reason for device in found)


@pytest.fixture
def other(user, browser):
    """A second browser of the same user."""
    other = sign_in(user)
    whoami(browser), whoami(other)
    return other


def test_the_password_view_ends_the_others(user, browser, other):
    old = browser.cookies["sessionid"].value
    answer = browser.post(
        "/password/",
        {"old_password": PASSWORD, "new_password1": NEW, "new_password2": NEW},
    )
    assert answer.status_code == 302
    assert (whoami(browser), whoami(other)) == (str(user.pk), "")
    assert reasons(user) == ["", "password_reset"]
    assert browser.cookies["sessionid"].value != old


def test_the_reset_view_ends_them_all(user, browser, other):
    # The link knows when the user last signed in.
    user.refresh_from_db()
    uid = urlsafe_base64_encode(str(user.pk).encode())
    stranger = Client()
    link = f"/reset/{uid}/{default_token_generator.make_token(user)}/"
    page = stranger.get(link).headers["Location"]
    answer = stranger.post(page, {"new_password1": NEW, "new_password2": NEW})
    assert answer.status_code == 302
    assert reasons(user) == ["password_reset"] * 2
    assert (whoami(browser), whoami(other)) == ("", "")


@only_where(admin.site.is_registered(get_user_model()))
def test_the_admins_password_page_ends_them_all(user, browser, other):
    staff = make_user("staff@example.org", PASSWORD, is_staff=True, is_superuser=True)
    desk, meta = sign_in(staff), user._meta
    page = f"/admin/{meta.app_label}/{meta.model_name}/{user.pk}/password/"
    fields = {"password1": NEW, "password2": NEW, "usable_password": "true"}
    assert desk.post(page, fields).status_code == 302
    assert reasons(user) == ["password_reset"] * 2
    assert (whoami(browser), whoami(other)) == ("", "")
    assert whoami(desk) == str(staff.pk)


@pytest.mark.parametrize("fields", [None, ["password"]])
def test_set_password_and_save_ends_them_all(user, browser, other, fields):
    user.set_password(NEW)
    user.save(update_fields=fields)
    assert reasons(user) == ["password_reset"] * 2
    assert (whoami(browser), whoami(other)) == ("", "")


def test_a_password_assigned_from_a_hash_ends_them(user, browser):
    user.password = make_password(NEW)
    user.save()
    assert reasons(user) == ["password_reset"]


def test_a_password_changed_without_signals_ends_them_at_the_next_request(
    user, browser, other
):
    get_user_model().objects.filter(pk=user.pk).update(password=make_password(NEW))
    assert reasons(user) == ["", ""]
    assert (whoami(browser), whoami(other)) == ("", "")
    assert reasons(user) == ["password_reset"] * 2


def test_saving_something_else_ends_nothing(user, browser, django_assert_num_queries):
    with django_assert_num_queries(2):
        # The UPDATE of the user, and one of sessions that finds none.
        user.save()
    with django_assert_num_queries(1):
        # The UPDATE of the user alone.
        user.save(update_fields=["last_login"])
    assert whoami(browser)


def test_another_address_ends_the_others(user, browser, other):
    answer = browser.post("/address/", {"email": "new@example.org"})
    assert answer.content == b"changed"
    assert (whoami(browser), whoami(other)) == (str(user.pk), "")
    assert reasons(user) == ["", "email_changed"]
    # And the next change finds it with the new address.
    set_email(get_user_model().objects.get(pk=user.pk), "newer@example.org")
    assert whoami(browser) == ""


def test_another_spelling_of_the_address_ends_nothing(user, browser):
    set_email(user, "ANN@example.org")
    assert whoami(browser)


def test_a_disabled_user_loses_all(user, browser, other):
    user.is_active = False
    user.save()
    assert (whoami(browser), whoami(other)) == ("", "")
    assert reasons(user) == ["user_disabled"] * 2
    user.is_active = True
    user.save()
    assert (whoami(browser), whoami(other)) == ("", "")


def test_a_user_disabled_without_signals_is_out_at_the_next_request(user, browser):
    get_user_model().objects.filter(pk=user.pk).update(is_active=False)
    assert whoami(browser) == ""


def test_a_deleted_user_loses_all(user, browser, other):
    user.delete()
    assert (whoami(browser), whoami(other)) == ("", "")
    assert not UserSession.objects.exists()
    assert browser.get("/kept/?name=_auth_user_id").content == b""


def test_users_deleted_by_many_threads_never_find_the_database_locked(transactional_db):
    users = iter([make_user(f"{number}@example.org") for number in range(96)])

    def delete_three():
        for user in itertools.islice(users, 3):
            user.delete()

    assert run_together(32, delete_three) == [None] * 32
    assert not get_user_model().objects.exists()


def made_late(**attributes):
    """Make a model of users when the app is ready, as tests and plugins do."""
    attributes["Meta"] = type("Meta", (), {"app_label": "late", **attributes["Meta"]})
    attributes["__module__"] = __name__
    return type("Person", (get_user_model(),), attributes)


@pytest.fixture(params=["proxy", "child"])
def derived(request):
    """A proxy of the user model, and a child of it; the child's table is its parent's."""
    user_model = get_user_model()
    if request.param == "proxy":
        yield made_late(Meta={"proxy": True})
    else:
        yield made_late(
            Meta={"db_table": user_model._meta.db_table, "managed": False},
            parent=models.OneToOneField(
                user_model,
                models.CASCADE,
                parent_link=True,
                primary_key=True,
                db_column=user_model._meta.pk.column,
                related_name="+",
            ),
        )
    del apps.all_models["late"]
    apps.clear_cache()


def test_a_user_deleted_through_a_derived_model_loses_all(user, browser, derived):
    derived.objects.get(pk=user.pk).delete()
    assert whoami(browser) == ""
    assert not UserSession.objects.exists()


def test_another_password_saved_through_a_derived_model_ends_all(
    user, browser, derived
):
    person = derived.objects.get(pk=user.pk)
    person.set_password(NEW)
    person.save()
    assert reasons(user) == ["password_reset"]


def test_a_user_disabled_through_a_derived_model_loses_all(user, browser, derived):
    person = derived.objects.only("pk").get(pk=user.pk)
    person.is_active = False
    person.save()
    assert reasons(user) == ["user_disabled"]


@pytest.mark.parametrize("signal", [pre_save, post_save, pre_delete])
def test_a_change_of_what_is_no_user_calls_nothing_of_ours(signal):
    followed = {model for model in apps.get_models() if signal.has_listeners(model)}
    assert followed == {get_user_model()}


@pytest.mark.parametrize("model", [Session, SocialAccount, UserSession])
def test_what_is_no_user_is_deleted_without_being_read(model, db):
    assert Collector(DEFAULT_DB_ALIAS).can_fast_delete(model._base_manager.all())


def test_a_claimed_account_loses_all(user, browser):
    signals.account_claimed.send(type(user), user=user)
    assert whoami(browser) == ""
    assert reasons(user) == ["oauth_account_claimed"]


def test_signing_out_is_a_reason(user, browser):
    browser.post("/logout/")
    assert reasons(user) == ["logout"]


def test_a_flush_is_taken_for_signing_out(user, browser):
    browser.post("/flush/")
    assert reasons(user) == ["logout"]


def test_signing_in_rotates_the_key(user):
    client = Client()
    client.get("/put/?cart=full")
    old = client.cookies["sessionid"].value
    client.post("/login/", {"username": user.get_username(), "password": PASSWORD})
    new = client.cookies["sessionid"].value
    assert old != new
    assert client.get("/kept/?name=cart").content == b"full"
    assert whoami(with_key(old)) == ""
    assert with_key(old).get("/kept/?name=cart").content == b""


def test_signing_in_again_rotates_the_key_and_begins_anew(user, browser):
    row = UserSession.objects.get()
    old = browser.cookies["sessionid"].value
    browser.post("/login/", {"username": user.get_username(), "password": PASSWORD})
    assert browser.cookies["sessionid"].value != old
    assert whoami(browser)
    assert not whoami(with_key(old))
    again = UserSession.objects.get()
    # The device stays the same one.
    assert again.pk == row.pk
    assert again.created_at > row.created_at


def test_another_user_in_the_same_browser_replaces_the_first(user, browser):
    second = make_user("bob@example.org", PASSWORD)
    browser.post("/login/", {"username": second.get_username(), "password": PASSWORD})
    assert whoami(browser) == str(second.pk)
    assert reasons(user) == ["replaced_by_login"]
    assert reasons(second) == [""]


def test_a_request_under_way_with_the_old_key_does_not_take_the_new_cookie_away(
    user, browser
):
    old = browser.cookies["sessionid"].value
    browser.post("/login/", {"username": user.get_username(), "password": PASSWORD})
    late = with_key(old)
    answer = late.get("/whoami/")
    assert (answer.content, len(answer.cookies)) == (b"", 0)
    # Nor does one that writes set another.
    assert late.get("/put/?a=1").status_code == 400
    assert not late.get("/put/?a=1").cookies


def test_a_rotation_of_the_secret_key_ends_nothing(user, browser, settings):
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another key, long enough for every algorithm in use here"
    assert whoami(browser) == str(user.pk)
    user.save()
    assert whoami(browser) == str(user.pk)
    assert reasons(user) == [""]


def test_nor_does_it_end_a_visitors(db, settings):
    visitor = Client()
    visitor.get("/put/?cart=full")
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another key, long enough for every algorithm in use here"
    assert visitor.get("/kept/?name=cart").content == b"full"


def test_a_password_change_in_the_same_thread_spares_only_a_session_of_that_request(
    user, browser
):
    whoami(browser)
    # As in a worker: the thread has served the user before, and now serves somebody else.
    user.set_password(NEW)
    user.save()
    assert reasons(user) == ["password_reset"]


def test_a_user_change_in_another_users_request_spares_nobody(user, browser):
    staff = make_user("staff@example.org", PASSWORD)
    desk = sign_in(staff)
    desk.post("/address/", {"email": "new@example.org", "pk": str(user.pk)})
    assert (whoami(desk), whoami(browser)) == (str(staff.pk), "")


def with_key(key):
    client = Client()
    client.cookies["sessionid"] = key
    return client


@pytest.mark.parametrize("times", [1, 2])
def test_an_ended_session_is_not_rotated_back_to_life(user, browser, times):
    session = SessionStore(browser.cookies["sessionid"].value)
    assert session["_auth_user_id"]
    devices.revoke_all(user)
    for _ in range(times):
        # As sudo and a change of the password do in one request.
        session.cycle_key()
    with pytest.raises(UpdateError):
        session.save()
    assert UserSession.objects.active().count() == 0


def test_a_sign_in_without_sessions_of_ours_is_none_of_our_business(user, rf):
    request = rf.get("/")
    request.user = AnonymousUser()
    user_logged_in.send(type(user), request=request, user=user)
    user_logged_in.send(type(user), request=None, user=user)
    user_logged_out.send(type(user), request=None, user=None)
    assert not UserSession.objects.exists()


def test_fixtures_are_not_looked_at(user, browser):
    user.password = make_password(NEW)
    user.save_base(raw=True)
    assert reasons(user) == [""]


# What the user does not have yet, and what is no other password.


@pytest.mark.parametrize("reason", ["password_reset", "email_changed"])
def test_only_what_was_saved_ends_sessions(user, browser, reason):
    email = user.get_email_field_name()
    user.set_password(NEW)
    setattr(user, email, "new@example.org")
    user.is_active = False
    user.save(update_fields=["last_login"])
    assert reasons(user) == [""]
    user.save(update_fields=["password" if reason == "password_reset" else email])
    assert reasons(user) == [reason]


def outdated(user):
    """The user, with a hash that the next right password renews."""
    users = get_user_model().objects.filter(pk=user.pk)
    users.update(password=make_password(PASSWORD, hasher="pbkdf2_sha256"))
    return users.get()


def test_a_renewed_hash_ends_no_token(user):
    user = outdated(user)
    token = devices.issue_token(user, client_name="x", max_age=timedelta(days=1))
    assert sign_in(user)
    assert devices.user_of_token(token) == user
    assert reasons(user) == ["", ""]


def test_after_a_renewed_hash_django_signs_other_browsers_out(user):
    user = outdated(user)
    client = Client()
    client.force_login(user)
    assert user.check_password(PASSWORD)
    assert whoami(client) == ""
    assert reasons(user) == ["logout"]


def test_a_hash_assigned_after_set_password_is_another_password(user, browser):
    user.password = make_password(NEW)
    user.save(update_fields=["password"])
    assert reasons(user) == ["password_reset"]


def test_an_unusable_password_is_another_one(user, browser):
    user.set_unusable_password()
    user.save(update_fields=["password"])
    user.set_unusable_password()
    user.save(update_fields=["password"])
    assert reasons(user) == ["password_reset"]


# A sign-in under way.


@pytest.mark.parametrize("signals", [True, False])
@pytest.mark.parametrize(
    ("field", "value"),
    [("is_active", False), ("email", "new@example.org"), ("password", "another")],
)
@pytest.mark.parametrize("key", [None, "old"])
def test_who_changes_while_signing_in_is_not_signed_in(
    user, browser, rf, signals, field, value, key
):
    # The second signs in again over a session that has a row.
    request = rf.post("/")
    request.session = SessionStore(key and browser.cookies["sessionid"].value)
    login(request, user)
    users = get_user_model().objects
    found = users.get()
    setattr(found, field, value)
    found.save() if signals else users.update(**{field: value})
    with pytest.raises(UpdateError):
        request.session.save()


def test_the_request_that_signs_in_may_complete_the_account(user, client):
    data = {"pk": user.pk, "email": "new@example.org"}
    for _ in range(2):
        # The second is signed in already, and signs in again.
        assert client.post("/join/", data).status_code == 200
        assert whoami(client) == str(user.pk)
        data["email"] = "newer@example.org"
    # What it began with is what the user has now.
    user.refresh_from_db()
    user.save()
    assert whoami(client) == str(user.pk)


def test_a_site_may_sign_in_who_is_not_active(user, rf, settings):
    settings.AUTHENTICATION_BACKENDS = [
        "django.contrib.auth.backends.AllowAllUsersModelBackend"
    ]
    user.is_active = False
    user.save()
    request = rf.post("/")
    request.session = SessionStore()
    login(request, user)
    request.session.save()
    assert len(devices.list_sessions(user)) == 1
