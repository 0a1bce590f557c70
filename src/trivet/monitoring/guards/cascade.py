"""Two trained stages as one: the light classifier reads everything, the encoder reads what matters, and one score comes out.

    cascade = Cascade.shipped()
    cascade.scores(["How do I blow up a balloon?"])["unsafe"]     # [texts], probabilities

Per task the score is a logistic function of both stages' outputs (stacking, Wolpert 1992), fitted on rows that neither
stage was trained on, with a threshold for a stated share of false alarms. The light stage sees every view and window of
a text, and chooses what the encoder reads: the beginning of the text as typed; and of the rest, and of the view that looks
worst, up to MOST - 1 windows and one sentence, where they look clearly worse than the beginning. So a
long text has a bounded price, what was not read twice was read once, and a sentence among much padding is read alone. A guard may leave to the light stage what it finds clear
(`skip_below`): cheaper, and what only the encoder would have seen is missed.

Not covered: see classifier.py and encoder.py, and their cards, for what both stages miss. A batch is quantised by its own
largest values, so a score may differ by a few hundredths with the company it is read in; what was read is remembered.
"""

from __future__ import annotations

import asyncio
import json
import queue
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property, lru_cache
from heapq import nlargest
from itertools import chain, count, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trivet.core.errors import ConfigError, DataError
from trivet.core.hazards import Goal, Probe
from trivet.core.messages import Conversation, digest_of
from trivet.core.verdicts import Span, Verdict
from trivet.monitoring.guards.classifier import SHIPPED as LIGHT
from trivet.monitoring.guards.classifier import TOGETHER, WORSE, LightClassifier, Look
from trivet.monitoring.guards.encoder import SHIPPED as ENCODER
from trivet.monitoring.guards.encoder import Deep, Encoder, Piece
from trivet.monitoring.guards.encoder import loaded as loaded_encoder
from trivet.monitoring.guards.shared import newest

FORMAT = 1
MOST = 2
MOST_OF_DOCUMENTS = 4
CLEAR = -4.0
"""A light logit (a chance of one in fifty) up to which a piece of a longer text is not read again."""
REMEMBERED = 4096
MOST_THERE_IS = 1 << 31


@dataclass(frozen=True)
class Task:
    """probability = sigmoid(light . light_logits + encoder . encoder_logits + bias), flagged from `threshold` up; no
    light logit counts for less than `least_light`."""

    name: str
    light: tuple[float, ...]
    encoder: tuple[float, ...]
    bias: float
    threshold: float
    least_light: float = -60.0


@dataclass(frozen=True)
class Scored:
    """What a text scored: a probability per task, the stretch of the original that the encoder found worst for it, and
    the encoder's own probability per head, kinds of toxicity included."""

    probabilities: Mapping[str, float]
    worst: Mapping[str, tuple[int, int]]
    heads: Mapping[str, float]


class Chosen(NamedTuple):
    """What the encoder is to read of a text, the light stage's logits, and for which `most` the choice is the same."""

    light: np.ndarray
    pieces: list[Piece]
    same: range


class Output(NamedTuple):
    """What both stages made of a text: the light one's logits, the encoder's, and for which `most` they are the same."""

    light: np.ndarray
    deep: Deep
    same: range


