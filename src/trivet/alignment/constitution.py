"""Constitutional AI: a model's replies are criticised and revised by principles, and its preferences judged by them.

Bai et al. 2022 (arXiv:2212.08073). For each prompt the model replies; then, `rounds` times, a critic is asked what is wrong
with the reply by one principle, drawn by seed and prompt, and to write it anew (section 3.1). The last revisions are
demonstrations for supervised fine-tuning (SL-CAI). With `labels` a second reply is drawn and the critic says which of the
two is better (section 4.1, ai_labels.py): preferences with a chance, for a reward model, DPO or PPO (RL-CAI).

    OUT/lineage.jsonl        append-only: every reply, revision and label with its question, parents, models and seeds
    OUT/demonstrations.jsonl prompt, completion, origin: read by `sources.demonstrations`
    OUT/preferences.jsonl    prompt, chosen, rejected, chance, origin: read by `sources.preferences`
    OUT/metrics.jsonl        one row per round, and one about the labels

Killed at any point, the same command goes on and ends in the same bytes; nothing is asked twice. What failed (a timeout, a
block) is counted and tried again by the same command. Not covered: mixing in helpful demonstrations, without which a model
learns to refuse too much (give both files to `trivet align`); and whether a revision is better, which nobody checks here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from trivet.alignment.ai_labels import Judging, Pair, judged
from trivet.alignment.lineage import Answer, Ledger, Row
from trivet.alignment.made import Made, Result, written
from trivet.alignment.principles import Constitution, Principle, ask_critique, ask_revision, drawn, read_constitution
from trivet.core.config import option
from trivet.core.errors import ConfigError, DataError, TargetError
from trivet.core.messages import Conversation, Message, Sampling, digest_of
from trivet.core.models.batch import reply_all
from trivet.core.models.resolve import resolve
from trivet.core.protocols import Model
from trivet.core.store.artefacts import folder_digest

SLICE = 64
"""Prompts that go through all stages together: what a kill can cost at most."""


@dataclass(frozen=True)
class Config:
    """Settings of a constitutional run."""

    model: str = option("", "what replies: town:NAME, hf:NAME_OR_PATH, a folder, http://HOST/v1#MODEL")
    out: str = option("", "folder of the run: lineage, demonstrations, preferences, metrics")
    critic: str = option("", "what criticises, revises and judges; empty: the model itself")
    rival: str = option("", "what gives the second reply of a pair; empty: the model once more")
    constitution: str = option("default", "YAML file of principles, or the name of a packaged one")
    rounds: int = option(4, "critiques and revisions of each reply; 0 for none")
    learn: Literal["final", "all"] = option(
        "final", "revisions that become demonstrations: the last, or each that changed"
    )
    labels: Literal["none", "logprobs", "votes"] = option(
        "none", "preferences: none, from the options' log-probabilities, or counted in sampled answers"
    )
    votes: int = option(8, "sampled answers per question where labels is votes")
    per_pair: int = option(1, "principles by which a pair is judged, drawn by weight; 0 for all, weighted")
    thoughts: bool = option(False, "let the critic think before it chooses")
    clamp: tuple[float, float] = option((0.4, 0.6), "bounds of each chance where thoughts are on")
    temperature: float = option(1.0, "of the replies")
    critic_temperature: float = option(0.0, "of critiques, revisions and thoughts")
    max_tokens: int = option(256, "longest reply, critique, revision and thought")
    seed: int = option(0, "of replies and of which principle is drawn")
    concurrency: int = option(16, "requests at once where a model is an endpoint")
    threads: int = option(0, "CPU threads; 0 leaves torch's choice")

    def __post_init__(self) -> None:
        faults = [
            f"{name} is {getattr(self, name)}; it must be at least {least}"
            for name, least in (("rounds", 0), ("votes", 1), ("per_pair", 0), ("max_tokens", 1), ("concurrency", 1))
            if getattr(self, name) < least
        ]
        low, high = self.clamp
        if not 0 <= low <= 0.5 <= high <= 1:
            faults.append(f"clamp is {list(self.clamp)}; it must hold 0.5 and lie between 0 and 1")
        if self.labels != "none" and self.temperature <= 0 and not self.rival:
            faults.append("labels compare two replies, and at temperature 0 they are one; raise it or name a rival")
        if not self.rounds and self.labels == "none":
            faults.append("with rounds 0 and labels none there is nothing to do")
        if faults:
            raise ConfigError("; ".join(faults))


class Cast(NamedTuple):
    """Models given by hand instead of by their specs in the config; None takes the config's."""

    model: Model | None = None
    critic: Model | None = None
    rival: Model | None = None


class Voice(NamedTuple):
    """A model with what the lineage calls it: its spec, and the digest of its folder or its address and name."""

    model: Model
    spec: str
    identity: str

    @property
    def local(self) -> bool:
        return callable(getattr(self.model, "replies", None))


