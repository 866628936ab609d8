"""Moments as rows and copies write them: aware, in seconds, or in whole microseconds since 1970."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def to_version(changed_at: datetime) -> int:
    """Return microseconds since 1970."""
    return (changed_at - _EPOCH) // timedelta(microseconds=1)


def from_version(version: int) -> datetime:
    return _EPOCH + timedelta(microseconds=version)


def from_seconds(seconds: float) -> datetime:
    return _EPOCH + timedelta(seconds=seconds)


def to_seconds(moment: datetime) -> float:
    return (moment - _EPOCH).total_seconds()
