"""Suffix search: slopes are derivatives, losses are those of the text as sent, and both methods lower them."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM

from alignment.tiny import tiny_folder, tiny_tokenizer
from trivet.core.errors import ConfigError, DataError
from trivet.core.hazards import Goal
from trivet.core.messages import Conversation
from trivet.core.models.chat import ensure_template
from trivet.core.models.local import LocalModel
from trivet.core.models.resolve import model_folder
from trivet.core.models.scripted import Scripted
from trivet.robustness.attacks.gradient import Frame, Settings, Suffix, _Scorer, search, usable_tokens

FAMILIES = {
    "LlamaConfig": {},
    "Qwen2Config": {},
    "Qwen3Config": {"head_dim": 8},
    "GemmaConfig": {"head_dim": 8},
    "Gemma3TextConfig": {"head_dim": 8, "sliding_window": 256, "query_pre_attn_scalar": 8},
}
REQUEST, PREFIX = "ask the miller", "the lamp is warm"
QUICK = Settings(length=6, steps=8, batch=24, topk=24, rows=16)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def random_model(family: str) -> Any:
    """A tiny model with random weights and its tokenizer, as far as the search needs a LocalModel."""
    torch.manual_seed(3)
    config = getattr(transformers, family)(
        vocab_size=400, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.3, **FAMILIES[family],
    )  # fmt: skip
    return SimpleNamespace(model=AutoModelForCausalLM.from_config(config).eval(), tokenizer=tiny_tokenizer())


@pytest.fixture(scope="module", params=list(FAMILIES))
def local(request: pytest.FixtureRequest) -> Any:
    return random_model(request.param)


def test_a_tokenizer_that_drops_the_first_space_is_served_too() -> None:
    """As those of SentencePiece do: decoding a suffix by itself loses the space that it begins with."""
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer, core.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<s>", "</s>", "<unk>"], show_progress=False)
    core.train_from_iterator(["ask the miller when the lamp is warm ! User: Assistant: a x"] * 4, trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")
    local = SimpleNamespace(model=random_model("LlamaConfig").model, tokenizer=ensure_template(tokenizer))
    assert tokenizer.decode(tokenizer(" lamp lamp", add_special_tokens=False)["input_ids"])[0] != " "
    frame = Frame(tokenizer, REQUEST, PREFIX, " lamp lamp")
    assert frame.text(frame.suffix) == " lamp lamp" and frame.survives(frame.suffix)
    found = search(local, REQUEST, PREFIX, QUICK)
    assert found.loss < found.losses[0]
    again = Frame(tokenizer, REQUEST, PREFIX, found.suffix)
    assert _Scorer(local.model, again, 8).losses([again.suffix])[0] == pytest.approx(found.loss, abs=1e-4)


def scorer_of(local: Any, suffix: str = " lamp lamp lamp") -> _Scorer:
    return _Scorer(local.model, Frame(local.tokenizer, REQUEST, PREFIX, suffix), 8)


def test_slopes_are_the_derivative_of_the_loss(local: Any) -> None:
    """Against finite differences: a step from the token's own embedding towards another's."""
    scorer = scorer_of(local)
    suffix = scorer.frame.suffix
    slopes = scorer.slopes(suffix)
    local.model.double()
    exact = _Scorer(local.model, scorer.frame, 8)
    fixed = torch.cat([exact.head, torch.tensor(suffix), exact.tail, exact.target])

    def loss(place: int, token: int, share: float) -> float:
        rows = exact.table[fixed].clone()
        at = len(exact.head) + place
        rows[at] += share * (exact.table[token] - exact.table[suffix[place]])
        with torch.no_grad():
            logits = local.model(inputs_embeds=rows[None], use_cache=False).logits[:, -len(exact.target) - 1 : -1]
        return float(torch.nn.functional.cross_entropy(logits[0], exact.target))  # of the model's own, not the search's

    for place, token in ((0, 50), (1, 200), (len(suffix) - 1, 399)):
        told = float(slopes[place, token] - slopes[place, suffix[place]])
        found = (loss(place, token, 3e-3) - loss(place, token, -3e-3)) / 6e-3
        assert told == pytest.approx(found, rel=1e-2, abs=5e-4)
    local.model.float()


def test_the_loss_by_embeddings_is_the_loss_by_tokens(local: Any) -> None:
    scorer = scorer_of(local)
    fixed = torch.cat([scorer.head, torch.tensor(scorer.frame.suffix), scorer.tail, scorer.target])
    with torch.no_grad():
        logits = local.model(inputs_embeds=scorer.table[fixed][None]).logits[:, -len(scorer.target) - 1 : -1]
    assert float(scorer._of(logits)[0]) == pytest.approx(scorer.losses([scorer.frame.suffix])[0], abs=1e-4)


@pytest.mark.parametrize("method", ["gcg", "random"])
def test_the_loss_falls_and_the_suffix_is_read_as_it_was_scored(local: Any, method: Any) -> None:
    told: list[tuple[int, float]] = []
    settings = Settings(method, QUICK.length, QUICK.steps, QUICK.batch, QUICK.topk, QUICK.rows)
    found = search(local, REQUEST, PREFIX, settings, told=lambda *now: told.append(now))
    assert found.loss < found.losses[0] - 0.1
    assert found.losses == sorted(found.losses, reverse=True)
    assert told == list(enumerate(found.losses))[1:]
    again = Frame(local.tokenizer, REQUEST, PREFIX, found.suffix)
    assert _Scorer(local.model, again, 8).losses([again.suffix])[0] == pytest.approx(found.loss, abs=1e-4)
    assert found.suffix.isascii()
    assert search(local, REQUEST, PREFIX, settings) == found


def test_gcg_takes_the_best_of_all_swaps_where_it_tries_them_all() -> None:
    """One place, every token a candidate: the step must find the exact minimum, whatever the gradient says."""
    local = random_model("LlamaConfig")
    allowed = usable_tokens(local.tokenizer, 400, True)
    found = search(local, REQUEST, PREFIX, Settings(length=1, steps=1, batch=399, topk=400, rows=64, seed=1))
    scorer = scorer_of(local, found.suffix)
    every = [[at] for at in allowed.nonzero().flatten().tolist() if scorer.frame.survives([at])]
    # 4 x 399 draws with replacement of about 100 tokens see each of them but for a chance of 1e-6
    assert min(scorer.losses(every)) == pytest.approx(found.loss, abs=1e-4)


def test_what_does_not_survive_as_text_is_never_used() -> None:
    local = random_model("LlamaConfig")
    frame = Frame(local.tokenizer, REQUEST, PREFIX, " lamp lamp")
    letters = [local.tokenizer.convert_tokens_to_ids(letter) for letter in "the"]
    assert not frame.survives([frame.suffix[0], *letters])  # read again it is one token, "the"
    assert frame.survives(frame.suffix)
    allowed = usable_tokens(local.tokenizer, 400, True)
    assert not allowed[local.tokenizer.all_special_ids].any()
    assert not allowed[local.tokenizer.convert_tokens_to_ids("Ċ")]  # a newline is not printable
    assert (
        usable_tokens(local.tokenizer, 500, True).shape == (500,)
        and not usable_tokens(local.tokenizer, 500, True)[400:].any()
    )


@pytest.mark.parametrize("method", ["gcg", "random"])
def test_on_the_town_the_wanted_words_become_likelier_as_the_model_itself_counts_them(method: Any) -> None:
    local = LocalModel(model_folder("town:helpful"), threads=1)
    request, prefix = "Where is the bakery?", "I can't help with that."
    settings = Settings(method, length=8, steps=12, batch=32, topk=48)
    found = search(local, request, prefix, settings)

    def logprob(text: str) -> float:
        return asyncio.run(local.option_logprobs(Conversation.user(text), [prefix]))[0]

    frame = Frame(local.tokenizer, request, prefix, found.suffix)
    assert logprob(f"{request}{found.suffix}") == pytest.approx(-found.loss * len(frame.target), abs=0.01)
    assert logprob(f"{request}{found.suffix}") > logprob(request) + 5
    assert found.loss < found.losses[0] - 1


def test_as_an_attack_it_sends_the_request_with_the_suffix(tmp_path: Any) -> None:
    source = LocalModel(tiny_folder(tmp_path, seed=4), threads=1)
    target = Scripted("Well.")
    attack = Suffix(source, lambda goal: PREFIX, QUICK)
    talk = asyncio.run(attack.attack(Goal(REQUEST), target))
    suffix = search(source, REQUEST, PREFIX, QUICK).suffix
    assert [message.content for message in talk] == [f"{REQUEST}{suffix}", "Well."]
    assert attack.template != Suffix(source, lambda goal: PREFIX, Settings("random")).template
    assert attack.template.startswith("gcg-")


def test_mistakes_are_told() -> None:
    local = random_model("LlamaConfig")
    with pytest.raises(ConfigError, match="no method"):
        Settings(method="best")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="steps is 0"):
        Settings(steps=0)
    with pytest.raises(DataError, match="give another `first`"):
        search(local, "ask the mille", PREFIX, QUICK, first="r")  # "miller" is one token
    with pytest.raises(DataError, match="take another prefix"):
        search(local, REQUEST, "", QUICK)
