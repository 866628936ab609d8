"""Pages and redirects: they parse, call one function, and turn its error into a status."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME, login
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.decorators import login_not_required
from django.db import connections, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render, resolve_url
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST

from crossauth_django import lockout, unlocking
from crossauth_django.backends import provider_backend
from crossauth_django.conf import conf
from crossauth_django.exceptions import (
    AccountError,
    AccountInactiveError,
    CrossAuthError,
    IdTokenError,
    InvalidTokenError,
    OAuthError,
    ProviderError,
    StateMismatchError,
    StoreUnavailableError,
)
from crossauth_django.limits import rate_limit
from crossauth_django.middleware import know_device
from crossauth_django.oauth import flow, registry, state
from crossauth_django.oauth.codes import REFUSALS
from crossauth_django.oauth.providers.base import Provider
from crossauth_django.oauth.state import Attempt, AuthorizationResponse
from crossauth_django.redirects import same_origin_path

logger = logging.getLogger("crossauth_django.oauth")

# Of one browser. More would grow the Cookie header until servers refuse it.
MAX_ATTEMPTS = 10
RETRY_AFTER_SECONDS = 5

View = Callable[[HttpRequest, str], HttpResponse]
ProviderView = Callable[[HttpRequest, Provider], HttpResponse]


def _oauth_view(view: ProviderView) -> View:
    """Find the provider, answer errors with a page, and keep secrets out of caches."""

    @functools.wraps(view)
    def wrapper(request: HttpRequest, provider: str) -> HttpResponse:
        found = registry.get_provider(provider)
        if found is None:
            raise Http404
        try:
            response = view(request, found)
        except (AccountError, OAuthError, StoreUnavailableError) as error:
            response = _failed(request, found, error)
        return _kept_here(response)

    # Under ATOMIC_REQUESTS the provider would be asked inside a transaction.
    for alias in connections:
        wrapper = transaction.non_atomic_requests(alias)(wrapper)
    # LoginRequiredMiddleware would send whoever signs in back to the sign-in page.
    return login_not_required(wrapper)


@require_POST
@rate_limit("oauth_authorize")
@_oauth_view
def oauth_login(request: HttpRequest, provider: Provider) -> HttpResponse:
    """Send the browser to the provider; ``next`` is where the sign-in shall lead."""
    started = flow.start(
        provider,
        redirect_uri=_redirect_uri(request, provider),
        next_path=same_origin_path(request.POST.get(REDIRECT_FIELD_NAME)),
    )
    response = HttpResponseRedirect(started.url)
    _remember(request, response, started.attempt)
    return response


@sensitive_variables("handle")
@csrf_exempt  # a provider's form_post is cross-site; state and cookie protect the flow
@sensitive_post_parameters()
@require_http_methods(["GET", "POST"])
@_oauth_view
def oauth_callback(request: HttpRequest, provider: Provider) -> HttpResponse:
    """Finish a sign-in. A ``form_post`` comes back once more, as a GET with our cookies."""
    if request.method == "POST":
        return _come_back_with_cookies(request, provider)
    handle: str | None = request.GET.get("resume")
    if handle is None:
        answer = AuthorizationResponse.read(request.GET)
    else:
        answer = state.unstash(handle)
    name = _cookie_name(request, provider, answer.state)
    try:
        response = _finish(request, provider, answer, browser=request.COOKIES.get(name))
    except StateMismatchError:
        # The attempt may be another provider's, or not begun here; it is not ours to end.
        raise
    except (AccountError, OAuthError) as error:
        response = _failed(request, provider, error)
    response.delete_cookie(name, samesite="Lax")
    if handle is not None:
        state.forget_stash(handle)
    return response


@login_not_required
@sensitive_variables("token")
@require_http_methods(["GET", "HEAD", "POST"])
def unlock(request: HttpRequest, token: str) -> HttpResponse:
    """Ask with GET, which mail scanners send too; end the lock of the link's owner with POST."""
    user: AbstractBaseUser | None = None
    names: list[str] = []
    try:
        if request.method == "POST":
            user, names = unlocking.unlock(token)
        else:
            unlocking.require_good(token)
        state_of_page, status = "done" if user else "ask", 200
    except InvalidTokenError:
        state_of_page, status = "invalid", 400
    except StoreUnavailableError:
        state_of_page, status = "unavailable", 503
    context = {"state": state_of_page, "sign_in_url": resolve_url(settings.LOGIN_URL)}
    response = render(request, "crossauth_django/unlock.html", context, status=status)
    if status == 503:
        response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if user is not None:
        # Who reads the owner's mail is no stranger: this browser has its own budget now.
        known = dict.fromkeys(names, lockout.owner_of(user))
        know_device(request, response, known)
    return _kept_here(response)


