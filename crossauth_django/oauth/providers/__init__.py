"""One module per kind of provider; ``registry`` loads them when they are asked for."""

from __future__ import annotations