class Cascade:
    """A light classifier, an encoder, and how their outputs make the score of each task."""

    def __init__(self, light: LightClassifier, encoder: Encoder, tasks: Sequence[Task]) -> None:
        self.light, self.encoder, self.tasks = light, encoder, tuple(tasks)
        self._known: OrderedDict[str, list[tuple[range, Scored]]] = OrderedDict()
        self._lock = threading.Lock()
        self._batcher: Batcher | None = None

    @classmethod
    def shipped(cls) -> Cascade:
        return _shipped()

    @classmethod
    def load(cls, light: str | Path, encoder: str | Path) -> Cascade:
        """From a `light.npz` and an encoder's folder with its `cascade.json`."""
        classifier = LightClassifier.load(light)
        return cls(classifier, loaded_encoder(Path(encoder)), cls.tasks_in(Path(encoder), classifier))

    @staticmethod
    def tasks_in(folder: Path, light: LightClassifier) -> list[Task]:
        """How the stages are joined, from `cascade.json`; it must have been fitted with this light classifier."""
        path = folder / "cascade.json"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            tasks = [
                Task(**{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}) for row in data["tasks"]
            ]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} does not say how the stages are joined: {error}; train the encoder again"
            ) from error
        if data.get("light") != light.digest:
            raise DataError(f"{path} was fitted with another light classifier than this; train the encoder again")
        return tasks

    def task(self, name: str) -> Task:
        for task in self.tasks:
            if task.name == name:
                return task
        raise ConfigError(f"this cascade has no task {name!r}; it has {', '.join(t.name for t in self.tasks)}")

    @cached_property
    def digest(self) -> str:
        tasks = [[t.name, t.light, t.encoder, t.bias, t.least_light] for t in self.tasks]
        return digest_of(["cascade", FORMAT, self.light.digest, self.encoder.digest, tasks])

    @property
    def batcher(self) -> Batcher:
        """Where concurrent requests meet; started when first asked for."""
        with self._lock:
            if self._batcher is None:
                self._batcher = Batcher(self)
            return self._batcher

    def scores(self, texts: Sequence[str], most: int = MOST) -> dict[str, np.ndarray]:
        """[texts] probabilities per task."""
        found = self.scored(texts, most)
        return {t.name: np.array([s.probabilities[t.name] for s in found]) for t in self.tasks}

    def scored(self, texts: Sequence[str], most: int = MOST) -> list[Scored]:
        """Every text read by both stages, the newest remembered: a conversation sends its old turns again."""
        with self._lock:
            known = {text: self._remembered(text, most) for text in texts}
        found = {text: scored for text, scored in known.items() if scored}
        fresh = [text for text in known if text not in found]
        if fresh:
            outputs = self.outputs(fresh, most)
            found |= zip(fresh, map(self._scored, outputs), strict=True)
            with self._lock:
                for text, output in zip(fresh, outputs, strict=True):
                    if len(text) <= 8192:
                        self._known.setdefault(text, []).append((output.same, found[text]))
                while len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)
        return [found[text] for text in texts]

    def _remembered(self, text: str, most: int) -> Scored | None:
        return next((scored for same, scored in self._known.get(text, ()) if most in same), None)

    def outputs(self, texts: Sequence[str], most: int = MOST) -> list[Output]:
        """What the two stages say of each text, before they are joined."""
        chosen = [self._chosen(number, self.light.looked(text), most) for number, text in enumerate(texts)]
        deep = self.encoder.read([piece for one in chosen for piece in one.pieces], len(texts))
        return [Output(one.light, far, one.same) for one, far in zip(chosen, deep, strict=True)]

    def _chosen(self, number: int, look: Look, most: int) -> Chosen:
        """What the encoder reads of a text, and the light stage's logits, those on the chosen pieces among them."""
        readings = [self.encoder.tokens(view) for view in look.views]
        pieces = (piece for tokens in readings for piece in self.encoder.pieces(tokens, number))
        first, second = next(pieces), next(pieces, None)
        if second is None:
            return Chosen(look.logits, [first], range(1, MOST_THERE_IS))
        sentences = (piece for tokens in readings for piece in self.encoder.sentences(tokens, number))
        windows = self._worse(first, chain([second], pieces), most - 1)
        worse = [*windows, *self._worse(first, sentences, 1)]
        light = np.max([look.logits, *(logits for _, logits in worse)], axis=0)
        read = 1 + len(windows)
        same = range(read, MOST_THERE_IS if read < most else most + 1)
        return Chosen(light, [first, *(piece for piece, _ in worse)], same)

    def _worse(self, first: Piece, others: Iterable[Piece], most: int) -> list[tuple[Piece, np.ndarray]]:
        """The pieces that some head of the light stage does not find clear, and clearly worse than the first one; the worst
        first. Some at a time, so that a very long text does not stand in memory as pieces."""
        plain = self._light([first])[0]
        waiting, numbers = iter(others), count()
        worst: list[tuple[float, int, Piece, np.ndarray]] = []
        while some := list(islice(waiting, TOGETHER)):
            logits = self._light(some)
            by_how_much = np.where(logits > CLEAR, logits - plain, 0.0).max(axis=1).tolist()
            looked = zip(by_how_much, numbers, some, logits, strict=False)
            worst = nlargest(
                most, [*worst, *(one for one in looked if one[0] > WORSE)], key=lambda one: (one[0], -one[1])
            )
        return [(piece, logits) for _, _, piece, logits in worst]

    def _light(self, pieces: Sequence[Piece]) -> np.ndarray:
        return self.light.logits_of([piece.words.lower() for piece in pieces])

    def _scored(self, output: Output) -> Scored:
        chances, worst = {}, {}
        deep = output.deep
        for task in self.tasks:
            words = np.maximum(output.light, task.least_light)
            z = np.dot(task.light, words) + np.dot(task.encoder, deep.logits) + task.bias
            chances[task.name] = float(_sigmoid(z))
            worst[task.name] = deep.worst[self.encoder.heads.index(task.name)]
        heads = dict(zip(self.encoder.heads, map(float, _sigmoid(deep.logits)), strict=True))
        return Scored(chances, worst, heads)


_Lane = queue.SimpleQueue[tuple[str, int, "Future[Scored]"]]


