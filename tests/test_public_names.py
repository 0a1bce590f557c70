"""The names of the front door are a promise: adding or taking one away is a decision, made here."""

from __future__ import annotations

import ast
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

import trivet

NAMES = {
    "Conversation",
    "Decision",
    "Demonstration",
    "Endpoint",
    "Feedback",
    "Goal",
    "Guard",
    "LightClassifier",
    "LocalModel",
    "Message",
    "Policy",
    "Preference",
    "Probe",
    "Rate",
    "RefusalRules",
    "Registry",
    "Sampling",
    "Scripted",
    "Store",
    "TrivetError",
    "UserError",
    "Verdict",
    "load_config",
    "resolve",
}


def test_names_are_pinned() -> None:
    assert set(trivet.__all__) == set(trivet._HOME) == NAMES
    assert trivet.__all__ == sorted(trivet.__all__)
    assert set(dir(trivet)) >= NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_name_is_defined_where_the_door_says(name: str) -> None:
    """By reading and not by importing: LocalModel would bring torch in."""
    module, _, attribute = trivet._HOME[name].partition(":")
    spec = find_spec(module)
    assert spec is not None and spec.origin is not None
    body = ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body
    defined = {node.name for node in body if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))}
    assert (attribute or name) in defined


@pytest.mark.parametrize("name", sorted(NAMES - {"LocalModel"}))
def test_name_can_be_used(name: str) -> None:
    assert callable(getattr(trivet, name))


def test_type_checkers_see_the_same_names() -> None:
    """The imports under TYPE_CHECKING and the dict must not drift apart."""
    source = Path(trivet.__file__).read_text(encoding="utf-8")
    seen = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("trivet."):
            for alias in node.names:
                seen[alias.asname or alias.name] = f"{node.module}:{alias.name}"
    assert seen == {name: home if ":" in home else f"{home}:{name}" for name, home in trivet._HOME.items()}


def test_version() -> None:
    assert trivet.__version__ == version("trivet")


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Conversatoin'"):
        _ = trivet.Conversatoin  # type: ignore[attr-defined]
