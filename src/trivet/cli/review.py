"""`trivet review`: look at what was flagged, blocked or complained about, and label it."""

from __future__ import annotations

import getpass
from pathlib import Path

import click

_home = click.option(
    "--home",
    type=click.Path(path_type=Path),
    help="The home folder with the store.  [default: $TRIVET_HOME or .trivet]",
)


@click.group()
def review() -> None:
    """Look at what was flagged, and label it."""


@review.command("list")
@_home
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many to show.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the queue here.")
def list_(home: Path | None, limit: int, json_path: Path | None) -> None:
    """Show the exchanges that wait for a label, newest first."""
    import msgspec

    from trivet.cli.models import opened
    from trivet.core.store.artefacts import write_json
    from trivet.monitoring.reviews import review_queue

    with opened(home, readonly=True) as store:
        items = review_queue(store, limit=limit)
    for item in items:
        click.echo(f"{item.exchange.id}  {_line('; '.join(item.reasons), 400)}")
        click.echo(f"    asked   {_line(item.exchange.conversation.last_user)}")
        click.echo(f"    replied {_line(item.exchange.reply) or '(nothing)'}")
    click.echo(f"{len(items)} waiting" if items else "nothing waits for review")
    if json_path:
        rows = [{"reasons": item.reasons, "exchange": msgspec.to_builtins(item.exchange)} for item in items]
        write_json(json_path, rows)


@review.command("label")
@_home
@click.argument("event")
@click.argument("label")
@click.option("--comment", default="", help="Why.")
@click.option("--reviewer", help="Who says so; your login name if left out.")
def label_(home: Path | None, event: str, label: str, comment: str, reviewer: str | None) -> None:
    """Label exchange EVENT as harmful, fine, wrongly_blocked or unsure. A second label is a second opinion."""
    from trivet.cli.models import opened
    from trivet.monitoring.reviews import label as store_label

    with opened(home) as store:
        stored = store_label(store, event, label, reviewer or getpass.getuser(), comment)
    click.echo(f"labelled {stored.event} {stored.label} ({stored.reviewer})")


def _line(text: str, length: int = 100) -> str:
    flat = "".join(c if c.isprintable() else " " for c in text)
    return flat if len(flat) <= length else f"{flat[: length - 1]}…"
