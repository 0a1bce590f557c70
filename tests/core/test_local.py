"""The local model: batches equal single replies, streams equal replies, errors are clear, prompts are never cut."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from alignment.tiny import tiny_folder
from trivet.core.errors import ModelNotFound, TargetError
from trivet.core.messages import Conversation, Sampling
from trivet.core.models.batch import reply_all
from trivet.core.models.decode import pick
from trivet.core.models.local import LocalModel
from trivet.core.protocols import Model

GREEDY = Sampling(max_tokens=24)
WARM = Sampling(temperature=1.0, max_tokens=24, seed=7)
TALKS = [Conversation.user("the lamp " * count + "why") for count in (1, 9, 3, 20, 2, 5, 14)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("local"), seed=4)


@pytest.fixture(scope="module")
def model(folder: Path):
    before = torch.get_num_threads()
    model = LocalModel(folder, threads=1, max_batch=4)
    yield model
    model.close()
    torch.set_num_threads(before)


def test_it_is_a_model_and_says_what_transformers_says(model, folder):
    assert isinstance(model, Model) and model.name == str(folder)
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    for talk in TALKS[:3]:
        ids = model.tokenizer.apply_chat_template(talk.rows(), add_generation_prompt=True, return_tensors="pt")
        said = theirs.generate(**ids, max_new_tokens=24, do_sample=False)[0, ids["input_ids"].shape[1] :]
        wanted = model.tokenizer.decode(said, skip_special_tokens=True).lstrip()
        assert asyncio.run(model.reply(talk, GREEDY)).content == wanted


@pytest.mark.parametrize("sampling", [GREEDY, WARM, Sampling(0.8, 24, top_p=0.7, seed=3)])
def test_a_batch_says_what_each_says_alone(model, sampling):
    together = [message.content for message in model.replies(TALKS, sampling)]
    alone = [model.replies([talk], sampling)[0].content for talk in TALKS]
    assert together == alone and len(set(together)) > 1


def test_a_tie_is_decided_as_if_alone(model, monkeypatch):
    """Two tokens lead level, and company tips the scales by less than a rounding error."""
    real = model.model.forward

    def tipped(*args, input_ids, **kwargs):
        answer = real(*args, input_ids=input_ids, **kwargs)
        answer.logits[..., 40:42] = answer.logits.max() + 1
        answer.logits[..., 41] += 1e-4 * (len(input_ids) - 1)
        return answer

    monkeypatch.setattr(model.model, "forward", tipped)
    together = [message.content for message in model.replies(TALKS, GREEDY)]
    assert set(together) == {model.replies(TALKS[:1], GREEDY)[0].content}


def test_calls_that_arrive_together_share_batches(model, monkeypatch):
    from trivet.core.models import local

    sizes, real = [], local.generate
    monkeypatch.setattr(local, "generate", lambda m, drafts, **how: sizes.append(len(drafts)) or real(m, drafts, **how))

    async def ask():
        return await asyncio.gather(*(model.reply(talk, WARM) for talk in TALKS * 4))

    assert asyncio.run(ask()) == model.replies(TALKS, WARM) * 4
    assert len(sizes) < 28 and max(sizes) == 4, "28 calls in fewer batches, none larger than allowed"


def test_reply_all_uses_the_batches(model):
    assert asyncio.run(reply_all(model, TALKS, GREEDY)) == model.replies(TALKS, GREEDY)


def test_seeds_decide(model):
    def say(seed):
        return model.replies(TALKS, Sampling(1.0, 12, seed=seed))

    assert say(1) == say(1) != say(2)
    assert say(None) != say(None)


@pytest.mark.parametrize("sampling", [GREEDY, WARM, Sampling(max_tokens=24, stop=("qq",))])
def test_a_stream_is_the_reply_in_pieces(model, sampling):
    async def listen():
        return [piece async for piece in model.stream(TALKS[1], sampling)]

    pieces = asyncio.run(listen())
    assert len(pieces) > 1
    assert "".join(pieces) == model.replies([TALKS[1]], sampling)[0].content


def test_a_stop_string_ends_reply_and_stream_before_it(model):
    whole = model.replies([TALKS[0]], WARM)[0].content
    stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
    stopping = Sampling(1.0, 24, seed=7, stop=(stop,))

    async def listen():
        return "".join([piece async for piece in model.stream(TALKS[0], stopping)])

    wanted = whole[: whole.find(stop)]
    assert model.replies([TALKS[0]], stopping)[0].content == wanted == asyncio.run(listen())


def test_who_stops_listening_stops_the_sampling(model):
    async def listen_once():
        stream = model.stream(TALKS[0], Sampling(1.0, 400, seed=1))
        async for _ in stream:
            break
        await stream.aclose()
        return await model.reply(TALKS[1], GREEDY)

    assert asyncio.run(listen_once()).content == model.replies([TALKS[1]], GREEDY)[0].content


def test_a_prompt_longer_than_the_context_is_an_error_that_harms_no_neighbour(model):
    long_talk = Conversation.user("the lamp by the well " * 200)

    async def ask():
        return await asyncio.gather(model.reply(long_talk), model.reply(TALKS[0], GREEDY), return_exceptions=True)

    failure, message = asyncio.run(ask())
    assert isinstance(failure, TargetError)
    assert "tokens and the model reads 512; shorten it" in str(failure)
    assert message == model.replies([TALKS[0]], GREEDY)[0]


def test_a_stream_tells_its_error(model):
    async def listen():
        return [piece async for piece in model.stream(Conversation.user("the lamp by the well " * 200))]

    with pytest.raises(TargetError, match="shorten it"):
        asyncio.run(listen())


def test_replies_end_with_the_context(model):
    talk = Conversation.user("lamp " * 160)
    ids = model.tokenizer.apply_chat_template(talk.rows(), add_generation_prompt=True)["input_ids"]
    said = model.replies([talk], Sampling(max_tokens=10_000))[0].content
    assert len(model.tokenizer(said)["input_ids"]) <= 512 - len(ids) + 1


def test_a_failure_inside_reaches_everyone_in_the_batch(folder, monkeypatch):
    from trivet.core.models import local

    def breaks(*_, **__):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(local, "generate", breaks)
    model = LocalModel(folder)
    with pytest.raises(TargetError, match="could not generate: out of memory"):
        asyncio.run(model.reply(TALKS[0]))
    model.close()


def test_models_that_are_not_there(tmp_path):
    with pytest.raises(ModelNotFound, match="there is no model folder"):
        LocalModel(tmp_path / "nowhere")
    with pytest.raises(ModelNotFound, match="holds no causal language model"):
        LocalModel(tmp_path)


def test_a_model_without_template_is_spoken_to_plainly(tmp_path):
    model = LocalModel(tiny_folder(tmp_path, template=None))
    assert model.replies([TALKS[0]], GREEDY)[0].content
    assert asyncio.run(model.reply(TALKS[0], Sampling(max_tokens=0))).content == ""
    asyncio.run(model.aclose())


def test_sampling_follows_the_distribution():
    chances = torch.tensor([0.5, 0.3, 0.15, 0.05])
    rows = 4000
    dice = [np.random.default_rng(number) for number in range(rows)]
    drawn = pick(chances.log().expand(rows, 4), [Sampling(1.0)] * rows, dice)
    shares = np.bincount(drawn, minlength=4) / rows
    assert np.abs(shares - chances.numpy()).max() < 0.03
    nucleus = pick(chances.log().expand(rows, 4), [Sampling(1.0, top_p=0.6)] * rows, dice)
    shares = np.bincount(nucleus, minlength=4) / rows
    assert np.abs(shares - np.array([0.625, 0.375, 0, 0])).max() < 0.03
    assert pick(chances.log()[None], [Sampling(0.0)], dice[:1]) == [0]
