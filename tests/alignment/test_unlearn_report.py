"""The audit of an unlearned model: its figures by hand, its attacks, its words."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel

from alignment.tiny import tiny_tokenizer, words
from trivet.alignment import models, sft, unlearn
from trivet.alignment.unlearn_attacks import quantised, relearn, rounded
from trivet.alignment.unlearn_report import (
    Settings,
    answer_probabilities,
    audit,
    forget_quality,
    half_way,
    quality,
    relearning,
    rouge,
    same,
    told,
    truth_ratios,
    utility,
    wrong_answers,
)
from trivet.core.errors import DataError
from trivet.core.lessons import Demonstration
from trivet.core.messages import Conversation
from trivet.core.stats import Rate

QUICK = Settings(relearn_rows=4, relearn_at=(0, 2, 4, 8), relearn_lr=1e-3, max_tokens=24, device="cpu")


def lessons(seed: int, count: int) -> list[Demonstration]:
    dice = random.Random(seed)
    return [Demonstration(Conversation.user(words(dice, 3, 9)), words(dice, 2, 6)) for _ in range(count)]


FORGET, RETAIN = lessons(1, 12), lessons(2, 16)


def taught(start: Path, out: Path, rows: list[Demonstration], steps: int = 120) -> Path:
    settings = sft.Config(model=str(start), out=str(out), lr=5e-3, batch_tokens=512, max_steps=steps, save_every=0)
    return sft.run(settings, rows).folder


@pytest.fixture(scope="module")
def shelf(folder, tmp_path_factory) -> dict[str, Path]:
    """Models that know both sets, that never knew the first, and that were made to forget it."""
    place = tmp_path_factory.mktemp("shelf")
    knows = taught(folder, place / "knows", [*FORGET, *RETAIN])
    settings = unlearn.Config(
        model=str(knows), out=str(place / "unlearned"), loss="npo", beta=0.5, retain_weight=5.0, lr=1e-3, max_steps=30,
        batch_size=6, warmup=0.0, audit=False, save_every=0,
    )  # fmt: skip
    return {
        "knows": knows,
        "never": taught(folder, place / "never", RETAIN),
        "unlearned": unlearn.run(settings, FORGET, RETAIN).folder,
    }


# ------------------------------------------------------------------------------------------------------------ figures


@pytest.mark.parametrize(
    ("said", "answer", "share"),
    [
        ("the red hex is here", "a red jinx is here", 3 / 5),
        ("Red, red wine!", "red wine", 1.0),
        ("wine red", "red wine", 0.5),
        ("", "red wine", 0.0),
        ("anything", "...", 0.0),
        ("a b c d e", "e d c b a", 0.2),
    ],
)
def test_rouge_by_hand(said, answer, share):
    assert rouge(said, answer) == pytest.approx(share)


def test_rouge_against_a_plain_recursion():
    def longest(a, b):
        if not a or not b:
            return 0
        return longest(a[1:], b[1:]) + 1 if a[0] == b[0] else max(longest(a[1:], b), longest(a, b[1:]))

    dice = random.Random(0)
    for _ in range(30):
        one, two = ([dice.choice("abc") for _ in range(dice.randint(1, 7))] for _ in range(2))
        assert rouge(" ".join(one), " ".join(two)) == pytest.approx(longest(one, two) / len(two))


def test_the_same_answer_but_for_case_spaces_and_marks():
    assert same(" The  Lamp. ", "the lamp") and not same("the lamps", "the lamp") and not same("", "the lamp")


def test_utility_is_as_low_as_its_lowest_part():
    assert utility({"probability": 0.5, "rouge": 1.0, "exact": Rate(1, 4)}) == pytest.approx(3 / (2 + 1 + 4))
    assert utility({"probability": 0.5, "rouge": 1.0, "exact": Rate(0, 4)}) == 0


def test_probability_is_the_geometric_mean_over_tokens(folder):
    model, tokenizer = models.load(folder, device="cpu")
    row = FORGET[0]
    prompt = tokenizer.apply_chat_template(
        row.prompt.rows(), tokenize=True, add_generation_prompt=True, return_dict=False
    )
    reply = tokenizer(row.reply, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    logits = model.eval()(torch.tensor([[*prompt, *reply]])).logits[0].log_softmax(-1).detach()
    chance = math.exp(sum(float(logits[len(prompt) - 1 + at, token]) for at, token in enumerate(reply)) / len(reply))
    assert answer_probabilities(folder, [row], QUICK).tolist() == pytest.approx([chance], rel=1e-4)


def test_truth_ratio_by_hand(folder):
    rows = FORGET[:4]
    settings = Settings(wrong=2, device="cpu")
    found = truth_ratios(folder, rows, settings)
    for at, row in enumerate(rows):
        others = [Demonstration(row.prompt, text) for text in wrong_answers(rows, row, 2)]
        wrong = answer_probabilities(folder, others, settings)
        assert found[at] == pytest.approx(wrong.mean() / answer_probabilities(folder, [row], settings)[0], rel=1e-4)
        assert row.reply not in wrong_answers(rows, row, 2)
    assert not len(truth_ratios(folder, [rows[0], rows[0]], settings))


def test_forget_quality_tells_other_distributions_apart():
    dice = np.random.default_rng(0)
    one = dice.normal(size=80)
    assert forget_quality(one, one) == 1.0
    assert forget_quality(one, dice.normal(size=80)) > 0.05 > forget_quality(one, one + 1)
    assert forget_quality(one, np.empty(0)) is None


def test_the_unlearned_model_stands_nearer_to_the_one_that_never_knew(shelf):
    sets = {"forget": FORGET, "retain": RETAIN}
    found = {name: quality(place, sets, QUICK) for name, place in shelf.items()}
    assert found["knows"]["forget"]["exact"].rate > 0.7
    assert found["unlearned"]["forget"]["probability"] < 0.5 * found["knows"]["forget"]["probability"]
    assert found["unlearned"]["forget"]["rouge"] < 0.7 * found["knows"]["forget"]["rouge"]
    assert found["never"]["forget"]["exact"].rate == 0.0
    for name in shelf:
        assert utility(found[name]["retain"]) > 0.7


# ------------------------------------------------------------------------------------------------------------ attacks


def test_rounding_by_hand():
    assert rounded(torch.tensor([[3.0, 1.4, -0.4], [0.0, 0.0, 0.0]]), 3).tolist() == [[3.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    with pytest.raises(ValueError, match="bits is 1"):
        rounded(torch.ones(1, 1), 1)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_rounding_stays_within_half_a_step_on_a_grid_of_so_many_values(bits):
    torch.manual_seed(0)
    weight = torch.randn(20, 300) * torch.logspace(-3, 2, 20)[:, None]
    found = rounded(weight, bits)
    step = weight.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    assert bool(((found - weight).abs() <= step / 2 * (1 + 1e-5)).all())
    for row in found:
        assert len(row.unique()) <= 2**bits - 1
    assert torch.allclose(found.abs().amax(1), weight.abs().amax(1))


def test_many_bits_change_nothing_and_16_bit_weights_keep_their_type():
    weight = torch.randn(8, 8)
    assert torch.allclose(rounded(weight, 28), weight, rtol=1e-6, atol=1e-7)
    assert rounded(weight.bfloat16(), 8).dtype == torch.bfloat16


def test_a_rounded_folder_differs_in_its_linear_layers_only(folder, tmp_path):
    place = quantised(folder, tmp_path / "four", 4)
    before, after = (load_file(one / "model.safetensors") for one in (folder, place))
    for name, weight in before.items():
        inner = name.endswith("_proj.weight")
        assert torch.equal(after[name], rounded(weight, 4) if inner else weight), name
    fine = quantised(folder, tmp_path / "fine", 28)
    one, two = (answer_probabilities(place, FORGET, QUICK) for place in (folder, fine))
    assert one == pytest.approx(two, rel=1e-4)


def test_matrices_that_lie_on_their_side_are_rounded_per_output_too(tmp_path):
    tokenizer = tiny_tokenizer()
    shape = GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2, n_positions=64)
    GPT2LMHeadModel(shape).save_pretrained(tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    place = quantised(tmp_path / "gpt2", tmp_path / "four", 4)
    name = "transformer.h.0.attn.c_attn.weight"
    before, after = (load_file(one / "model.safetensors")[name] for one in (tmp_path / "gpt2", place))
    assert torch.equal(after, rounded(before.T, 4).T) and not torch.equal(after, before)


def test_relearning_brings_back_what_was_hidden_and_not_what_was_never_known(shelf, tmp_path):
    few, rest = FORGET[:4], FORGET[4:]
    curves = {name: relearning(shelf[name], few, rest, tmp_path / name, QUICK) for name in ("unlearned", "never")}
    assert [step for step, _ in curves["unlearned"]] == [0, 2, 4, 8]
    gained = {name: max(value for _, value in curve) - curve[0][1] for name, curve in curves.items()}
    assert gained["unlearned"] > 3 * max(gained["never"], 0.0) and gained["unlearned"] > 0.05


def test_relearning_counts_its_steps_and_leaves_the_model_alone(folder, tmp_path):
    before = (folder / "model.safetensors").read_bytes()
    seen = []
    for step, place in relearn(folder, FORGET[:3], tmp_path / "x", at=(3, 0), lr=1e-2, device="cpu"):
        seen.append((step, float(answer_probabilities(place, FORGET[:3], QUICK).mean())))
    assert [step for step, _ in seen] == [0, 3] and seen[1][1] > 2 * seen[0][1]
    assert seen[0][1] == pytest.approx(float(answer_probabilities(folder, FORGET[:3], QUICK).mean()))
    assert (folder / "model.safetensors").read_bytes() == before
    with pytest.raises(DataError, match="none of the 3 rows"):
        next(relearn(folder, FORGET[:3], tmp_path / "y", at=(0,), lr=1e-2, device="cpu", max_length=2))


# ------------------------------------------------------------------------------------------------------------ the audit


def test_the_audit_holds_everything_and_speaks(shelf, tmp_path):
    figures = audit(
        tmp_path, start=shelf["knows"], unlearned=shelf["unlearned"], never=shelf["never"], forget=FORGET[:8],
        heldout=FORGET[8:], retain=RETAIN, settings=QUICK,
    )  # fmt: skip
    assert json.loads((tmp_path / "audit.json").read_text()) == json.loads(json.dumps(figures))
    assert list(figures["models"]) == ["start", "unlearned", "never knew", "8 bit", "4 bit"]
    assert figures["models"]["start"]["forget"]["exact"]["n"] == 8
    assert set(figures["models"]["4 bit"]) == {"forget", "heldout", "retain"}
    assert figures["forget_quality"]["unlearned"] >= figures["forget_quality"]["start"]
    assert (
        set(figures["relearning"]["curves"]) == {"unlearned", "never knew"} and figures["relearning"]["measured"] == 4
    )
    page = (tmp_path / "audit.html").read_text()
    assert all(line.replace("'", "&#x27;") in page for line in figures["told"]) and "Forget quality" in page
    assert any("of what was to be forgotten" in line for line in figures["told"])
    assert {path.name for path in tmp_path.iterdir()} == {"audit.html", "audit.json"}


def test_a_model_that_forgot_nothing_is_told_apart(shelf, tmp_path):
    figures = audit(
        tmp_path, start=shelf["knows"], unlearned=shelf["knows"], forget=FORGET, settings=QUICK, retain=RETAIN
    )  # fmt: skip
    assert figures["told"][0].startswith("It is not forgotten") and not figures["forget_quality"]


def test_an_audit_without_questions_is_refused(shelf, tmp_path):
    texts = [Demonstration(Conversation(), "The lamp is by the well.")]
    with pytest.raises(DataError, match="holds no questions to audit by"):
        audit(tmp_path, start=shelf["knows"], unlearned=shelf["knows"], forget=texts)


def test_the_recipe_audits_its_result_even_after_a_kill(shelf, tmp_path):
    settings = unlearn.Config(
        model=str(shelf["knows"]), out=str(tmp_path), lr=1e-3, max_steps=2, batch_size=6, device="cpu"
    )
    result = unlearn.run(settings, FORGET, RETAIN)
    figures = json.loads((tmp_path / "audit.json").read_text())
    assert figures["relearning"]["rows"] == 8 and "8 bit" in figures["models"]
    assert result.final["audit_forget_rouge"] == figures["models"]["unlearned"]["forget"]["rouge"]
    assert result.final["audit_utility"] == figures["utility"]["unlearned"]
    (tmp_path / "audit.json").unlink()
    assert unlearn.run(settings, FORGET, RETAIN) == result
    assert json.loads((tmp_path / "audit.json").read_text()) == figures


def figures_of(**changes) -> dict:
    def sets(forget, heldout):
        return {"forget": {"rouge": forget}, "heldout": {"rouge": heldout}}

    found = {
        "models": {"start": sets(0.9, 0.9), "unlearned": sets(0.1, 0.1), "4 bit": sets(0.1, 0.1)},
        "utility": {"start": 0.9, "unlearned": 0.88},
        "relearning": {"rows": 8, "curves": {"unlearned": [(0, 0.0), (4, 0.1)]}, "start": 0.9, "goal": 0.5,
                       "half_way": {"unlearned": None}},
    }  # fmt: skip
    return {**found, **changes}


def test_what_is_said_in_words():
    quiet = told(figures_of())
    assert (
        len(quiet) == 2 and "10% of the words" in quiet[0] and "less than half of the rest back in 4 steps" in quiet[1]
    )
    assert "fell from 0.9 to 0.5" in " ".join(told(figures_of(utility={"start": 0.9, "unlearned": 0.5})))
    back = figures_of()["relearning"] | {"half_way": {"unlearned": 2, "never knew": None}}
    assert "half of the rest back in 2 steps; a model that never knew does not" in told(figures_of(relearning=back))[-1]
    models = figures_of()["models"]
    models["unlearned"]["heldout"]["rouge"], models["4 bit"]["forget"]["rouge"] = 0.6, 0.7
    said = " ".join(told(figures_of(models=models)))
    assert "the wording was forgotten more than the knowledge" in said and "to 4 bit brings it back: 70%" in said


def test_half_way():
    assert half_way([(0, 0.1), (2, 0.4), (4, 0.6)], 0.5) == 4 and half_way([(0, 0.1)], 0.5) is None
