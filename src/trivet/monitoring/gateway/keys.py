"""Keys of clients: who may call what, until when, how often, and under which tenant's policy.

A key is `tv-ID-SECRET` with 256 random bits of secret, shown once. The file `keys.json` of the home folder holds its SHA-256
and never the key. A slow hash (bcrypt, argon2) is for passwords, which can be guessed; 256 random bits cannot be, however
fast the hash, and a slow one would cost each request a tenth of a second. The id is looked up, the hash is compared in
constant time. A running gateway sees a changed file within a second; one that cannot be read leaves the last good keys in
force, and where there were none yet, lets nobody in until it can be read.

Limits are token buckets: a minute's worth may be used at once and comes back evenly. Tokens are estimated from the bytes of
a request and settled when the answer says what was used, else by the characters of the reply.

Not covered: budgets in money, limits shared by several workers or machines (each worker gets its share of the limit).
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
import os
import secrets
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from trivet.core.errors import StoreError, UserError
from trivet.monitoring.gateway.wire import Refused

FILE = "keys.json"
Scope = Literal["chat", "embeddings", "moderations", "admin"]
SCOPES: tuple[Scope, ...] = ("chat", "embeddings", "moderations", "admin")
USUAL: tuple[Scope, ...] = SCOPES[:3]
LOOK_SECONDS = 1.0
_log = logging.getLogger("trivet.monitoring")


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is kept of a key. No limit is 0; no models means all."""

    id: str
    hash: str
    name: str
    created: float
    scopes: tuple[Scope, ...] = USUAL
    tenant: str = ""
    expires: float | None = None
    revoked: float | None = None
    models: tuple[str, ...] = ()
    requests_per_minute: Annotated[int, msgspec.Meta(ge=0)] = 0
    tokens_per_minute: Annotated[int, msgspec.Meta(ge=0)] = 0

    def state(self, now: float) -> Literal["active", "expired", "revoked"]:
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and now >= self.expires else "active"


class Keyring:
    """The keys in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._keys: dict[str, Key] = {}
        self._mark: tuple[int, int, int] | None = None
        self._next_look = 0.0
        self._broken = False
        self._read()

    @classmethod
    def of_home(cls, home: Path) -> Keyring:
        return cls(home / FILE)

    def __len__(self) -> int:
        return len(self._keys)

    def all(self) -> list[Key]:
        return list(self._keys.values())

    def create(
        self,
        name: str,
        *,
        scopes: Sequence[Scope] = USUAL,
        tenant: str = "",
        seconds: float | None = None,
        models: Sequence[str] = (),
        requests_per_minute: int = 0,
        tokens_per_minute: int = 0,
    ) -> tuple[str, Key]:
        """A new key: the token, which nobody can see again, and what is kept of it."""
        unknown = [scope for scope in scopes if scope not in SCOPES]
        if unknown or not scopes:
            raise UserError(f"a key's scopes are some of {', '.join(SCOPES)}; given {', '.join(unknown) or 'none'}")
        id, now = secrets.token_hex(5), time.time()
        token = f"tv-{id}-{secrets.token_urlsafe(32)}"
        key = Key(
            id=id,
            hash=_hash(token),
            name=name,
            created=now,
            scopes=tuple(scopes),
            tenant=tenant,
            expires=None if seconds is None else now + seconds,
            models=tuple(models),
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
        )
        self._write({**self._fresh(), id: key})
        return token, key

    def revoke(self, id: str) -> Key:
        keys = self._fresh()
        if id not in keys:
            raise UserError(f"no key {id!r} in {self.path}; `trivet keys list` shows the ids")
        if keys[id].revoked is None:
            keys[id] = msgspec.structs.replace(keys[id], revoked=time.time())
            self._write(keys)
        return keys[id]

    def find(self, token: str) -> Key | None:
        """The key that a client sent, if it is one of ours and still good."""
        self._look()
        found = self._keys.get(token[3:13]) if token.startswith("tv-") else None
        # Unknown ids are compared too, so that the time does not tell which ids there are.
        good = hmac.compare_digest(_hash(token), found.hash if found else "0" * 64)
        return found if found and good and found.state(time.time()) == "active" else None

    def asks(self) -> bool:
        """Whether there is any key, so that requests need one. From the first key on they do, also in a running gateway,
        and where there is a file that cannot be read: it may hold keys, and nobody has one that is known."""
        self._look()
        return bool(self._keys) or self._broken

    def _look(self) -> None:
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            with suppress(StoreError):
                self._read()

    def _fresh(self) -> dict[str, Key]:
        self._mark = None
        self._read()
        return dict(self._keys)

    def _read(self) -> None:
        try:
            stat = self.path.stat()
            mark = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if mark == self._mark:
                return
            keys = msgspec.json.decode(self.path.read_bytes(), type=list[Key])
        except FileNotFoundError:
            if self._mark is not None:
                _log.error(
                    "the keys %s are gone; the last known stay in force until the gateway is restarted", self.path
                )
            return
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            self._broken = True
            meanwhile = "the last good ones stay in force" if self._keys else "nobody is let in"
            _log.error("the keys %s cannot be read (%s); %s", self.path, error, meanwhile)
            if not self._keys:
                raise StoreError(f"the keys {self.path} cannot be read: {error}; restore the file") from error
            return
        self._keys, self._mark, self._broken = {key.id: key for key in keys}, mark, False

    def _write(self, keys: dict[str, Key]) -> None:
        """All or nothing, readable by its owner only."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, part = tempfile.mkstemp(dir=self.path.parent, prefix=".keys-")
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(list(keys.values())), indent=1))
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self.path)  # noqa: PTH105
        except OSError as error:
            raise StoreError(
                f"the keys {self.path} cannot be written: {error.strerror}; choose a writable --home"
            ) from error
        self._mark = None
        self._read()


