"""A local OpenID provider, so that signing in with one works without an account anywhere."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from example_project import demo_account

if TYPE_CHECKING:
    from flask import Flask

TEMPLATES = Path(__file__).parent / "templates"
PEOPLE = {
    "grace": {"name": "Grace Hopper", "email": "grace@example.com"},
    "alan": {"name": "Alan Turing", "email": "alan@example.com"},
    "dana": {"name": "Dana Demo", "email": demo_account.EMAIL},
}


@contextlib.contextmanager
def run_provider() -> Iterator[str]:
    """Serve the provider from a thread of this process; yield its issuer.

    A thread and not a process, because it cannot outlive the demo, however that ends. Another
    port each time, because its keys are new each time, and Redis remembers an issuer's keys.
    """
    from werkzeug.serving import make_server

    # One of its requests per page is nothing that anybody wants to read.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    logging.getLogger("oidc_provider_mock").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, _app(), threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        # Not 127.0.0.1: to the browser the provider is another site, as in real life.
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _app() -> Flask:
    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
    # Swallowed: the package's own dependencies announcing their next versions.
    with warnings.catch_warnings(record=True):
        import oidc_provider_mock
    from jinja2 import ChoiceLoader, FileSystemLoader

    people = [
        oidc_provider_mock.User(sub=sub, claims={**claims, "email_verified": True})
        for sub, claims in PEOPLE.items()
    ]
    app = oidc_provider_mock.app(user_claims=people)
    app.debug = False
    # The package's pages load their style sheet from the internet, ours work offline.
    app.jinja_loader = ChoiceLoader([FileSystemLoader(TEMPLATES), app.jinja_loader])
    app.jinja_env.globals["people"] = PEOPLE
    return app
