"""What is wrong with a set of lessons before anything is learnt from it: repeats, contradictions, leaks, leanings.

    duplicates      a lesson that stood before, after case, punctuation and spacing (shingles.normal)
    swapped         two pairs of one prompt in which chosen and rejected have changed places
    cyclic          pairs on a longer circle: a over b, b over c, c over a; no reward can rank them
    two_labels      feedback: the same reply to the same prompt, once desirable and once not
    alike           a pair whose replies are near (shingles.NEAR), so that there is little to prefer
    both_sides      replies of one prompt that are chosen here and rejected there: ordinary in ranked lists, told only
    near_prompts    prompts that are near another prompt of the set
    openings        pairs whose replies begin with the same words: a cut through characters instead of turns would move
                    these into the prompt (turns.py does not); `inside_words` counts where it would fall inside a word
    length bias     how often the longer reply (in words) is the chosen one

Leakage compares two sets: held-out lessons whose prompt, reply or whole is found in the other, and prompts near one of its.
Everything flagged is named by its source and line.

Not covered: wrong labels that contradict nothing (labels.py finds some where several people labelled); harmful or private
content (that is what guards are for); pairs of one prompt count as independent in the intervals.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from trivet.alignment import diversity
from trivet.alignment.shingles import NEAR, WIDTH, groups, near_pairs, normal, overlap, shingles
from trivet.core.lessons import Demonstration, Feedback, Lesson, Origin, Preference
from trivet.core.messages import Conversation
from trivet.core.stats import Rate, rate_of

Key = tuple[Hashable, ...]
UNKNOWN = Origin("unknown")
PAIR_FLAGS = ("swapped", "cyclic", "alike")


class Flag(NamedTuple):
    """A lesson that is not as it should be: where it stands, why, and the place of the lesson it clashes with."""

    place: str
    reason: str
    other: str = ""


@dataclass(frozen=True)
class View:
    """A lesson as it is compared here: its prompt, its replies and its label, in normal forms."""

    lesson: Lesson | Conversation
    at: str = ""

    @property
    def place(self) -> str:
        return self.at or str(getattr(self.lesson, "origin", UNKNOWN))

    @property
    def prompt(self) -> Conversation:
        return self.lesson if isinstance(self.lesson, Conversation) else self.lesson.prompt

    @property
    def replies(self) -> tuple[str, ...]:
        match self.lesson:
            case Preference(_, chosen, rejected):
                return chosen, rejected
            case Demonstration(_, reply) | Feedback(_, reply):
                return (reply,)
        return ()

    @cached_property
    def asked(self) -> Key:
        """The prompt's normal form, turn by turn; empty for a plain text."""
        return tuple((message.role, _key(message.content)) for message in self.prompt)

    @cached_property
    def said(self) -> tuple[str, ...]:
        return tuple(map(_key, self.replies))

    @property
    def opening(self) -> str:
        """What the user said first."""
        return next((text for role, text in self.asked if role == "user"), "")  # type: ignore[misc]

    @property
    def key(self) -> Key:
        return (self.asked, self.said, self.lesson.desirable if isinstance(self.lesson, Feedback) else None)


def figures(lessons: Sequence[Lesson | Conversation], places: Sequence[str] = ()) -> tuple[dict[str, Any], list[Flag]]:
    """(figures, flags) of one set: all that docs/figures.md lists for `trivet data report`, without leakage.

    `places` names the lessons one by one; else their origins do, which prompts have not.
    """
    views = _views(lessons, places)
    prompts = _unique(views, lambda view: view.asked)
    prompts.pop((), None)
    texts = ["\n".join(message.content for message in view.prompt) for view in prompts.values()]
    near = [(one, two) for one, two, _ in near_pairs(texts)]
    flags = [*_duplicates(views), *_two_labels(views), *_near(list(prompts.values()), near)]
    found: dict[str, Any] = {
        "lessons": len(views),
        "prompts": len(prompts),
        "turns": dict(sorted(Counter(str(len(view.prompt)) for view in views).items(), key=lambda item: int(item[0]))),
        "words": {name: _spread(lengths) for name, lengths in _lengths(views).items()},
    }
    pairs = [view for view in views if isinstance(view.lesson, Preference)]
    if pairs:
        flags += [*_against(pairs), *_alike(pairs)]
        found |= _of_pairs(pairs)
    counted = Counter(flag.reason for flag in flags)
    judged = any(isinstance(view.lesson, Feedback) for view in views)
    reasons = ["duplicate", "near_prompt", *(PAIR_FLAGS if pairs else ()), *(["two_labels"] if judged else ())]
    found["flagged"] = {reason: counted[reason] for reason in reasons}
    found["near_groups"] = len(groups(near))
    found["diversity"] = diversity.figures([_users_words(view) for view in prompts.values()])
    return found, flags


