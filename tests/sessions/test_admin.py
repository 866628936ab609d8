"""What staff find among many sessions, and who of them may end one."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType

from crossauth_django import devices
from crossauth_django.fields import utc_now
from crossauth_django.models import UserSession
from tests.accounts.conftest import make_user
from tests.sessions.conftest import PASSWORD, sign_in, whoami

LIST = "/admin/crossauth_django/usersession/"
FOUND = 'class="field-user'


@pytest.fixture(autouse=True)
def where_there_is_an_admin():
    if not hasattr(get_user_model(), "user_permissions"):
        pytest.skip("a user model without permissions has no admin")


def staff_member(*codenames):
    member = make_user("staff@example.org", PASSWORD, is_staff=True)
    # Not looked up: a test whose database was flushed has left neither.
    ContentType.objects.clear_cache()
    kind = ContentType.objects.get_for_model(UserSession)
    for codename in codenames:
        permission, _ = Permission.objects.get_or_create(
            content_type=kind, codename=codename, defaults={"name": codename}
        )
        member.user_permissions.add(permission)
    return sign_in(member)


@pytest.fixture
def staff(db):
    return staff_member("view_usersession", "change_usersession", "delete_usersession")


def rows(page):
    assert page.status_code == 200
    return page.content.decode().count(FOUND)


def test_the_sessions_of_a_user_are_found_by_name_and_address(staff, user, browser):
    name = user.get_username()
    assert rows(staff.get(LIST)) == 2
    assert rows(staff.get(LIST, {"q": name})) == 1
    assert rows(staff.get(LIST, {"q": "127.0.0"})) == 2
    assert rows(staff.get(LIST, {"q": "nobody@example.org"})) == 0


def test_sessions_are_found_by_why_they_ended(staff, user, browser):
    devices.revoke_all(user)
    assert rows(staff.get(LIST, {"q": "logout_all"})) == 1
    assert rows(staff.get(LIST, {"q": "logout"})) == 0


def test_sessions_are_filtered_by_what_they_are_now(staff, user, browser):
    sign_in(user)
    devices.revoke_others(browser.get("/whoami/").wsgi_request)
    devices.issue_token(user, client_name="a", max_age=timedelta(seconds=1))
    with time_machine.travel(utc_now() + timedelta(seconds=5), tick=False):
        for state, count in (("active", 2), ("expired", 1), ("revoked", 1)):
            assert rows(staff.get(LIST, {"state": state})) == count


def test_who_may_only_look_ends_nothing(browser):
    member = staff_member("view_usersession")
    row = UserSession.objects.get(token_hash=browser.session.digest)
    assert rows(member.get(LIST)) == 2
    member.post(LIST, {"action": "end_sessions", "_selected_action": [str(row.pk)]})
    assert whoami(browser)


def test_where_nothing_is_typed_in_nothing_is_saved(staff, browser):
    row = UserSession.objects.get(token_hash=browser.session.digest)
    page = staff.get(f"{LIST}{row.pk}/change/").content.decode()
    assert 'name="_save"' not in page
    assert 'name="_continue"' not in page


def test_a_thousand_sessions_cost_no_more_queries_than_one(
    staff, user, browser, django_assert_max_num_queries
):
    row = UserSession.objects.get(token_hash=browser.session.digest)
    for number in range(1000):
        row.pk, row.token_hash = f"{number:032}", f"{number:064}"
        row._state.adding = True
        UserSession.objects.bulk_create([row])
    name = user.get_username()
    # The first to reach the cache asks what has changed before it was there.
    staff.get(LIST)
    for query in ({}, {"q": name}, {"state": "active"}, {"kind__exact": "browser"}):
        with django_assert_max_num_queries(8):
            assert rows(staff.get(LIST, query)) == 100