def run(
    config: Config,
    prompts: Sequence[Conversation],
    *,
    heldout: Sequence[Conversation] = (),
    progress: Callable[[Mapping[str, float]], None] | None = None,
    cast: Cast = Cast(),
) -> Result:
    """Make the lessons, going on where an earlier run of the same command stopped."""
    if heldout:
        raise ConfigError("constitution makes lessons and measures nothing; leave held-out prompts away")
    constitution = read_constitution(config.constitution)
    if config.labels != "none" and not constitution.comparable:
        raise ConfigError(f"labels need principles with a question, and {config.constitution} has none; add one")
    distinct = list({prompt.digest: prompt for prompt in prompts}.values())
    if not distinct:
        raise DataError("there is nothing to reply to: no prompts were given")
    voices = _voices(config, cast)
    ledger = Ledger(Path(config.out).expanduser() / "lineage.jsonl")
    made = asyncio.run(_all(_Stages(config, constitution, ledger, *voices), distinct, progress))
    return written(
        ledger.path.parent,
        constitution.name,
        made,
        rounds=config.rounds,
        learn=config.learn,
        labelled=config.labels != "none",
        repeated=len(prompts) - len(distinct),
    )


async def _all(
    stages: _Stages, prompts: Sequence[Conversation], progress: Callable[[Mapping[str, float]], None] | None
) -> list[Made]:
    made: list[Made] = []
    try:
        for start in range(0, len(prompts), SLICE):
            made += await stages.through(prompts[start : start + SLICE])
            if progress:
                progress({"step": len(made), "steps": len(prompts)})
    finally:
        for model in {id(voice.model): voice.model for voice in stages.voices}.values():
            if callable(close := getattr(model, "aclose", None)):
                await close()
    return made


class _Stages:
    """Each stage takes a slice of prompts and asks what the ledger does not know yet."""

    def __init__(
        self, config: Config, constitution: Constitution, ledger: Ledger, model: Voice, critic: Voice, rival: Voice
    ) -> None:
        self.config, self.constitution, self.ledger = config, constitution, ledger
        self.model, self.critic, self.rival = self.voices = (model, critic, rival)
        self.wording = digest_of(asdict(constitution))

    async def through(self, prompts: Sequence[Conversation]) -> list[Made]:
        """Reply, revise `rounds` times, label. A prompt whose question failed goes no further."""
        rows = await self.replies(prompts, self.model, 0)
        made = [Made(prompt).then(row) for prompt, row in zip(prompts, rows, strict=True)]
        for number in range(1, self.config.rounds + 1):
            revised = iter(await self.revisions([one for one in made if not one.failure], number))
            made = [one if one.failure else one.then(next(revised)) for one in made]
        if self.config.labels != "none":
            labels = iter(await self.labels([one for one in made if not one.failure]))
            made = [one if one.failure else one._replace(label=next(labels)) for one in made]
        return made

    async def replies(self, prompts: Sequence[Conversation], voice: Voice, draw: int) -> list[Row | TargetError]:
        """One sampled reply to each prompt; `draw` tells the first from the second."""
        sampling = self.sampling(self.config.temperature, "reply", draw)
        questions = [
            {"kind": "reply", "prompt": prompt.digest, "turns": prompt.rows(), "draw": draw, "model": voice.identity}
            | {"sampling": _told(sampling)}
            for prompt in prompts
        ]

        async def ask(places: Sequence[int]) -> list[Answer]:
            said = await self.say(voice, [prompts[at] for at in places], sampling)
            return [one if isinstance(one, TargetError) else {"reply": one.content, "by": voice.spec} for one in said]

        return await self.ledger.answered(questions, ask, together=voice.local)

    async def revisions(self, going: Sequence[Made], number: int) -> list[Row | TargetError]:
        """One critique and one revision of each reply as it stands."""
        sampling = self.sampling(self.config.critic_temperature, "revision", number)
        rules = [self.rules(self.constitution.principles, 1, one, f"revision {number}")[0] for one in going]
        questions = [
            {"kind": "revision", "prompt": one.prompt.digest, "parent": one.chain[-1]["id"], "round": number}
            | {"principle": rule.name, "constitution": self.wording, "before": one.text}
            | {"critic": self.critic.identity, "sampling": _told(sampling)}
            for one, rule in zip(going, rules, strict=True)
        ]

        async def ask(places: Sequence[int]) -> list[Answer]:
            parts = [(self.constitution, rules[at], going[at].prompt, going[at].text) for at in places]
            critiques = await self.say(self.critic, [ask_critique(*part) for part in parts], sampling)
            heard = [at for at, one in enumerate(critiques) if isinstance(one, Message)]
            asked = [ask_revision(*parts[at], critiques[at].content.strip()) for at in heard]  # type: ignore[union-attr]
            revised = dict(zip(heard, await self.say(self.critic, asked, sampling), strict=True))
            return [_revised(critique, revised.get(at), self.critic.spec) for at, critique in enumerate(critiques)]

        return await self.ledger.answered(questions, ask, together=self.critic.local)

    async def labels(self, going: Sequence[Made]) -> list[Row | TargetError | None]:
        """A second reply to each prompt, and which of the two is better; None where they are one and the same."""
        seconds = await self.replies([one.prompt for one in going], self.rival, 1)
        labels: list[Row | TargetError | None] = [row if isinstance(row, TargetError) else None for row in seconds]
        apart = [
            at
            for at, row in enumerate(seconds)
            if not isinstance(row, TargetError) and row["reply"].strip() != going[at].chain[0]["reply"].strip()
        ]
        pairs = [(going[at].prompt, going[at].chain[0], seconds[at]) for at in apart]
        for at, row in zip(apart, await self._judged(pairs) if pairs else (), strict=True):  # type: ignore[arg-type]
            labels[at] = row
        return labels

    async def _judged(self, pairs: Sequence[tuple[Conversation, Row, Row]]) -> list[Row | TargetError]:
        config, among = self.config, self.constitution.comparable
        few = 0 < config.per_pair < len(among)  # drawn by weight already
        rules = [
            [replace(rule, weight=1.0) if few else rule for rule in self.rules(among, config.per_pair, prompt, "label")]
            for prompt, _, _ in pairs
        ]
        how: Literal["logprobs", "votes"] = "votes" if config.labels == "votes" else "logprobs"
        judging = Judging(
            how=how,
            votes=config.votes,
            thoughts=config.thoughts,
            clamp=config.clamp,
            thinking=self.sampling(config.critic_temperature, "thought", 0),
            seed=_seed(config.seed, "vote", 0),
            concurrency=config.concurrency,
        )
        settings: Row = {"how": how, "thoughts": judging.thoughts}
        settings |= {"votes": judging.votes, "seed": judging.seed} if how == "votes" else {}
        settings |= {"clamp": list(judging.clamp), "sampling": _told(judging.thinking)} if judging.thoughts else {}
        questions = [
            {"kind": "label", "prompt": prompt.digest, "parents": [first["id"], second["id"]]}
            | {"replies": [first["reply"], second["reply"]], "principles": [rule.name for rule in some]}
            | {"constitution": self.wording, "critic": self.critic.identity, **settings}
            for (prompt, first, second), some in zip(pairs, rules, strict=True)
        ]

        async def ask(places: Sequence[int]) -> list[Answer]:
            asked = [Pair(pairs[at][0], pairs[at][1]["reply"], pairs[at][2]["reply"]) for at in places]
            chosen = [rules[at] for at in places]
            found = await judged(self.critic.model, self.constitution, asked, chosen, judging)
            return [one if isinstance(one, TargetError) else {**one, "by": self.critic.spec} for one in found]

        return await self.ledger.answered(questions, ask, together=self.critic.local)

    def rules(self, among: Sequence[Principle], count: int, one: Made | Conversation, stage: str) -> list[Principle]:
        prompt = one.prompt if isinstance(one, Made) else one
        return drawn(among, count, self.config.seed, stage, prompt.digest)

    def sampling(self, temperature: float, stage: str, number: int) -> Sampling:
        return Sampling(temperature, self.config.max_tokens, seed=_seed(self.config.seed, stage, number))

    async def say(self, voice: Voice, talks: Sequence[Conversation], sampling: Sampling) -> list[Message | TargetError]:
        said = await reply_all(voice.model, talks, sampling, concurrency=self.config.concurrency)
        if voice.local and len(talks) > 1 and all(isinstance(one, TargetError) for one in said):
            middle = len(talks) // 2  # one prompt that is too long has failed the batch: find it
            return [part for half in (talks[:middle], talks[middle:]) for part in await self.say(voice, half, sampling)]
        return said


