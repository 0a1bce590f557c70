"""What a target has answered, on disk the moment it is heard, so that a killed campaign never asks it again.

The store takes attempts in large transactions, after their dialogue has ended and a judge has spoken. Until then a reply lives
only here: one line in a file beside the store, written with one call to the system before anybody goes on. The kernel keeps
what was written whatever becomes of the process. A campaign that starts takes over what those before it left: the
attempt is carried out again, and hears the recorded replies instead of asking, as long as it asks the same questions. A file
belongs to one process, which holds a lock on it, and goes when all that is in it is stored.

A line is recognised by the attempt, the conversation that was asked, and how often the attempt had asked exactly that before. An
attacker that asks something else the second time is answered by the target, as it must be.

A target that answers at once, a function of this process, has its lines written TOGETHER: asking it again costs less than
they do.

Not covered: a power cut, which may cost the last lines; platforms without file locks (Windows), where nothing is kept and a
killed campaign asks its unstored attempts again; calls that were in flight, whose replies nobody has heard.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import msgspec

from trivet.core.errors import StoreError
from trivet.core.messages import Conversation, digest_of
from trivet.core.store.events import Store

try:
    import fcntl
except ModuleNotFoundError:  # pragma: no cover
    fcntl = None  # type: ignore[assignment]

TOGETHER = 32
"""Lines that are written at once where a target answers sooner than a line is written."""

LONG = 8 << 20
"""A file of so many bytes is begun anew with the lines that are still needed."""


class Line(NamedTuple):
    """One call and its answer: several replies where a model was asked a batch."""

    attempt: str
    asked: str
    replies: Sequence[str]
    prompt_tokens: int = 0
    completion_tokens: int = 0


_Noted = tuple[str, str, Sequence[str], int, int]
"""A Line in the plain form, which takes a third of the time to make."""

_encoder = msgspec.json.Encoder()
_encode = _encoder.encode
_decoder = msgspec.json.Decoder(Line)


def asked(conversations: Sequence[Conversation]) -> str:
    """A name for exactly these words."""
    if len(conversations) == 1:
        said = _encode(conversations[0])
    else:
        said = b"".join(map(_encode, conversations))
    return blake2b(said, digest_size=12).hexdigest()


def folder_of(store: Path) -> Path:
    return store.with_name(f"{store.name}-replies")


class Journal:
    """The replies of one campaign that the store does not have yet."""

    def __init__(self, store: Store, run: str, target: str) -> None:
        self.folder = folder_of(store.path)
        self._mark = digest_of(["campaign", run, target])[:16]
        self._needed: dict[str, tuple[_Noted, ...]] = {}
        self._recorded: dict[tuple[str, str], Line] = {}
        self._buffer: list[_Noted] = []
        self._handle, self._path, self._size = -1, Path(), 0
        if fcntl is not None:
            self._take_over(store)

    def begun(self) -> set[str]:
        """The attempts of which an earlier process heard something."""
        return {attempt for attempt, _ in self._recorded}

    def recall(self, attempt: str, asked: str) -> Line | None:
        """What an earlier process heard in answer to this."""
        return self._recorded.get((attempt, asked)) if self._recorded else None

    def note(
        self,
        attempt: str,
        asked: str,
        replies: Sequence[str],
        prompt: int = 0,
        completion: int = 0,
        *,
        hasty: bool = False,
    ) -> None:
        """A Line is on disk when this returns; a `hasty` one when TOGETHER of them have come. StoreError where it cannot be."""
        if fcntl is None:  # pragma: no cover
            return
        line = (attempt, asked, replies, prompt, completion)
        # Tuples, which the garbage collector looks at once and no more.
        self._needed[attempt] = (*self._needed.get(attempt, ()), line)
        buffer = self._buffer
        buffer.append(line)
        if not hasty or len(buffer) >= TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Everything noted is on disk."""
        if self._buffer:
            if self._handle < 0 or self._size > LONG:
                self._begin()
            else:
                self._write(_encoder.encode_lines(self._buffer))
            self._buffer.clear()

    def stored(self, attempts: Iterable[str]) -> None:
        """These are in the store: their lines are of no more use."""
        forget = self._needed.pop
        for attempt in attempts:
            forget(attempt, None)

    def close(self) -> None:
        """The file goes, unless somebody will need it."""
        if self._needed:
            self.flush()
        if self._handle >= 0:
            if not self._needed:
                self._path.unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = -1
        with suppress(OSError):
            self.folder.rmdir()

    def _take_over(self, store: Store) -> None:
        """Read what is left behind, write what is still needed to a file of our own, and remove the others."""
        left = list(_left(self.folder, self._mark))
        try:
            lines = [line for file in left for line in file.lines]
            done = store.known({line.attempt for line in lines}) if lines else set()
            for line in lines:
                if line.attempt not in done and (line.attempt, line.asked) not in self._recorded:
                    self._recorded[line.attempt, line.asked] = line
                    self._needed[line.attempt] = (*self._needed.get(line.attempt, ()), line)
            if self._needed:
                self._begin()
            for file in left:
                file.path.unlink(missing_ok=True)
        finally:
            for file in left:
                os.close(file.handle)

    def _begin(self) -> None:
        """A new file with all that is needed; the old one goes only then."""
        old_handle, old_path = self._handle, self._path
        self._path, self._handle = _fresh(self.folder, self._mark)
        self._size = 0
        self._write(_encoder.encode_lines([line for lines in self._needed.values() for line in lines]))
        if old_handle >= 0:
            old_path.unlink(missing_ok=True)
            os.close(old_handle)

    def _write(self, data: bytes) -> None:
        try:
            at = os.write(self._handle, data)
            while at < len(data):  # a full disk may take a part, and say so at the next try
                at += os.write(self._handle, data[at:])
        except OSError as error:
            raise StoreError(
                f"the replies of this campaign cannot be written to {self._path}: {error.strerror}; free some space and "
                "repeat the command: nothing stored is lost"
            ) from error
        self._size += len(data)


