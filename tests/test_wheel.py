"""The wheel in projects that ``django-admin startproject`` made, set up as the README says."""

from __future__ import annotations

import os
import re
import site
import sqlite3
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import requests

from example_project.provider import run_provider
from tests.services import free_port

# The provider's own business, on the Pythons that its newest release has left.
pytestmark = pytest.mark.filterwarnings("ignore:get_jwt_config:DeprecationWarning")

PASSWORD = "tall-ship-quiet-harbour"
ROOT = Path(__file__).parent.parent
WHO = """
from django.http import HttpResponse
urlpatterns += [path("who/", lambda request: HttpResponse(request.user.email))]
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment that holds the wheel, and borrows what it depends on."""
    folder = tmp_path_factory.mktemp("wheel")
    pip(
        *("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)),
        str(ROOT),
    )
    venv.create(folder / "venv")
    python = folder / "venv" / "bin" / "python"
    packages = Path(run(python, "-c", "import site; print(site.getsitepackages()[0])"))
    # Paths in a .pth file bring the packages there, but not their .pth files: this checkout,
    # installed as editable, stays out of sight.
    (packages / "borrowed.pth").write_text("\n".join(site.getsitepackages()))
    wheel = next(folder.glob("*.whl"))
    pip(
        *("--python", str(python), "install", "--no-deps", "--no-index"),
        *("--ignore-installed", str(wheel)),
    )
    found = run(python, "-c", "import crossauth_django; print(crossauth_django)")
    assert str(packages) in found
    return python


def test_the_wheel_holds_every_file_of_the_package(python: Path) -> None:
    installed = run(python, "-c", "import crossauth_django as a; print(a.__path__[0])")
    assert files(Path(installed)) == files(ROOT / "crossauth_django")


def test_a_new_project_with_our_user_model_signs_a_visitor_in(
    python: Path, tmp_path: Path
) -> None:
    project = start_project(python, tmp_path)
    with run_provider() as issuer:
        set_up(project, issuer)
        append(project / "settings.py", 'AUTH_USER_MODEL = "crossauth_django.User"')
        manage(python, project, "migrate")
        with serving(python, project) as url:
            assert sign_in(url, "grace") == "grace@example.com"


def test_three_settings_and_migrate_sign_a_user_in_by_password(
    python: Path, tmp_path: Path
) -> None:
    project = start_project(python, tmp_path)
    settings, _rest = quick_start()["settings.py"].split("CROSSAUTH_PROVIDERS")
    assert settings.count("=") == 3
    append(project / "settings.py", settings)
    manage(python, project, "migrate")
    create_superuser(python, project)
    with serving(python, project) as url:
        guesses = [try_password(url, "wrong") for _ in range(5)]
        assert guesses == [200] * 5
        assert try_password(url, "wrong") == 429
        assert try_password(url, PASSWORD, name="grace") == 302


def test_a_project_with_users_keeps_every_table_as_it_is_and_signs_a_visitor_in(
    python: Path, tmp_path: Path
) -> None:
    project = start_project(python, tmp_path)
    manage(python, project, "migrate")
    create_superuser(python, project)
    before = schema(project), users(project)
    with run_provider() as issuer:
        set_up(project, issuer)
        manage(python, project, "migrate")
        after = schema(project)
        assert {name: after[name] for name in before[0]} == before[0]
        assert all(
            name.startswith(("crossauth_django_", "sqlite_autoindex_crossauth_django_"))
            for name in after.keys() - before[0]
        )
        assert "crossauth_django_user" not in after
        assert users(project) == before[1]
        with serving(python, project) as url:
            assert sign_in(url, "alan") == "alan@example.com"


def quick_start() -> dict[str, str]:
    """Return what the README's quick start adds to each file."""
    blocks = re.findall(
        r"```python\n# (\S+)\n(.+?)```", (ROOT / "README.md").read_text(), re.S
    )
    return dict(blocks)


def set_up(project: Path, issuer: str) -> None:
    """Do what the README's quick start says, with the issuer in the place of its example."""
    for name, text in quick_start().items():
        append(project / name, text.replace("https://login.example.com", issuer))
    append(project / "urls.py", WHO)


def create_superuser(python: Path, project: Path) -> None:
    for name in ("ada", "grace"):
        who = ("--username", name, "--email", f"{name}@example.com")
        manage(python, project, "createsuperuser", "--noinput", *who)


def try_password(url: str, password: str, name: str = "ada") -> int:
    with requests.Session() as browser:
        browser.trust_env = False
        browser.get(f"{url}/admin/login/").raise_for_status()
        data = {
            "csrfmiddlewaretoken": browser.cookies["csrftoken"],
            "username": name,
            "password": password,
        }
        page = browser.post(f"{url}/admin/login/", data=data, allow_redirects=False)
        return page.status_code


def sign_in(url: str, person: str) -> str:
    with requests.Session() as browser:
        browser.trust_env = False
        browser.get(f"{url}/admin/login/").raise_for_status()
        chosen = browser.post(
            f"{url}/auth/oauth/acme/login/",
            data={"csrfmiddlewaretoken": browser.cookies["csrftoken"]},
        )
        chosen.raise_for_status()
        back = browser.post(
            chosen.url, data={"sub": person}, allow_redirects=False
        ).headers["Location"]
        assert browser.get(back, allow_redirects=False).status_code in (302, 303)
        return browser.get(f"{url}/who/").text


def files(package: Path) -> set[Path]:
    return {
        file.relative_to(package)
        for file in package.rglob("*.*")
        if file.suffix != ".pyc"
    }


def start_project(python: Path, folder: Path) -> Path:
    run(python, "-m", "django", "startproject", "shop", str(folder))
    return folder / "shop"


def append(file: Path, text: str) -> None:
    file.write_text(f"{file.read_text()}\n{text}\n")


def manage(python: Path, project: Path, *arguments: str) -> str:
    return run(python, "manage.py", *arguments, cwd=project.parent)


@contextmanager
def serving(python: Path, project: Path) -> Iterator[str]:
    port = free_port()
    log = project.parent / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [python, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"],
            cwd=project.parent,
            env=environment(),
            stdout=output,
            stderr=output,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while not answers(url):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield url
    finally:
        server.terminate()
        server.wait(30)


def answers(url: str) -> bool:
    try:
        requests.get(f"{url}/admin/login/", timeout=5).raise_for_status()
    except requests.ConnectionError:
        return False
    return True


def schema(project: Path) -> dict[str, str]:
    with closing(sqlite3.connect(project.parent / "db.sqlite3")) as database:
        return dict(database.execute("SELECT name, sql FROM sqlite_master"))


def users(project: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(project.parent / "db.sqlite3")) as database:
        return database.execute("SELECT * FROM auth_user").fetchall()


def pip(*arguments: str) -> None:
    run(sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *arguments)


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command, by default in a folder without this checkout."""
    done = subprocess.run(
        command,
        cwd=cwd or tempfile.gettempdir(),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def environment() -> dict[str, str]:
    """Nothing of the tests' settings or of this checkout."""
    hidden = {"DJANGO_SETTINGS_MODULE", "PYTHONPATH"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return {**kept, "DJANGO_SUPERUSER_PASSWORD": PASSWORD}
