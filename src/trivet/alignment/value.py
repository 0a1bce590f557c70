"""The value model, and the two ways in which policy, reference and value share or do not share their weights.

    separate    three models: the policy, a frozen copy of it as the reference, a value model that starts from a reward
                model or from the policy
    one base    one frozen model with two adapters: the policy's and the value's, each of low rank. With the adapters off it
                is the reference, bit for bit; so there is one set of weights where `separate` has three, and the
                optimiser keeps moments for the adapters only

The value of a reply's token is foretold from what stands before it, where its log-probability is foretold too:

    V_t = w . h_{t-1} + b

A head that is not a reward model's starts at w = 0, b = 0: the value model expects nothing before it has seen anything.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from trivet.alignment import engine, reward_model
from trivet.alignment.batches import Batch
from trivet.alignment.logprobs import Scorer, TokenScores
from trivet.alignment.rollouts import at_temperature
from trivet.core.errors import ConfigError

POLICY, VALUE = "default", "critic"
"""The names of the adapters; PEFT calls the first one so."""


class Cast(NamedTuple):
    """Who speaks in a policy gradient. `logps` and `values` carry gradients; the model answers as the policy in between."""

    policy: Any  # the model to draw from and to save
    trained: nn.ModuleDict  # every weight that is trained
    logps: Callable[[Batch], Tensor]
    scores: Callable[[Batch], TokenScores]  # log-probabilities with entropies
    reference: Callable[[Batch], Tensor]
    plain: Callable[[Batch], Tensor]  # log-probabilities at temperature 1, for demonstrations
    values: Callable[[Batch], Tensor] | None = None


class Critic(nn.Module):
    """Values [N], float32, of the reply tokens of a batch: a body and a linear head on what stands before each token."""

    def __init__(self, body: nn.Module, head: nn.Linear, *, autocast: torch.dtype | None = None) -> None:
        super().__init__()
        self.body, self.head, self.autocast = body, head, autocast

    def forward(self, batch: Batch) -> Tensor:
        with torch.autocast(batch.ids.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            states = self.body(input_ids=batch.ids, use_cache=False).last_hidden_state
        found: Tensor = self.head(states.flatten(0, 1)[batch.positions].float())
        return found[:, 0]


def separate(model: Any, critic: Critic | None, *, dtype: str, temperature: float) -> Cast:
    """Whole models: the reference is a frozen copy of the policy as it is now."""
    frozen = copy.deepcopy(model).requires_grad_(False).eval()
    policy, reference = (at_temperature(engine.scorer(one, dtype), temperature) for one in (model, frozen))
    trained = nn.ModuleDict({"policy": model})
    if critic is not None:
        trained["value"] = critic
    return Cast(model, trained, policy, _with_entropy(policy), reference, engine.scorer(model, dtype), critic)


def one_base(model: Any, *, value: bool, dtype: str, temperature: float) -> Cast:
    """One frozen model under adapters; `model` comes with the policy's adapter on it (models.with_lora)."""
    trained = nn.ModuleDict({"policy": model})
    scorer = at_temperature(engine.scorer(model, dtype), temperature)
    inner = model.get_base_model()
    values = None
    if value:
        _add_adapter(model, VALUE)
        head = fresh_head(inner.config.get_text_config().hidden_size).to(model.device)
        trained["head"] = head
        critic = Critic(inner.base_model, head, autocast=engine.DTYPES[dtype])

        def values(batch: Batch) -> Tensor:
            with speaking(model, VALUE):
                return critic(batch)

    def reference(batch: Batch) -> Tensor:
        with speaking(model, None), torch.no_grad():
            return scorer(batch)

    return Cast(model, trained, scorer, _with_entropy(scorer), reference, engine.scorer(model, dtype), values)


def _with_entropy(scorer: Scorer) -> Callable[[Batch], TokenScores]:
    return lambda batch: scorer(batch, entropy=True)


@contextmanager
def speaking(model: Any, adapter: str | None) -> Iterator[None]:
    """Inside, the named adapter is in the layers, or none; afterwards the policy's is again.

    PEFT takes an adapter that is switched off to be frozen. Here all of them are trained, so what had gradients has them
    again when this ends.
    """
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    try:
        if adapter is None:
            with model.disable_adapter():
                yield
        else:
            model.set_adapter(adapter)
            yield
    finally:
        model.set_adapter(POLICY)
        for weight in trained:
            weight.requires_grad_(True)


def _add_adapter(model: Any, name: str) -> None:
    """A second adapter of the first one's shape, with fresh weights, trained as well."""
    before = [weight for weight in model.parameters() if weight.requires_grad]
    model.add_adapter(name, copy.deepcopy(model.peft_config[POLICY]))
    model.set_adapter(POLICY)
    fresh = [weight for label, weight in model.named_parameters() if f".{name}." in label]
    for weight in (*before, *fresh):
        weight.data = weight.data.float()
        weight.requires_grad_(True)


def drop_value(model: Any) -> Any:
    """The policy without the value's adapter, ready to be saved and merged."""
    if VALUE in getattr(model, "peft_config", {}):
        model.delete_adapter(VALUE)
        model.set_adapter(POLICY)
    return model


def fresh_head(width: int) -> nn.Linear:
    head = nn.Linear(width, 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def critic_from(folder: str, tokenizer: Any, *, dtype: str, device: str) -> Critic:
    """A value model from a reward model's folder, head and all, or from a language model's with a fresh head.

    Raises ConfigError when its tokens are not those of the policy's `tokenizer`: it would read other words.
    """
    model, its = reward_model.start(folder, seed=0, device=device)
    theirs = its.get_vocab()
    other = next((token for token, number in tokenizer.get_vocab().items() if theirs.get(token) != number), None)
    if other is not None:
        raise ConfigError(f"value: {folder} has other tokens than the policy (first difference: {other!r})")
    head = model.score
    if not reward_model.is_reward_model(folder):
        head = fresh_head(head.in_features).to(model.device)
    return Critic(model.base_model.requires_grad_(True), head, autocast=engine.DTYPES[dtype])


def optimizer_of(cast: Cast, *, betas: tuple[float, float], weight_decay: float, value_pace: float = 1.0) -> Any:
    """AdamW over all that is trained; the value model's weights learn at `value_pace` times the rate of the step."""

    def of_value(name: str) -> bool:
        return name.startswith(("value.", "head.")) or f".{VALUE}." in name

    optimizer, slow = None, 0
    for wanted in (False, True):
        part = nn.ParameterList(
            weight
            for name, weight in cast.trained.named_parameters()
            if weight.requires_grad and of_value(name) == wanted
        )
        if not len(part):
            continue
        made = engine.adamw(part, betas=betas, weight_decay=weight_decay)
        if optimizer is None:
            optimizer, slow = made, len(made.param_groups)
        else:
            for group in made.param_groups:
                optimizer.add_param_group(group)

    def pace(optimizer: Any, *_: Any) -> None:
        for group in optimizer.param_groups[slow:]:
            group["lr"] *= value_pace

    optimizer.register_step_pre_hook(pace)
    return optimizer
