"""`trivet policy`: look at a policy, and see what a new one would change before it goes live."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

_policy = click.argument("policy")


@click.group()
def policy() -> None:
    """Look at policies, and see what a new one would change."""


@policy.command()
@_policy
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the layers here.")
def show(policy: str, json_path: Path | None) -> None:
    """The layers of POLICY: a packaged one's name or a YAML file."""
    from rich.console import Console

    from trivet.core.report import terminal_table
    from trivet.core.store.artefacts import write_json
    from trivet.monitoring.policy import Policy

    loaded = Policy.load(policy)
    rows = [_row(layer) for layer in loaded.layers]
    heads = ("layer", "place", "action", "threshold", "on failure", "deadline", "mode", "of")
    Console().print(terminal_table(heads, [tuple(row[head] for head in heads) for row in rows]))
    click.echo(f"{loaded.name} {loaded.version}")
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}")
    if json_path:
        report = {"name": loaded.name, "version": loaded.version, "layers": rows, "warnings": list(loaded.warnings)}
        write_json(json_path, report)


@policy.command()
@_policy
@click.option("--strict", is_flag=True, help="Warnings are mistakes too (exit 1).")
@click.pass_context
def check(ctx: click.Context, policy: str, strict: bool) -> None:
    """Load POLICY and tell every mistake in it (exit 2), also of a file that names policies for tenants."""
    from trivet.monitoring.live import Policies

    policies = Policies.load(policy)
    warned = False
    for tenant in policies.tenants:
        loaded = policies.for_tenant(tenant)
        click.echo(f"{tenant}: {loaded.name} {loaded.version}, {len(loaded.layers)} layers, fine")
        for warning in loaded.warnings:
            click.echo(f"{tenant}: warning: {warning}")
            warned = True
    if strict and warned:
        ctx.exit(1)


@policy.command()
@click.argument("candidate")
@click.option("--current", default="default", show_default=True, help="The policy in force: a name or a YAML file.")
@click.option("--data", type=click.Path(path_type=Path), help="A JSONL of traffic, instead of the store.")
@click.option("--home", type=click.Path(path_type=Path), help="The home folder.  [default: $TRIVET_HOME or .trivet]")
@click.option("--run", help="Only the exchanges of this run.")
@click.option("--limit", type=click.IntRange(1), help="Only so many exchanges, the newest.")
@click.option("--show-text", is_flag=True, help="Show the texts that flip; without it, ids only.")
@click.option("--flips", type=click.IntRange(0), default=50, show_default=True, help="How many flips to list.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write counts and flips here.")
@click.option(
    "--fail-on-new-blocks",
    type=click.IntRange(0),
    metavar="N",
    help="Exit 1 where more than N texts are newly blocked.",
)
@click.pass_context
def test(
    ctx: click.Context,
    candidate: str,
    current: str,
    data: Path | None,
    home: Path | None,
    run: str | None,
    limit: int | None,
    show_text: bool,
    flips: int,
    json_path: Path | None,
    fail_on_new_blocks: int | None,
) -> None:
    """Replay recorded traffic, or a file, through CANDIDATE and the current policy, and show every flip.

    A row of the file has `text` or `messages`, and perhaps `reply`, `request` and `id`.
    """
    import asyncio
    from itertools import islice

    from trivet.cli.models import opened
    from trivet.core.store.artefacts import write_json
    from trivet.monitoring.policy import Policy
    from trivet.monitoring.replay import from_file, from_store, replay

    policies = Policy.load(current), Policy.load(candidate)
    if data is not None:
        result = asyncio.run(replay(islice(from_file(data), limit), *policies))
    else:
        with opened(home, readonly=True) as store:
            result = asyncio.run(replay(from_store(store, run=run, limit=limit), *policies))
    _tell(result, flips, show_text)
    if json_path:
        write_json(json_path, _report(result, *policies, show_text))
    if fail_on_new_blocks is not None and result.count("new block") > fail_on_new_blocks:
        click.echo(f"{result.count('new block')} texts are newly blocked; {fail_on_new_blocks} are allowed", err=True)
        ctx.exit(1)


def _row(layer: Any) -> dict[str, Any]:
    mode = layer.mode if layer.canary == 1 else f"{layer.mode} for {100 * layer.canary:g} %"
    return {
        "layer": layer.name,
        "place": layer.place,
        "action": layer.action,
        "threshold": f"{layer.limit:.3f}" + (f" (review from {layer.review_from:g})" if layer.review_from else ""),
        "on failure": layer.on_failure,
        "deadline": f"{layer.deadline_ms:g} ms",
        "mode": mode,
        "of": ", ".join(layer.of or ("as usual",)),
    }


def _tell(result: Any, most: int, show_text: bool) -> None:
    from rich.console import Console

    from trivet.core.report import terminal_table

    click.echo(f"{result.cases} conversations and {result.replies} replies judged by both; {len(result.flips)} flips")
    if result.flips:
        rows = [(kind, place, layer, count) for (kind, place, layer), count in result.by_layer().items()]
        Console().print(terminal_table(("flip", "place", "layer", "texts"), rows))
    for flip in result.flips[:most]:
        click.echo(f"{flip.case}  {flip.place}: {flip.before} -> {flip.after}  {flip.layer}: {flip.why}")
        if show_text:
            click.echo("    " + "".join(c if c.isprintable() else " " for c in flip.text)[:400])
    if len(result.flips) > most:
        click.echo(f"and {len(result.flips) - most} more (--flips, --json)")


def _report(result: Any, current: Any, candidate: Any, show_text: bool) -> dict[str, Any]:
    from dataclasses import asdict

    flips = [asdict(flip) for flip in result.flips]
    if not show_text:
        for flip in flips:
            del flip["text"]
    return {
        "current": {"name": current.name, "version": current.version, "actions": dict(result.before)},
        "candidate": {"name": candidate.name, "version": candidate.version, "actions": dict(result.after)},
        "cases": result.cases,
        "replies": result.replies,
        "new_blocks": result.count("new block"),
        "no_longer_blocked": result.count("no longer blocked"),
        "by_layer": [
            {"kind": kind, "place": place, "layer": layer, "texts": count}
            for (kind, place, layer), count in result.by_layer().items()
        ],
        "flips": flips,
    }
