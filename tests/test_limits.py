from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import AnonymousUser, User
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.test import AsyncRequestFactory, RequestFactory
from django.views import View
from django.views.decorators.cache import cache_page
from django.views.decorators.csrf import csrf_protect, ensure_csrf_cookie
from django.views.decorators.gzip import gzip_page
from hypothesis import given, settings
from hypothesis import strategies as st

from crossauth_django import limits
from crossauth_django.exceptions import RateLimitedError
from crossauth_django.limits import RateLimit, RateLimitMixin, rate_limit, take
from crossauth_django.limits.budget import _TAKE
from crossauth_django.middleware import LockoutMiddleware
from tests.concurrency import run_together
from tests.scripts import Lua
from tests.services import start
from tests.trips import round_trips

FIVE = RateLimit(5, 60)


@pytest.fixture
def clock():
    with time_machine.travel(1_790_000_000, tick=False) as clock:
        yield clock


@pytest.fixture
def on_redis(settings: Any) -> None:
    settings.CROSSAUTH_CACHE_ALIAS = "redis"
    caches["redis"].clear()


def request(
    address: str = "192.0.2.1", user: Any = None, method: str = "GET"
) -> HttpRequest:
    made = RequestFactory().generic(method, "/", REMOTE_ADDR=address)
    made.user = user or AnonymousUser()
    return made


