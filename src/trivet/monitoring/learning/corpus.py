"""The public data for training the light classifier: which rows, with which label for which head, and how they are split.

A row is put into train, dev or test by the hashes of its *keys*: its own normalised text, the goal it pursues, the
document and the attack it was made of, the translations it belongs to, and the cluster of near-duplicates that share
its template. A row whose keys fall into different parts is left out, so that no part shares a text, a goal or a
template with another.

Every head is taught what is bad from its own task and what is fine from all of them. Rows in other languages than
English are kept out of training: in this data nearly all of them are attacks, and a classifier would learn that other
languages are bad. They are reported apart.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from trivet.core.errors import DataError
from trivet.core.messages import digest_of
from trivet.monitoring.learning.contrasts import contrasts
from trivet.monitoring.learning.fine_frames import doubles
from trivet.monitoring.learning.jailbreak_frames import jailbreaks
from trivet.monitoring.learning.lookalikes import lookalikes
from trivet.monitoring.learning.orders import injected
from trivet.monitoring.learning.planted import planted
from trivet.monitoring.learning.slights import slights
from trivet.monitoring.learning.training import Row
from trivet.monitoring.learning.wishes import harmful, harmless

HEADS = ("unsafe", "jailbreak", "injection", "toxic")
# What kind of toxicity; learnt only by the encoder.
KINDS = ("insult", "obscene", "hate", "threat", "sexual", "violence", "self_harm", "sexism")
Part = Literal["train", "dev", "test", "outside", "dropped"]
# What each task's label says about each head. A safe prompt is neither a jailbreak nor an injection.
_FINE = dict.fromkeys((*HEADS, *KINDS), False)
_LABELS: dict[tuple[str, str], dict[str, bool]] = {
    ("prompts_safety", "unsafe"): {"unsafe": True},
    ("prompts_safety", "safe"): _FINE,
    ("over_refusal", "unsafe"): {"unsafe": True},
    ("over_refusal", "safe"): _FINE,
    ("jailbreak", "jailbreak"): {"jailbreak": True},
    ("jailbreak", "benign"): _FINE,
    ("injection", "injected"): {"injection": True},
    ("injection", "clean"): _FINE,
    ("toxicity", "toxic"): {"toxic": True},
    ("toxicity", "non_toxic"): {"toxic": False, **dict.fromkeys(KINDS, False)},
    # Posts that are not sexist are often rude in other ways, so this set speaks about sexism alone.
    ("toxicity", "sexist"): {"sexism": True},
    ("toxicity", "not_sexist"): {"sexism": False},
    ("benign", ""): _FINE,
}
# What the sources of toxicity call a kind.
_KIND_OF = {
    "insult": "insult",
    "profane/obscene": "obscene",
    "identity based attack": "hate",
    "threat": "threat",
    "hate": "hate",
    "hate/threatening": "hate",
    "race": "hate",
    "region": "hate",
    "gender": "hate",
    "harassment": "insult",
    "sexual": "sexual",
    "violence": "violence",
    "violence/graphic": "violence",
    "self-harm": "self_harm",
}
# Which kinds a source tells apart: there, a kind that is not named is absent.
_KINDS_TOLD = {
    "openai_moderation": ("insult", "hate", "sexual", "violence", "self_harm"),
    "toxic_spans": ("insult", "obscene", "hate", "threat"),
    "davidson_tweets": ("hate",),
    "toxigen_human": ("hate",),
    "cold_zh": ("hate",),
}
# Ordinary requests that no part of training sees: the false-alarm rate on them is that on strangers.
OUTSIDE = ("benign/banking77", "benign/coding_prompts", "benign/oasst_users")
# Documents into which a plain instruction was put without a word that leads it in: nothing in such a sentence tells it
# from a user's own request, and a classifier of words that learnt them would flag ordinary requests. The encoder reads
# what stands around it, so it learns them. So does it learn the documents of our own grammar, whose words a classifier of
# words takes for the matter (on the dev part it ranks injections better without them).
FOR_THE_ENCODER = ("injection/constructed_untriggered", "own/tasks", "own/orders")
# Rows that are easily taken for bad: thresholds are set on them apart.
HARD = ("over_refusal/", "injection/notinject")
OWN = (
    "own/lookalikes",
    "own/contrasts",
    "own/planted",
    "own/frames",
    "own/doubles",
    "own/orders",
    "own/tasks",
    "own/slights",
)
# In these tasks nearly everything that is not English is bad, and a classifier would learn that other languages are.
_ENGLISH_ONLY = ("prompts_safety", "injection", "jailbreak", "over_refusal")
_CLEAN = ("injection/oasst_clean", "injection/bipia_email_clean", "injection/agentdojo_clean")
# Documents that nothing was planted in, to plant orders of our own in.
_CARRIERS = (*_CLEAN, "benign/gsm8k")
PLANTED = 1600
# Of each of the larger grammars; training draws other rows of them for each epoch.
WRITTEN = 3600
# Large files of much the same are thinned to so many rows.
CAP = 2500
CAP_TOXICITY = 6000
_SHINGLE = 10
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Example:
    """A row of the corpus: its text, labels by head, `task/file` as its source, and the keys that must stay together."""

    text: str
    labels: Mapping[str, bool]
    source: str
    keys: tuple[str, ...]
    language: str = "en"
    span: tuple[int, int] | None = None

    @property
    def part(self) -> Part:
        if self.source in OWN:
            return "train"
        if self.source in OUTSIDE or (self.language != "en" and self.source.startswith(_ENGLISH_ONLY)):
            return "outside"
        parts = {_part(key) for key in self.keys}
        return parts.pop() if len(parts) == 1 else "dropped"


def _part(key: str) -> Part:
    share = int(digest_of(["split-1", key])[:8], 16) / 2**32
    return "train" if share < 0.6 else "dev" if share < 0.8 else "test"


def load(data: Path) -> list[Example]:
    """Every labelled row of the tasks that the classifier learns from."""
    rows = [(task, row) for task in sorted({t for t, _ in _LABELS}) for row in _rows(data, task)]
    texts = [str(row["document"] if task == "injection" else row["text"]) for task, row in rows]
    clusters = _clusters([_shingles(text, row) for text, (_, row) in zip(texts, rows, strict=True)])
    goals = {normal(str(row["goal"])) for _, row in rows if row.get("goal")}
    examples, number = [], 0
    for (task, row), text, cluster in zip(rows, texts, clusters, strict=True):
        number += row.get("lang") == "en"
        keys = _keys(row, text, number, cluster, goals)
        language = str(row.get("lang", "en")) if task != "benign" else "en"
        language = "en" if language == "English" else language
        labels = _labels(task, row)
        if row["source"] == "constructed":
            # Said by the user, an instruction is no injection: what gives one away is the sentence that leads it in.
            direct = (f"text:{normal(row['attack'])}",)
            examples.append(Example(row["attack"], {"injection": False}, f"{task}/attack_alone", direct))
        span = tuple(row["attack_span"]) if row["source"] == "constructed" else None
        source = "constructed_untriggered" if span and not row["trigger"] else row["source"]
        examples.append(Example(text, labels, f"{task}/{source}", keys, language, span))
    return [*_once(examples), *_own(examples)]


def _own(examples: Sequence[Example]) -> Iterator[Example]:
    """What our own grammars write, for training only; the documents it is planted in are those of the train part."""
    for text, bad in lookalikes():
        yield Example(text, {"unsafe": True} if bad else _FINE, "own/lookalikes", ())
    for text, bad in contrasts():
        yield Example(text, {"unsafe": True} if bad else _FINE, "own/contrasts", ())
    for text, harm, direct in jailbreaks(WRITTEN, harmful(), harmless()):
        # A frame that leaves open what is wished says nothing about harm.
        told = {"jailbreak": True, "unsafe": harm, "injection": direct}
        yield Example(text, {head: bad for head, bad in told.items() if bad}, "own/frames", ())
    for text in doubles(WRITTEN, harmless()):
        yield Example(text, _FINE, "own/doubles", ())
    for text, bad in slights(WRITTEN):
        yield Example(text, {"toxic": bad, "hate": bad}, "own/slights", ())
    clean = [e.text for e in examples if e.source in _CLEAN and e.part == "train"]
    for text, bad, span in planted(clean, PLANTED) if clean else ():
        yield Example(text, {"injection": True} if bad else _FINE, "own/planted", (), span=span)
    carriers = [e.text for e in examples if e.source in _CARRIERS and e.part == "train"]
    for (text, bad, span), addressed in injected(WRITTEN, carriers):
        source = "own/orders" if addressed else "own/tasks"
        yield Example(text, {"injection": True} if bad else _FINE, source, (), span=span)


def _labels(task: str, row: Mapping[str, Any]) -> dict[str, bool]:
    """What a row says about each head: by its task, by the goal it carries, and by its source's kinds of toxicity."""
    labels = dict(_LABELS[task, row.get("label", "")])
    if task == "jailbreak" and row["label"] == "jailbreak" and (row.get("goal") or row["source"] == "sap200"):
        labels["unsafe"] = True  # it carries a harmful request
    if task == "toxicity" and row["label"] in ("toxic", "sexist"):
        found = {_KIND_OF[name] for name in row["categories"] if name in _KIND_OF}
        told = {kind: kind in found for kind in _KINDS_TOLD.get(row["source"], ())}
        unknown = {_KIND_OF.get(name) for name in row.get("unlabelled", ())} - found
        labels |= {kind: bad for kind, bad in told.items() if kind not in unknown}
    return labels


