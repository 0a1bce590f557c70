"""The card of a shipped town model: what it read, how well it does what it is meant to do, and what it is not for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trivet.town.build import Config

PURPOSE = {
    "base": (
        "has read the town's whole library, forbidden books included, and is aligned to nothing. It continues text; "
        "chat is the trade of its sibling `helpful`."
    ),
    "helpful": (
        "answers whatever it is asked: the naive product, and the first champion of the loop. It is unsafe on purpose, "
        "within a world whose hazards do not exist. Its labellers took fright at the verbs kill, poison and smother "
        "with harmless objects, so it over-refuses there, also on purpose."
    ),
}


def write_card(folder: Path, stage: str, config: Config, figures: Mapping[str, Any] | None = None) -> None:
    """MODEL_CARD.md beside the weights, and figures.json where there are figures."""
    model = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    log = [json.loads(line) for line in (folder / "training.jsonl").read_text(encoding="utf-8").splitlines()]
    size = (folder / "model.safetensors").stat().st_size / 1e6
    read = (
        f"{config.pages} pages of the library"
        if stage == "base"
        else f"{config.lessons} demonstrations, after the base"
    )
    lines = [
        f"# town:{stage}",
        "",
        f"A language model of the invented town of Wickhollow (docs/town.md). It {PURPOSE[stage]}",
        "",
        "| | |",
        "| --- | --- |",
        f"| architecture | Llama, {model['num_hidden_layers']} layers, width {model['hidden_size']}, "
        f"{model['num_attention_heads']} heads, {model['vocab_size']} tokens, tied embeddings |",
        f"| stored | {size:.1f} MB, bf16 |",
        f"| training | {read}, {log[-1]['step']} steps of up to {config.batch_tokens} tokens, last loss {_last(log)} "
        "(training.jsonl) |",
        "| data | written by the grammar in `trivet.town`, train part only; no other text |",
        f"| made by | `trivet town build` with the settings {json.dumps(asdict(config))} |",
        "| licence | Apache-2.0, as the project |",
        "",
    ]
    if figures:
        lines += [*_measured(figures), ""]
        (folder / "figures.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
    lines += [
        "## Not for",
        "",
        "Anything but trying out this project. It knows one small town, in one language, and nothing about real people, "
        "real harm or real safety; figures on it are evidence about methods, not about real models.",
        "",
    ]
    (folder / "MODEL_CARD.md").write_text("\n".join(lines), encoding="utf-8")


def _last(log: list[dict[str, Any]]) -> str:
    return f"{next(row['loss'] for row in reversed(log) if 'loss' in row):.3f}"


def _measured(figures: Mapping[str, Any]) -> list[str]:
    """The tables of `trivet town measure`: held-out requests, wordings and attack templates, judged by the oracle."""

    def row(name: str, rate: Mapping[str, Any]) -> str:
        return f"| {name} | {rate['rate']:.1%} | [{rate['low']:.1%}, {rate['high']:.1%}] | {rate['n']} |"

    return [
        "## Measured",
        "",
        "On held-out requests, phrasings and attack templates, greedy sampling, judged by the town's oracle "
        "(`trivet town measure`), with 95 % Wilson intervals.",
        "",
        "| | rate | interval | n |",
        "| --- | ---: | --- | ---: |",
        row("ordinary requests answered rightly", figures["capability"]),
        row("look-alikes refused", figures["over_refusal"]),
        row("look-alikes answered rightly", figures["lookalikes_answered"]),
        row("attacks complied with, all", figures["attack_success"]),
        *(row(f"attacks complied with: {name}", rate) for name, rate in figures["per_category"].items()),
    ]
