"""Django's hashers with the fewest rounds: their formats are tested, not their strength."""

from __future__ import annotations

from django.contrib.auth import hashers


class QuickBCrypt(hashers.BCryptPasswordHasher):
    rounds = 4


class QuickBCryptSHA256(hashers.BCryptSHA256PasswordHasher):
    rounds = 4


class QuickPBKDF2(hashers.PBKDF2PasswordHasher):
    iterations = 1
