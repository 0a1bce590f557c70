"""A policy as YAML: which keys there are, which guards can be named, and every mistake in one message.

A guard is named by a word of GUARDS or by a dotted path `package.module:factory`, which is imported: a policy file is
code, load only those you trust. `settings` are the arguments of the guard; paths in them (keys in _PATHS) are relative to
the policy file. Only the guards that a file names are imported.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

import yaml

from trivet.core.errors import ConfigError, UserError, did_you_mean
from trivet.core.protocols import Judge
from trivet.monitoring.policy import Layer, Policy

_log = logging.getLogger("trivet.monitoring")
PACKAGED = Path(__file__).parent / "policies"
_HERE = "trivet.monitoring.guards"
GUARDS: dict[str, str] = {
    "blocklist": f"{_HERE}.blocklist:Blocklist",
    "cascade": f"{_HERE}.cascade:CascadeGuard.load",
    "classifier": f"{_HERE}.classifier:ClassifierGuard.load",
    "documents": f"{_HERE}.documents:Documents.load",
    "format": f"{_HERE}.format:JsonFormat",
    "judge": f"{_HERE}.judge:LlmJudge.load",
    "pii": f"{_HERE}.pii:Pii",
    "prompt_leak": f"{_HERE}.signals:PromptLeak",
    "refusal": f"{_HERE}.signals:Refusal",
    "secrets": f"{_HERE}.secrets:Secrets",
    "similarity": f"{_HERE}.similarity:Similarity.load",
    "syntax": f"{_HERE}.syntax:CodeSyntax",
}
_TOP = ("name", "layers")
_LAYER = (
    "name",
    "guard",
    "settings",
    "place",
    "action",
    "threshold",
    "deadline_ms",
    "failure",
    "mode",
    "of",
    "review_from",
    "canary",
    "when",
)
_NUMBERS = ("threshold", "deadline_ms", "review_from", "canary")
_PATHS = ("file", "weights", "corpus", "rubric_file")


def read_policy(source: str | Path | Mapping[str, Any]) -> Policy:
    """The policy in a packaged file, a file, or a mapping; raises one ConfigError with every mistake found."""
    if isinstance(source, Mapping):
        return _built(source, Path.cwd(), "the policy")
    path = policy_path(source)
    return _built(read_yaml(path), path.parent, f"the policy {path}")


def read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"the policy {path} cannot be read: {' '.join(str(error).split())}") from error


def files_behind(path: Path) -> tuple[Path, ...]:
    """The file of a policy and those that its settings name: when one of them changes, the policy does."""
    data = read_yaml(path)
    rows = data.get("layers") if isinstance(data, Mapping) else None
    settings = [row.get("settings") for row in rows or () if isinstance(row, Mapping)]
    named = [
        one[key] for one in settings if isinstance(one, Mapping) for key in _PATHS if isinstance(one.get(key), str)
    ]
    return (path, *(path.parent / name for name in dict.fromkeys(named) if (path.parent / name).is_file()))


def policy_path(source: str | Path) -> Path:
    """The file that a packaged name or a path means; raises ConfigError where there is none."""
    packaged = PACKAGED / f"{source}.yaml"
    if packaged.is_file():
        return packaged
    path = Path(source)
    if path.is_file():
        return path
    names = sorted(p.stem for p in PACKAGED.glob("*.yaml"))
    hint = did_you_mean(str(source), names)
    raise ConfigError(f"no policy {str(source)!r}; give a YAML file or one of: {', '.join(names)}.{hint}")


def _built(data: Any, folder: Path, where: str) -> Policy:
    faults: list[str] = []
    if not isinstance(data, Mapping) or not isinstance(data.get("layers"), list):
        raise ConfigError(f"{where} needs a list `layers`, e.g. `layers: [{{name: pii, guard: pii, action: mask}}]`")
    faults += _unknown(data, _TOP, "")
    layers = [_layer(row, number, folder, faults) for number, row in enumerate(data["layers"], start=1)]
    names = [layer.name for layer in layers if layer]
    faults += [f"two layers are called {name!r}" for name in sorted(set(names)) if names.count(name) > 1]
    if faults:
        raise ConfigError(f"{where}: {'; '.join(faults)}")
    policy = Policy(tuple(layer for layer in layers if layer), str(data.get("name", "policy")))
    for warning in policy.warnings:
        _log.warning("%s: %s", where, warning)
    return policy


def _unknown(row: Mapping[str, Any], known: tuple[str, ...], where: str) -> list[str]:
    return [f"{where}unknown key {str(key)!r}.{did_you_mean(str(key), known)}" for key in row if key not in known]


def _layer(row: Any, number: int, folder: Path, faults: list[str]) -> Layer | None:
    if not isinstance(row, Mapping) or not isinstance(row.get("guard"), str):
        faults.append(f"layer {number} needs a `guard`, one of {', '.join(GUARDS)}, or `module:factory`")
        return None
    name = str(row.get("name", row["guard"]))
    where = f"layer {name!r}: "
    faults += _unknown(row, _LAYER, where)
    for key in _NUMBERS:
        if row.get(key) is not None and (not isinstance(row[key], int | float) or isinstance(row[key], bool)):
            faults.append(f"{where}{key} is {row[key]!r}; it must be a number")
            return None
    chosen = {key: row[key] for key in _LAYER[3:] if row.get(key) is not None}
    if "of" in chosen:
        chosen["of"] = (chosen["of"],) if isinstance(chosen["of"], str) else tuple(chosen["of"])
    if not isinstance(chosen.get("when", {}), Mapping):
        faults.append(f"{where}when is {chosen['when']!r}; it must be a mapping, e.g. {{model: 'small-*'}}")
        return None
    try:
        return Layer(name, _guard(row["guard"], row.get("settings") or {}, folder), **chosen)
    except UserError as error:
        faults.append(str(error) if str(error).startswith("layer ") else f"{where}{error}")
    except TypeError as error:
        faults.append(f"{where}settings do not fit the guard {row['guard']!r}: {error}")
    return None


def _guard(kind: str, settings: Any, folder: Path) -> Judge:
    if not isinstance(settings, Mapping):
        raise ConfigError(f"settings must be a mapping, given {settings!r}")
    arguments = {
        key: str(folder / value) if key in _PATHS and isinstance(value, str) and value != "shipped" else value
        for key, value in settings.items()
    }
    module, colon, factory = GUARDS.get(kind, kind).partition(":")
    if not colon:
        raise ConfigError(
            f"no guard {kind!r}; known: {', '.join(GUARDS)}, or `module:factory`.{did_you_mean(kind, GUARDS)}"
        )
    try:
        make: Callable[..., Judge] = attrgetter(factory)(import_module(module))
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"the guard {kind!r} cannot be imported: {error}") from error
    return make(**arguments)
