"""Models to train: loading them, adapters on them, quantised frozen weights, checkpointed activations, their digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from trivet.core.errors import ConfigError, ModelNotFound, UserError
from trivet.core.models.chat import ensure_template

Quantize = Literal["none", "nf4", "int8"]


def load(
    folder: str | Path,
    *,
    device: str | torch.device = "auto",
    dtype: torch.dtype = torch.float32,
    quantize: Quantize = "none",
) -> tuple[Any, Any]:
    """(model, tokenizer) of a Hugging Face folder or hub name; the tokenizer has a chat template and a pad token."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, logging

    logging.disable_progress_bar()
    where = whereabouts(folder)
    place = pick_device(device)
    try:
        tokenizer = ensure_template(AutoTokenizer.from_pretrained(where))
        if quantize == "none":
            model = AutoModelForCausalLM.from_pretrained(where, dtype=dtype).to(place)
        else:
            model = AutoModelForCausalLM.from_pretrained(
                where, dtype=dtype, quantization_config=_quantized(quantize, dtype, place), device_map={"": place}
            )
    except (OSError, ValueError) as why:
        raise ModelNotFound(f"{folder} holds no causal language model that transformers can load: {why}") from why
    if tokenizer.eos_token_id is None:
        raise ConfigError(
            f"the tokenizer of {folder} has no end token, so a model could not learn to stop; set eos_token"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer


def whereabouts(folder: str | Path) -> str:
    """The folder's path or the hub's name; raises ModelNotFound for what can be neither."""
    place = Path(folder).expanduser()
    if not place.exists() and (place.is_absolute() or len(place.parts) != 2):
        raise ModelNotFound(f"there is no model folder {place}; give a Hugging Face folder or a hub name OWNER/NAME")
    return str(place) if place.exists() else str(folder)


def _quantized(how: Quantize, dtype: torch.dtype, place: torch.device) -> Any:
    """Frozen weights in 4 or 8 bits (QLoRA, Dettmers et al. 2023, arXiv:2305.14314)."""
    if how == "nf4" and place.type == "cpu":
        raise ConfigError(
            "quantize: nf4 needs a GPU, because on a CPU the 4-bit product of bitsandbytes passes no gradient on; use int8"
        )
    try:
        import bitsandbytes  # noqa: F401
    except ModuleNotFoundError as missing:
        raise UserError("quantize needs bitsandbytes; install it with: pip install 'trivet[quantize]'") from missing
    from transformers import BitsAndBytesConfig

    if how == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def weights_dtype(dtype: str, lora: int) -> torch.dtype:
    """What weights are kept in: trained ones always in float32, frozen ones under adapters in the arithmetic's own."""
    return torch.bfloat16 if dtype == "bf16" and lora else torch.float32


def longest(max_length: int, model: Any) -> int:
    """The longest row in tokens: what was asked for, and no more than the model has positions."""
    return min(max_length, getattr(model.config.get_text_config(), "max_position_embeddings", None) or max_length)


def pick_device(name: str | torch.device) -> torch.device:
    """The device of that name; raises ConfigError for one that torch does not know or this machine has not."""
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
    except RuntimeError as why:
        raise ConfigError(f'device: "{name}" is not known; use auto, cpu or cuda') from why
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f'device: "{name}" was asked for and torch finds no GPU here; use cpu or auto')
    return device


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
    for weight in wrapped.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()  # adapters on 16-bit or quantised weights are themselves in float32
    return wrapped


def merged(model: Any, base: str, adapter: Path) -> Any:
    """The model with its adapters added to the weights. Quantised weights are read again from `base` in full first."""
    if getattr(model, "is_loaded_in_4bit", False) or getattr(model, "is_loaded_in_8bit", False):
        from peft import PeftModel

        model = PeftModel.from_pretrained(load(base, device="cpu")[0], adapter)
    return model.merge_and_unload()


def still(model: Any, *, checkpointing: bool) -> Any:
    """The model without dropout, ready for gradients; with `checkpointing` activations are computed again, not kept.

    transformers checkpoints in training mode only, so there dropout is taken out of the modules themselves.
    """
    if not checkpointing:
        return model.eval()
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        for name in ("attention_dropout", "dropout", "dropout_p"):
            if isinstance(getattr(part, name, None), float):
                setattr(part, name, 0.0)
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    inner.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model.train()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode within, and afterwards every part in the mode it was in: a model without dropout stays so."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def weights_digest(model: Any) -> str:
    """SHA-256 over every weight of a model by name, as 32 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        if isinstance(weight, torch.Tensor):
            digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
            digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]
