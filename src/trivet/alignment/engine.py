"""All of a training run but the step: weights in, optimiser, learning rate, checkpoints, metric log, weights out.

A run lives in one folder:

    OUT/checkpoint-00000100/   weights that are trained, optimiser, random state, position; the newest only
    OUT/metrics.jsonl          one row per logging interval
    OUT/model/                 the result, an ordinary Hugging Face folder (adapters merged in)
    OUT/adapter/               with LoRA, the adapter alone
    OUT/result.json            written last: its presence means that the run is finished

Everything is written beside its place, synced and renamed, so a killed run leaves whole files only. The same command
goes on from the newest checkpoint and ends in the same bits as a run that nothing had disturbed; the data order is a
pure function of the seed, so the position is one number.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trivet.alignment.files import sync, write_file, write_folder, writing
from trivet.alignment.logprobs import Scorer
from trivet.core.errors import ConfigError, ModelNotFound, TrivetError
from trivet.core.models.chat import ensure_template

Progress = Callable[[Mapping[str, float]], None]
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


# ------------------------------------------------------------------------------------------------ models and adapters


def load(folder: str | Path, *, device: str = "auto", dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """(model, tokenizer) of a Hugging Face folder or hub name; the tokenizer has a chat template and a pad token."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, logging

    logging.disable_progress_bar()
    place = Path(folder).expanduser()
    if not place.exists() and (place.is_absolute() or len(place.parts) != 2):
        raise ModelNotFound(f"there is no model folder {place}; give a Hugging Face folder or a hub name OWNER/NAME")
    where = str(place) if place.exists() else str(folder)
    try:
        tokenizer = ensure_template(AutoTokenizer.from_pretrained(where))
        model = AutoModelForCausalLM.from_pretrained(where, dtype=dtype)
    except (OSError, ValueError) as why:
        raise ModelNotFound(f"{folder} holds no causal language model that transformers can load: {why}") from why
    if tokenizer.eos_token_id is None:
        raise ConfigError(
            f"the tokenizer of {folder} has no end token, so a model could not learn to stop; set eos_token"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.to(pick_device(device)), tokenizer


def weights_dtype(dtype: str, lora: int) -> torch.dtype:
    """What weights are kept in: trained ones always in float32, frozen ones under adapters in the arithmetic's own."""
    return torch.bfloat16 if dtype == "bf16" and lora else torch.float32


def longest(max_length: int, model: Any) -> int:
    """The longest row in tokens: what was asked for, and no more than the model has positions."""
    return min(max_length, getattr(model.config.get_text_config(), "max_position_embeddings", None) or max_length)


def pick_device(name: str) -> torch.device:
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def with_lora(model: Any, rank: int, alpha: float, targets: str) -> Any:
    """The model with fresh low-rank adapters (Hu et al. 2021, arXiv:2106.09685), everything else frozen."""
    from peft import LoraConfig, get_peft_model

    names = targets if targets == "all-linear" else [name.strip() for name in targets.split(",")]
    try:
        wrapped = get_peft_model(
            model, LoraConfig(r=rank, lora_alpha=alpha, target_modules=names, task_type="CAUSAL_LM", lora_dropout=0.0)
        )
    except ValueError as why:
        known = sorted({name.rpartition(".")[2] for name, part in model.named_modules() if isinstance(part, nn.Linear)})
        raise ConfigError(f'lora_targets: "{targets}" does not fit this model, which has {", ".join(known)}') from why
    return wrapped


def weights_digest(model: Any) -> str:
    """SHA-256 over every weight of a model by name, as 32 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]


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
    """Fused AdamW; weight decay on matrices only, not on norms and biases."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=0.0, betas=betas, fused=True)


class Tally:
    """Running sums kept on the device; read, and so synchronised, once per logging interval."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}

    def add(self, **values: Tensor | float) -> None:
        for name, value in values.items():
            value = value.detach().double() if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def take(self) -> dict[str, float]:
        """The sums so far, which start again from nothing."""
        taken = {name: float(value) for name, value in self.sums.items()}
        self.sums = {}
        return taken


# ------------------------------------------------------------------------------------------------------------ the run


class Run:
    """One training run in its folder. Built fresh or from the newest checkpoint; `step` says where it stands."""

    def __init__(
        self,
        out: Path,
        model: Any,
        optimizer: torch.optim.Optimizer,
        identity: Mapping[str, Any],
        *,
        progress: Progress | None = None,
    ) -> None:
        self.out, self.model, self.optimizer = out, model, optimizer
        self.identity = dict(identity)
        self.progress = progress
        self.tally = Tally()
        self.step = 0
        self.last: dict[str, float] = {}
        self.log_path = out / "metrics.jsonl"
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
        for stale in out.glob("*.tmp"):
            shutil.rmtree(stale, ignore_errors=True)
        self._resume()

    def _trained(self) -> dict[str, Tensor]:
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def _resume(self) -> None:
        found = sorted(self.out.glob("checkpoint-????????"))
        if not found:
            self.log_path.unlink(missing_ok=True)
            return
        state = torch.load(found[-1] / "state.pt", map_location="cpu", weights_only=True)
        same_run(state["identity"], self.identity, self.out)
        with torch.no_grad():
            for name, weight in self._trained().items():
                weight.copy_(state["weights"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"]:
            torch.cuda.set_rng_state_all(state["cuda_rng"])
        self.step, self.tally.sums, self.last = state["step"], state["tally"], state["last"]
        with self.log_path.open("r+", encoding="utf-8") as log:
            log.truncate(state["logged"])

    def save(self) -> None:
        """A checkpoint after the step just taken; the one before it goes once this one is whole."""
        for name, words in (("loss", "loss"), ("grad_norm", "gradient norm")):
            self._refuse_nan(float(self.tally.sums.get(name, 0.0)), words)
        self.log_path.touch()
        sync(self.log_path)
        state = {
            "identity": self.identity,
            "weights": self._trained(),
            "optimizer": self.optimizer.state_dict(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "step": self.step,
            "tally": self.tally.sums,
            "last": self.last,
            "logged": self.log_path.stat().st_size,
        }
        place = self.out / f"checkpoint-{self.step:08d}"
        write_folder(place, lambda folder: torch.save(state, folder / "state.pt"))
        for older in self.out.glob("checkpoint-????????"):
            if older != place:
                shutil.rmtree(older)

    def descend(self, rate: float, clip: float) -> Tensor:
        """Clip the gradient, take one optimiser step at this rate, clear the gradient; returns the norm before."""
        norm = nn.utils.clip_grad_norm_([*self._trained().values()], clip if clip > 0 else math.inf)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return norm

    def log(self, figures: Mapping[str, float]) -> None:
        """One row of metrics; stops the run when its loss, or the gradient that has just been applied, is no number."""
        row = {"step": self.step, **figures}
        self._refuse_nan(row.get("loss", 0.0))
        self._refuse_nan(row.get("grad_norm", 0.0), "gradient norm")
        self.last = {**self.last, **figures}
        with writing(self.log_path), self.log_path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(row) + "\n")
        if self.progress:
            self.progress(row)

    def _refuse_nan(self, value: float, name: str = "loss") -> None:
        if not math.isfinite(value):
            raise TrivetError(
                f"the {name} is {value} at step {self.step}: the run in {self.out} stopped; its last checkpoint, if any, is "
                "from before. Lower lr, lengthen warmup or lower clip, and use another out folder."
            )

    def finish(self, tokenizer: Any, dropped: Mapping[str, int]) -> Result:
        """Write model, adapter and result, in this order; the checkpoints are then no longer needed."""
        model, adapter = self.model.eval(), None
        if hasattr(model, "merge_and_unload"):
            adapter = self.out / "adapter"
            write_folder(adapter, model.save_pretrained)
            model = model.merge_and_unload()
        write_folder(
            self.out / "model", lambda folder: (model.save_pretrained(folder), tokenizer.save_pretrained(folder))
        )
        result = {"steps": self.step, "final": self.last, "dropped": dict(dropped), "adapter": bool(adapter)}
        text = json.dumps({"identity": self.identity, **result}, indent=1)
        write_file(self.out / "result.json", lambda path: path.write_text(text, encoding="utf-8"))
        for checkpoint in self.out.glob("checkpoint-????????"):
            shutil.rmtree(checkpoint)
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
    free = {"model", "reference", "out", "cache", "threads", "save_every", "device"}
    kept = {name: value for name, value in settings.items() if name not in free}
    return json.loads(json.dumps({**kept, **contents}))


def scorer(model: Any, dtype: str) -> Scorer:
    """The log-probability primitive in the arithmetic asked for."""
    if dtype not in DTYPES:
        raise ConfigError(f'dtype: "{dtype}" is not known; use fp32 or bf16')
    return Scorer(model, autocast=DTYPES[dtype])
