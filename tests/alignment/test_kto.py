"""KTO: the reference point, wrong replies, resume, and that it learns from thumbs alone."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch

from alignment.tiny import words
from trivet.alignment import kto, models, objectives
from trivet.alignment.batches import collate
from trivet.alignment.logprobs import Scorer, per_owner
from trivet.core.errors import DataError
from trivet.core.lessons import Feedback
from trivet.core.messages import Conversation


@pytest.fixture(scope="module")
def judged() -> list[Feedback]:
    dice = random.Random(3)
    found = []
    for _ in range(20):
        prompt = Conversation.user(words(dice, 2, 10))
        found.append(Feedback(prompt, "the lamp " + words(dice, 1, 8), True))
        found.append(Feedback(prompt, "the ferry " + words(dice, 1, 8), False))
    return found


def config(folder, out, **changes) -> kto.Config:
    settings = {"lr": 2e-3, "batch_size": 8, "epochs": 3, "log_every": 1, "save_every": 0, "threads": 1}
    return kto.Config(model=str(folder), out=str(out), **{**settings, **changes})


def metrics(out) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_the_first_step_costs_one_half_and_then_it_learns(folder, tmp_path, judged):
    result = kto.run(config(folder, tmp_path), judged, heldout=judged[:8])
    rows = metrics(tmp_path)
    assert rows[0]["loss"] == pytest.approx(0.5, abs=1e-6)  # policy = reference: no shift, no KL
    assert rows[0]["kl"] == 0.0
    assert result.final["margin"] > 1.0 and result.final["heldout_margin"] > 1.0 and result.loss < 0.5


def test_one_step_is_the_formula_with_the_kl_of_the_whole_batch(folder, tmp_path, judged):
    """After one step the second one's loss is recomputed from weights, reference and wrong replies by hand."""
    one = kto.run(config(folder, tmp_path / "one", max_steps=1), judged)
    kto.run(config(folder, tmp_path / "two", max_steps=2), judged)
    from trivet.alignment.batches import plan

    start, tokenizer = models.load(folder)
    moved, _ = models.load(one.folder)
    pairs, desirable, _ = kto.encode_feedback(tokenizer, judged, 512, 0)
    lengths = [len(pair.prompt) + len(pair.chosen) for pair in pairs]
    (indices,) = plan(lengths, batch_size=8, epochs=3, max_steps=2, seed=0)[1]

    def shift(pick):
        batch = collate([pairs[i].row(pick(pairs[i])) for i in indices], 0)
        ours, theirs = (per_owner(Scorer(model.eval())(batch), batch.owners, len(indices)) for model in (moved, start))
        return (ours - theirs).detach()

    kl = max(0.0, float(shift(lambda pair: pair.rejected).mean()))
    losses = objectives.kto(shift(lambda pair: pair.chosen), torch.from_numpy(desirable[indices]), kl, beta=0.1)
    # The schedule differs between the two runs only after the first step, whose rate is the same.
    assert metrics(tmp_path / "two")[1]["loss"] == pytest.approx(float(losses.mean()), abs=2e-4)


def test_micro_batches_change_nothing(folder, tmp_path, judged):
    losses = []
    for budget in (8192, 64):
        kto.run(config(folder, tmp_path / str(budget), batch_tokens=budget, max_steps=4), judged)
        losses.append([row["loss"] for row in metrics(tmp_path / str(budget))])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_resume_ends_in_the_same_bits(folder, tmp_path, judged):
    whole = kto.run(config(folder, tmp_path / "whole", max_steps=6), judged)

    def stop(row):
        if row["step"] == 5:
            raise KeyboardInterrupt

    again = config(folder, tmp_path / "again", max_steps=6, save_every=2)
    with pytest.raises(KeyboardInterrupt):
        kto.run(again, judged, progress=stop)
    resumed = kto.run(again, judged)
    for name in ("model.safetensors",):
        assert (whole.folder / name).read_bytes() == (resumed.folder / name).read_bytes()


def test_wrong_replies_are_a_permutation_without_the_own_prompt():
    prompts = [str(number // 2) for number in range(40)]
    found = kto.mismatched(prompts, 5)
    assert all(prompts[at] != prompts[other] for at, other in enumerate(found))
    assert len(set(found)) > 30
    assert kto.mismatched(prompts, 5) == found != kto.mismatched(prompts, 6)
    with pytest.raises(DataError, match="all judged replies answer one prompt"):
        kto.mismatched(["a", "a"], 0)


def test_weights_scale_their_kind_only(folder, tmp_path, judged):
    light = kto.run(config(folder, tmp_path / "light", max_steps=1, undesirable_weight=0.0), judged)
    row = metrics(tmp_path / "light")[0]
    assert row["loss"] == pytest.approx(0.5 * row["desirable_share"], abs=1e-6)
    assert light.steps == 1


def test_too_long_and_empty_replies_are_dropped_and_counted(folder):
    _, tokenizer = models.load(folder)
    lessons = [Feedback(Conversation.user(text), reply, True) for text, reply in
               (("a", "the lamp"), ("b", " "), ("c", "lamp " * 200), ("d", "the well"))]  # fmt: skip
    pairs, desirable, dropped = kto.encode_feedback(tokenizer, lessons, 40, 0)
    assert dropped == {"too_long": 1, "empty": 1} and len(pairs) == len(desirable) == 2
    assert np.array_equal(pairs[0].rejected, pairs[1].chosen)
