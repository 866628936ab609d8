"""``python -m sphinx -W docs docs/_build``."""

from __future__ import annotations

import re
from pathlib import Path

_package = Path(__file__).parent.parent / "crossauth_django" / "__init__.py"

project = "crossauth_django"
author = "The crossauth_django contributors"
project_copyright = author
release = re.search(r'__version__ = "(.+)"', _package.read_text())[1]
version = release

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"crossauth_django {release}"
