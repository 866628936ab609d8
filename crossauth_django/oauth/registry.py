"""The providers of ``CROSSAUTH_PROVIDERS``, made when they are asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from crossauth_django.conf import conf
from crossauth_django.oauth.providers.base import Provider, is_allowed_url

TYPES = {
    "github": "crossauth_django.oauth.providers.github.GitHubProvider",
    "google": "crossauth_django.oauth.providers.google.GoogleProvider",
    "oidc": "crossauth_django.oauth.providers.oidc.OIDCProvider",
}
# It stands in URLs and in SocialAccount.provider.
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def get_provider(name: str) -> Provider | None:
    """Return a configured provider, or None when there is none of that name.

    Raise ``ImproperlyConfigured`` when its settings are wrong.
    """
    options = conf.CROSSAUTH_PROVIDERS.get(name)
    if options is None:
        return None
    if found := _problems(name, options):
        raise ImproperlyConfigured(found[0])
    return _provider_class(name, options)(name, options)


def list_providers() -> list[Provider]:
    """Return all configured providers in the order of the setting."""
    providers = (get_provider(name) for name in conf.CROSSAUTH_PROVIDERS)
    return [provider for provider in providers if provider is not None]


def problems() -> list[str]:
    """Say what is wrong with ``CROSSAUTH_PROVIDERS``, one sentence each; no network."""
    providers: Any = conf.CROSSAUTH_PROVIDERS
    if not isinstance(providers, Mapping):
        return ["CROSSAUTH_PROVIDERS is not a dictionary."]
    return [
        problem
        for name, options in providers.items()
        for problem in _problems(name, options)
    ]


def _problems(name: Any, options: Any) -> list[str]:
    where = f"CROSSAUTH_PROVIDERS[{name!r}]"
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return [
            f"{where}: a name is 1 to 64 lower-case letters, digits, '-' and '_', "
            "because it stands in URLs."
        ]
    if not isinstance(options, Mapping):
        return [f"{where} is not a dictionary."]
    try:
        provider_class = _provider_class(name, options)
    except ImproperlyConfigured as error:
        return [str(error)]
    return [
        f"{where}{problem}"
        for problem in (
            *_missing(options, provider_class),
            *_unknown(options, provider_class),
            *_wrong(options, provider_class),
        )
    ]


def _provider_class(name: str, options: Mapping[str, Any]) -> type[Provider]:
    where = f"CROSSAUTH_PROVIDERS[{name!r}]"
    kind = options.get("type", name)
    path = options.get("BACKEND") or TYPES.get(str(kind))
    if path is None:
        known = ", ".join(repr(known) for known in TYPES)
        raise ImproperlyConfigured(
            f"{where}['type'] is {kind!r}; use one of {known}, or give the dotted path "
            "of a class as 'BACKEND'."
        )
    try:
        provider_class = import_string(path)
    except (ImportError, AttributeError, TypeError) as error:
        raise ImproperlyConfigured(
            f"{where}['BACKEND'] {path!r} cannot be imported."
        ) from error
    if not isinstance(provider_class, type) or not issubclass(provider_class, Provider):
        raise ImproperlyConfigured(
            f"{where}['BACKEND'] {path!r} is no subclass of "
            "crossauth_django.oauth.providers.base.Provider."
        )
    return provider_class


def _missing(options: Mapping[str, Any], provider: type[Provider]) -> list[str]:
    return [f" lacks {key!r}." for key in provider.required if not options.get(key)]


def _unknown(options: Mapping[str, Any], provider: type[Provider]) -> list[str]:
    known = {*provider.required, *provider.optional}
    return [
        f"[{key!r}] is no setting of {provider.__name__}."
        for key in options
        if key not in known
    ]


def _wrong(options: Mapping[str, Any], provider: type[Provider]) -> list[str]:
    found = [
        f"[{key!r}] is not text."
        for key, value in options.items()
        if key in {*provider.required, *provider.optional}
        and not isinstance(value, str)
    ]
    if options.get("response_mode", "query") not in {"query", "form_post"}:
        found.append("['response_mode'] is neither 'query' nor 'form_post'.")
    for key in provider.urls:
        value = options.get(key)
        if isinstance(value, str) and ("?" in value or not is_allowed_url(value)):
            found.append(
                f"[{key!r}] must begin with https:// (http:// on this machine only), "
                "without user, query and fragment."
            )
    return found
