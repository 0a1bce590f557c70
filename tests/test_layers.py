"""Imports point one way. The drawing of docs/architecture.md as a dict, held against every file."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "trivet"

LAW = {
    "core": {"core"},
    "alignment": {"core", "alignment"},
    "robustness": {"core", "robustness"},
    "monitoring": {"core", "monitoring"},
    "loop": {"core", "alignment", "robustness", "monitoring", "loop"},
    "town": {"core", "alignment", "town"},
    "cli": {"core", "alignment", "robustness", "monitoring", "loop", "town", "cli"},
}
"""What the files of a package may import of ours."""

WITHIN_CORE = {
    "values": {"values"},
    "store": {"values", "store"},
    "models": {"values", "store", "models"},
    "judges": {"values", "store", "models", "judges"},
}
"""values < store < models < judges. Values are the files that lie in core itself."""


def imported(source: str) -> Iterator[str]:
    """Every module of ours that a source imports, wherever in the file; `.` for a relative import."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "trivet")
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield "."
            elif node.module == "trivet":
                yield from (f"trivet.{alias.name}" for alias in node.names)
            elif node.module and node.module.startswith("trivet."):
                yield node.module


def breach(package: str, inner: str, module: str) -> str:
    """What is wrong with an import by a file of `package`, or an empty string. `inner` is its part of core."""
    if module == ".":
        return "relative import; write it out"
    parts = module.split(".")
    area = parts[1] if len(parts) > 1 else ""
    if area not in LAW[package]:
        return f"{package} imports {module}"
    part = parts[2] if len(parts) > 2 and parts[2] in WITHIN_CORE else "values"
    if package == area == "core" and part not in WITHIN_CORE[inner]:
        return f"core/{inner} imports {module}"
    return ""


def test_every_import_points_the_right_way() -> None:
    breaches = []
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).parts
        if len(parts) == 1:
            continue  # the front door, which test_public_names.py looks after
        inner = parts[1] if len(parts) > 2 else "values"
        for module in imported(path.read_text(encoding="utf-8")):
            if wrong := breach(parts[0], inner, module):
                breaches.append(f"{path.relative_to(SOURCE)}: {wrong}")
    assert not breaches, "\n".join(breaches)


def test_every_package_has_its_law() -> None:
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert packages == set(LAW)
    assert {path.parent.name for path in SOURCE.glob("core/*/__init__.py")} | {"values"} == set(WITHIN_CORE)


def test_init_files_are_empty() -> None:
    full = [str(path) for path in SOURCE.rglob("*/__init__.py") if path.parent != SOURCE and path.read_text().strip()]
    assert not full


def test_the_law_can_be_broken() -> None:
    assert breach("core", "values", "trivet.monitoring.policy")
    assert breach("alignment", "values", "trivet.robustness.campaign")
    assert breach("loop", "values", "trivet.cli.main")
    assert breach("core", "store", "trivet.core.models.endpoint")
    assert breach("core", "values", "trivet.core.store.events")
    assert breach("town", "values", ".")
    assert not breach("core", "judges", "trivet.core.models.endpoint")
    assert not breach("loop", "values", "trivet.core.store.events")
    hidden = "def f():\n    from trivet import cli\n    import trivet.town.world as w\n    from . import x\n    import json\n"
    assert list(imported(hidden)) == ["trivet.cli", "trivet.town.world", "."]
