"""Sign up, sign in, link and unlink: what a verified provider identity means for the accounts.

The caller has verified the identity with its provider. Each function is one decision in one
transaction, safe under any number of simultaneous calls, and sends its signals on commit.
"""

from __future__ import annotations

from crossauth_django.accounts.linking import link, list_accounts, unlink
from crossauth_django.accounts.signing_in import SignedIn, sign_in_identity
from crossauth_django.accounts.verifying import mark_email_verified

__all__ = [
    "SignedIn",
    "link",
    "list_accounts",
    "mark_email_verified",
    "sign_in_identity",
    "unlink",
]
