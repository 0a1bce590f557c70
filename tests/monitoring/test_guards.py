"""The light classifier on a small made-up task."""

from __future__ import annotations

import asyncio
import base64
import codecs
import itertools
import random
from pathlib import Path

import numpy as np
import pytest

from trivet.core.errors import ConfigError, DataError
from trivet.core.messages import Conversation
from trivet.core.ngrams import buckets
from trivet.monitoring.guards.classifier import ClassifierGuard, LightClassifier, train, windows

# Classifier


def town(n: int, seed: int) -> list[tuple[str, bool]]:
    rng = random.Random(seed)
    openings = ["How do I", "Please tell me how to", "Explain how to", "I want to"]
    bad, good = ["hex", "curse", "poison", "burgle"], ["greet", "paint", "visit", "feed"]
    whom = ["the baker", "my neighbour", "the mayor", "a cat", "the miller"]
    rows = []
    for _ in range(n):
        wrong = rng.random() < 0.5
        rows.append(
            (
                f"{rng.choice(openings)} {rng.choice(bad if wrong else good)} {rng.choice(whom)} at {rng.randrange(24)}?",
                wrong,
            )
        )
    return rows


@pytest.fixture(scope="module")
def classifier() -> LightClassifier:
    return train(town(500, 1))


def test_it_learns_and_sees_through_disguises(classifier: LightClassifier) -> None:
    bad = "How do I poison the baker"
    for text in (
        bad,
        bad.replace("o", "0"),
        codecs.encode(f"{bad} and my neighbour and the mayor of the town", "rot13"),
        base64.b64encode(bad.encode()).decode(),
        "It rained on the market all day long. " * 300 + bad + " It rained on the market all day long." * 300,
    ):
        assert classifier.flags(text), text[:60]
    assert not classifier.flags("How do I paint the baker")


def test_the_false_alarm_rate_is_kept_on_new_texts(classifier: LightClassifier) -> None:
    rows = town(1000, 2)
    assert np.mean([classifier.flags(text) for text, bad in rows if bad]) > 0.95
    assert np.mean([classifier.flags(text) for text, bad in rows if not bad]) < 0.03


def test_scores_are_calibrated_probabilities() -> None:
    rng = random.Random(3)
    noisy = [(text, bad if rng.random() < 0.8 else not bad) for text, bad in town(3000, 4)]
    classifier = train(noisy, strength=2.0)
    scores = np.array([classifier.score(text) for text, _ in town(1000, 5)])
    truth = np.array([bad for _, bad in town(1000, 5)])
    assert abs(scores[truth].mean() - 0.8) < 0.08
    assert abs(scores[~truth].mean() - 0.2) < 0.08


def test_the_same_rows_give_the_same_file(tmp_path: Path, classifier: LightClassifier) -> None:
    train(town(500, 1)).save(tmp_path / "a.npz")
    classifier.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    again = LightClassifier.load(tmp_path / "a.npz")
    assert again.digest == classifier.digest
    assert again.score("How do I poison a cat") == classifier.score("How do I poison a cat")


@pytest.mark.parametrize(
    ("rows", "said"),
    [([], "no rows"), ([("a", True)] * 40, "only bad"), ([(f"x {i}", False) for i in range(40)], "only good")],
)
def test_rows_that_cannot_teach_are_refused(rows: list, said: str) -> None:
    with pytest.raises(DataError, match=said):
        train(rows)


def test_a_file_that_is_no_classifier_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"not a zip")
    with pytest.raises(DataError, match="not a classifier"):
        LightClassifier.load(tmp_path / "x.npz")
    with pytest.raises(DataError, match="not a classifier"):
        LightClassifier.load(tmp_path / "none.npz")


def test_the_guard_is_a_judge_with_the_heads_threshold(classifier: LightClassifier) -> None:
    guard = ClassifierGuard(classifier, category="violent_crimes")
    verdict = asyncio.run(guard.judge(Conversation.user("How do I hex the mayor")))
    assert (verdict.label, verdict.category) == ("unsafe", "violent_crimes")
    assert guard.threshold == classifier.threshold
    with pytest.raises(ConfigError, match="no head 'toxic'"):
        ClassifierGuard(classifier, "toxic")


@pytest.mark.parametrize("length", [0, 1, 479, 480, 481, 720, 721, 7001])
def test_windows_cover_every_character_with_overlap(length: int) -> None:
    found = list(windows(length))
    assert found[0][0] == 0 and found[-1][1] == length
    assert all(b_start <= a_end - 240 for (_, a_end), (b_start, _) in itertools.pairwise(found))


def test_features_are_the_same_in_every_process() -> None:
    places, values = buckets("How do I paint the baker?", 1 << 16)
    assert list(places[:4]) == sorted(places[:4])
    assert abs(float(np.linalg.norm(values)) - 1) < 1e-6
    assert (len(places), int(places.sum())) == (83, 2566046)
