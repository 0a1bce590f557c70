"""Unlearning: take what a forget set says out of a model's reach, and hold the rest where it is.

    ga        gradient ascent on the forget set, and nothing else: the baseline that collapses
    graddiff  the same, with a retain term
    npo       the rejected half of DPO: what is forgotten already pulls no more (arXiv:2404.05868)
    simnpo    the same without a reference, per token (arXiv:2410.07163)
    rmu       hidden states of one layer are pushed towards a random direction (arXiv:2403.03218)

The retain term is the mean negative log-likelihood per token of retained rows (`keep: nll`) or KL(start | policy) on
their learnt tokens (`keep: kl`); RMU holds its layer's states instead. Nothing is measured on padding or prompts.

Watch `retain_nll`: when it runs away, the model is being destroyed and not edited; the run says so once, in words.
Not covered: removal. A model that no longer says a thing may still hold it, and the audit (unlearn_report.py) attacks it
by relearning and by rounding its weights; other attacks may find more. One process only.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from trivet.alignment import (
    engine,
    memory,
    models,
    objectives,
    parallel,
    settings,
    sources,
    unlearn_data,
    unlearn_report,
    unlearn_terms,
)
from trivet.alignment.batches import Row, collate, encode_demonstrations, plan, rows_digest, split_by_tokens
from trivet.alignment.logprobs import Scorer, per_owner
from trivet.alignment.trackers import trackers
from trivet.alignment.unlearn_terms import Start, States, cached_logps, kl_to_start, rmu, row_logps
from trivet.core.config import option
from trivet.core.errors import ConfigError, DataError
from trivet.core.lessons import Demonstration, lesson_digest
from trivet.core.models.resolve import model_folder

_log = logging.getLogger("trivet.alignment")
WATCHED = 64
"""Rows of each set that the readouts are taken on: always the same ones, so that a curve shows the model and not the draw."""
COLLAPSE = 1.0
"""Nats a token by which the retained rows may become less likely before the run says that the model is being lost."""


@dataclass(frozen=True)
class Config:
    """Settings of a run of unlearning."""

    model: str = option("", "folder or hub name of the model to start from")
    out: str = option("", "folder of the run: checkpoints, metrics and the result in OUT/model")
    retain: str = option("", "data set of demonstrations that are to be kept; needed by all losses but ga")
    loss: Literal["ga", "graddiff", "npo", "simnpo", "rmu"] = option("npo", "the objective")
    keep: Literal["auto", "nll", "kl", "none"] = option(
        "auto", "the retain term; auto: none for ga, the layer's states for rmu, nll for the others"
    )
    forget_weight: float = option(1.0, "weight of the forget term")
    retain_weight: float = option(1.0, "weight of the retain term (RMU: alpha, of the order of 1000)")
    beta: float = option(0.1, "NPO: how soon what is forgotten pulls no more; SimNPO: 2.5 to 5.5")
    delta: float = option(0.0, "SimNPO: offset of the mean log-probability")
    layer: int = option(7, "RMU: the layer whose output is steered, from 0; it and the two below are trained")
    steering: float = option(6.5, "RMU: length c of the random direction")
    documents: str = option("", "folder of documents to forget (.txt, .md, .jsonl): questions are made of them")
    writer: str = option("", "model that writes the questions, like http://HOST/v1#NAME; empty for questions by rule")
    questions: int = option(5, "questions per passage that the writer is asked for")
    apart: Literal["question", "document"] = option("question", "what of the documents is only measured")
    share: float = option(0.25, "share of the documents' wordings, or of the documents, that is only measured")
    texts: bool = option(False, "forget the documents as plain text as well")
    epochs: float = option(5.0, "passes over the data, fractions allowed")
    max_steps: int = option(0, "optimiser steps; above 0 it decides instead of epochs")
    lr: float = option(1e-5, "highest learning rate; about 1e-4 with LoRA or for models of a few million parameters")
    warmup: float = option(0.1, "fraction of the steps in which the learning rate rises")
    schedule: Literal["cosine", "linear", "constant"] = option("linear", "how it falls afterwards")
    weight_decay: float = option(0.0, "AdamW weight decay, on matrices only")
    betas: tuple[float, float] = option((0.9, 0.95), "AdamW's two decay rates")
    clip: float = option(1.0, "largest gradient norm; 0 for no clipping")
    batch_size: int = option(16, "rows of each set per optimiser step")
    batch_tokens: int = option(8192, "padded tokens per micro-batch; changes speed and memory, not the result")
    max_length: int = option(
        1024,
        "longest row in tokens, at most the model's context; longer conversations are dropped and counted, texts split",
    )
    cache: str = option(
        "", "folder for the reference's log-probabilities, to share between runs; empty for OUT/reference"
    )
    seed: int = option(0, "of the data order, of fresh adapters and of RMU's direction")
    lora: int = option(0, "rank of the adapters; 0 trains all weights")
    lora_alpha: float = option(16.0, "scale of the adapters: they count alpha / rank times")
    lora_targets: str = option("all-linear", "which modules get adapters: all-linear, or names with commas between")
    dtype: Literal["fp32", "bf16"] = option(
        "fp32", "arithmetic; trained weights stay in fp32, frozen ones under LoRA follow it"
    )
    audit: bool = option(True, "afterwards measure, relearn and quantise the result: OUT/audit.html and audit.json")
    never: str = option("", "model that never saw the forget set, where there is one, to compare with in the audit")
    track: str = option("", "also write figures to tensorboard, wandb, mlflow (commas between)")
    device: str = option("auto", "auto, cpu, cuda")
    save_every: int = option(100, "steps between checkpoints; 0 for none")
    log_every: int = option(10, "steps between rows of metrics.jsonl")
    eval_every: int = option(0, "steps between passes over the held-out part; 0 for one at the end")
    threads: int = option(0, "CPU threads; 0 leaves torch's choice")

    def __post_init__(self) -> None:
        if self.loss == "ga" and self.keep not in ("auto", "none"):
            raise ConfigError(f"ga has no retain term and keep is {self.keep}; use loss graddiff, or leave keep out")
        if self.loss == "graddiff" and self.keep == "none":
            raise ConfigError("graddiff without a retain term is ga; use loss ga, or keep nll or kl")
        if self.loss == "rmu" and self.keep != "auto":
            raise ConfigError(f"rmu holds hidden states and keep is {self.keep}; leave keep out")

    @property
    def kept_by(self) -> str:
        """The retain term: none, nll, kl or states."""
        return {"ga": "none", "rmu": "states"}.get(self.loss, "nll") if self.keep == "auto" else self.keep


def run(
    config: Config,
    forget: Sequence[Demonstration],
    retain: Sequence[Demonstration] | None = None,
    *,
    heldout: Sequence[Demonstration] = (),
    progress: engine.Progress | None = None,
) -> engine.Result:
    """Train, resuming where an earlier run of the same command stopped; a finished run returns at once.

    `forget` is trained on, `heldout` is the same knowledge in other words and only measured; to both is added what
    `config.documents` gives. `retain` is read from `config.retain` where it is not given.
    """
    settings.check(asdict(config))
    out = Path(config.out).expanduser()
    if config.threads:
        torch.set_num_threads(config.threads)
    ranks = parallel.join(config.device)
    if ranks.world > 1:
        raise ConfigError("unlearning runs in one process; start it without torchrun")
    forget, heldout, retain = _sets(config, out, forget, heldout, retain)
    config = replace(config, never=model_folder(config.never) if config.never else "")
    torch.manual_seed(config.seed)
    kept = models.weights_dtype(config.dtype, config.lora)
    model, tokenizer = models.load(config.model, device=ranks.device, dtype=kept)
    longest = models.longest(config.max_length, model)
    rows, too_long = encode_demonstrations(tokenizer, forget, longest)
    held, held_too_long = encode_demonstrations(tokenizer, retain, longest)
    unseen = encode_demonstrations(tokenizer, heldout, longest).rows
    start_digest = models.weights_digest(model)
    identity = engine.identity_of(
        {**asdict(config), "retain": "", "documents": "", "writer": "", "never": "", "audit": False},
        weights=start_digest,
        data=rows_digest(rows),
        retained=rows_digest(held),
        heldout=rows_digest(unseen),
    )
    result = engine.finished(out, identity)
    if result:
        return _audited(config, result, forget, heldout, retain)

    steps = plan(
        [len(row) for row in rows],
        batch_size=config.batch_size,
        epochs=config.epochs,
        max_steps=config.max_steps,
        seed=config.seed,
    )
    holds = (
        plan([len(row) for row in held], batch_size=config.batch_size, max_steps=len(steps), seed=config.seed + 1)
        if config.kept_by != "none"
        else []
    )
    if config.lora:
        model = models.with_lora(model, config.lora, config.lora_alpha, config.lora_targets)
    layer = unlearn_terms.steered_layers(model, config.layer)[-1] if config.loss == "rmu" else None
    pad, device, budget = tokenizer.pad_token_id, ranks.device, config.batch_tokens
    models.still(model, checkpointing=False)  # gradients flow all the same; dropout does not
    scorer = engine.scorer(model, config.dtype)
    states = States(scorer, layer)
    lengths, held_lengths = (np.asarray([len(row) for row in part]) for part in (rows, held))
    target = unlearn_terms.direction(model.config.get_text_config().hidden_size, config.steering, config.seed)
    target = target.to(device)

    watched, watched_held = spread_evenly(rows), spread_evenly(held)
    with memory.told():
        # Before the first step the model is the reference: its weights are copied, its log-probabilities kept on disk.
        start = Start(scorer) if config.kept_by in ("kl", "states") else None
        began_at = row_logps(scorer, watched, pad=pad, budget=budget)
        cache = Path(config.cache).expanduser() if config.cache else out / "reference"
        reference = (
            cached_logps(scorer, rows, weights=start_digest, folder=cache, pad=pad, budget=budget).to(device)
            if config.loss == "npo"
            else torch.zeros(len(rows), device=device)
        )
    optimizer = engine.adamw(scorer, betas=config.betas, weight_decay=config.weight_decay)

    def batch_of(step: int) -> list[dict[str, Any]]:
        learnt = [{"set": "forget", **_words(tokenizer, rows, i)} for i in np.concatenate(steps[step])]
        return learnt + [
            {"set": "retain", **_words(tokenizer, held, i)} for part in holds[step : step + 1] for i in part[0]
        ]

    follow = trackers(config.track, out, identity)
    work = engine.Run(out, scorer, optimizer, identity, progress=progress, batch_of=batch_of, trackers=follow)
    if not work.step:
        work.log({"steps": len(steps), **readouts(scorer, watched, watched_held, began_at, pad, budget)})
        work.extra["retain_nll"] = work.last.get("retain_nll", 0.0)
    began = time.monotonic()

    while work.step < len(steps):
        indices = np.concatenate(steps[work.step])
        learnt = sum(len(rows[i]) - rows[i].start for i in indices)
        for part in split_by_tokens(indices, lengths, budget):
            batch = collate([rows[i] for i in part], pad).to(device)
            with memory.told():
                if config.loss == "rmu":
                    loss = rmu(states(batch), target).sum() / learnt
                else:
                    logps = per_owner(scorer(batch), batch.owners, len(part))
                    counts = torch.bincount(batch.owners, minlength=len(part))
                    loss = forget_losses(config, logps, reference[part], counts).sum() / len(indices)
                (config.forget_weight * loss).backward()
            work.tally.add(forget_loss=loss, tokens=batch.ids.numel())

        indices = np.concatenate(holds[work.step]) if holds else np.empty(0, dtype=int)
        learnt = sum(len(held[i]) - held[i].start for i in indices)
        for part in split_by_tokens(indices, held_lengths, budget) if holds else ():
            batch = collate([held[i] for i in part], pad).to(device)
            with memory.told():
                if config.kept_by == "nll":
                    losses = objectives.sft(scorer(batch))
                else:
                    before = start.run(states, batch)  # type: ignore[union-attr]
                    now = states(batch)
                    losses = kl_to_start(scorer, start, now, before) if config.kept_by == "kl" else rmu(now, before)
                loss = losses.sum() / learnt
                (config.retain_weight * loss).backward()
            work.tally.add(retain_loss=loss, tokens=batch.ids.numel())
        rate = engine.learning_rate(work.step, len(steps), config.lr, warmup=config.warmup, schedule=config.schedule)
        norm = work.descend(rate, config.clip)
        work.tally.add(steps=1, grad_norm=norm)

        last = work.step == len(steps)
        if last or work.step % config.log_every == 0:
            sums, seconds = work.tally.take(), time.monotonic() - began
            count, tokens = sums.pop("steps"), sums.pop("tokens")
            means = {name: value / count for name, value in sums.items()}
            loss = config.forget_weight * means["forget_loss"] + config.retain_weight * means.get("retain_loss", 0.0)
            found = readouts(scorer, watched, watched_held, began_at, pad, budget)
            work.log(
                {"steps": len(steps), "loss": loss, **means, **found, "lr": rate, "tokens_per_second": tokens / seconds}
            )
            warn_of_collapse(work)
            began = time.monotonic()
        if unseen and (last or (config.eval_every and work.step % config.eval_every == 0)):
            work.log({"heldout_forget_nll": nll(scorer, unseen, pad, budget)})
            began = time.monotonic()
        if config.save_every and work.step % config.save_every == 0 and not last:
            work.save()
    dropped = {"too_long": too_long, "retain_too_long": held_too_long}
    result = work.finish(model, tokenizer, dropped, base=config.model)
    del model, scorer, states, start, optimizer, work
    return _audited(config, result, forget, heldout, retain)


def forget_losses(config: Config, logps: Tensor, reference: Tensor, counts: Tensor) -> Tensor:
    """The forget term for each reply: [replies] from summed log-probabilities, the reference's and token counts."""
    match config.loss:
        case "npo":
            return objectives.npo(logps, reference, beta=config.beta)
        case "simnpo":
            return objectives.simnpo(objectives.per_token(logps, counts), beta=config.beta, delta=config.delta)
    return logps  # gradient ascent on the negative log-likelihood is descent on this


