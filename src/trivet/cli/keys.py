"""`trivet keys`: who may call the gateway."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

_HOME = click.option(
    "--home", type=click.Path(path_type=Path), help="Where the keys are.  [default: $TRIVET_HOME or .trivet]"
)
_SCOPES = ("chat", "embeddings", "moderations", "admin")


@click.group()
def keys() -> None:
    """Make, list and revoke the keys of the gateway's clients.

    As long as there is none, the gateway asks for none and stays on loopback.
    """


@keys.command()
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(_SCOPES), help="What it may do.  [default: all but admin]"
)
@click.option("--tenant", default="", help="Whose policy it is under.")
@click.option(
    "--days", type=click.FloatRange(min=0, min_open=True), help="How long it is good for; for ever if left out."
)
@click.option("--model", "models", multiple=True, help="A model that it may ask; all if left out.")
@click.option("--requests-per-minute", type=click.IntRange(0), default=0, show_default=True, help="0 for no limit.")
@click.option("--tokens-per-minute", type=click.IntRange(0), default=0, show_default=True, help="0 for no limit.")
@_HOME
def create(
    name: str,
    scopes: tuple[str, ...],
    tenant: str,
    days: float | None,
    models: tuple[str, ...],
    requests_per_minute: int,
    tokens_per_minute: int,
    home: Path | None,
) -> None:
    """Make a key and print it, which is the only time that anybody sees it."""
    from trivet.core.store.artefacts import home_or_default
    from trivet.monitoring.gateway.keys import Keyring

    token, key = Keyring.of_home(home_or_default(home)).create(
        name,
        scopes=scopes or _SCOPES[:3],  # type: ignore[arg-type]
        tenant=tenant,
        seconds=None if days is None else days * 86400,
        models=models,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
    )
    click.echo(f"key {key.id} ({name}): {', '.join(key.scopes)}. Keep it, it cannot be shown again:", err=True)
    click.echo(token)


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@_HOME
def list_(as_json: bool, home: Path | None) -> None:
    """The keys and what they may do; never the keys themselves."""
    from trivet.core.store.artefacts import home_or_default
    from trivet.monitoring.gateway.keys import Keyring

    now = time.time()
    for key in Keyring.of_home(home_or_default(home)).all():
        row = {
            "id": key.id,
            "name": key.name,
            "state": key.state(now),
            "scopes": list(key.scopes),
            "tenant": key.tenant,
            "models": list(key.models),
            "expires": key.expires and time.strftime("%Y-%m-%d %H:%M", time.localtime(key.expires)),
            "requests_per_minute": key.requests_per_minute,
            "tokens_per_minute": key.tokens_per_minute,
        }
        told = f"{key.id}  {row['state']:<8} {key.name:<20} {','.join(key.scopes)}"
        extra = [
            f"{name}={value}" for name, value in row.items() if name not in ("id", "name", "state", "scopes") and value
        ]
        click.echo(json.dumps(row) if as_json else " ".join([told, *extra]))


@keys.command()
@click.argument("id")
@_HOME
def revoke(id: str, home: Path | None) -> None:
    """Take a key out of use; a running gateway notices within a second."""
    from trivet.core.store.artefacts import home_or_default
    from trivet.monitoring.gateway.keys import Keyring

    key = Keyring.of_home(home_or_default(home)).revoke(id)
    click.echo(f"revoked {key.id} ({key.name})")
