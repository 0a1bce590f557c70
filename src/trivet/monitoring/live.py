"""The policies in force: one for each tenant, swapped while requests run, the last good one kept.

    policies = Policies.load("policies.yaml").start()
    policy = policies.for_tenant("acme")        # once for each request; a request keeps the policy it began with
    policies.prepare(attacks.join)              # what guards learn while they run goes on across a swap (reviewed.py)

`policies.yaml` is a policy, or names them: `default: policies/main.yaml`, `tenants: {acme: policies/acme.yaml}`. The files,
and those that they name, are watched by their content. A changed file is loaded once it has stood still for a whole poll,
because half of a YAML file can be a valid policy with fewer layers; one that cannot be loaded is reported in `status()`
and the log, and what was in force stays. A swap replaces one reference: no request sees half of it.

Not covered: files on other machines; signatures (whoever can write the files decides what is guarded).
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trivet.core.errors import ConfigError, UserError, did_you_mean
from trivet.monitoring.policy import Policy
from trivet.monitoring.policyfile import files_behind, policy_path, read_yaml

DEFAULT = "default"
HISTORY = 100
_KEYS = ("default", "tenants")
_log = logging.getLogger("trivet.monitoring")
Cause = Literal["start", "file", "api", "rollback"]


@dataclass(frozen=True, slots=True)
class Version:
    """A policy that came into force for a tenant."""

    tenant: str
    policy: Policy
    at: float
    cause: Cause
    source: str = ""


class Policies:
    """Which policy holds for whom. Safe between threads."""

    def __init__(
        self, source: str | Path | Policy, *, poll_seconds: float = 1.0, clock: Callable[[], float] = time.time
    ) -> None:
        self.poll_seconds, self._clock = poll_seconds, clock
        self.history: deque[Version] = deque(maxlen=HISTORY)
        self._lock = threading.RLock()
        self._current: dict[str, Policy] = {}
        self._prepare: Callable[[Policy], None] | None = None
        self._sources: dict[str, Path] = {}
        self._pinned: set[str] = set()
        self._errors: dict[str, str] = {}
        self._paths: tuple[Path, ...] = ()
        self._marks: dict[Path, tuple[tuple[int, int, int] | None, str]] = {}
        self._seen: dict[Path, str] = {}
        self._loaded: dict[Path, str] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        if isinstance(source, Policy):
            self._file: Path | None = None
            self._swap({DEFAULT: source}, "start")
            return
        self._file = policy_path(source)
        self._sources = _sources(self._file)
        self._paths = self._behind()
        self._loaded = self._seen = self._hashes()
        self._swap(self._read(self._sources), "start")

    @classmethod
    def load(cls, source: str | Path | Policy, **settings: Any) -> Policies:
        """From a packaged policy's name, a policy file, a file that names policies for tenants, or a Policy."""
        return cls(source, **settings)

    def for_tenant(self, name: str = "") -> Policy:
        """The policy in force for a tenant; the default one for tenants that have none of their own."""
        current = self._current
        return current.get(name) or current[DEFAULT]

    def prepare(self, hook: Callable[[Policy], None]) -> Policies:
        """Have `hook` called with every policy in force now, and with each other one before it comes into force."""
        with self._lock:
            self._prepare = hook
            for policy in self._current.values():
                hook(policy)
        return self

    @property
    def tenants(self) -> tuple[str, ...]:
        return tuple(self._current)

    # Changing

    def reload(self) -> bool:
        """Load what has changed on disk now, without waiting for it to stand still; whether anything is new in force."""
        with self._lock:
            return self._load(self._hashes())

    def poll(self) -> bool:
        """One look at the files: what has changed and has stood still since the last look is loaded."""
        with self._lock:
            now = self._hashes()
            still, self._seen = now == self._seen, now
            return self._load(now) if still else False

    def put(self, tenant: str, policy: Policy | Mapping[str, Any] | str | Path) -> Policy:
        """Put a policy in force for a tenant by a call. It holds until the next call; files no longer decide for it."""
        fresh = policy if isinstance(policy, Policy) else Policy.load(policy)
        with self._lock:
            self._pinned.add(tenant)
            self._errors.pop(tenant, None)
            self._swap({**self._current, tenant: fresh}, "api")
        return fresh

    def roll_back(self, tenant: str = DEFAULT) -> Policy:
        """Put the policy in force that held before; like `put`, it holds until the next call."""
        with self._lock:
            past = [version for version in self.history if version.tenant == tenant]
            if len(past) < 2:
                known = tuple(dict.fromkeys(version.tenant for version in self.history))
                raise UserError(f"no earlier policy of {tenant!r} is known.{did_you_mean(tenant, known)}")
            self._pinned.add(tenant)
            self._swap({**self._current, tenant: past[-2].policy}, "rollback")
            return past[-2].policy

    def _load(self, hashes: dict[Path, str]) -> bool:
        if self._file is None or hashes == self._loaded:
            return False
        self._loaded = hashes
        try:
            sources = _sources(self._file)
        except ConfigError as error:
            self._fault(DEFAULT, str(error))
            return False
        self._sources = sources
        pinned = {name: self._current[name] for name in self._pinned if name in self._current}
        before = self._current
        self._swap({**self._read(sources), **pinned}, "file")
        # New layers and tenants may bring files of their own; what changed while we loaded must still be seen as changed.
        self._paths = self._behind()
        self._loaded = self._seen = {**self._hashes(), **{p: h for p, h in hashes.items() if p in self._paths}}
        return self._current != before

    def _read(self, sources: Mapping[str, Path]) -> dict[str, Policy]:
        """The policies of all sources, each file once; where one cannot be loaded, what was in force before."""
        built: dict[Path, Policy | UserError] = {}
        found: dict[str, Policy] = {}
        for tenant, path in sources.items():
            if path not in built:
                built[path] = _built(path)
            fresh = built[path]
            if isinstance(fresh, Policy):
                self._errors.pop(tenant, None)
                held = self._current.get(tenant)
                found[tenant] = held if held and held.version == fresh.version else fresh
            elif tenant in self._current:
                self._fault(tenant, str(fresh))
                found[tenant] = self._current[tenant]
            elif self._current:
                # Never yet in force: the tenant keeps the default policy, as before it was named.
                self._fault(tenant, str(fresh))
            else:
                raise fresh
        self._errors = {tenant: error for tenant, error in self._errors.items() if tenant in sources}
        return found

    def _fault(self, tenant: str, error: str) -> None:
        self._errors[tenant] = error
        _log.error("the policy of %s stays as it was: %s", tenant, error)

    def _swap(self, fresh: dict[str, Policy], cause: Cause) -> None:
        for tenant, policy in fresh.items():
            if self._current.get(tenant) is not policy:
                if self._prepare:
                    self._prepare(policy)
                source = str(self._sources.get(tenant, "")) if cause in ("start", "file") else ""
                self.history.append(Version(tenant, policy, self._clock(), cause, source))
                _log.info("policy %s %s in force for %s (%s)", policy.name, policy.version, tenant, cause)
        self._current = fresh

    def _hashes(self) -> dict[Path, str]:
        """Every file that has a say, by content. One whose time and size are as before is not read again."""
        found = {}
        for path in self._paths:
            try:
                stat = path.stat()
                mark = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
                if self._marks.get(path, (None, ""))[0] != mark:
                    self._marks[path] = mark, hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
                found[path] = self._marks[path][1]
            except OSError as error:
                found[path] = f"unreadable: {error.strerror}"
        return found

    def _behind(self) -> tuple[Path, ...]:
        """The files that have a say: where one cannot be read now, those that had a say before are watched on."""
        paths: dict[Path, None] = {} if self._file is None else {self._file: None}
        for path in self._sources.values():
            try:
                paths.update(dict.fromkeys(files_behind(path)))
            except ConfigError:
                paths.update(dict.fromkeys((path, *self._paths)))
        return tuple(paths)

    # Watching

    def start(self) -> Policies:
        """Look at the files every `poll_seconds`, in a thread, until `stop`."""
        if self._file is not None and self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._watch, name="trivet-policies", daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _watch(self) -> None:
        while not self._stop.wait(self.poll_seconds):
            try:
                self.poll()
            except Exception as error:
                # A watcher that died would leave every later change unseen; the next poll may do better.
                self._fault(DEFAULT, f"looking at the files failed: {type(error).__name__}: {error}")

    def status(self) -> dict[str, Any]:
        """What is in force, since when, and what could not be loaded; for health pages and operators."""
        with self._lock:
            newest = {version.tenant: version for version in self.history}
            tenants = {
                tenant: {
                    "policy": policy.name,
                    "version": policy.version,
                    "since": newest[tenant].at if tenant in newest else 0.0,
                    "cause": newest[tenant].cause if tenant in newest else "start",
                    "source": str(self._sources.get(tenant, "")),
                    "error": self._errors.get(tenant, ""),
                    "warnings": list(policy.warnings),
                }
                for tenant, policy in self._current.items()
            }
            missing = {tenant: error for tenant, error in self._errors.items() if tenant not in self._current}
            history = [
                {"tenant": v.tenant, "version": v.policy.version, "at": v.at, "cause": v.cause} for v in self.history
            ]
            return {"ok": not self._errors, "tenants": tenants, "not_loaded": missing, "history": history}


def _sources(file: Path) -> dict[str, Path]:
    """Tenant to policy file; a file that is a policy itself is everyone's."""
    data = read_yaml(file)
    if not isinstance(data, Mapping) or "layers" in data or not data.keys() & set(_KEYS):
        return {DEFAULT: file}
    unknown = [f"unknown key {str(key)!r}.{did_you_mean(str(key), _KEYS)}" for key in data if key not in _KEYS]
    tenants = data.get("tenants") or {}
    if unknown or not isinstance(tenants, Mapping) or not all(isinstance(v, str) for v in tenants.values()):
        unknown.append("`tenants` maps names to policy files or packaged names, e.g. `tenants: {acme: acme.yaml}`")
        raise ConfigError(f"the policies {file}: {'; '.join(unknown)}")
    named = {DEFAULT: str(data.get("default", DEFAULT)), **{str(key): str(value) for key, value in tenants.items()}}
    return {tenant: _near(file, name) for tenant, name in named.items()}


def _near(file: Path, name: str) -> Path:
    beside = file.parent / name
    return beside if beside.suffix else policy_path(name)


def _built(path: Path) -> Policy | UserError:
    try:
        return Policy.load(path)
    except UserError as error:
        return error
