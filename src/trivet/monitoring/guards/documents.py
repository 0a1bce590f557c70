"""Indirect injection: instructions in documents, web pages and tool results, which nobody has a right to give there.

    - {name: documents, guard: documents, of: [tool], place: input, action: block}
    - {name: documents, guard: documents, of: [tool], place: input, action: rewrite, settings: {treatment: strip}}
    - {name: spotlight, guard: documents, of: [tool], place: input, action: rewrite, threshold: 0, settings: {treatment: datamark}}

A text is judged sentence by sentence, by the rules of `instructions.py` and by the `injection` head of a trained
classifier at a lower threshold than users' messages get: a user may give instructions, a document may not. Both speak as
chances, and a sentence counts what either sees. The spans are the sentences that raise the score. As a rewrite, `strip`
takes those sentences out and says so in their place, `delimit`, `datamark` and `encode` mark the whole text as a stranger's
(spotlight.py); with `threshold: 0` every document is marked, suspicious or not.

Where the classifier sees an instruction that no single sentence shows, the whole text is the span. A classifier of two
stages (`Doubts`) reads first the sentences that its quick stage does not find clear or that a rule speaks of, and the
others only where none of those is one: a sentence that only the slow stage would have seen stays where another was found.

Not covered: instructions worded as the reader's own task (see instructions.py), what a document talks the model into
without any instruction (false facts), files that are not text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, get_args, runtime_checkable

from trivet.core.errors import ConfigError
from trivet.core.hazards import Goal, Probe
from trivet.core.messages import Conversation, digest_of
from trivet.core.verdicts import Span, Verdict
from trivet.monitoring.guards.instructions import RULES, Hit, hits
from trivet.monitoring.guards.shared import aside, newest
from trivet.monitoring.guards.spotlight import KINDS, spotlit
from trivet.monitoring.text import read

Treatment = Literal["strip", "delimit", "datamark", "encode"]
REMOVED = "[removed: a sentence with instructions to the assistant]"
MOST = 64
"""Sentences that the classifier looks at one by one, the most suspicious stretch of a long text first by its windows."""

_END = re.compile(r"(?<=[.!?\u2026])[\"'\u201d\u2019)\]]{0,2}\s+|\n+|(?<=[\u3002\uff01\uff1f])")


class Scores(Protocol):
    """What is needed of a classifier: a probability, and the threshold it was set to for users' messages."""

    threshold: float
    digest: str

    def scan_all(self, texts: Sequence[str]) -> list[Verdict]: ...


@runtime_checkable
class Doubts(Protocol):
    """A classifier with a quick stage, which says which texts it does not find clear."""

    def doubtful(self, texts: Sequence[str]) -> list[bool]: ...


class Sentence(NamedTuple):
    """A sentence of the text with its chance of being an instruction, and the rules that say so."""

    start: int
    end: int
    score: float
    rules: tuple[str, ...] = ()