class Batcher:
    """Two threads that read for many requests: what waits while a batch runs is the next batch, so nobody waits longer
    than one batch and a lone request waits for nothing. Long texts have a thread of their own, so that whoever sends one
    keeps nobody else waiting."""

    LARGEST = 32
    LONG = 8192

    def __init__(self, cascade: Cascade) -> None:
        self._cascade = cascade
        self._lanes = (_Lane(), _Lane())
        for lane, largest in zip(self._lanes, (self.LARGEST, 1), strict=True):
            threading.Thread(target=self._run, args=(lane, largest), name="trivet-cascade", daemon=True).start()

    async def scored(self, text: str, most: int = MOST) -> Scored:
        done: Future[Scored] = Future()
        self._lanes[len(text) > self.LONG].put((text, most, done))
        return await asyncio.wrap_future(done)

    def _run(self, lane: _Lane, largest: int) -> None:
        while True:
            batch = [lane.get()]
            while len(batch) < largest:
                try:
                    batch.append(lane.get_nowait())
                except queue.Empty:
                    break
            waiting = [(text, most, done) for text, most, done in batch if done.set_running_or_notify_cancel()]
            for most in {most for _, most, _ in waiting}:
                self._serve([(text, done) for text, wanted, done in waiting if wanted == most], most)

    def _serve(self, waiting: Sequence[tuple[str, Future[Scored]]], most: int) -> None:
        try:
            found = self._cascade.scored([text for text, _ in waiting], most)
        except Exception as error:
            # Whatever went wrong belongs to the requests that wait; the thread must go on for the next.
            for _, done in waiting:
                done.set_exception(error)
            return
        for (_, done), scored in zip(waiting, found, strict=True):
            done.set_result(scored)


class CascadeGuard:
    """A task of the cascade as a guard; its threshold is the task's own unless the layer names another."""

    cheap = False
    # A stream is judged by stretches of about this many characters; a window of the encoder holds about 500.
    reach = 480

    def __init__(
        self, cascade: Cascade, task: str, category: str = "", skip_below: float = 0.0, most: int = MOST
    ) -> None:
        if most < 1:
            raise ConfigError(f"most is {most}; the encoder must read at least one window")
        if not 0 <= skip_below < 1:
            raise ConfigError(f"skip_below is {skip_below}; it must be at least 0 and below 1")
        self.cascade, self.task, self.category, self.skip_below = cascade, cascade.task(task), category, skip_below
        self.threshold, self.most = self.task.threshold, most
        self.digest = digest_of([cascade.digest, task, skip_below, most])

    @classmethod
    def load(
        cls,
        task: str,
        category: str = "",
        skip_below: float = 0.0,
        most: int = MOST,
        light: str | Path = "shipped",
        encoder: str | Path = "shipped",
    ) -> CascadeGuard:
        if (str(light), str(encoder)) == ("shipped", "shipped"):
            return cls(Cascade.shipped(), task, category, skip_below, most)
        paths = (LIGHT if str(light) == "shipped" else light, ENCODER if str(encoder) == "shipped" else encoder)
        return cls(Cascade.load(*paths), task, category, skip_below, most)

    async def judge(self, conversation: Conversation, about: Goal | Probe | None = None) -> Verdict:
        return (await self.scan_many([newest(conversation)]))[0]

    def scan(self, text: str) -> Verdict:
        return self.scan_all([text])[0]

    def scan_all(self, texts: Sequence[str]) -> list[Verdict]:
        """Several texts, read together."""
        settled = [self._settled(text) for text in texts]
        doubtful = [text for text, done in zip(texts, settled, strict=True) if done is None]
        deep = iter(self.cascade.scored(doubtful, self.most) if doubtful else ())
        return [done or self._verdict(next(deep)) for done in settled]

    async def scan_many(self, texts: Sequence[str]) -> list[Verdict]:
        """Several texts, read together with those of other requests."""

        async def verdict(text: str) -> Verdict:
            return self._settled(text) or self._verdict(await self.cascade.batcher.scored(text, self.most))

        return await asyncio.gather(*(verdict(text) for text in texts))

    def doubtful(self, texts: Sequence[str]) -> list[bool]:
        """Which texts the light stage, on a quick look at them as typed, does not find clear for this task."""
        if not texts:
            return []
        head = [one.name for one in self.cascade.light.heads].index(self.task.name)
        doubts: list[bool] = (self.cascade.light.logits_of([t.lower() for t in texts])[:, head] > CLEAR).tolist()
        return doubts

    def _settled(self, text: str) -> Verdict | None:
        """The light stage's word on a text that it finds clear, where it may have the last one."""
        if not self.skip_below:
            return None
        score = self.cascade.light.score(text, self.task.name)
        return (
            Verdict("safe", score, "cascade", self.category, f"{self.task.name} {score:.3f} (light stage)")
            if score < self.skip_below
            else None
        )

    def _verdict(self, scored: Scored) -> Verdict:
        score, name = scored.probabilities[self.task.name], self.task.name
        why = f"{name} {score:.3f}"
        if score < self.threshold:
            return Verdict("safe", score, "cascade", self.category, why)
        span = (Span(*scored.worst[name], name),) if name in scored.worst else ()
        return Verdict(name, score, "cascade", self.category, why, span)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-np.clip(x, -60, 60)))


@lru_cache(maxsize=1)
def _shipped() -> Cascade:
    return Cascade.load(LIGHT, ENCODER)
