"""The error codes that providers may send; anything else is a stranger's text."""

from __future__ import annotations

# The person, or the provider on their behalf, said no.
REFUSALS = frozenset(
    {
        "access_denied",
        "account_selection_required",
        "consent_required",
        "interaction_required",
        "login_required",
    }
)
# RFC 6749 sections 4.1.2.1 and 5.2, and GitHub's own.
FAILURES = frozenset(
    {
        "bad_verification_code",
        "incorrect_client_credentials",
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "redirect_uri_mismatch",
        "server_error",
        "temporarily_unavailable",
        "unauthorized_client",
        "unsupported_grant_type",
        "unsupported_response_type",
    }
)


def known_code(code: object) -> str:
    """Return ``code`` when it is one of these, ``server_error`` for anything else."""
    known = isinstance(code, str) and (code in REFUSALS or code in FAILURES)
    return str(code) if known else "server_error"
