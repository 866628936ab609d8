"""``{% load crossauth %}{% crossauth_providers %}`` on a sign-in page."""

from __future__ import annotations

from typing import Any

from django import template
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.template.context import Context

from crossauth_django.oauth import registry
from crossauth_django.redirects import same_origin_path

register = template.Library()


@register.inclusion_tag("crossauth_django/provider_buttons.html", takes_context=True)
def crossauth_providers(context: Context) -> dict[str, Any]:
    """Show one button for each of ``CROSSAUTH_PROVIDERS``, in that order.

    The sign-in leads to ``next`` of the template's context or of the page's query. Replace the
    template ``crossauth_django/provider_buttons.html`` to change what a button looks like.
    """
    request = context.get("request")
    wanted = context.get(REDIRECT_FIELD_NAME)
    if wanted is None and request is not None:
        wanted = request.GET.get(REDIRECT_FIELD_NAME)
    return {
        "providers": registry.list_providers(),
        # A page may call anything "next", its next article for example.
        "next": None if wanted is None else same_origin_path(str(wanted)),
    }
