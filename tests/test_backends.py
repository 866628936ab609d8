from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import (
    aauthenticate,
    authenticate,
    get_user,
)
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ImproperlyConfigured

from crossauth_django.backends import ProviderBackend, provider_backend
from tests.accounts.conftest import make_user

PATH = "crossauth_django.backends.ProviderBackend"
MODEL = "django.contrib.auth.backends.ModelBackend"


class ClosingBackend(ProviderBackend):
    """A project's own rule."""

    is_open = True

    def user_can_authenticate(self, user: Any) -> bool:
        return self.is_open and super().user_can_authenticate(user)


@pytest.mark.django_db
def test_it_accepts_no_credentials(settings):
    settings.AUTHENTICATION_BACKENDS = [PATH]
    user = make_user("jane@example.com", "right")
    credentials = {"username": user.get_username(), "password": "right"}
    assert authenticate(**credentials) is None
    assert async_to_sync(aauthenticate)(**credentials) is None
    settings.AUTHENTICATION_BACKENDS = [PATH, MODEL]
    assert authenticate(**credentials) is not None
    assert async_to_sync(aauthenticate)(**credentials) is not None


@pytest.mark.django_db
def test_it_keeps_a_user_signed_in_until_disabled(settings, client):
    settings.AUTHENTICATION_BACKENDS = [PATH]
    user = make_user("jane@example.com")
    client.force_login(user, backend=PATH)
    assert get_user(client) == user
    user.is_active = False
    user.save()
    assert get_user(client).is_anonymous


@pytest.mark.django_db
def test_permissions_work_with_this_backend_alone(settings):
    settings.AUTHENTICATION_BACKENDS = [PATH]
    user = make_user("jane@example.com")
    kind = ContentType.objects.get_for_model(Group)
    permission, _ = Permission.objects.get_or_create(
        codename="view_group", content_type=kind
    )
    user.user_permissions.add(permission)
    assert user.has_perm("auth.view_group")


@pytest.mark.django_db
def test_beside_modelbackend_permissions_cost_no_more_queries(
    settings, django_assert_num_queries
):
    for backends in ([MODEL], [MODEL, PATH]):
        settings.AUTHENTICATION_BACKENDS = backends
        user = make_user(f"jane{len(backends)}@example.com")
        with django_assert_num_queries(2):
            assert not user.has_perm("auth.add_user")


@pytest.mark.parametrize(
    ("backends", "expected"),
    [
        ([MODEL, PATH], PATH),
        (
            ["tests.test_backends.ClosingBackend", PATH],
            "tests.test_backends.ClosingBackend",
        ),
    ],
)
def test_the_first_provider_backend_of_the_settings_signs_in(
    settings, backends, expected
):
    settings.AUTHENTICATION_BACKENDS = backends
    path, backend = provider_backend()
    assert path == expected
    assert isinstance(backend, ProviderBackend)


def test_without_one_the_error_says_what_to_add(settings):
    settings.AUTHENTICATION_BACKENDS = [MODEL]
    with pytest.raises(ImproperlyConfigured, match=PATH):
        provider_backend()