def leakage(
    data: Sequence[Lesson | Conversation],
    heldout: Sequence[Lesson | Conversation],
    places: tuple[Sequence[str], Sequence[str]] = ((), ()),
) -> tuple[dict[str, Any], list[Flag]]:
    """(figures, flags): how many held-out lessons are found in the data, as rates, by what of them is found.

    A reply counts from five words on: short ones are said to many prompts. `near_prompt` leaves out equal prompts.
    `places` names the lessons of both sets, as for `figures`.
    """
    learnt, unseen = _views(data, places[0]), _views(heldout, places[1])
    looked: dict[str, Callable[[View], Iterable[Hashable]]] = {
        "lesson": lambda view: [view.key],
        "prompt": lambda view: [view.asked] if view.asked else [],
        "opening": lambda view: [view.opening] if view.opening else [],
        "reply": lambda view: [text for text in view.said if len(text.split()) >= WIDTH],
    }
    found, flags = {}, []
    for name, keys in looked.items():
        known = {key: view.place for view in reversed(learnt) for key in keys(view)}
        hits = [next((known[key] for key in keys(view) if key in known), None) for view in unseen]
        found[name] = rate_of(hit is not None for hit in hits).row()
        flags += [Flag(view.place, name, hit) for view, hit in zip(unseen, hits, strict=True) if hit is not None]
    near = _near_leaks(learnt, unseen)
    found["near_prompt"] = Rate(len(near), len(unseen)).row()
    return found, [*flags, *near]


def _views(lessons: Sequence[Lesson | Conversation], places: Sequence[str]) -> list[View]:
    return [View(lesson, places[at] if places else "") for at, lesson in enumerate(lessons)]


def _of_pairs(pairs: Sequence[View]) -> dict[str, Any]:
    lengths = [tuple(len(reply.split()) for reply in view.replies) for view in pairs]
    starts = [_shared_opening(*view.replies) for view in pairs]
    return {
        "longer_chosen": rate_of(won > lost for won, lost in lengths if won != lost).row(),
        "words_more": round(float(np.mean([won - lost for won, lost in lengths])), 3),
        "openings": rate_of(bool(start) for start, _ in starts).row(),
        "inside_words": rate_of(inside for _, inside in starts).row(),
        "both_sides": _both_sides(pairs),
        "weight": round(sum(view.lesson.weight for view in pairs), 5),  # type: ignore[union-attr]
        "uncertain": sum(view.lesson.chance < 1 for view in pairs),  # type: ignore[union-attr]
    }


