"""Where a visitor may be sent after signing in: a path of this site and nothing else."""

from __future__ import annotations

from django.utils.http import url_has_allowed_host_and_scheme

# Longer ones are not made by links of a site, and would be carried through the whole sign-in.
MAX_LENGTH = 2000


def same_origin_path(text: str | None) -> str | None:
    """Return ``text`` when every browser takes it for a path of this site, else None.

    Refused are a scheme, a host, ``//``, backslashes (browsers read them as slashes), control
    characters and blanks (browsers drop them), anything that does not begin with ``/``, and
    what is longer than 2,000 characters (ASVS 3.7.2).
    """
    if not text or len(text) > MAX_LENGTH:
        return None
    # Django lets a bare "//" pass, because there is no host behind it yet.
    if not text.startswith("/") or text.startswith("//"):
        return None
    if "\\" in text or not text.isprintable() or " " in text:
        return None
    # Without allowed hosts only relative references pass; Django knows the spellings.
    return text if url_has_allowed_host_and_scheme(text, allowed_hosts=None) else None
