"""What is kept of people: one choke point between what happened and what is stored.

`masked` (the default) replaces personal data by typed placeholders before anything is stored, `full` keeps the words,
`none` keeps decisions and no words. Users are known by a pseudonym: HMAC-SHA256 of their id with a key that stays in the
home folder, so that the same person is the same pseudonym and nobody without the key can tell who it is.
"""

from __future__ import annotations

import hmac
import os
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Literal

from trivet.core.errors import StoreError
from trivet.core.messages import Conversation
from trivet.monitoring.guards.pii import Placeholders, masked

Record = Literal["masked", "full", "none"]


def kept(
    record: Record, names: Placeholders, conversation: Conversation, reply: str, raw: str | None
) -> tuple[Conversation, str, str | None]:
    """The conversation, the delivered reply and the model's own reply (where it differs) as they may be stored.

    `names` are the placeholders that the policy used, so that a stored `<EMAIL_1>` means the same everywhere."""
    if record == "none":
        return Conversation(), "", None
    if record == "masked":
        messages = (replace(m, content=masked(m.content, names)) for m in conversation)
        conversation, reply = Conversation(tuple(messages)), masked(reply, names)
        raw = None if raw is None else masked(raw, names)
    return conversation, reply, raw if raw != reply else None


def kept_error(record: Record, names: Placeholders, error: str) -> str:
    """A failure as it may be stored: `Type: words`, where the words can be those of a server that quotes its request."""
    if record == "none":
        return error.partition(":")[0]
    return masked(error, names) if record == "masked" else error


def pseudonym(key: bytes, user: str) -> str:
    """A stable stand-in for a user id; empty for nobody."""
    return hmac.digest(key, user.encode(), "sha256").hex()[:24] if user else ""


def pseudonym_key(home: Path) -> bytes:
    """The key in `HOME/pseudonym.key`, made on first use and readable by its owner only."""
    path = home / "pseudonym.key"
    try:
        home.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_bytes()
        with os.fdopen(handle, "wb") as file:
            file.write(key := secrets.token_bytes(32))
        return key
    except OSError as error:
        raise StoreError(
            f"the pseudonym key {path} cannot be used: {error.strerror}; choose a writable --home"
        ) from error
