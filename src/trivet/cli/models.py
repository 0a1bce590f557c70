"""`trivet models`: which versions there are, which one is the champion, and the way back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from time import localtime, strftime
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from trivet.core.errors import UserError
from trivet.core.events import Promotion
from trivet.core.report import terminal_table
from trivet.core.store.artefacts import folder_digest, home_or_default, write_json
from trivet.core.store.events import FILE, Store, open_home
from trivet.core.store.registry import Registry, Version

if TYPE_CHECKING:
    from collections.abc import Callable

HOME = click.option(
    "--home", type=click.Path(path_type=Path), help="The home folder.  [default: $TRIVET_HOME or .trivet]"
)
JSON = click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Write what is shown to this file, as JSON."
)


def common(command: Callable[..., None]) -> Callable[..., None]:
    return HOME(JSON(command))


@click.group()
def models() -> None:
    """List, show, promote and roll back model versions."""


@models.command("list")
@common
def list_(home: Path | None, json_path: Path | None) -> None:
    """All versions, the oldest first."""
    with opened(home, readonly=True) as store:
        versions = Registry(store).versions()
    rows = [(v.name, v.status, v.parent or "–", _when(v.created), v.folder) for v in versions]
    _show(("name", "status", "parent", "registered", "folder"), rows, "no version is registered yet")
    _write(json_path, [asdict(version) for version in versions])


@models.command()
@click.argument("name", default="champion")
@common
def show(name: str, home: Path | None, json_path: Path | None) -> None:
    """One version: where it lies, where it came from, and whether it is still what was registered.

    Without a NAME, the champion.
    """
    with opened(home, readonly=True) as store:
        version = _wanted(Registry(store), name)
        told = [
            event for event in store.events("promotion") if isinstance(event, Promotion) and event.model == version.name
        ]
    intact = _intact(version)
    reasons = [f"{event.outcome}: {reason}" for event in told for reason in event.reasons]
    rows: list[tuple[str, Any]] = [*asdict(version).items()]
    rows = [(key, _when(value) if key == "created" else value) for key, value in rows if value not in ("", {})]
    _show(("", version.name), [*rows, ("content", intact), *(("reason", reason) for reason in reasons)], "")
    _write(json_path, {**asdict(version), "content": intact, "reasons": reasons})


@models.command()
@click.argument("name")
@click.option("--reason", "reasons", multiple=True, help="Why; may be given several times.")
@common
def promote(name: str, reasons: tuple[str, ...], home: Path | None, json_path: Path | None) -> None:
    """Make a version the champion by hand, past the gate."""
    with opened(home) as store:
        version = Registry(store).promote(name, reasons or ("by hand",))
    click.echo(f"{version.name} is the champion now")
    _write(json_path, asdict(version))


@models.command()
@click.option("--reason", "reasons", multiple=True, help="Why; may be given several times.")
@common
def rollback(reasons: tuple[str, ...], home: Path | None, json_path: Path | None) -> None:
    """Put the previous champion back."""
    with opened(home) as store:
        registry = Registry(store)
        leaving = registry.champion()
        version = registry.rollback(reasons)
    click.echo(f"{version.name} is the champion again" + (f", in place of {leaving.name}" if leaving else ""))
    _write(json_path, asdict(version))


@models.command()
@common
def history(home: Path | None, json_path: Path | None) -> None:
    """Every promotion, rejection and rollback, the oldest first."""
    with opened(home, readonly=True) as store:
        told = [event for event in store.events("promotion") if isinstance(event, Promotion)]
    rows = [(_when(e.at), e.outcome, e.model, e.previous or "–", "; ".join(e.reasons)) for e in told]
    _show(("when", "outcome", "model", "champion before", "reasons"), rows, "nothing has been promoted or rejected yet")
    fields = ("id", "at", "outcome", "model", "previous", "reasons", "run")
    _write(json_path, [{field: getattr(event, field) for field in fields} for event in told])


def opened(home: Path | None, *, readonly: bool = False) -> Store:
    """The home's store. It is never made here: a registry that appears by a typing error would only confuse."""
    folder = home_or_default(home)
    if not (folder / FILE).is_file():
        raise UserError(
            f"{folder} holds no store; give --home, or run a command that writes one (`trivet loop`, `trivet serve`)"
        )
    return open_home(folder, readonly=readonly)


def _wanted(registry: Registry, name: str) -> Version:
    if name != "champion":
        return registry.get(name)
    champion = registry.champion()
    if champion is None:
        raise UserError("there is no champion yet; name a version (see `trivet models list`)")
    return champion


def _intact(version: Version) -> str:
    """Whether the folder still holds what was registered."""
    if not version.digest:
        return "not a folder of this machine"
    if not Path(version.folder).is_dir():
        return "missing"
    return "as registered" if folder_digest(version.folder) == version.digest else "changed since it was registered"


def _show(headers: tuple[str, ...], rows: list[Any], otherwise: str) -> None:
    if rows:
        Console().print(terminal_table(headers, rows))
    else:
        click.echo(otherwise)


def _write(path: Path | None, value: Any) -> None:
    if path is not None:
        write_json(path, value)


def _when(at: float) -> str:
    return strftime("%Y-%m-%d %H:%M", localtime(at))
