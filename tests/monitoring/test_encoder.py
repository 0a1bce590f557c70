"""The encoder and the cascade: a tiny one is trained, exported, run without torch, joined and used as a guard."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from trivet.core.errors import ConfigError, DataError
from trivet.core.messages import Conversation
from trivet.monitoring.guards.cascade import MOST, Cascade, CascadeGuard, Scored
from trivet.monitoring.guards.classifier import LightClassifier, train
from trivet.monitoring.guards.encoder import STRIDE, WINDOW, Encoder, spans
from trivet.monitoring.learning import encoder_training
from trivet.monitoring.learning.corpus import Example
from trivet.monitoring.learning.encoder_file import write_encoder
from trivet.monitoring.learning.encoder_lesson import learnt, measured
from trivet.monitoring.learning.encoder_training import (
    NAMES,
    Bert,
    Settings,
    logits_of,
    started,
    trained,
    weights_of,
    windows_of,
)
from trivet.monitoring.learning.stacking import Outputs, stacked

VERBS = {"bake": False, "paint": False, "hex": True, "curse": True}
THINGS = ("mill", "bridge", "baker", "cat", "clock", "tower", "cellar", "river")
TASKS = ("unsafe", "jailbreak", "injection", "toxic")


def toy(n: int, seed: int) -> list[Example]:
    """Requests in which the verb decides, for all four tasks at once."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(n):
        verb, bad = list(VERBS.items())[rng.integers(len(VERBS))]
        text = f"how do i {verb} the {THINGS[rng.integers(len(THINGS))]} number {number}"
        rows.append(Example(text, dict.fromkeys(TASKS, bad), f"toy/{number % 2}", (text,)))
    return rows


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random BERT of two layers and a tokenizer of whole words, as Sentence-Transformers lays it out."""
    folder = tmp_path_factory.mktemp("start")
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *VERBS,
        *THINGS,
        *["how", "do", "i", "the", "number", "of", "and", "ignore"],
    ]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "model_type": "bert",
        "hidden_size": 32,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "intermediate_size": 64,
        "vocab_size": len(words),
        "max_position_embeddings": 160,
        "type_vocab_size": 2,
    }
    (folder / "config.json").write_text(json.dumps(config))
    torch.manual_seed(3)
    model = Bert(config, len(NAMES))
    tensors = {
        "embeddings.word_embeddings.weight": model.words.weight,
        "embeddings.position_embeddings.weight": model.places.weight,
        "embeddings.token_type_embeddings.weight": model.kinds.weight,
        "embeddings.LayerNorm.weight": model.norm.weight,
        "embeddings.LayerNorm.bias": model.norm.bias,
    }
    for number, layer in enumerate(model.layers):
        for ours, theirs in encoder_training._NAMES_IN_FILE.items():
            for part in ("weight", "bias"):
                tensors[f"encoder.layer.{number}.{theirs}.{part}"] = getattr(layer[ours], part)
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def settings(start: Path) -> Settings:
    return Settings(start=start, epochs=3, rate=2e-3, head_rate=1e-2)


@pytest.fixture(scope="module")
def light() -> LightClassifier:
    """A light stage of four equal heads."""
    one = train([(e.text, e.labels["unsafe"]) for e in toy(400, 1)], size=1 << 12)
    return LightClassifier(
        np.repeat(one.weights, 4, axis=1), tuple(replace(one.heads[0], name=task) for task in TASKS), {}
    )


@pytest.fixture(scope="module")
def cascade(tmp_path_factory: pytest.TempPathFactory, settings: Settings, light: LightClassifier) -> Cascade:
    out = tmp_path_factory.mktemp("encoder")
    learnt(toy(600, 2), toy(300, 3), light, settings, out, 0.01, lambda text: None)
    light.save(out / "light.npz")
    return Cascade.load(out / "light.npz", out)


def test_our_bert_is_the_bert_of_transformers(start: Path) -> None:
    from transformers import BertConfig, BertModel

    ours, _ = started(Settings(start=start))
    config = BertConfig(**json.loads((start / "config.json").read_text()))
    theirs = BertModel.from_pretrained(start, config=config, add_pooling_layer=False).eval()
    ids = torch.randint(4, 20, (3, 11))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    with torch.no_grad():
        hidden = theirs(ids, attention_mask=mask).last_hidden_state
        mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        _, vectors = ours.eval()(ids, mask)
    torch.testing.assert_close(vectors, torch.nn.functional.normalize(mean, dim=-1), atol=1e-5, rtol=1e-4)


def test_what_runs_without_torch_says_what_was_trained(tmp_path: Path, settings: Settings) -> None:
    rows = toy(200, 4)
    model, tokenizer = trained(rows, settings)
    write_encoder(tmp_path, model, tokenizer, {})
    encoder = Encoder(tmp_path)
    exported = encoder.logits([e.text for e in rows[:50]])
    exact = logits_of(model, tokenizer, rows[:50], settings)
    assert np.abs(exported - exact).max() < 0.35  # eight bits against sixteen
    assert np.corrcoef(exported[:, 0], exact[:, 0])[0, 1] > 0.999
    vectors = encoder.vectors([rows[0].text, rows[0].text, rows[1].text])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)


def test_windows_cover_everything_and_the_good_ones_of_a_bad_row_are_good(settings: Settings) -> None:
    _, tokenizer = started(settings)
    filler = "the mill of the river and the bridge " * 60
    text = f"{filler}ignore the number {filler}"
    place = text.index("ignore")
    row = Example(text, {"injection": True, "unsafe": False}, "toy/long", (), span=(place, place + 17))
    (windows,) = windows_of([row], tokenizer, settings)
    column = NAMES.index("injection")
    labels = [w.labels[column] for w in windows]
    ignore = tokenizer.token_to_id("ignore")
    assert len(windows) > 5 and 1 <= sum(labels) < len(windows)
    assert all(label == 1 for label, w in zip(labels, windows, strict=True) if ignore in w.ids)
    assert all(np.isnan(w.labels[NAMES.index("jailbreak")]) for w in windows)


@pytest.mark.parametrize("length", [0, 1, WINDOW - 2, WINDOW - 1, 500, 12345])
def test_spans_leave_nothing_out(length: int) -> None:
    found = list(spans(length, WINDOW - 2, STRIDE))
    seen = np.zeros(length, dtype=bool)
    for start, end in found:
        assert end - start <= WINDOW - 2
        seen[start:end] = True
    assert seen.all() and found[-1][1] == length


def test_bad_and_good_weigh_the_same_and_sources_by_their_root(settings: Settings) -> None:
    rows = [
        *(Example(f"a{i}", {"unsafe": True}, "big", ()) for i in range(100)),
        *(Example(f"b{i}", {"unsafe": True}, "small", ()) for i in range(4)),
        *(Example(f"c{i}", {"unsafe": False}, "big", ()) for i in range(9)),
    ]
    weights = weights_of(rows, replace(settings, heaviest=1e9))[:, NAMES.index("unsafe")]
    assert weights[:104].sum() == pytest.approx(weights[104:].sum())
    assert weights[:100].sum() / weights[100:104].sum() == pytest.approx(10 / 2)


def test_the_join_leans_on_the_stage_that_knows() -> None:
    rng = np.random.default_rng(0)
    rows = [Example(str(i), {"unsafe": bool(i % 2)}, "toy", ()) for i in range(400)]
    knows = np.array([3.0 if e.labels["unsafe"] else -3.0 for e in rows]) + rng.normal(0, 1, 400)
    noise = rng.normal(0, 3, 400)
    task = stacked(rows, Outputs(noise[:, None], knows[:, None]), (["unsafe"], ["unsafe"]), "unsafe", 0.01)
    assert task.encoder[0] > 3 * abs(task.light[0])
    z = task.light[0] * noise + task.encoder[0] * knows + task.bias
    good = np.array([not e.labels["unsafe"] for e in rows])
    assert (1 / (1 + np.exp(-z[good])) >= task.threshold).mean() <= 0.01
    with pytest.raises(DataError, match="good and bad"):
        stacked(rows[1::2], Outputs(noise[1::2, None], knows[1::2, None]), (["unsafe"], ["unsafe"]), "unsafe", 0.01)


def test_the_light_stage_s_no_counts_only_so_much_where_a_task_says_so(cascade: Cascade) -> None:
    text = "how do i paint the quiet bridge"
    plain = cascade.task("unsafe")
    said = cascade.light.looked(text).logits
    least = float(said.min()) + 1.0
    bounded = Cascade(cascade.light, cascade.encoder, [replace(plain, least_light=least)])

    def logit(one: Cascade) -> float:
        chance = one.scored([text])[0].probabilities["unsafe"]
        return float(np.log(chance / (1 - chance)))

    assert logit(bounded) - logit(cascade) == pytest.approx(
        float(np.dot(plain.light, np.maximum(said, least) - said)), abs=1e-3
    )
    assert said.min() < least
    assert bounded.digest != cascade.digest


def test_a_cascade_tells_strangers_apart(cascade: Cascade) -> None:
    figures = measured(cascade, "unsafe", toy(300, 9))
    assert figures["recall"]["rate"] > 0.95 and figures["false_positives"]["rate"] < 0.03
    assert figures["f1"] > 0.95


def test_one_score_whoever_asks_and_however(cascade: Cascade) -> None:
    texts = [e.text for e in toy(40, 11)]
    guard = CascadeGuard(cascade, "unsafe")
    alone = [guard.scan(text).score for text in texts]
    cascade._known.clear()

    async def together() -> list[float]:
        verdicts = await asyncio.gather(*(guard.judge(Conversation.user(text)) for text in texts))
        return [verdict.score for verdict in verdicts]

    # A batch is quantised by its own largest value, so the last digits depend on the company.
    np.testing.assert_allclose(asyncio.run(together()), alone, atol=0.03)


def test_a_needle_in_a_long_text_is_read_at_a_bounded_price(cascade: Cascade) -> None:
    filler = "how do i paint the bridge and bake the river " * 400
    text = f"{filler}how do i hex the baker and curse the cat and hex the mill and curse the clock {filler}"
    pieces = cascade._chosen(0, cascade.light.looked(text), MOST).pieces
    assert len(pieces) <= MOST + 1
    assert any("hex" in piece.words for piece in pieces)
    found, plain = cascade.scored([text, filler])
    assert found.probabilities["unsafe"] > plain.probabilities["unsafe"]
    start, end = found.worst["unsafe"]
    assert "hex" in text[start:end] and end - start < 1000


def test_what_was_read_serves_whoever_asks_for_more_or_less_where_it_would_be_the_same(
    cascade: Cascade, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    outputs = cascade.outputs
    monkeypatch.setattr(
        cascade, "outputs", lambda texts, most: asked.extend((len(t), most) for t in texts) or outputs(texts, most)
    )
    bad = "how do i hex the baker and curse the cat and hex the mill and curse the clock "
    good = "how do i paint the bridge and bake the river "
    many = good * 12 + (bad + good * 12) * 6
    short, long = "how do i paint the second bridge", many
    for text in (short, long):
        for most in (2, 4, 2, 4):
            cascade.scored([text], most)
    assert asked[0] == (len(short), 2) and [one for one in asked if one[0] == len(short)] == asked[:1]
    assert [most for length, most in asked if length == len(long)] == [2, 4]
    cascade._known.clear()
    apart = cascade.scored([long], 4)[0]
    assert len(cascade._chosen(0, cascade.light.looked(long), 4).pieces) > 3
    assert cascade.scored([long], 4)[0] is apart and cascade.scored([long], 2)[0] is not apart


def test_a_disguised_text_is_read_in_plain(cascade: Cascade) -> None:
    guard = CascadeGuard(cascade, "unsafe")
    assert guard.scan("how do i h\u200be\u200bx the b\u0430ker").label == "unsafe"
    assert guard.scan("how do i bake the mill").label == "safe"


def test_a_failure_reaches_those_who_wait_and_the_next_are_served(
    cascade: Cascade, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = CascadeGuard(cascade, "unsafe")
    with monkeypatch.context() as broken:
        broken.setattr(cascade, "scored", lambda texts, most: (_ for _ in ()).throw(RuntimeError("out of order")))
        with pytest.raises(RuntimeError, match="out of order"):
            asyncio.run(guard.judge(Conversation.user("how do i bake the cat")))
    assert asyncio.run(guard.judge(Conversation.user("how do i hex the cat"))).label == "unsafe"


def test_a_long_text_keeps_nobody_waiting(cascade: Cascade, monkeypatch: pytest.MonkeyPatch) -> None:
    guard, free, plain = CascadeGuard(cascade, "unsafe"), threading.Event(), cascade.scored

    def scored(texts: list[str], most: int) -> list[Scored]:
        if len(texts[0]) > 8192:
            assert free.wait(30)
        return plain(texts, most)

    monkeypatch.setattr(cascade, "scored", scored)

    async def both() -> list[str]:
        long = asyncio.ensure_future(guard.judge(Conversation.user("how do i paint the river " * 1000)))
        short = await guard.judge(Conversation.user("how do i hex the cellar"))
        assert not long.done()
        free.set()
        return [short.label, (await long).label]

    assert asyncio.run(both()) == ["unsafe", "safe"]


def test_the_light_stage_may_have_the_last_word_on_what_is_clear(
    cascade: Cascade, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = CascadeGuard(cascade, "unsafe", skip_below=0.5)
    text = "how do i bake the clock tonight"
    assert cascade.light.score(text, "unsafe") < 0.5
    monkeypatch.setattr(cascade, "scored", lambda texts, most: pytest.fail("the encoder was asked"))
    assert guard.scan(text).label == "safe"
    assert guard.digest != CascadeGuard(cascade, "unsafe").digest


def test_what_cannot_be_used_is_said(tmp_path: Path, cascade: Cascade, light: LightClassifier) -> None:
    with pytest.raises(DataError, match="no encoder"):
        Encoder(tmp_path)
    with pytest.raises(ConfigError, match="no task 'mood'; it has unsafe"):
        CascadeGuard(cascade, "mood")
    with pytest.raises(ConfigError, match="skip_below"):
        CascadeGuard(cascade, "unsafe", skip_below=1.5)
    other = LightClassifier(light.weights + np.float16(1), light.heads, {})
    other.save(tmp_path / "other.npz")
    with pytest.raises(DataError, match="another light classifier"):
        Cascade.load(tmp_path / "other.npz", cascade.encoder.folder)
    with pytest.raises(DataError, match="no folder of a BERT"):
        started(Settings(start=tmp_path))


def test_the_lowest_layers_are_kept(start: Path) -> None:
    whole, _ = started(Settings(start=start, layers=9))
    cut, _ = started(Settings(start=start, layers=1))
    assert (len(whole.layers), len(cut.layers)) == (2, 1)
    assert torch.equal(cut.layers[0]["query"].weight, whole.layers[0]["query"].weight)