class _Bucket:
    """So many a minute, evenly."""

    __slots__ = ("at", "left", "most")

    def __init__(self, most: float, now: float) -> None:
        self.most, self.left, self.at = most, most, now

    def look(self, now: float) -> float:
        self.left = min(self.most, self.left + (now - self.at) * self.most / 60)
        self.at = now
        return self.left

    def until(self, amount: float) -> float:
        """Seconds until so much is there."""
        return max(0.0, (min(amount, self.most) - self.left) * 60 / self.most)


class Limits:
    """The buckets of every key. `share` is this worker's part of each limit."""

    def __init__(self, share: float = 1.0) -> None:
        self.share = share
        self._buckets: dict[tuple[str, str, int], _Bucket] = {}

    def take(self, key: Key, tokens: int) -> dict[str, str]:
        """One request of so many tokens: the headers that tell what is left. Raises Refused (429) with Retry-After."""
        wanted = [("requests", key.requests_per_minute, 1), ("tokens", key.tokens_per_minute, tokens)]
        headers: dict[str, str] = {}
        taken = []
        now = time.monotonic()
        for what, limit, amount in wanted:
            if not limit:
                continue
            bucket = self._bucket(key, what, limit, now)
            if bucket.look(now) < min(amount, bucket.most):
                wait = bucket.until(amount)
                message = f"The key may use {limit} {what} a minute; try again in {wait:.1f} s."
                headers |= _told(what, limit, bucket)
                headers["retry-after"] = str(max(1, math.ceil(wait)))
                refusal = Refused(429, message, kind="rate_limit_error", code="rate_limit_exceeded")
                refusal.headers.update(headers)
                raise refusal
            taken.append((what, limit, bucket, amount))
        for what, limit, bucket, amount in taken:
            bucket.left -= amount
            headers |= _told(what, limit, bucket)
        return headers

    def settle(self, key: Key, estimated: int, used: int) -> None:
        """What a request really used, where the answer told. May leave a debt, which later requests wait for."""
        if key.tokens_per_minute:
            self._bucket(key, "tokens", key.tokens_per_minute, time.monotonic()).left -= used - estimated

    def _bucket(self, key: Key, what: str, limit: int, now: float) -> _Bucket:
        name = (key.id, what, limit)
        if name not in self._buckets:
            self._buckets[name] = _Bucket(max(1.0, limit * self.share), now)
        return self._buckets[name]


def _told(what: str, limit: int, bucket: _Bucket) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{what}": str(limit),
        f"x-ratelimit-remaining-{what}": str(max(0, int(bucket.left))),
        f"x-ratelimit-reset-{what}": f"{bucket.until(bucket.most):.3f}s",
    }


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
