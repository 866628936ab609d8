"""Signals of what has happened: sent after the commit, so a receiver can refuse nothing.

``sender`` is the user's model. A receiver that raises is logged by Django and disturbs nobody.
"""

from __future__ import annotations

from django.dispatch import Signal

user_signed_up = Signal()
"""A sign-in made a user. Arguments: ``user``, ``account`` (the first connection)."""

account_linked = Signal()
"""A provider identity was connected to a user. Arguments: ``user``, ``account``."""

account_unlinked = Signal()
"""A connection was removed. Arguments: ``user``, ``provider``, ``provider_user_id``."""

account_claimed = Signal()
"""A provider proved who owns the address of an account that nobody had verified.

Its password and its other connections were removed. End its sessions. Argument: ``user``.
"""

email_verified = Signal()
"""A user's address was verified that was not before. Arguments: ``user``, ``email``."""

lockout_triggered = Signal()
"""A lock began. ``sender`` is ``lockout.Attempt``; it is sent before the answer is.

Arguments: ``rule`` (pair, user, address, device, devices), ``round`` (from 1), ``retry_after`` in seconds,
``username`` (normalised), ``address`` (empty without a request).
"""

lockout_refused = Signal()
"""A sign-in attempt was refused, by a lock or a full budget. Arguments as ``lockout_triggered``."""