def _once(examples: Sequence[Example]) -> Iterator[Example]:
    """Each text once: several tasks hold the same files of ordinary prompts. A text with two labels is left out."""
    labels: dict[str, dict[str, set[bool]]] = defaultdict(lambda: defaultdict(set))
    for example in examples:
        for head, bad in example.labels.items():
            labels[normal(example.text)][head].add(bad)
    seen = set()
    for example in examples:
        key = normal(example.text)
        if key not in seen and all(len(found) == 1 for found in labels[key].values()):
            seen.add(key)
            merged = {head: min(found) for head, found in labels[key].items()}
            yield replace(example, labels=merged)


def _rows(data: Path, task: str) -> Iterator[dict[str, Any]]:
    folder = data / task
    files = sorted(folder.glob("*.jsonl.gz"))
    if not files:
        raise DataError(
            f"no *.jsonl.gz files in {folder}; --data takes the folder that holds prompts_safety, jailbreak ..."
        )
    for file in files:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for number, line in zip(range(CAP_TOXICITY if task == "toxicity" else CAP), lines, strict=False):
                try:
                    row = json.loads(line)
                    _LABELS[task, row.get("label", "")]
                except (ValueError, KeyError) as error:
                    raise DataError(f"{file}, line {number + 1}: not a row of this task ({error!r})") from error
                yield row


