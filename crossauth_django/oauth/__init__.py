"""Signing in at OAuth and OpenID providers; ``flow`` is the way in."""

from __future__ import annotations
