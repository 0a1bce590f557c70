"""All of a training run but the step: optimiser, learning rate, checkpoints, metric log, weights out.

A run lives in one folder:

    OUT/checkpoint-00000100/   weights that are trained, optimiser, random state, position; the newest only
    OUT/metrics.jsonl          one row per logging interval
    OUT/model/                 the result, an ordinary Hugging Face folder (adapters merged in)
    OUT/adapter/               with LoRA, the adapter alone
    OUT/report.html            the curves of the run
    OUT/bad-batch.json         only when a gradient was no number: the rows of that step
    OUT/result.json            written last: its presence means that the run is finished

Everything is written beside its place, synced and renamed, so a killed run leaves whole files only. The same command
goes on from the newest checkpoint and ends in the same bits as a run that nothing had disturbed; the data order is a
pure function of the seed, so the position is one number. A checkpoint holds whole tensors by name, whatever number of
processes wrote it: any other number can go on from it.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trivet.alignment import models, parallel
from trivet.alignment.files import sync, write_file, write_folder, writing
from trivet.alignment.logprobs import Scorer
from trivet.alignment.report import write_report
from trivet.core.errors import ConfigError, TrivetError

Progress = Callable[[Mapping[str, float]], None]
Tracker = Callable[[Mapping[str, float]], None]
BatchOf = Callable[[int], Sequence[Mapping[str, Any]]]
DTYPES = {"fp32": None, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Result:
    """Where a finished run left its model, and its last figures."""

    folder: Path
    steps: int
    metrics: Path
    final: dict[str, float] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    adapter: Path | None = None

    @property
    def loss(self) -> float:
        return self.final.get("loss", math.nan)


# ------------------------------------------------------------------------------------------- optimiser and its pace


def learning_rate(step: int, steps: int, peak: float, *, warmup: float, schedule: str, floor: float = 0.0) -> float:
    """The rate of step 0..steps-1: linear warm-up over a fraction of the run, then cosine, linear or constant."""
    rising = math.ceil(warmup * steps)
    if step < rising:
        return peak * (step + 1) / rising
    done = (step - rising) / max(1, steps - rising)
    match schedule:
        case "constant":
            return peak
        case "linear":
            return floor + (peak - floor) * (1 - done)
        case "cosine":
            return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * done))
    raise ConfigError(f'schedule: "{schedule}" is not known; use cosine, linear or constant')


def adamw(model: nn.Module, *, betas: tuple[float, float], weight_decay: float) -> torch.optim.Optimizer:
    """AdamW, fused where weights are whole; weight decay on matrices only, not on norms and biases."""
    trained = [p for p in model.parameters() if p.requires_grad]
    split = any(hasattr(p, "full_tensor") for p in trained)
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=0.0, betas=betas, fused=not split)


class Tally:
    """Running sums kept on the device; read, and so synchronised, once per logging interval."""

    def __init__(self, ranks: parallel.Ranks = parallel.ALONE) -> None:
        self.ranks = ranks
        self.sums: dict[str, Tensor] = {}

    def add(self, **values: Tensor | float) -> None:
        for name, value in values.items():
            value = value.detach().double() if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def take(self) -> dict[str, float]:
        """The sums so far over all processes, which start again from nothing; every process must call it."""
        taken = {name: float(value) for name, value in self.sums.items()}
        self.sums = {}
        return self.ranks.totals(taken)


# ------------------------------------------------------------------------------------------------------------ the run


class Run:
    """One training run in its folder. Built fresh or from the newest checkpoint; `step` says where it stands.

    `trained` holds every parameter that is trained, `watched` names rewards that are only measured, `batch_of(step)` tells what a step learnt from, for the record of a
    step that went wrong; `trackers` hear every row of metrics, `progress` as well.
    """

    def __init__(
        self,
        out: Path,
        trained: nn.Module,
        optimizer: torch.optim.Optimizer,
        identity: Mapping[str, Any],
        *,
        progress: Progress | None = None,
        ranks: parallel.Ranks = parallel.ALONE,
        batch_of: BatchOf | None = None,
        trackers: Sequence[Tracker] = (),
    ) -> None:
        self.out, self.trained, self.optimizer, self.ranks = out, trained, optimizer, ranks
        self.identity = dict(identity)
        self.listeners = [*trackers, *([progress] if progress else [])] if ranks.main else []
        self.batch_of = batch_of
        self.tally = Tally(ranks)
        self.step = 0
        self.last: dict[str, float] = {}
        self.extra: dict[str, Any] = {}
        self.norms: list[Tensor] = []
        self.watched: tuple[str, ...] = ("gold",)
        self.log_path = out / "metrics.jsonl"
        if ranks.main:
            with writing(out):
                out.mkdir(parents=True, exist_ok=True)
            for stale in out.glob("*.tmp"):
                shutil.rmtree(stale, ignore_errors=True)
        ranks.wait()
        self._resume()

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [p for p in self.trained.parameters() if p.requires_grad]

    def _resume(self) -> None:
        found = sorted(self.out.glob("checkpoint-????????"))
        self.ranks.wait()
        if not found:
            if self.ranks.main:
                self.log_path.unlink(missing_ok=True)
            return
        state = torch.load(found[-1] / "state.pt", map_location="cpu", weights_only=True)
        same_run(state["identity"], self.identity, self.out)
        self._take(found[-1], state["weights"], state["optimizer"])
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda_rng"][: torch.cuda.device_count()])
        self.step, self.last, self.extra = state["step"], state["last"], state["extra"]
        if self.ranks.main:
            self.tally.sums = state["tally"]
            with self.log_path.open("r+", encoding="utf-8") as log:
                log.truncate(state["logged"])

    def _named(self) -> dict[str, nn.Parameter]:
        """The trained parameters by name."""
        parallel.reshard(self.trained)
        return {name: p for name, p in self.trained.named_parameters() if p.requires_grad}

    def _take(self, place: Path, weights: Mapping[str, Tensor], moments: Mapping[str, Mapping[str, Any]]) -> None:
        """Weights and optimiser state of a checkpoint, which must be those of this model, name by name."""
        named = self._named()
        strange = sorted({*weights} ^ {*named})
        if strange:
            raise TrivetError(
                f"{place} holds other weights than this model trains ({len(strange)} names differ, first: {strange[0]}); it "
                "was made by another version of a library. Use another out folder."
            )
        fused = any(group.get("fused") for group in self.optimizer.param_groups)
        with torch.no_grad():
            for name, weight in named.items():
                weight.copy_(parallel.like(weights[name], weight))
                kept = {}
                for key, value in moments.get(name, {}).items():
                    if isinstance(value, Tensor) and value.shape == weight.shape and key != "step":
                        kept[key] = parallel.like(value, weight)
                    else:
                        kept[key] = value.to(weight.device) if fused and isinstance(value, Tensor) else value
                if kept:
                    self.optimizer.state[weight] = kept

    def save(self) -> None:
        """A checkpoint after the step just taken; the one before it goes once this one is whole. All processes call it.

        `extra` is kept with it: what a recipe must remember besides weights (plain numbers and tensors).
        """
        self.check()
        sums = self.ranks.totals({name: float(value) for name, value in self.tally.sums.items()})
        named = self._named()
        moments = {name: self.optimizer.state[p] for name, p in named.items() if p in self.optimizer.state}
        state = {
            "identity": self.identity,
            "weights": {name: parallel.full(p) for name, p in named.items()},
            "optimizer": {name: {k: parallel.full(v) for k, v in one.items()} for name, one in moments.items()},
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "step": self.step,
            "tally": {name: torch.tensor(value, dtype=torch.float64) for name, value in sums.items()},
            "last": self.last,
            "extra": self.extra,
        }
        place = self.out / f"checkpoint-{self.step:08d}"
        if self.ranks.main:
            self.log_path.touch()
            sync(self.log_path)
            state["logged"] = self.log_path.stat().st_size
            write_folder(place, lambda folder: torch.save(state, folder / "state.pt"))
            for older in self.out.glob("checkpoint-????????"):
                if older != place:
                    shutil.rmtree(older)
        self.ranks.wait()

    def descend(self, rate: float, clip: float) -> Tensor:
        """Clip the gradient, take one optimiser step at this rate, clear the gradient; returns the norm before."""
        norm = nn.utils.clip_grad_norm_(self.parameters, clip if clip > 0 else math.inf)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.norms.append(norm.detach())
        self.step += 1
        return norm

    def log(self, figures: Mapping[str, float]) -> None:
        """One row of metrics; stops the run when a gradient that has been applied, or the loss, is no number."""
        self.check()
        row = {"step": self.step, **figures}
        for name in ("loss", "grad_norm"):
            if not math.isfinite(row.get(name, 0.0)):
                raise self._spoilt(name, row[name], self.step)
        self.last = {**self.last, **figures}
        if self.ranks.main:
            with writing(self.log_path), self.log_path.open("a", encoding="utf-8") as log:
                log.write(json.dumps(row) + "\n")
        for listener in self.listeners:
            listener(row)

    def check(self) -> None:
        """Raises TrivetError, with the batch saved, when a step since the last check had a gradient that is no number."""
        norms, self.norms = self.norms, []
        values = torch.stack(norms).tolist() if norms else []
        for at, value in enumerate(values):
            if not math.isfinite(value):
                raise self._spoilt("gradient norm", value, self.step - len(values) + at + 1)

    def _spoilt(self, name: str, value: float, step: int) -> TrivetError:
        """The error for a step that was no number, its rows written down."""
        kept = ""
        if self.batch_of and self.ranks.main:
            place = self.out / "bad-batch.json"
            text = json.dumps({"step": step, name: str(value), "rows": list(self.batch_of(step - 1))}, indent=1)
            write_file(place, lambda path: path.write_text(text, encoding="utf-8"))
            kept = f" What that step learnt from is in {place}."
        return TrivetError(
            f"the {name} is {value} at step {step}: the run in {self.out} stopped; its last checkpoint, if any, is from "
            f"before.{kept} Lower lr, lengthen warmup or lower clip, and use another out folder."
        )

    def finish(self, model: Any, tokenizer: Any, dropped: Mapping[str, int], *, base: str = "") -> Result:
        """Write model, adapter, report and result, in this order; the checkpoints are then no longer needed.

        `base` names the start model, which quantised weights are read from again.
        """
        parallel.gather(self.trained)
        adapter = self.out / "adapter" if hasattr(model, "merge_and_unload") else None
        if self.ranks.main:
            if adapter:
                write_folder(adapter, model.save_pretrained)
                model = models.merged(model, base, adapter)
            model.eval()
            write_folder(
                self.out / "model", lambda folder: (model.save_pretrained(folder), tokenizer.save_pretrained(folder))
            )
            write_report(self.out, self.identity, watched=self.watched)
            result = {"steps": self.step, "final": self.last, "dropped": dict(dropped), "adapter": bool(adapter)}
            text = json.dumps({"identity": self.identity, **result}, indent=1)
            write_file(self.out / "result.json", lambda path: path.write_text(text, encoding="utf-8"))
            for checkpoint in self.out.glob("checkpoint-????????"):
                shutil.rmtree(checkpoint)
        self.ranks.wait()
        return Result(self.out / "model", self.step, self.log_path, self.last, dict(dropped), adapter)


def finished(out: Path, identity: Mapping[str, Any]) -> Result | None:
    """The result of a run that ended here with the same settings and data; None when there is none yet."""
    if not (out / "result.json").exists() or not (out / "model").is_dir():
        return None
    kept = json.loads((out / "result.json").read_text(encoding="utf-8"))
    same_run(kept["identity"], identity, out)
    adapter = out / "adapter" if kept["adapter"] else None
    return Result(out / "model", kept["steps"], out / "metrics.jsonl", kept["final"], kept["dropped"], adapter)


def same_run(before: Mapping[str, Any], now: Mapping[str, Any], out: Path) -> None:
    """Refuse to go on with a run that was started with other settings, data or weights."""
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if changed:
        told = ", ".join(f"{name} was {before.get(name)!r} and is {now.get(name)!r}" for name in changed)
        raise ConfigError(f"{out} holds a run of another kind ({told}); delete that folder or give another out")


def identity_of(settings: Mapping[str, Any], **contents: str) -> dict[str, Any]:
    """What makes a run that run: its settings but for those that change no result, and hashes of what goes in."""
    free = {
        "model",
        "reference",
        "out",
        "cache",
        "threads",
        "save_every",
        "device",
        "parallel",
        "track",
        "checkpointing",
    }
    kept = {name: value for name, value in settings.items() if name not in free}
    return json.loads(json.dumps({**kept, **contents}))


def scorer(model: Any, dtype: str) -> Scorer:
    """The log-probability primitive in the arithmetic asked for."""
    if dtype not in DTYPES:
        raise ConfigError(f'dtype: "{dtype}" is not known; use fp32 or bf16')
    return Scorer(model, autocast=DTYPES[dtype])