def _kept_here(response: HttpResponse) -> HttpResponse:
    """Tell nobody else the page's address, which has the code or the token in it.

    RFC 9700 section 4.2. Not "no-referrer": with that a browser posts a form of the page with
    ``Origin: null`` (Fetch, "append a request Origin header"), which Django's CSRF check refuses.
    """
    response["Cache-Control"] = "no-store"
    response["Referrer-Policy"] = "same-origin"
    return response


def _come_back_with_cookies(request: HttpRequest, provider: Provider) -> HttpResponse:
    handle = state.stash(provider.name, AuthorizationResponse.read(request.POST))
    url = f"{request.path}?{urlencode({'resume': handle})}"
    return HttpResponseRedirect(url, status=303)


@sensitive_variables("browser")
def _finish(
    request: HttpRequest,
    provider: Provider,
    answer: AuthorizationResponse,
    *,
    browser: str | None,
) -> HttpResponse:
    path, backend = provider_backend()
    signed_in = flow.finish(provider, answer, browser=browser)
    if not backend.user_can_authenticate(signed_in.user):
        raise AccountInactiveError("the backend refuses the user")
    login(request, signed_in.user, backend=path)
    return HttpResponseRedirect(
        signed_in.next_path or resolve_url(settings.LOGIN_REDIRECT_URL)
    )


def _remember(request: HttpRequest, response: HttpResponse, attempt: Attempt) -> None:
    # Browsers send the oldest first (RFC 6265 section 5.4).
    begun = [name for name in request.COOKIES if state.COOKIE_PREFIX in name]
    for name in begun[: max(0, len(begun) + 1 - MAX_ATTEMPTS)]:
        response.delete_cookie(name, samesite="Lax")
    secure = attempt.redirect_uri.startswith("https:")
    response.set_cookie(
        state.cookie_name(attempt.state, secure=secure),
        attempt.browser,
        max_age=conf.CROSSAUTH_OAUTH_STATE_TTL,
        secure=secure,
        httponly=True,
        samesite="Lax",  # Strict would not come back from the provider
    )


def _cookie_name(request: HttpRequest, provider: Provider, value: str) -> str:
    secure = _redirect_uri(request, provider).startswith("https:")
    return state.cookie_name(value, secure=secure)


def _redirect_uri(request: HttpRequest, provider: Provider) -> str:
    # Providers compare it letter by letter (RFC 9700 section 4.1.1), and behind a proxy the
    # request does not know it.
    path = reverse("crossauth:oauth_callback", args=[provider.name])
    if conf.CROSSAUTH_BASE_URL:
        return conf.CROSSAUTH_BASE_URL.rstrip("/") + path
    return request.build_absolute_uri(path)


def _failed(
    request: HttpRequest, provider: Provider, error: CrossAuthError
) -> HttpResponse:
    logger.warning("Sign-in at %s failed: %s (%s)", provider.name, error.code, error)
    status = _status(error)
    context = {
        "code": error.code,
        "message": _MESSAGES.get(error.code, _MESSAGES["server_error"]),
        "provider": provider.label,
        "sign_in_url": resolve_url(settings.LOGIN_URL),
    }
    template = "crossauth_django/sign_in_failed.html"
    response = render(request, template, context, status=status)
    if status == 503:
        response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def _status(error: CrossAuthError) -> int:
    if isinstance(error, StateMismatchError):
        return 400
    if isinstance(error, StoreUnavailableError):
        return 503
    if error.code == "temporarily_unavailable":
        return 503
    if isinstance(error, (ProviderError, IdTokenError)) and error.code not in REFUSALS:
        return 502
    return 403


_NOT_NOW = _("Signing in is not possible at the moment. Please try again in a minute.")
_DECLINED = _("The sign-in was cancelled.")
_MESSAGES = {
    "account_already_linked": _("This account is connected to somebody else here."),
    "account_inactive": _("This account has been disabled."),
    "account_not_linked": _(
        "An account with your e-mail address exists here. Sign in to it the way you "
        "usually do."
    ),
    "email_missing": _(
        "This site needs an e-mail address, and got none from there that it could use. "
        "Allow it to see your address, and start again."
    ),
    "invalid_state": _(
        "This sign-in has expired, was already finished, or was begun in another "
        "browser. Please start again."
    ),
    "server_error": _("The sign-in failed. Please start again."),
    "store_unavailable": _NOT_NOW,
    "temporarily_unavailable": _NOT_NOW,
    **dict.fromkeys(REFUSALS, _DECLINED),
}
