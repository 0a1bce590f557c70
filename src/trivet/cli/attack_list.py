"""`trivet attack list`: what there is to attack with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from trivet.core.report import terminal_table
from trivet.core.store.artefacts import write_json
from trivet.robustness.attacks import written
from trivet.robustness.attacks.library import FAMILIES
from trivet.robustness.attacks.tags import TAGS
from trivet.robustness.converters.library import listing
from trivet.robustness.suites.catalogue import DIALOGUES, WRITTEN, suites


def lists() -> dict[str, list[dict[str, Any]]]:
    """Suites, families (after those of the library those that a model words, dialogues and agents) and converters, each as rows."""
    families = [
        {"name": name, "train": len(parts["train"]), "heldout": len(parts["heldout"]), **_tag(name)}
        for name, parts in FAMILIES.items()
    ]
    worded = [
        {"name": name, **{part: len(names) for part, names in written.FAMILIES[name].items()}, **_tag(name)}
        for name in WRITTEN
    ]
    others = [{"name": name, "train": None, "heldout": None, **_tag(name)} for name in (*DIALOGUES, "agent")]
    return {
        "suites": [{"name": suite.name, "about": suite.help} for suite in suites().values()],
        "families": [*families, *worded, *others],
        "converters": [row._asdict() for row in listing()],
    }


def show(json_path: Path | None) -> None:
    found = lists()
    if json_path:
        write_json(json_path, found)
    console = Console() if Console().is_terminal else Console(width=140)
    for title, rows in found.items():
        headers = list(rows[0])
        cells = [tuple(", ".join(v) if isinstance(v, (tuple, list)) else v for v in row.values()) for row in rows]
        console.print(terminal_table(headers, cells, title=f"{len(rows)} {title}"))
    click.echo(
        f"Choose with --suite and --families ({', '.join(WRITTEN)}: with --attacker MODEL, too); converters are used by /convert in `trivet attack chat`."
    )


def _tag(name: str) -> dict[str, Any]:
    tag = TAGS.get(name)
    return (
        {"owasp": tag.owasp, "atlas": tag.atlas, "about": tag.about} if tag else {"owasp": (), "atlas": (), "about": ""}
    )
