"""Settings as a site has them, in a module."""

from __future__ import annotations

import os
import sys
import types
from typing import Any


def configure_django(**names: Any) -> None:
    """Set Django up with these settings.

    Not by ``settings.configure()``, which makes settings that are not set several times as
    expensive to ask for as they are on a site.
    """
    module = types.ModuleType("benchmark_settings")
    vars(module).update(names)
    sys.modules[module.__name__] = module
    os.environ["DJANGO_SETTINGS_MODULE"] = module.__name__

    import django

    django.setup()