def _shared_opening(one: str, two: str) -> tuple[str, bool]:
    """(what both begin with, whether that ends inside a word of either)."""
    one, two = one.strip(), two.strip()
    same = next((at for at, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
    follow = (one[same : same + 1], two[same : same + 1])
    return one[:same].strip(), one[same - 1 : same].isalnum() and any(letter.isalnum() for letter in follow)


def _duplicates(views: Sequence[View]) -> Iterator[Flag]:
    first: dict[Key, str] = {}
    for view in views:
        if view.key in first:
            yield Flag(view.place, "duplicate", first[view.key])
        first.setdefault(view.key, view.place)


def _two_labels(views: Sequence[View]) -> Iterator[Flag]:
    labels: defaultdict[Key, dict[bool, str]] = defaultdict(dict)
    judged = [
        (view, (view.asked, view.said), view.lesson.desirable) for view in views if isinstance(view.lesson, Feedback)
    ]
    for view, key, label in judged:
        labels[key].setdefault(label, view.place)
    for view, key, label in judged:
        if len(labels[key]) == 2:
            yield Flag(view.place, "two_labels", labels[key][not label])


def _against(pairs: Sequence[View]) -> Iterator[Flag]:
    """Pairs that others contradict: by the same two replies the other way round, or by a circle of three and more."""
    asked: defaultdict[Key, dict[tuple[str, ...], str]] = defaultdict(dict)
    pairs = [view for view in pairs if view.said[0] != view.said[1]]
    for view in pairs:
        asked[view.asked].setdefault(view.said, view.place)
    circles = {key: _circles(edges) for key, edges in asked.items() if len(edges) > 1}
    for view in pairs:
        edges, (won, lost) = asked[view.asked], view.said
        if (lost, won) in edges:
            yield Flag(view.place, "swapped", edges[lost, won])
        elif view.asked in circles and circles[view.asked][won] == circles[view.asked][lost]:
            yield Flag(view.place, "cyclic")


def _circles(edges: Iterable[tuple[str, ...]]) -> Mapping[str, int]:
    """Each reply's strongly connected part: two replies in one part are each preferred to the other by some path."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    pairs = list(edges)
    place = {reply: at for at, reply in enumerate(dict.fromkeys(reply for pair in pairs for reply in pair))}
    ends = ([place[won] for won, _ in pairs], [place[lost] for _, lost in pairs])
    graph = csr_array((np.ones(len(pairs)), ends), shape=(len(place), len(place)))
    parts = connected_components(graph, directed=True, connection="strong")[1]
    return {reply: int(parts[at]) for reply, at in place.items()}


def _both_sides(pairs: Sequence[View]) -> int:
    differ = [view for view in pairs if view.said[0] != view.said[1]]
    won, lost = ({(view.asked, view.said[side]) for view in differ} for side in (0, 1))
    return len(won & lost)


def _alike(pairs: Sequence[View]) -> Iterator[Flag]:
    for view in pairs:
        one, two = view.said
        if one == two or overlap(shingles(one), shingles(two)) >= NEAR:
            yield Flag(view.place, "alike")


def _near(prompts: Sequence[View], near: Sequence[tuple[int, int]]) -> Iterator[Flag]:
    """One flag for each prompt that is near an earlier one."""
    first: dict[int, int] = {}
    for one, two in sorted(near):
        first.setdefault(two, one)
    for two, one in sorted(first.items()):
        yield Flag(prompts[two].place, "near_prompt", prompts[one].place)


def _near_leaks(learnt: Sequence[View], unseen: Sequence[View]) -> list[Flag]:
    """Held-out lessons whose prompt is near one of the data, and equal to none."""
    ours, theirs = (_unique(views, lambda view: view.asked) for views in (learnt, unseen))
    asked = [view for key, view in theirs.items() if key and key not in ours]
    known = [view for key, view in ours.items() if key]
    texts = [["\n".join(message.content for message in view.prompt) for view in side] for side in (asked, known)]
    first: dict[Key, str] = {}
    for one, two, _ in near_pairs(texts[0], texts[1]):
        first.setdefault(asked[one].asked, known[two].place)
    return [Flag(view.place, "near_prompt", first[view.asked]) for view in unseen if view.asked in first]


def _lengths(views: Sequence[View]) -> dict[str, list[int]]:
    """The words of prompts and of replies, by what the replies are."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for view in views:
        found["prompt"].append(sum(len(message.content.split()) for message in view.prompt))
        names = ("chosen", "rejected")
        if isinstance(view.lesson, Feedback):
            names = ("desirable",) if view.lesson.desirable else ("undesirable",)  # type: ignore[assignment]
        elif isinstance(view.lesson, Demonstration):
            names = ("reply",)  # type: ignore[assignment]
        for name, reply in zip(names, view.replies, strict=False):
            found[name].append(len(reply.split()))
    return dict(found)


def _spread(lengths: Sequence[int]) -> dict[str, float]:
    cuts = np.quantile(lengths, [0.05, 0.5, 0.95])
    named = dict(zip(("p5", "median", "p95"), map(float, cuts), strict=True))
    return {"mean": round(float(np.mean(lengths)), 2), **named, "max": max(lengths)}


def _users_words(view: View) -> str:
    return "\n".join(message.content for message in view.prompt if message.role == "user")


def _unique(views: Iterable[View], key: Callable[[View], Key]) -> dict[Key, View]:
    """The first view of each key, in order."""
    found: dict[Key, View] = {}
    for view in views:
        found.setdefault(key(view), view)
    return found


def _key(text: str) -> str:
    """The normal form, or the text itself where that has no words (signs, emoji)."""
    return normal(text) or text.strip()
