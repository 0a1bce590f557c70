"""Attacks that reviewers confirmed, known to the guards within seconds: the `similarity` guards of the policies in force are
given what the store's reviews call harmful, and follow it while requests run.

    with ReviewedAttacks(store) as attacks:          # looks at the store every second, in a thread
        policies.prepare(attacks.join)               # guards that say `reviews: true`, also those of policies to come

An attack is the last message of the user in an exchange (or an attempt) whose newest review says `harmful`. The newest review
of a text counts, whichever exchange it is about: `fine` or `wrongly_blocked` takes the text out again. Words are compared as they
were stored, masked where the gateway masks them; with `--record none` there are none to learn from.

Each process follows the store by itself, from the last review it has seen, and reads no more than what came after that. The
newest attacks are kept, up to 5,000 windows (20 MB). When the store cannot be read, what is known stays, the log says so
once, and the next look tries again.

Not covered: texts of less than 32 bytes, since `yes, go on` at the end of an attack is nobody's attack; what was said in earlier
turns or by tools; an attack beyond its first 8,000 characters. A harmless question with a harmful reply is an attack here,
if somebody labels it harmful. Tenants share what is learned: their texts are not shown, but whoever asks can tell that one
is like another's.
"""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import NamedTuple, Self

from trivet.core.errors import StoreError
from trivet.core.events import Attempt, Exchange, Review
from trivet.core.store.events import Store
from trivet.monitoring.guards.similarity import AttackCorpus, Embed, Similarity, plainly, windows_of
from trivet.monitoring.policy import Policy

POLL_SECONDS = 1.0
WINDOWS = 5000
"""Windows of confirmed attacks that are kept; each is compared with each window of a request."""
DEPTH = 5000
"""Reviews that are looked at when it begins, the newest, and at most at a time from then on."""
FEWEST_BYTES, LONGEST = 32, 8000
"""The bytes from which a text is distinctive, since eleven characters of Chinese say as much as thirty of English; and the
characters up to which it is learned."""
_log = logging.getLogger("trivet.monitoring")


class Labelled(NamedTuple):
    """A text that somebody reviewed."""

    text: str
    harmful: bool


class ReviewedAttacks:
    """What reviewers confirmed, in a corpus for each embedding that a guard uses. Safe between threads."""

    def __init__(self, store: Store, *, poll_seconds: float = POLL_SECONDS, windows: int = WINDOWS) -> None:
        self.poll_seconds, self.windows = poll_seconds, windows
        self._store = store
        self._lock = threading.Lock()
        self._corpora: dict[Embed, AttackCorpus] = {}
        self._texts: dict[str, str] = {}
        self._last = ""
        self._failing = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._texts)

    def join(self, policy: Policy) -> None:
        """Give the guards of a policy that ask for it what reviewers confirm, now and from now on."""
        for layer in policy.layers:
            if isinstance(layer.guard, Similarity) and layer.guard.reviews:
                layer.guard.learned = self._corpus(layer.guard.corpus.embed)

    def _corpus(self, embed: Embed) -> AttackCorpus:
        with self._lock:
            if embed not in self._corpora:
                self._corpora[embed] = AttackCorpus(self._texts.values(), embed=embed)
            return self._corpora[embed]

    # Following

    def poll(self) -> int:
        """One look at the store; how many reviews were new. Costs nothing while no guard asks for it."""
        with self._lock:
            if not self._corpora:
                return 0
            try:
                reviews = self._fresh()
                labelled = [found for review in reviews if (found := self._about(review))]
            except StoreError as error:
                if not self._failing:
                    _log.error("confirmed attacks stay as they were, %d of them: %s", len(self._texts), error)
                self._failing = True
                return 0
            if self._failing:
                _log.info("the store can be read again, and confirmed attacks are followed")
            self._failing = False
            if reviews:
                self._take(labelled)
                # Only now: had a corpus failed to take them in, the next look would see them again.
                self._last = reviews[-1].id
            return len(reviews)

    def _fresh(self) -> list[Review]:
        """The reviews since the last look, in the order of arrival; the newest where there was none."""
        if self._last and not self._store.known([self._last]):
            _log.info("the store is another one than before; its reviews are read from the beginning")
            self._last = ""
        if self._last:
            found = list(self._store.events("review", after=self._last, limit=DEPTH))
        else:
            found = list(self._store.events("review", limit=DEPTH, newest=True))[::-1]
        return [event for event in found if isinstance(event, Review)]

    def _about(self, review: Review) -> Labelled | None:
        """What a review says of which text; None where it says nothing that counts here."""
        event = self._store.get(review.event) if review.label != "unsure" else None
        if not isinstance(event, Exchange | Attempt):
            return None
        text = event.conversation.last_user[:LONGEST]
        return Labelled(text, review.label == "harmful") if len(text.encode(errors="replace")) >= FEWEST_BYTES else None

    def _take(self, labelled: list[Labelled]) -> None:
        texts = dict(self._texts)
        for text, harmful in labelled:
            key = plainly(text)
            texts.pop(key, None)
            if harmful and key:
                texts[key] = text  # behind all others: the newest stay longest
        windows = sum(map(windows_of, texts))
        for key in list(texts)[:-1]:
            if windows <= self.windows:
                break
            windows -= windows_of(key)
            del texts[key]
        for corpus in self._corpora.values():
            corpus.drop(self._texts[key] for key in self._texts.keys() - texts.keys())
            corpus.add_all(texts[key] for key in texts.keys() - self._texts.keys())
        if texts.keys() != self._texts.keys():
            _log.info("%d confirmed attacks are known", len(texts))
        self._texts = texts

    # Life

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Look at the store every `poll_seconds`, in a thread, until `stop`."""
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._follow, name="trivet-reviews", daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _follow(self) -> None:
        while not self._stop.wait(self.poll_seconds):
            try:
                self.poll()
            except Exception:
                # An embedding is foreign code and may raise anything; a thread that died would leave later attacks unseen.
                _log.exception("confirmed attacks could not be taken in; the next look tries again")