def readouts(
    scorer: Scorer, forget: Sequence[Row], retain: Sequence[Row], began_at: Tensor, pad: int, budget: int
) -> dict[str, float]:
    """What a run is watched by, on rows that stay the same: loss per token of both sets, and how far a reply has gone.

    `forget_shift` is log pi - log pi_start of a whole reply, averaged over replies.
    """
    logps = row_logps(scorer, forget, pad=pad, budget=budget)
    tokens = sum(len(row) - row.start for row in forget)
    found = {"forget_nll": float(-logps.sum()) / tokens, "forget_shift": float((logps - began_at).mean())}
    return {**found, "retain_nll": nll(scorer, retain, pad, budget)} if retain else found


def nll(scorer: Scorer, rows: Sequence[Row], pad: int, budget: int) -> float:
    """Mean negative log-likelihood per learnt token."""
    return float(-row_logps(scorer, rows, pad=pad, budget=budget).sum()) / sum(len(row) - row.start for row in rows)


def warn_of_collapse(work: engine.Run) -> None:
    """Says once that what was to be kept is being lost; the run goes on, its report says it again."""
    before, now = work.extra["retain_nll"], work.last.get("retain_nll", 0.0)
    if now > before + COLLAPSE and not work.extra.get("told"):
        work.extra["told"] = True
        _log.warning(
            "step %d: what was to be kept is being lost too: its loss per token rose from %.3g to %.3g. Stop earlier, lower "
            "lr, raise retain_weight, or take npo, which stops pulling at what is forgotten.",
            work.step,
            before,
            now,
        )


