"""Login lockout: reserve before the password is checked, settle afterwards.

Several dimensions lock only themselves: the ``pair`` of address and name, the ``user`` (from
unknown devices), the ``address``, and a known ``device``. Each is one key with its own budget;
one attempt is one step over its keys.
"""

from __future__ import annotations

from crossauth_django.lockout.attempts import (
    Attempt,
    acheck,
    agive_back,
    areserve,
    check,
    clear,
    count,
    give_back,
    password_is,
    reserve,
)
from crossauth_django.lockout.devices import (
    Device,
    Owner,
    cookie_for,
    cookie_name,
    device_of,
    owner_of,
)
from crossauth_django.lockout.explaining import Explanation, Standing, explain
from crossauth_django.lockout.names import name_in, normalised, typed_in
from crossauth_django.lockout.operators import (
    Lock,
    current_locks,
    forget,
    unlock,
    unlock_all,
    unlock_listed,
)
from crossauth_django.lockout.tracking import (
    SignIns,
    django_request,
    judged_alone,
    note_alone,
    request_under_way,
    sign_ins,
    sign_ins_so_far,
    under_way,
)

__all__ = [
    "Attempt",
    "Device",
    "Explanation",
    "Lock",
    "Owner",
    "SignIns",
    "Standing",
    "acheck",
    "agive_back",
    "areserve",
    "check",
    "clear",
    "cookie_for",
    "cookie_name",
    "count",
    "current_locks",
    "device_of",
    "django_request",
    "explain",
    "forget",
    "give_back",
    "judged_alone",
    "name_in",
    "normalised",
    "note_alone",
    "owner_of",
    "password_is",
    "request_under_way",
    "reserve",
    "sign_ins",
    "sign_ins_so_far",
    "typed_in",
    "under_way",
    "unlock",
    "unlock_all",
    "unlock_listed",
]