class Documents:
    """A guard for texts of strangers. `strictness`: the share of the classifier's threshold from which it counts here."""

    threshold = 0.5
    cheap = False
    text_only = True

    def __init__(
        self,
        classifier: Scores | None = None,
        treatment: Treatment = "strip",
        strictness: float = 0.8,
        explain: bool = True,
    ) -> None:
        if treatment not in get_args(Treatment):
            raise ConfigError(f"treatment is {treatment!r}; it can be {', '.join(get_args(Treatment))}")
        if not 0 < strictness <= 1:
            raise ConfigError(
                f"strictness is {strictness}; it is a share above 0 and up to 1 of the classifier's threshold"
            )
        self.classifier, self.treatment, self.strictness, self.explain = classifier, treatment, strictness, explain
        rules = [(rule.name, rule.weight, rule.shape.pattern) for rule in RULES]
        seen = classifier.digest if classifier else ""
        self.digest = digest_of(["documents-2", rules, seen, treatment, strictness, explain])

    @classmethod
    def load(
        cls,
        weights: str | Path | None = "shipped",
        head: str = "injection",
        treatment: Treatment = "strip",
        strictness: float = 0.8,
        explain: bool = True,
        stage: Literal["encoder", "light"] = "encoder",
    ) -> Documents:
        """With the injection task of the cascade, or with `stage: light` a light classifier's head alone (`weights`: a
        file); `weights: null` for the rules alone."""
        if weights is None:
            return cls(None, treatment, strictness, explain)
        if stage not in ("encoder", "light"):
            raise ConfigError(f"stage is {stage!r}; it can be encoder, light")
        if stage == "light" or str(weights) != "shipped":
            from trivet.monitoring.guards.classifier import ClassifierGuard

            return cls(ClassifierGuard.load(weights, head=head), treatment, strictness, explain)
        from trivet.monitoring.guards.cascade import MOST_OF_DOCUMENTS, CascadeGuard

        return cls(CascadeGuard.load(head, most=MOST_OF_DOCUMENTS), treatment, strictness, explain)

    async def judge(self, conversation: Conversation, about: Goal | Probe | None = None) -> Verdict:
        return await aside(self.scan, newest(conversation))

    def scan(self, text: str) -> Verdict:
        found = self.sentences(text)
        score = max((sentence.score for sentence in found), default=0.0)
        if score < self.threshold:
            return Verdict("safe", score, "documents")
        bad = [sentence for sentence in found if sentence.score >= self.threshold]
        rules = sorted({rule for sentence in bad for rule in sentence.rules}) or ["classifier"]
        spans = tuple(Span(start, end, "instruction") for start, end in _joined(text, bad))
        return Verdict("injection", score, "documents", "prompt_injection", f"instructions: {', '.join(rules)}", spans)

    def rewrite(self, text: str, verdict: Verdict) -> str:
        """The text as the treatment says; `strip` where nothing was found leaves it as it is."""
        if self.treatment in KINDS:
            return spotlit(text, self.treatment, explain=self.explain)  # type: ignore[arg-type]
        out, at = [], 0
        for span in verdict.spans:
            out += [text[at : span.start], REMOVED]
            at = span.end
        return "".join(out) + text[at:]

    def sentences(self, text: str) -> list[Sentence]:
        """Every sentence with what the rules and the classifier make of it."""
        edges = sentence_edges(text)
        found = [
            Sentence(*edge, score, rules)
            for edge, (score, rules) in zip(edges, _ruled(edges, list(hits(read(text)))), strict=True)
        ]
        if self.classifier is None or not found:
            return found
        (whole,) = self._seen([text])
        if whole < self.threshold:
            return found
        one_by_one = self._one_by_one(text, found[:MOST])
        both = [
            s._replace(score=1 - (1 - s.score) * (1 - seen))
            for s, seen in zip(found, [*one_by_one, *[0.0] * (len(found) - len(one_by_one))], strict=True)
        ]
        if max(sentence.score for sentence in both) < self.threshold:
            return [Sentence(0, len(text), whole)]
        return both

    def _one_by_one(self, text: str, found: Sequence[Sentence]) -> list[float]:
        """What the classifier makes of each sentence, those in doubt first; where one of them counts, of no other."""
        texts = [text[sentence.start : sentence.end] for sentence in found]
        if not isinstance(self.classifier, Doubts):
            return self._seen(texts)
        doubtful = self.classifier.doubtful(texts)
        first = [n for n, sentence in enumerate(found) if doubtful[n] or sentence.rules]
        scores = [0.0] * len(texts)
        for some in (first, [n for n in range(len(texts)) if n not in first]):
            for n, score in zip(some, self._seen([texts[n] for n in some]), strict=True):
                scores[n] = score
            if max(scores) >= self.threshold:
                break
        return scores

    def _seen(self, texts: Sequence[str]) -> list[float]:
        """The classifier's probabilities, bent so that one half is where they count for documents."""
        assert self.classifier is not None
        limit = self.strictness * self.classifier.threshold
        return [bent(verdict.score, limit) for verdict in self.classifier.scan_all(texts)]


def bent(probability: float, threshold: float) -> float:
    """A probability on a scale where the threshold is one half and both ends stay where they are."""
    if probability < threshold:
        return 0.5 * probability / threshold
    return 0.5 + 0.5 * (probability - threshold) / max(1 - threshold, 1e-9)


def sentence_edges(text: str) -> list[tuple[int, int]]:
    """Where sentences begin and end, without the blanks between; a line is a sentence too."""
    edges, at = [], 0
    for match in _END.finditer(text):
        if text[at : match.start()].strip():
            edges.append((at, match.start()))
        at = match.end()
    if text[at:].strip():
        edges.append((at, len(text)))
    return edges


def _ruled(edges: Sequence[tuple[int, int]], found: Sequence[Hit]) -> list[tuple[float, tuple[str, ...]]]:
    """The score of each sentence: its own rules, and where it has any, those of its neighbours."""
    own: list[dict[str, float]] = [{} for _ in edges]
    first = 0
    for hit in sorted(found):
        while first < len(edges) and edges[first][1] <= hit.start:
            first += 1
        place = first
        while place < len(edges) and edges[place][0] < hit.end:
            own[place][hit.rule] = max(hit.weight, own[place].get(hit.rule, 0.0))
            place += 1
    scores = []
    for place, rules in enumerate(own):
        near = dict(rules)
        if rules:
            for beside in (place - 1, place + 1):
                if 0 <= beside < len(own):
                    near |= {rule: weight for rule, weight in own[beside].items() if rule not in near}
        scores.append((1 - math.prod(1 - weight for weight in near.values()), tuple(sorted(near))))
    return scores


def _joined(text: str, sentences: Sequence[Sentence]) -> list[tuple[int, int]]:
    """Neighbouring sentences as one stretch."""
    out: list[tuple[int, int]] = []
    for sentence in sentences:
        if out and not text[out[-1][1] : sentence.start].strip():
            out[-1] = (out[-1][0], sentence.end)
        else:
            out.append((sentence.start, sentence.end))
    return out