def spread_evenly(rows: Sequence[Row], count: int = WATCHED) -> list[Row]:
    """At most `count` rows, evenly from the first to the last."""
    if not len(rows):
        return []
    return [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))]


def _sets(
    config: Config,
    out: Path,
    forget: Sequence[Demonstration],
    heldout: Sequence[Demonstration],
    retain: Sequence[Demonstration] | None,
) -> tuple[list[Demonstration], list[Demonstration], list[Demonstration]]:
    """(forget, held out, retain), with what the documents and the retain file add."""
    if config.documents:
        made = unlearn_data.forget_set(
            config.documents,
            writer=config.writer,
            questions=config.questions,
            apart=config.apart,
            share=config.share,
            texts=config.texts,
            cache=out / "questions",
        )
        forget, heldout = [*forget, *made.learnt], [*heldout, *made.heldout]
    if retain is None:
        retain = sources.demonstrations(config.retain).lessons if config.retain else []
    if not retain and config.kept_by != "none":
        raise ConfigError(f"loss {config.loss} needs data to keep; set `retain` to a data set (only ga goes without)")
    both = {lesson_digest(one) for one in forget} & {lesson_digest(one) for one in retain}
    if both:
        raise DataError(f"{len(both)} lessons are to be forgotten and to be kept; take them out of one of the two sets")
    return list(forget), list(heldout), list(retain)


def _audited(
    config: Config,
    result: engine.Result,
    forget: Sequence[Demonstration],
    heldout: Sequence[Demonstration],
    retain: Sequence[Demonstration],
) -> engine.Result:
    """The result with the audit's main figures, once that is written, where one is wanted."""
    out = Path(config.out).expanduser()
    if not config.audit:
        return result
    if not (out / "audit.json").exists():
        unlearn_report.audit(
            out,
            start=config.model,
            unlearned=result.folder,
            forget=forget,
            heldout=heldout,
            retain=retain,
            never=config.never,
            settings=unlearn_report.Settings(device=config.device, relearn_lr=config.lr),
        )
    found = json.loads((out / "audit.json").read_text(encoding="utf-8"))
    parts = found["models"]["unlearned"]
    figures = {f"audit_{name}_rouge": parts[name]["rouge"] for name in parts if name != "retain"}
    if "unlearned" in found["utility"]:
        figures["audit_utility"] = found["utility"]["unlearned"]
    return replace(result, final={**result.final, **figures})


def _words(tokenizer: Any, rows: Sequence[Row], row: int) -> dict[str, Any]:
    """A row as text, for the record of a step that went wrong."""
    return {"row": int(row), "text": tokenizer.decode(rows[row].ids)}