def _revised(critique: Message | TargetError, revision: Message | TargetError | None, by: str) -> Answer:
    if isinstance(critique, TargetError):
        return critique
    assert revision is not None  # asked for wherever there was a critique
    if isinstance(revision, TargetError):
        return revision
    return {"critique": critique.content.strip(), "revision": revision.content.strip(), "by": by}


def _seed(*key: object) -> int:
    """A seed for one stage: the config's, told apart by what it is for."""
    return int(digest_of([str(part) for part in key])[:7], 16)


def _told(sampling: Sampling) -> Row:
    return {"temperature": sampling.temperature, "max_tokens": sampling.max_tokens, "seed": sampling.seed}


def _voices(config: Config, cast: Cast) -> tuple[Voice, Voice, Voice]:
    """Model, critic and rival; specs that are alike share one loaded model."""
    known: dict[str, Model] = {}

    def voice(model: Model | None, spec: str) -> Voice:
        if model is None:
            if spec not in known:
                known[spec] = resolve(spec, threads=config.threads or None)
            model = known[spec]
        else:
            spec = ""
        name = str(getattr(model, "name", type(model).__name__))
        if Path(name).is_dir():
            return Voice(model, spec or name, folder_digest(name))
        url = str(getattr(model, "url", ""))
        whole = f"{url}#{name}" if url else name
        return Voice(model, whole if url else spec or name, whole)  # a spec's URL may hold a password

    if cast.model is None and not config.model:
        raise ConfigError(
            "model is not said: what is to reply? Give town:NAME, hf:NAME_OR_PATH or http://HOST/v1#MODEL"
        )
    first = voice(cast.model, config.model)
    critic = voice(cast.critic, config.critic) if cast.critic or config.critic else first
    rival = voice(cast.rival, config.rival) if cast.rival or config.rival else first
    return first, critic, rival
