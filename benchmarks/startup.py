"""How much longer ``django.setup()`` takes with the app installed: at most 20 ms.

``python benchmarks/startup.py [rounds]``. Each round is two fresh processes in turn; what counts is
the processor time of the fastest of each, so that what else the machine does stays out of it, and
compiling the modules too: bytecode is written, as it is wherever a package is installed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

BUDGET_MS = 20.0
APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]
SETUP = """
import sys, time
from django.conf import settings
settings.configure(
    SECRET_KEY="only measured", INSTALLED_APPS=sys.argv[1:], USE_TZ=True,
    CROSSAUTH_WARN_ON_MEMORY_BACKEND=False,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
import django
start = time.process_time()
django.setup()
print(1000 * (time.process_time() - start))
"""


def measure(apps: list[str]) -> float:
    done = subprocess.run(
        [sys.executable, "-c", SETUP, *apps],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
    )
    return float(done.stdout)


def main(rounds: int) -> int:
    without, with_app = [], []
    for _ in range(rounds):
        without.append(measure(APPS))
        with_app.append(measure([*APPS, "crossauth_django"]))
    for name, times in (("without the app", without), ("with the app", with_app)):
        print(
            f"{name:>16}: {min(times):6.1f} ms, median {statistics.median(times):6.1f}"
        )
    more = min(with_app) - min(without)
    print(f"{'more':>16}: {more:6.1f} ms, budget {BUDGET_MS:.0f}")
    return int(more > BUDGET_MS)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