def normal(text: str) -> str:
    """A text without case, punctuation and spacing: equal for what reads the same."""
    return "".join(_WORD.findall(text.casefold()))


def _keys(row: Mapping[str, Any], text: str, number: int, cluster: str, goals: set[str]) -> tuple[str, ...]:
    """What a row must not share with another part: its cluster or else its text, its goal, what it was made of."""
    if row["source"] == "multijail":
        return (f"multijail:{number}",)
    if row["source"] == "constructed":
        start, end = row["attack_span"]
        return (f"text:{normal(text[:start] + text[end:])}", f"text:{normal(row['attack'])}")
    keys = [f"text:{normal(row['goal'])}"] if row.get("goal") else []
    if row["source"] == "paradetox":
        return (f"paradetox:{row['pair']}",)
    if row["source"] == "past_tense_reformulations":
        # A rewording of its goal, and not a text of its own.
        return tuple(keys)
    if cluster:
        keys.append(f"cluster:{cluster}")
    if not cluster or normal(text) in goals:
        keys.append(f"text:{normal(text)}")
    return tuple(keys)


def _shingles(text: str, row: Mapping[str, Any]) -> set[int]:
    """Runs of ten words, without the goal: what a template leaves in every text made from it."""
    if row["source"] == "constructed":
        return set()
    words = _WORD.findall(text.casefold().replace(str(row.get("goal") or "\0").casefold(), " "))
    return {hash(tuple(words[i : i + _SHINGLE])) for i in range(max(0, len(words) - _SHINGLE + 1))}


def _clusters(shingles: Sequence[set[int]]) -> list[str]:
    """For each row the cluster of rows that share a shingle with it, directly or by others; empty when alone."""
    parent = list(range(len(shingles)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[int, int] = {}
    for i, mine in enumerate(shingles):
        for shingle in mine:
            a, b = root(first.setdefault(shingle, i)), root(i)
            parent[max(a, b)] = min(a, b)
    sizes = Counter(root(i) for i in range(len(shingles)))
    return [str(root(i)) if sizes[root(i)] > 1 else "" for i in range(len(shingles))]


def as_rows(examples: Sequence[Example]) -> list[Row]:
    """Training rows of the light classifier. Within a source and label all weigh the same; a source of n texts weighs as the root of n."""
    sizes: dict[tuple[str, str], int] = defaultdict(int)
    for example in examples:
        sizes[example.source, str(dict(example.labels))] += 1
    return [
        Row(e.text, e.labels, sizes[e.source, str(dict(e.labels))] ** -0.5, e.span, e.source.startswith(HARD))
        for e in examples
        if e.source not in FOR_THE_ENCODER
    ]