def view(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")


def statuses(limited: Any, times: int, **who: Any) -> list[int]:
    return [limited(request(**who)).status_code for _ in range(times)]


def test_five_pass_at_once_and_one_more_each_twelve_seconds(clock):
    assert [take("a", "x", FIVE).is_allowed for _ in range(6)] == [True] * 5 + [False]
    clock.shift(11.999)
    assert take("a", "x", FIVE).retry_after == 1
    clock.shift(0.001)
    assert [take("a", "x", FIVE).is_allowed for _ in range(2)] == [True, False]


def test_no_edge_doubles_the_budget(clock):
    clock.shift(59)
    assert sum(take("a", "x", FIVE).is_allowed for _ in range(10)) == 5
    clock.shift(2)
    assert sum(take("a", "x", FIVE).is_allowed for _ in range(10)) == 0


def test_what_remains_is_told(clock):
    usage = take("a", "x", FIVE)
    assert (usage.limit, usage.remaining, usage.retry_after, usage.reset_after) == (
        5,
        4,
        0,
        12,
    )
    for _ in range(5):
        usage = take("a", "x", FIVE)
    assert (usage.remaining, usage.retry_after, usage.reset_after) == (0, 12, 60)


def test_subjects_actions_and_limits_have_budgets_of_their_own(clock):
    one = RateLimit(1, 60)
    assert take("a", "x", one).is_allowed
    assert not take("a", "x", one).is_allowed
    assert take("a", "y", one).is_allowed
    assert take("b", "x", one).is_allowed
    assert take("a", "x", RateLimit(1, 61)).is_allowed


def test_0_times_is_no_limit():
    assert take("a", "x", RateLimit(0, 60)) is None
    assert asyncio.run(limits.atake("a", "x", RateLimit(0, 60))) is None


@pytest.mark.parametrize(
    ("times", "seconds"),
    [(-1, 60), (5, 0), (5, -1), (2.5, 60), (True, 60), (5, float("inf")),
     (5, float("nan")), (5, 1e300)],
)  # fmt: skip
def test_an_impossible_limit_is_refused(times, seconds):
    with pytest.raises(ValueError, match="rate limit"):
        RateLimit(times, seconds)


@settings(deadline=None)
@given(
    st.integers(1, 1000),
    st.floats(0.001, 100_000),
    st.lists(st.integers(0, 100_000), max_size=30),
)
def test_script_and_twin_decide_alike_and_never_allow_too_much(times, seconds, pauses):
    limit = RateLimit(times, seconds)
    now, value, allowed, lua = 1_790_000_000_000, None, 0, Lua()
    begun = now
    for pause in pauses:
        now += pause
        args = [str(times), str(limit.interval_us)]
        outcome = _TAKE.twin([value], now, args)
        assert outcome == lua.outcome(_TAKE, [value], now, args)
        if outcome.writes:
            value = outcome.writes[0].value
        allowed += bool(outcome.reply[0])
        assert outcome.reply[1] >= 0
    lua.close()
    assert allowed <= times + (now - begun) * 1000 // limit.interval_us


def test_64_at_once_in_20_rounds_get_exactly_the_budget(on_redis):
    for number in range(20):
        found = run_together(64, lambda n=number: take("race", str(n), FIVE).is_allowed)
        assert found.count(True) == 5


def test_one_request_is_one_round_trip(on_redis):
    limited = rate_limit("a", FIVE)(view)
    limited(request())
    with round_trips() as sent:
        limited(request())
    assert sent == ["evalsha"]


def test_an_async_request_is_one_round_trip(on_redis):
    async def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse("ok")

    limited = rate_limit("a", FIVE)(view)
    asyncio.run(limited(request()))
    with round_trips() as sent:
        asyncio.run(limited(request()))
    assert sent == ["evalsha"]


def test_a_function_is_limited_and_says_so(clock):
    limited = rate_limit("contact", FIVE, key="ip")(view)
    first = limited(request())
    assert first["X-RateLimit-Limit"] == "5"
    assert first["X-RateLimit-Remaining"] == "4"
    assert first["X-RateLimit-Reset"] == "12"
    assert statuses(limited, 5) == [200] * 4 + [429]
    refused = limited(request())
    assert refused["Retry-After"] == "12"
    assert refused["X-RateLimit-Remaining"] == "0"
    assert b"in 12 seconds" in refused.content
    assert limited(request("192.0.2.2")).status_code == 200


def test_a_class_is_limited_sync_and_async(clock):
    @rate_limit("sync", RateLimit(1, 60))
    class Sync(View):
        def get(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse("ok")

    @rate_limit("async", RateLimit(1, 60))
    class Async(View):
        async def get(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse("ok")

    assert statuses(Sync.as_view(), 2) == [200, 429]

    async def both() -> list[int]:
        view = Async.as_view()
        return [(await view(request())).status_code for _ in range(2)]

    assert asyncio.run(both()) == [200, 429]


def test_the_mixin_does_the_same(clock):
    class Sync(RateLimitMixin, View):
        rate_limit_action = "mixin"
        rate_limit_methods = ("POST",)

        def rate_limit(self: HttpRequest) -> RateLimit:  # type: ignore[misc]
            return RateLimit(1, 60)

        def get(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse("ok")

        post = get

    class Async(RateLimitMixin, View):
        rate_limit = RateLimit(1, 60)

        async def get(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse("ok")

    assert statuses(Sync.as_view(), 2) == [200, 200]
    assert statuses(Sync.as_view(), 2, method="POST") == [200, 429]

    async def both() -> list[int]:
        view = Async.as_view()
        return [(await view(request())).status_code for _ in range(2)]

    assert asyncio.run(both()) == [200, 429]


def test_a_url_may_have_a_limit_of_its_own(clock):
    class Limited(RateLimitMixin, View):
        rate_limit = FIVE

        def get(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse("ok")

    once = Limited.as_view(
        rate_limit=lambda request: RateLimit(1, 60),
        rate_limit_key=lambda request: request.headers.get("Tenant"),
    )
    assert statuses(once, 2) == [200, 200]
    tenant = RequestFactory().get("/", headers={"Tenant": "one"})
    assert [once(tenant).status_code for _ in range(2)] == [200, 429]


def test_views_of_one_name_in_two_modules_share_no_budget(clock):
    def limited(module: str) -> Any:
        attributes = {
            "__module__": module,
            "rate_limit": RateLimit(1, 60),
            "get": lambda self, request: HttpResponse("ok"),
        }
        return type("Search", (RateLimitMixin, View), attributes).as_view()

    assert statuses(limited("shop.views"), 2) == [200, 429]
    assert statuses(limited("blog.views"), 2) == [200, 429]


@pytest.mark.parametrize("outer", [2, 5])
def test_of_two_limits_the_tighter_one_is_told(clock, outer):
    inner = rate_limit("inner", RateLimit(7 - outer, 60))(view)
    limited = rate_limit("outer", RateLimit(outer, 60))(inner)
    answers = [limited(request()) for _ in range(3)]
    assert [each["X-RateLimit-Remaining"] for each in answers] == ["1", "0", "0"]
    assert [each["X-RateLimit-Limit"] for each in answers] == ["2"] * 3
    assert answers[2].status_code == 429


@pytest.mark.parametrize(
    "decorate",
    [csrf_protect, ensure_csrf_cookie, gzip_page, cache_page(60)],
    ids=["csrf_protect", "ensure_csrf_cookie", "gzip_page", "cache_page"],
)
def test_a_refusal_passes_through_djangos_decorators(clock, decorate):
    limited = decorate(rate_limit("within", RateLimit(1, 60))(view))
    # Of two paths, or the cache would have the second answer.
    assert limited(RequestFactory().get("/first")).status_code == 200
    answer = limited(RequestFactory().get("/second"))
    assert (answer.status_code, answer["Retry-After"]) == (429, "60")


def test_an_async_function_is_limited(clock):
    @rate_limit("async", RateLimit(1, 60), methods=["POST"])
    async def limited(request: HttpRequest) -> HttpResponse:
        return HttpResponse("ok")

    async def some(method: str) -> list[int]:
        return [(await limited(request(method=method))).status_code for _ in range(2)]

    assert asyncio.run(some("GET")) == [200, 200]
    assert asyncio.run(some("POST")) == [200, 429]


def test_methods_that_are_not_named_are_not_counted(clock):
    limited = rate_limit("post", RateLimit(1, 60), methods=["POST"])(view)
    assert statuses(limited, 3) == [200] * 3
    assert statuses(limited, 2, method="POST") == [200, 429]


def test_head_is_counted_where_get_is(clock):
    limited = rate_limit("get", RateLimit(1, 60), methods=["GET"])(view)
    assert statuses(limited, 2, method="HEAD") == [200, 429]
    assert statuses(limited, 2, method="OPTIONS") == [200, 200]


def test_a_limit_may_depend_on_the_request(clock):
    def by_plan(request: HttpRequest) -> RateLimit | None:
        return None if request.user.is_authenticated else RateLimit(1, 60)

    limited = rate_limit("plan", by_plan)(view)
    assert statuses(limited, 2) == [200, 429]
    assert statuses(limited, 3, user=User(pk=1)) == [200] * 3


def test_a_key_may_be_the_user_or_anything(clock):
    one = RateLimit(1, 60)
    by_user = rate_limit("user", one, key="user")(view)
    assert statuses(by_user, 2, user=User(pk=1)) == [200, 429]
    assert statuses(by_user, 1, user=User(pk=2)) == [200]
    assert statuses(by_user, 3) == [200] * 3
    either = rate_limit("either", one, key="user_or_ip")(view)
    assert statuses(either, 2, user=User(pk=1)) == [200, 429]
    assert statuses(either, 2) == [200, 429]
    by_method = rate_limit("method", one, key=lambda request: request.method)(view)
    assert statuses(by_method, 2) == [200, 429]
    assert statuses(by_method, 1, method="POST") == [200]
    by_nothing = rate_limit("nothing", one, key=lambda request: None)(view)
    assert statuses(by_nothing, 3) == [200] * 3


def test_an_async_view_counts_by_its_user(clock):
    @rate_limit("user", RateLimit(1, 60), key="user")
    async def limited(request: HttpRequest) -> HttpResponse:
        return HttpResponse("ok")

    async def some() -> list[int]:
        made = AsyncRequestFactory().get("/")

        async def auser() -> User:
            return User(pk=1)

        made.auser = auser
        return [(await limited(made)).status_code for _ in range(2)]

    assert asyncio.run(some()) == [200, 429]
    stranger = rate_limit("user", RateLimit(1, 60), key="user")(limited)
    assert asyncio.run(stranger(request())).status_code == 200


async def plan(request: HttpRequest) -> RateLimit:
    await asyncio.sleep(0)
    return RateLimit(1, 60)


async def tenant(request: HttpRequest) -> str | None:
    await asyncio.sleep(0)
    return request.headers.get("Tenant")


def test_an_async_view_may_have_an_async_limit_and_key(clock):
    @rate_limit("async", plan, key=tenant)
    async def limited(request: HttpRequest) -> HttpResponse:
        return HttpResponse("ok")

    async def some(**headers: str) -> list[int]:
        made = AsyncRequestFactory().get("/", headers=headers)
        return [(await limited(made)).status_code for _ in range(2)]

    assert asyncio.run(some(tenant="one")) == [200, 429]
    assert asyncio.run(some(tenant="two")) == [200, 429]
    assert asyncio.run(some()) == [200, 200]


@pytest.mark.parametrize("asked", [{"limit": plan}, {"limit": FIVE, "key": tenant}])
def test_a_sync_view_has_no_async_limit_or_key(asked):
    with pytest.raises(ImproperlyConfigured, match="async"):
        rate_limit("sync", **asked)(view)
    with pytest.raises(ImproperlyConfigured, match="async"):
        limits.check("sync", request(), **asked)
    limited = rate_limit("sync", **asked)(type("Limited", (View,), {"get": view}))
    with pytest.raises(ImproperlyConfigured, match="async"):
        limited.as_view()(request())


def test_what_an_object_returns_to_be_awaited_is_no_key_either():
    class Later:
        __await__ = iter

    with pytest.raises(ImproperlyConfigured, match="async"):
        limits.check("sync", request(), limit=FIVE, key=lambda request: Later())


def test_without_an_address_nobody_is_limited(clock):
    assert (
        statuses(rate_limit("ip", RateLimit(1, 60))(view), 3, address="") == [200] * 3
    )


def test_a_misspelt_key_is_found_when_the_view_is_defined():
    with pytest.raises(ImproperlyConfigured, match="user_or_ip"):
        rate_limit("a", FIVE, key="users")


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        (None, "'contact' is no action"),
        ((5, 60), r"RateLimit\(5, 60\)"),
        (5, "written RateLimit"),
        ("5/m", "'5/m' is neither"),
    ],
)
def test_what_is_no_limit_is_found_when_the_view_is_defined(limit, says):
    with pytest.raises(ImproperlyConfigured, match=says):
        rate_limit("contact", limit)
    with pytest.raises(ImproperlyConfigured, match=says):
        limits.check("contact", request(), limit=limit)


def test_a_callable_that_returns_no_limit_is_told():
    with pytest.raises(ImproperlyConfigured, match="neither"):
        limits.check("contact", request(), limit=lambda request: (5, 60))
    with pytest.raises(ImproperlyConfigured, match="neither"):
        asyncio.run(limits.acheck("contact", request(), limit=lambda request: (5, 60)))


@pytest.mark.parametrize("methods", [["post"], "post", {"GET", "head"}])
def test_a_method_in_small_letters_is_found_and_limits_not_nothing(methods):
    with pytest.raises(ImproperlyConfigured, match="in capitals"):
        rate_limit("contact", FIVE, methods=methods)

    class Limited(RateLimitMixin, View):
        rate_limit = FIVE
        rate_limit_methods = methods

    with pytest.raises(ImproperlyConfigured, match="in capitals"):
        Limited.as_view()(request())


def test_a_misspelt_key_is_found_when_own_code_checks():
    with pytest.raises(ImproperlyConfigured, match="user_or_ip"):
        limits.check("a", request(), limit=FIVE, key="users")
    with pytest.raises(ImproperlyConfigured, match="user_or_ip"):
        asyncio.run(limits.acheck("register", request(), key="users"))


def test_a_key_of_0_is_counted(clock):
    by_tenant = rate_limit("tenant", RateLimit(1, 60), key=lambda request: 0)(view)
    assert statuses(by_tenant, 2) == [200, 429]
    by_nothing = rate_limit("nothing", RateLimit(1, 60), key=lambda request: "")(view)
    assert statuses(by_nothing, 2) == [200, 200]


def test_own_code_checks_with_an_exception(clock):
    for _ in range(3):
        assert limits.check("email_change_request", request()).is_allowed
    with pytest.raises(RateLimitedError) as caught:
        limits.check("email_change_request", request())
    assert caught.value.retry_after == 1200
    with pytest.raises(RateLimitedError):
        asyncio.run(limits.acheck("email_change_request", request()))
    assert asyncio.run(limits.acheck("register", request())).remaining == 4
    other = limits.check(
        "email_change_request", request(), key="user_or_ip", limit=FIVE
    )
    assert other.is_allowed


def test_the_middleware_answers_that_exception():
    middleware = LockoutMiddleware(view)
    answer = middleware.process_exception(request(), RateLimitedError(7))
    assert (answer.status_code, answer["Retry-After"]) == (429, "7")
    assert middleware.process_exception(request(), ValueError()) is None


def test_an_unknown_action_needs_a_limit():
    with pytest.raises(ImproperlyConfigured, match="contact"):
        limits.check("contact", request())


@pytest.mark.parametrize(
    ("action", "an_hour", "by"),
    [
        ("register", 5, "ip"),
        ("email_verify_request", 5, "ip"),
        ("password_reset_request", 5, "ip"),
        ("email_change_request", 3, "ip"),
        ("change_password", 5, "user"),
        ("logout_all", 10, "user"),
        ("oauth_authorize", 30, "ip"),
    ],
)
def test_an_own_action_has_its_limit(clock, action, an_hour, by):
    limited, somebody = rate_limit(action)(view), User(pk=1)
    expected = [200] * an_hour + [429]
    assert statuses(limited, an_hour + 1, user=somebody) == expected
    elsewhere = statuses(limited, 1, user=somebody, address="192.0.2.2")
    assert elsewhere == [429 if by == "user" else 200]
    assert statuses(limited, 1, user=User(pk=2)) == [200 if by == "user" else 429]
    clock.shift(3600 / an_hour)
    assert statuses(limited, 2, user=somebody) == [200, 429]


def test_settings_override_the_table(settings):
    assert limits.limit_of("register") == RateLimit(5, 3600)
    settings.CROSSAUTH_RATE_LIMITS = {
        "register": 0,
        "logout_all": 7,
        "change_password": (2, 60),
        "oauth_authorize": RateLimit(1, 1),
    }
    assert limits.check("register", request()) is None
    assert limits.limit_of("logout_all") == RateLimit(7, 3600)
    assert limits.limit_of("change_password") == RateLimit(2, 60)
    assert limits.limit_of("oauth_authorize") == RateLimit(1, 1)


def test_a_limit_per_target_is_silent(clock):
    limit = limits.limit_of("password_reset_request")
    sent = [take("password_reset_request", "a@example.org", limit) for _ in range(6)]
    assert [usage.is_allowed for usage in sent] == [True] * 5 + [False]


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("ip:192.0.2.1", "ip"),
        ("user:1", "user"),
        ("key:one", lambda request: "one"),
        ("1", lambda request: "1"),
    ],
)
def test_what_somebody_types_as_a_target_is_nobodys_address_or_number(
    clock, typed, key
):
    for _ in range(6):
        usage = take("register", typed, FIVE)
    assert not usage.is_allowed
    asyncio.run(limits.atake("register", typed, FIVE))
    known = request(user=User(pk=1))
    assert limits.check("register", known, limit=FIVE, key=key).remaining == 4


@pytest.fixture
def server(settings):
    """A Redis of its own, that a test may stop."""
    server = start("redis")
    own = {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": server.url,
        "OPTIONS": {"SOCKET_TIMEOUT": 1, "SOCKET_CONNECT_TIMEOUT": 1},
    }
    settings.CACHES = {**settings.CACHES, "own": own}
    settings.CROSSAUTH_CACHE_ALIAS = "own"
    yield server
    server.stop(signal.SIGKILL)


def test_a_store_that_hangs_costs_one_timeout_and_limits_nobody(server, caplog):
    limited = rate_limit("hung", RateLimit(1, 60))(view)
    assert statuses(limited, 2) == [200, 429]
    server.process.send_signal(signal.SIGSTOP)
    begun = time.monotonic()
    assert statuses(limited, 20) == [200] * 20
    assert 0.9 < time.monotonic() - begun < 3
    assert caplog.text.count("Nothing limits 'hung' now") == 20


def test_with_the_store_down_nothing_is_limited_and_the_log_says_so(server, caplog):
    server.stop(signal.SIGKILL)
    limited = rate_limit("down", RateLimit(1, 60))(view)
    assert statuses(limited, 3) == [200] * 3
    assert asyncio.run(limits.atake("down", "x", FIVE)) is None
    assert "Nothing limits 'down' now" in caplog.text


def test_a_sign_in_at_a_provider_is_limited(client, settings):
    settings.CROSSAUTH_RATE_LIMITS = {"oauth_authorize": 2}
    answers = [client.post("/auth/oauth/nowhere/login/").status_code for _ in range(3)]
    assert answers == [404, 404, 429]
