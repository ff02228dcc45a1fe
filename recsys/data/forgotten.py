"""Who asked to be forgotten, without saying who?

A tombstone is a SHA-256 of the user's id behind a fixed prefix. It is not keyed: whoever has the ledger and can guess
an id can see that it was forgotten; nobody can read an id from it.
"""

import hashlib
from collections.abc import Container, Iterable, Iterator
from typing import Final

_PREFIX: Final = "recsys forgotten user: "


def tombstone(user: str) -> str:
    """Return the digest of a user's id, 64 hex digits."""
    return hashlib.sha256((_PREFIX + user).encode()).hexdigest()


def is_forgotten(users: Iterable[str], tombstones: Container[str]) -> Iterator[bool]:
    """Tell of each user whether somebody of that id was forgotten."""
    return (tombstone(user) in tombstones for user in users)


def forgotten_sql(user: str, tombstones: Iterable[str]) -> str:
    """Return an SQL condition that holds for users who were forgotten, and for no null.

    Args:
        user: the column with their ids.
        tombstones: the digests of those who were.
    """
    listed = ", ".join(f"'{one}'" for one in sorted(tombstones)) or "''"
    return f"coalesce(sha256('{_PREFIX}' || cast({user} as varchar)) in ({listed}), false)"
