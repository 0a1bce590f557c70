"""A Hugging Face causal language model on this machine, as a Model.

One worker thread runs the model for `.reply` and `.stream`: calls that arrive together share a batch. `.replies`
answers many at once, sorted by length; `.all_option_logprobs` says how likely fixed answers are. Seed and conversation
decide a sampled reply, not its neighbours. Nor do they decide a greedy one in float32: where rounding in their company
could tip the scales it is computed again alone. A model without a chat template is spoken to in a plain one (chat.py).

Not covered: models whose cache cannot be indexed by row (state-space models), beams, tools, images; control tokens that
stand as text in a message are read as control tokens, as transformers does it. In 16-bit arithmetic greedy replies may
differ between batches of other sizes, and so may a stream's where two tokens are level.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trivet.core.errors import ModelNotFound, TargetError
from trivet.core.messages import Conversation, Message, Sampling
from trivet.core.models.chat import end_ids, ensure_template, render
from trivet.core.models.decode import Draft, generate
from trivet.core.models.scoring import tail_logprobs
from trivet.core.protocols import GREEDY

UNFINISHED = "\ufffd"
"""What a decoder shows for the first bytes of a character of which the rest has not come yet."""


@dataclass(eq=False)
class _Job:
    """What the worker is asked for. `tell` hears pieces of text and answers whether anyone still listens."""

    conversation: Conversation
    sampling: Sampling
    tell: Callable[[str], bool] | None = None
    done: Future[Message] = field(default_factory=Future)


class LocalModel:
    """`folder` is a model folder or a hub name; raises ModelNotFound when transformers finds no model there."""

    def __init__(
        self,
        folder: str | Path,
        *,
        device: str | None = None,
        dtype: torch.dtype | None = None,
        max_batch: int = 64,
        threads: int | None = None,
    ) -> None:
        if threads:
            torch.set_num_threads(threads)
        self.name = str(folder)
        self.max_batch = max_batch
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model, self.tokenizer = _load(folder, where, dtype)
        self.ends = end_ids(self.tokenizer, self.model.generation_config)
        self.context = int(getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or 1 << 30)
        self._running = threading.Lock()  # whoever holds it runs the model
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._worker: threading.Thread | None = None
        self._starting = threading.Lock()

    async def reply(self, conversation: Conversation, sampling: Sampling = GREEDY) -> Message:
        """One reply; calls that wait at the same moment share a batch."""
        return await asyncio.wrap_future(self._ask(_Job(conversation, sampling)))

    def replies(self, conversations: Sequence[Conversation], sampling: Sampling = GREEDY) -> list[Message]:
        """All replies in order, computed longest prompt first in batches of at most `max_batch`."""
        drafts = [self._draft(conversation, sampling) for conversation in conversations]
        order = sorted(drafts, key=lambda draft: -len(draft.prompt))
        for at in range(0, len(order), self.max_batch):
            self._run(order[at : at + self.max_batch])
        return [Message("assistant", self._text(draft)) for draft in drafts]

    async def option_logprobs(self, conversation: Conversation, options: Sequence[str]) -> list[float]:
        """log P(the reply begins with the option), summed over its tokens, for each option."""
        return (await asyncio.to_thread(self.all_option_logprobs, [conversation], options))[0]

    def all_option_logprobs(self, conversations: Sequence[Conversation], options: Sequence[str]) -> list[list[float]]:
        """The same for many conversations, longest first in batches of at most `max_batch` rows."""
        asked = [self._options(conversation, options) for conversation in conversations]
        order = sorted(range(len(asked)), key=lambda at: -len(asked[at][0]))
        size = max(1, self.max_batch // len(options))
        found: dict[int, list[float]] = {}
        for start in range(0, len(order), size):
            part = order[start : start + size]
            prompts, tails = [asked[at][0] for at in part], [asked[at][1] for at in part]
            with self._running:
                found.update(
                    zip(part, tail_logprobs(self.model, prompts, tails, self.tokenizer.pad_token_id or 0), strict=True)
                )
        return [found[at] for at in range(len(asked))]

    async def stream(self, conversation: Conversation, sampling: Sampling = GREEDY) -> AsyncIterator[str]:
        """The text of `.reply` in pieces. Closing the iterator ends the sampling."""
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        listening = True

        def tell(piece: str | None) -> bool:
            try:
                if listening:
                    loop.call_soon_threadsafe(pieces.put_nowait, piece)
            except RuntimeError:  # the listener's loop is closed; that must not reach the others in the batch
                return False
            return listening

        done = self._ask(_Job(conversation, sampling, tell))
        done.add_done_callback(lambda _: tell(None))
        try:
            while (piece := await pieces.get()) is not None:
                yield piece
            done.result()
        finally:
            listening = False

    def close(self) -> None:
        """End the worker thread once the jobs before it are done. The model can be asked again afterwards."""
        with self._starting:
            if self._worker:
                self._jobs.put(None)
                self._worker.join()
                self._worker = None

    async def aclose(self) -> None:
        await asyncio.to_thread(self.close)

    def _ask(self, job: _Job) -> Future[Message]:
        with self._starting:
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="trivet-local-model", daemon=True)
                self._worker.start()
            self._jobs.put(job)
        return job.done

    def _work(self) -> None:
        """Take what waits, up to a batch, and answer it; meanwhile the next batch gathers."""
        while (job := self._jobs.get()) is not None:
            jobs = [job]
            while len(jobs) < self.max_batch and not self._jobs.empty():
                following = self._jobs.get()
                if following is None:
                    self._jobs.put(None)
                    break
                jobs.append(following)
            self._answer([job for job in jobs if job.done.set_running_or_notify_cancel()])

    def _answer(self, jobs: Sequence[_Job]) -> None:
        """Every job gets its reply or the error that prevented it; one bad prompt does not harm its neighbours."""
        drafts: list[tuple[_Job, Draft]] = []
        for job in jobs:
            try:
                draft = self._draft(job.conversation, job.sampling, job.tell)
            except Exception as why:  # it belongs to whoever asked, not to this thread
                job.done.set_exception(why)
            else:
                drafts.append((job, draft))
        try:
            self._run([draft for _, draft in drafts])
        except Exception as why:  # out of memory and the like: all in the batch must hear of it
            for job, _ in drafts:
                job.done.set_exception(TargetError(f"{self.name} could not generate: {why}"))
            return
        for job, draft in drafts:
            text = self._text(draft)
            if job.tell and len(text) > draft.told:
                job.tell(text[draft.told :])
            job.done.set_result(Message("assistant", text))

    def _run(self, drafts: Sequence[Draft]) -> None:
        pad = self.tokenizer.pad_token_id or 0
        with self._running:
            generate(self.model, drafts, ends=self.ends, pad=pad, context=self.context)
            for draft in drafts:
                if draft.level and not draft.told:
                    draft.ids.clear()
                    generate(self.model, [draft], ends=self.ends, pad=pad, context=self.context)

    def _draft(
        self, conversation: Conversation, sampling: Sampling, tell: Callable[[str], bool] | None = None
    ) -> Draft:
        """The conversation as tokens; never cut silently."""
        text = render(self.tokenizer, conversation, open_reply=True)
        prompt = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if not prompt:
            raise TargetError(f"{self.name}: the chat template makes nothing of an empty conversation")
        if len(prompt) >= self.context:
            raise TargetError(
                f"{self.name}: the prompt has {len(prompt)} tokens and the model reads {self.context}; shorten it"
            )
        seed = secrets.randbits(64) if sampling.seed is None else abs(sampling.seed)
        draft = Draft(prompt, sampling, np.random.default_rng([seed, int(conversation.digest, 16)]))
        if tell or sampling.stop:
            draft.heard = lambda: self._heard(draft, tell)
        return draft

    def _options(self, conversation: Conversation, options: Sequence[str]) -> tuple[list[int], list[list[int]]]:
        """The conversation as tokens, and the tokens of each option as the template writes it into the reply."""
        prompt = self._draft(conversation, Sampling(seed=0)).prompt
        tails = []
        for option in options:
            text = render(self.tokenizer, conversation.then(Message("assistant", option)), open_reply=False)
            whole = self.tokenizer(text[: text.rfind(option) + len(option)], add_special_tokens=False)["input_ids"]
            if whole[: len(prompt)] != prompt or len(whole) == len(prompt):
                raise TargetError(
                    f"{self.name}: with the reply {option!r} the chat template does not go on where it opens a reply, so "
                    "its likelihood cannot be told; count votes instead (labels: votes)"
                )
            tails.append(whole[len(prompt) :])
        return prompt, tails

    def _heard(self, draft: Draft, tell: Callable[[str], bool] | None) -> bool:
        """Tell the text that later tokens cannot change; False at a stop string or when nobody listens."""
        whole = self._decoded(draft)
        stopped = any(stop in whole for stop in draft.sampling.stop)
        if tell is None:
            return not stopped
        held = max((len(stop) for stop in draft.sampling.stop), default=1) - 1
        ready = len(whole.rstrip(UNFINISHED)) - held
        if stopped or ready <= draft.told:
            return not stopped
        piece, draft.told = whole[draft.told : ready], ready
        return tell(piece)

    def _decoded(self, draft: Draft) -> str:
        """The words so far, without the space after the plain template's `Assistant:`."""
        return str(self.tokenizer.decode(draft.ids, skip_special_tokens=True)).lstrip()

    def _text(self, draft: Draft) -> str:
        """The words before the first stop string."""
        whole = self._decoded(draft)
        places = [place for stop in draft.sampling.stop if (place := whole.find(stop)) >= 0]
        return whole[: min(places)] if places else whole


def _load(folder: str | Path, device: torch.device, dtype: torch.dtype | None) -> tuple[Any, Any]:
    """(model, tokenizer). On a CPU the arithmetic is float32 unless told otherwise: it is faster there."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells of every retry; the exception says it once
    place = Path(folder).expanduser()
    if not place.exists() and (place.is_absolute() or len(place.parts) != 2):
        raise ModelNotFound(f"there is no model folder {place}; give a Hugging Face folder or a hub name OWNER/NAME")
    where = str(place) if place.exists() else str(folder)
    wanted = dtype or (torch.float32 if device.type == "cpu" else torch.bfloat16)
    try:
        tokenizer = ensure_template(AutoTokenizer.from_pretrained(where))
        model: Any = AutoModelForCausalLM.from_pretrained(where, dtype=wanted)
    except (OSError, ValueError) as why:
        raise ModelNotFound(f"{folder} holds no causal language model that transformers can load: {why}") from why
    return model.to(device).eval(), tokenizer
