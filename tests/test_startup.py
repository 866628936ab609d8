from __future__ import annotations

import ast
import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

import crossauth_django
from tests.services import free_port

PACKAGE = Path(crossauth_django.__file__).parent
WARNING = "is in the memory of this process"
AT_RISK = (
    "single-use tokens and OAuth state",
    "lockout and limit counters",
    "session copies",
)

SETTINGS = """
import os

SECRET_KEY = "a scratch project's, long enough for every use that is made of it"
DEBUG = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "scratch.urls"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "crossauth_django",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "crossauth_django.middleware.LockoutMiddleware",
]
AUTHENTICATION_BACKENDS = [
    "crossauth_django.backends.LockoutBackend",
    "django.contrib.auth.backends.ModelBackend",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
if os.environ.get("SCRATCH_CACHE"):
    # Nothing listens there.
    location = "redis://127.0.0.1:1/0"
    CACHES = {"default": {"BACKEND": os.environ["SCRATCH_CACHE"], "LOCATION": location}}
if os.environ.get("SCRATCH_SILENT"):
    CROSSAUTH_WARN_ON_MEMORY_BACKEND = False
"""
URLS = """
from django.http import HttpResponse
from django.urls import path

urlpatterns = [path("", lambda request: HttpResponse("ready"))]
"""


class Process:
    """A process of a scratch project, in a group of its own, with what it printed."""

    def __init__(self, folder: Path, *command: str, **variables: str) -> None:
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, *command],
                cwd=folder,
                env=_environment(folder, variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def warnings(self) -> int:
        return self.output.count(WARNING)

    def wait_until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 120
        while not holds():
            assert self._process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)

    def finish(self) -> str:
        assert self._process.wait(120) == 0, self.output
        return self.output

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _environment(folder: Path, variables: dict[str, str]) -> dict[str, str]:
    ignored = ("WEB_CONCURRENCY", "GUNICORN_CMD_ARGS", "RUN_MAIN")
    kept = {name: value for name, value in os.environ.items() if name not in ignored}
    paths = os.pathsep.join([str(folder), str(PACKAGE.parent)])
    return {
        **kept,
        "DJANGO_SETTINGS_MODULE": "scratch.settings",
        "PYTHONPATH": paths,
        "PYTHONUNBUFFERED": "1",
        **variables,
    }


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    for name, text in {
        "__init__": "",
        "settings": SETTINGS,
        "urls": URLS,
        "wsgi": "from django.core.wsgi import get_wsgi_application as get\napplication = get()\n",
        "asgi": "from django.core.asgi import get_asgi_application as get\napplication = get()\n",
    }.items():
        (tmp_path / "scratch" / f"{name}.py").write_text(text)
    return tmp_path


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


_GUNICORN = (
    "-m",
    "gunicorn",
    "scratch.wsgi",
    "--bind=127.0.0.1:{port}",
    "--timeout=120",
)
_UVICORN = ("-m", "uvicorn", "scratch.asgi:application", "--port={port}")


@pytest.mark.parametrize(
    ("command", "processes"),
    [
        pytest.param(("-m", "django", "runserver", "{port}"), 1, id="runserver"),
        pytest.param(
            ("-m", "django", "runserver", "--noreload", "{port}"), 1, id="noreload"
        ),
        pytest.param((*_GUNICORN, "--workers=2"), 2, id="gunicorn"),
        pytest.param((*_GUNICORN, "--workers=2", "--preload"), 1, id="preloaded"),
        pytest.param(_UVICORN, 1, id="uvicorn"),
        pytest.param((*_UVICORN, "--workers=2"), 2, id="uvicorn-workers"),
    ],
)
def test_each_process_that_sets_django_up_warns_once(project, command, processes):
    port = free_port()
    server = Process(project, *(word.format(port=port) for word in command))
    try:
        server.wait_until(lambda: _answers(port) and server.warnings >= processes)
        assert _answers(port)
    finally:
        server.stop()
    assert server.warnings == processes, server.output
    assert "W001" not in server.output


SET_UP = (
    "-W",
    "error",
    "-c",
    "import django; django.setup(); import sys; print(*sys.modules)",
)


def test_the_warning_names_each_thing_at_risk_and_what_to_type(project):
    (warning,) = (
        Process(project, "-c", "import django; django.setup()").finish().splitlines()
    )
    for text in (*AT_RISK, "CACHES['default']", "CROSSAUTH_CACHE_ALIAS"):
        assert text in warning
    assert "CROSSAUTH_WARN_ON_MEMORY_BACKEND = False" in warning


def test_a_second_population_of_the_app_registry_does_not_crash(project):
    again = "import django; django.setup(); django.setup()"
    assert Process(project, "-c", again).finish().count(WARNING) == 1


def test_the_setting_silences_the_warning(project):
    assert WARNING not in Process(project, *SET_UP, SCRATCH_SILENT="1").finish()


@pytest.mark.parametrize(
    "backend",
    [
        "django_redis.cache.RedisCache",
        "django.core.cache.backends.redis.RedisCache",
        "django.core.cache.backends.memcached.PyMemcacheCache",
    ],
)
def test_a_shared_cache_is_neither_warned_about_nor_connected_to(project, backend):
    assert WARNING not in Process(project, *SET_UP, SCRATCH_CACHE=backend).finish()


def test_a_cache_that_cannot_be_imported_is_left_to_the_checks(project):
    assert (
        WARNING not in Process(project, *SET_UP, SCRATCH_CACHE="no.such.Cache").finish()
    )


def test_the_deployment_check_is_not_doubled_by_the_log(project):
    said = Process(project, "-m", "django", "check", "--deploy").finish()
    assert said.count("crossauth_django.W001") == 1
    assert WARNING not in said


def test_the_plain_check_leaves_it_to_the_log(project):
    said = Process(project, "-m", "django", "check").finish()
    assert "W001" not in said
    assert said.count(WARNING) == 1


@pytest.mark.parametrize(
    ("backend", "silent"), [("", ""), ("", "1"), ("django_redis.cache.RedisCache", "1")]
)
def test_setting_django_up_loads_nothing_heavy(project, backend, silent):
    loaded = Process(
        project, *SET_UP, SCRATCH_CACHE=backend, SCRATCH_SILENT=silent
    ).finish()
    heavy = {
        "requests",
        "requests_oauthlib",
        "oauthlib",
        "jwt",
        "cryptography",
        "redis",
    }
    heavy |= {"django_redis", "rest_framework", "ua_parser", "psycopg", "MySQLdb"}
    # Nor what the app needs of its own when somebody signs in.
    heavy |= {"crossauth_django.lockout", "crossauth_django.limits"}
    assert heavy & set(loaded.split()) == set()


def test_only_these_modules_touch_djangos_cache():
    touching = {
        path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for path in PACKAGE.rglob("*.py")
        if any(name.startswith("django.core.cache") for name in _imports(path))
    }
    assert touching <= {"stores", "sessions", "checks", "lifespan"}
    assert "stores" in touching


def _imports(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names
