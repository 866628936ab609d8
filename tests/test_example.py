from __future__ import annotations

import re
import runpy
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from example_project.demo_account import EMAIL, PASSWORD
from tests.demo import ROOT, Demo, manage

SETTINGS = ROOT / "example_project" / "settings.py"


def test_the_settings_pass_their_checks(tmp_path: Path) -> None:
    done = manage(tmp_path, "check", "--fail-level", "WARNING")
    assert done.returncode == 0, done.stderr


def test_the_production_settings_pass_the_deployment_checks(tmp_path: Path) -> None:
    done = manage(
        tmp_path,
        *("check", "--deploy", "--fail-level", "WARNING"),
        DEBUG="0",
        SECRET_KEY="3vXr1LQ9sD0wq7TzM4bYc8HnKfJ2uEpA-and-longer-than-fifty",
        REDIS_URL="redis://redis.invalid/0",
        DATABASE_URL="postgresql://postgres.invalid/example",
    )
    assert done.returncode == 0, done.stderr


def test_production_has_no_secret_key_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBUG", "0")
    with pytest.raises(KeyError, match="SECRET_KEY"):
        runpy.run_path(str(SETTINGS))


def test_the_models_need_no_migration(tmp_path: Path) -> None:
    done = manage(tmp_path, "makemigrations", "--check", "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_urls_choose_redis_and_postgresql(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://redis.invalid/0")
    monkeypatch.setenv("DATABASE_URL", "postgresql://postgres.invalid/example")
    chosen = runpy.run_path(str(SETTINGS))
    assert chosen["CACHES"]["default"]["BACKEND"] == "django_redis.cache.RedisCache"
    assert chosen["DATABASES"]["default"]["HOST"] == "postgres.invalid"


def test_the_demo_says_what_to_click_and_ctrl_c_ends_it_with_its_provider(
    tmp_path: Path,
) -> None:
    demo = Demo(tmp_path)
    try:
        issuer = re.search(r"http://localhost:\d+", demo.output)[0]
        assert all(text in demo.output for text in (demo.url, EMAIL, PASSWORD))
        assert urllib.request.urlopen(demo.url).status == 200
        assert urllib.request.urlopen(issuer).status == 200
    finally:
        assert demo.stop() == 0, demo.output
    assert "\n  The demo has ended.\n" in demo.output
    assert "Traceback" not in demo.output
    for url in (demo.url, issuer):
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(url)


def test_the_demo_names_another_port_when_its_own_is_taken(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = manage(tmp_path, "demo", "--port", str(port))
    assert done.returncode == 1
    assert f"Port {port} is taken" in done.stderr
    assert f"demo --port {port + 1}" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demo_says_so_when_its_redis_does_not_answer(tmp_path: Path) -> None:
    done = manage(tmp_path, "demo", REDIS_URL="redis://127.0.0.1:1/0")
    assert done.returncode == 1
    assert "does not answer" in done.stderr
    assert "Unset REDIS_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demo_refuses_a_port_that_is_none(tmp_path: Path) -> None:
    done = manage(tmp_path, "demo", "--port", "99999")
    assert done.returncode == 1
    assert "from 1 to 65535" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demo_refuses_to_make_its_account_on_a_production_site(
    tmp_path: Path,
) -> None:
    done = manage(tmp_path, "demo", DEBUG="0", SECRET_KEY="x" * 60)
    assert done.returncode == 1
    assert "DEBUG only" in done.stderr