class NoJournal:
    """For whom there is no disk to write to: every reply is heard once."""

    def begun(self) -> set[str]:
        return set()

    def recall(self, attempt: str, asked: str) -> Line | None:
        return None

    def note(
        self,
        attempt: str,
        asked: str,
        replies: Sequence[str],
        prompt: int = 0,
        completion: int = 0,
        *,
        hasty: bool = False,
    ) -> None: ...

    def stored(self, attempts: Iterable[str]) -> None: ...

    def close(self) -> None: ...


class _Left(NamedTuple):
    path: Path
    handle: int
    lines: list[Line]


def _left(folder: Path, mark: str) -> Iterator[_Left]:
    """The files of this campaign that no living process holds, locked for us."""
    for path in sorted(folder.glob(f"{mark}-*.jsonl")):
        try:
            handle = os.open(path, os.O_RDWR)
        except OSError:
            continue  # another process has just taken it over
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)  # its process is alive
            continue
        if os.fstat(handle).st_nlink:
            yield _Left(path, handle, list(_lines(path.read_bytes().split(b"\n"))))
        else:
            os.close(handle)


def _lines(raw: Collection[bytes]) -> Iterator[Line]:
    """The whole lines. One that a kill cut short was not heard either: whoever waited for it had not gone on."""
    for data in raw:
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            if data:
                yield _decoder.decode(data)


def _fresh(folder: Path, mark: str) -> tuple[Path, int]:
    while True:
        path = folder / f"{mark}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        except FileNotFoundError:
            continue  # another process has just removed the empty folder
        except OSError as error:
            raise StoreError(f"the file {path} cannot be made: {error.strerror}; check its folder") from error
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return path, handle
        os.close(handle)  # somebody took it for left behind before we had the lock
