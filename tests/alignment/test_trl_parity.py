"""Step by step the losses of TRL 1.16, from the same weights, on the same rows in the same order, in float32, to 1e-4.

Where TRL departs from a paper, or from us, the relation between the two is what is tested:

    IPO     TRL averages log-probabilities over a reply's tokens: our `normalize: tokens`. The paper sums: `none`.
    cDPO    TRL 1.16 has none (label_smoothing is read by `robust` only); the formula is worked on the margins that TRL logs.
    KTO     TRL takes the wrong reply from the row before, inside a device batch; ours come from anywhere (kto.py). Given
            TRL's, everything else is equal.
    ORPO    TRL's NLL covers prompt and reply over all tokens of the batch, the paper's and ours the reply, pair by pair.
    SimPO   TRL calls it CPO with cpo_alpha 0; its gamma is the absolute margin, as ours is.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

from alignment.tiny import tiny_folder, words
from trivet.alignment import batches, kto, preference, reward, sft
from trivet.alignment.batches import encode_demonstrations, encode_replies, plan
from trivet.alignment.pairs import Pair, encode_preferences
from trivet.core.lessons import Demonstration, Feedback, Preference
from trivet.core.messages import Conversation

pytestmark = pytest.mark.skipif(find_spec("trl") is None, reason="TRL is not installed; it is in the extra `dev`")

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
ROWS, BATCH, LONGEST = 16, 4, 256
SAME = {  # TRL's defaults in our words
    "lr": 1e-3,
    "warmup": 0.0,
    "schedule": "linear",
    "weight_decay": 0.0,
    "betas": (0.9, 0.999),
    "clip": 1.0,
    "log_every": 1,
    "save_every": 0,
    "max_length": LONGEST,
    "device": "cpu",
}
DPO = {
    "dpo": ({"loss": "dpo", "beta": 0.3}, {"loss_type": ["sigmoid"], "beta": 0.3}),
    "dpo, per token": (
        {"loss": "dpo", "beta": 2.0, "normalize": "tokens"},
        {"loss_type": ["sigmoid_norm"], "beta": 2.0},
    ),
    "ipo": ({"loss": "ipo", "beta": 0.2, "normalize": "tokens"}, {"loss_type": ["ipo"], "beta": 0.2}),
    "rdpo": (
        {"loss": "rdpo", "beta": 0.3, "label_smoothing": 0.2},
        {"loss_type": ["robust"], "beta": 0.3, "label_smoothing": 0.2},
    ),
}


def preferences() -> list[Preference]:
    dice = random.Random(5)
    return [
        Preference(Conversation.user(words(dice, 2, 9)), f"{words(dice, 1, 8)} yes", f"{words(dice, 1, 8)} no")
        for _ in range(ROWS)
    ]


def demonstrations() -> list[Demonstration]:
    return [Demonstration(lesson.prompt, lesson.chosen) for lesson in preferences()]


def feedback() -> list[Feedback]:
    dice = random.Random(6)
    return [Feedback(lesson.prompt, lesson.chosen, dice.random() < 0.6) for lesson in preferences()]


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def pair_rows(order: list[int]) -> list[dict[str, Any]]:
    found = [preferences()[at] for at in order]
    return [{"prompt": p.prompt.rows(), "chosen": said(p.chosen), "rejected": said(p.rejected)} for p in found]


class Peer:
    """The folders that both sides start from, the order in which ours reads, and what TRL logged on it."""

    def __init__(self, folder: Path) -> None:
        self.start = tiny_folder(folder / "start", template=TEMPLATE)
        self.other = tiny_folder(folder / "other", seed=1, template=TEMPLATE)
        self.rewards = folder / "rewards"
        torch.manual_seed(2)
        config = LlamaConfig.from_pretrained(self.start, num_labels=1)
        LlamaForSequenceClassification(config).save_pretrained(self.rewards)
        self.words = AutoTokenizer.from_pretrained(self.start)
        self.words.save_pretrained(self.rewards)
        pairs = encode_preferences(self.words, preferences(), LONGEST).pairs
        self.by_pair = self._order([len(pair) for pair in pairs])
        rows = encode_demonstrations(self.words, demonstrations(), LONGEST).rows
        self.by_row = self._order([len(row) for row in rows])
        self.by_reward = [int(i) for step in reward.plan_pairs(reward.Config(batch_size=BATCH), pairs) for i in step]
        self.singly = [int(i) for step in plan([len(pair) for pair in pairs], batch_size=1) for i in step[0]]
        self.logged = self._ask(folder)

    @staticmethod
    def _order(lengths: list[int]) -> list[int]:
        return [int(i) for step in plan(lengths, batch_size=BATCH) for i in np.concatenate(step)]

    def _jobs(self) -> dict[str, dict[str, Any]]:
        usual = {"per_device_train_batch_size": BATCH, "learning_rate": SAME["lr"]}
        still = {**usual, "learning_rate": 0.0}
        start, pairs = str(self.start), pair_rows(self.by_pair)
        told, judged = ([lessons[i] for i in self.by_row] for lessons in (demonstrations(), feedback()))
        talks = [{"prompt": d.prompt.rows(), "completion": said(d.reply)} for d in told]
        thumbs = [{"prompt": f.prompt.rows(), "completion": said(f.reply), "label": f.desirable} for f in judged]
        jobs: dict[str, dict[str, Any]] = {
            "sft": {"kind": "sft", "model": start, "settings": usual, "rows": talks},
            "kto": {
                "kind": "kto",
                "model": start,
                "rows": thumbs,
                "settings": {**usual, "beta": 0.5, "desirable_weight": 1.5, "undesirable_weight": 0.8},
            },
            "reward": {
                "kind": "reward",
                "model": str(self.rewards),
                "settings": usual,
                "rows": pair_rows(self.by_reward),
            },
            "centred": {
                "kind": "reward",
                "model": str(self.rewards),
                "settings": {**usual, "center_rewards_coefficient": 0.05},
                "rows": pair_rows(self.by_reward),
            },
            "simpo": {
                "kind": "cpo",
                "model": start,
                "rows": pairs,
                "settings": {**usual, "loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0, "simpo_gamma": 0.7},
            },
            "orpo": {"kind": "orpo", "model": start, "settings": {**still, "beta": 0.3}, "rows": pairs},
            "margins": {
                "kind": "dpo",
                "model": start,
                "reference": str(self.other),
                "rows": pair_rows(self.singly),
                "settings": {**still, "beta": 0.3, "label_smoothing": 0.2, "per_device_train_batch_size": 1},
            },
        }
        for name, (_, settings) in DPO.items():
            jobs[name] = {"kind": "dpo", "model": start, "settings": {**usual, **settings}, "rows": pairs}
        return jobs

    def _ask(self, folder: Path) -> dict[str, list[dict[str, float]]]:
        (folder / "jobs.json").write_text(json.dumps(self._jobs()), encoding="utf-8")
        script = Path(__file__).with_name("trl_reference.py")
        command = [sys.executable, str(script), str(folder / "jobs.json"), str(folder / "logged.json")]
        ended = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
        assert ended.returncode == 0, ended.stderr[-4000:]
        return json.loads((folder / "logged.json").read_text(encoding="utf-8"))

    def losses(self, name: str) -> list[float]:
        return [row["loss"] for row in self.logged[name]]


@pytest.fixture(scope="module")
def peer(tmp_path_factory) -> Peer:
    return Peer(tmp_path_factory.mktemp("peer"))


def ours(recipe: Any, lessons: list[Any], out: Path, **settings: Any) -> list[float]:
    """The losses of our recipe, step by step."""
    rows: list[dict[str, float]] = []
    config = recipe.Config(**{**SAME, "batch_size": BATCH, "out": str(out), **settings})
    recipe.run(config, lessons, progress=lambda row: rows.append(dict(row)))
    return [row["loss"] for row in rows if "loss" in row]


def equal(mine: list[float], theirs: list[float], steps: int = ROWS // BATCH) -> None:
    assert len(mine) == len(theirs) == steps and len(set(mine)) == steps
    assert mine == pytest.approx(theirs, abs=1e-4)


def test_sft(peer, tmp_path):
    equal(ours(sft, demonstrations(), tmp_path, model=str(peer.start)), peer.losses("sft"))


@pytest.mark.parametrize("name", DPO)
def test_preferences_with_a_reference(name, peer, tmp_path):
    mine = ours(preference, preferences(), tmp_path, model=str(peer.start), **DPO[name][0])
    equal(mine, peer.losses(name))
    if name != "ipo":
        assert mine[0] == pytest.approx(np.log(2), abs=1e-5)


def test_cdpo_by_the_formula_on_the_margins_that_trl_logs(peer, tmp_path):
    mine = ours(
        preference,
        preferences(),
        tmp_path,
        model=str(peer.start),
        reference=str(peer.other),
        loss="dpo",
        beta=0.3,
        label_smoothing=0.2,
        batch_size=1,
        lr=0.0,
    )
    margins = np.asarray([row["rewards/margins"] for row in peer.logged["margins"]])
    worked = 0.8 * np.log1p(np.exp(-margins)) + 0.2 * np.log1p(np.exp(margins))
    equal(mine, list(worked), steps=ROWS)
    plain = np.log1p(np.exp(-margins))
    assert peer.losses("margins") == pytest.approx(list(plain), abs=1e-4)  # TRL leaves its label_smoothing out


def test_kto_with_the_wrong_replies_that_trl_takes(peer, tmp_path, monkeypatch):
    def encode(tokenizer: Any, lessons: list[Feedback], max_length: int, seed: int) -> kto.Encoded:
        rows = encode_replies(tokenizer, [(lesson.prompt, lesson.reply) for lesson in lessons])
        wrong = {}
        for at in range(0, len(lessons), BATCH):
            block = peer.by_row[at : at + BATCH]
            wrong |= dict(zip(block, [block[-1], *block[:-1]], strict=True))
        pairs = [
            Pair(row.ids[: row.start], row.ids[row.start :], rows[wrong[at]].ids[rows[wrong[at]].start :])
            for at, row in enumerate(rows)
        ]
        return kto.Encoded(pairs, np.asarray([lesson.desirable for lesson in lessons], dtype=bool), {})

    real = kto.encode_feedback
    monkeypatch.setattr(kto, "encode_feedback", lambda *args: encode(*args) if args[1] else real(*args))
    settings = {"beta": 0.5, "desirable_weight": 1.5, "undesirable_weight": 0.8}
    equal(ours(kto, feedback(), tmp_path, model=str(peer.start), **settings), peer.losses("kto"))
    assert max(row["kl"] for row in peer.logged["kto"]) > 0.01  # the reference point has moved, and both have seen it


@pytest.mark.parametrize(("name", "centering"), [("reward", 0.0), ("centred", 0.05)])
def test_reward(name, centering, peer, tmp_path):
    equal(ours(reward, preferences(), tmp_path, model=str(peer.rewards), centering=centering), peer.losses(name))


def test_simpo(peer, tmp_path):
    mine = ours(preference, preferences(), tmp_path, model=str(peer.start), loss="simpo", beta=2.0, gamma=0.7)
    equal(mine, peer.losses("simpo"))


def test_orpo_is_trl_s_but_for_what_its_likelihood_covers(peer, tmp_path):
    """At a rate of 0, because the two likelihoods have different gradients."""
    mine = ours(preference, preferences(), tmp_path, model=str(peer.start), loss="orpo", beta=0.3, lr=0.0)
    logged = peer.logged["orpo"]
    equal(mine, [-row["logps/chosen"] - 0.3 * row["log_odds_ratio"] for row in logged])
    assert peer.losses("orpo") == pytest.approx(
        [row["nll_loss"] - 0.3 * row["log_odds_ratio"] for row in logged], abs=1e-4
    )
    whole = whole_rows(peer)
    assert [row["nll_loss"] for row in logged] == pytest.approx(whole, abs=1e-4)


def whole_rows(peer: Peer) -> list[float]:
    """Mean negative log-likelihood over every token of the chosen rows of each step, prompts included."""
    from transformers import AutoModelForCausalLM

    from trivet.alignment.logprobs import Scorer

    scorer = Scorer(AutoModelForCausalLM.from_pretrained(peer.start, dtype=torch.float32))
    rows = encode_demonstrations(peer.words, demonstrations(), LONGEST).rows
    steps = [peer.by_pair[at : at + BATCH] for at in range(0, ROWS, BATCH)]
    with torch.no_grad():
        return [
            -float(scorer(batches.collate([batches.Row(rows[i].ids, 1) for i in step], 2)).mean()) for step in steps
        ]
