"""From a name to a model: the one place that knows what people may write after `--model` and `--target`.

    town:helpful           a model of the proving ground that ships with Trivet
    hf:NAME_OR_PATH        a causal language model from a folder or the Hugging Face hub
    models/v2              the same, for a folder that exists
    http://HOST/v1#MODEL   an OpenAI-compatible endpoint
    registry:champion      the champion of the home's registry, or registry:NAME for another version
    anthropic:MODEL        a model behind Anthropic's Messages API
    rest:FILE.yaml         any JSON service, told by a template (rest.py)
    python:MODULE:NAME     a callable of yours, or python:FILE.py:NAME (function.py)
    scripted               a target to practise on, offline (practice.py)
    scripted:TEXT          a model that always says TEXT

Nothing heavy is loaded before a local model is really asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trivet.core.errors import ModelNotFound, UserError, did_you_mean
from trivet.core.models.scripted import Scripted
from trivet.core.protocols import Model
from trivet.core.store.artefacts import home_or_default
from trivet.core.store.events import FILE, open_home
from trivet.core.store.registry import Registry

TOWN = Path(__file__).parents[2] / "town" / "models"
"""Where the shipped models lie. A path and not an import: core knows nothing of the town."""

_FORMS = (
    "town:NAME, hf:NAME_OR_PATH, a folder, http://HOST/v1#MODEL, registry:champion, anthropic:MODEL, rest:FILE.yaml, "
    "python:MODULE:NAME, scripted or scripted:TEXT"
)
_PREFIXES = ("town", "hf", "registry", "scripted", "anthropic", "rest", "python", "http", "https")
_MAX_CHAIN = 8


def resolve(spec: str, *, home: str | Path | None = None, threads: int | None = None) -> Model:
    """The model that the spec names. `threads` limits the CPU threads of a local one."""
    spec = _followed(spec, home)
    prefix, colon, rest = spec.partition(":")
    if prefix in ("http", "https"):
        return _endpoint(spec)
    if prefix == "scripted":
        return Scripted(rest) if colon else _practice()
    if colon and prefix in _REMOTE:
        return _REMOTE[prefix](rest)
    folder = model_folder(spec, home)
    try:
        from trivet.core.models.local import LocalModel
    except ModuleNotFoundError as missing:
        raise UserError(
            f"{spec} runs on this machine, which needs {missing.name}; install it with: pip install 'trivet[train]'"
        ) from missing
    return LocalModel(folder, threads=threads)


def model_folder(spec: str, home: str | Path | None = None) -> str:
    """The folder, or the hub's name, behind a town:, hf:, registry: or bare spec."""
    spec = _followed(spec, home)
    prefix, colon, rest = spec.partition(":")
    if spec and Path(spec).is_dir():
        return spec
    if not colon:
        raise _unknown(spec)
    if prefix == "town":
        return _town(rest)
    if prefix == "hf" and rest:
        return rest
    if prefix in _PREFIXES:
        raise ModelNotFound(f"{spec!r} has no folder on this machine; give town:NAME, hf:NAME_OR_PATH or a folder")
    raise _unknown(spec)


def _followed(spec: str, home: str | Path | None) -> str:
    """The spec behind a registry name. A version may itself be registered under another spec."""
    for _ in range(_MAX_CHAIN):
        if not spec.startswith("registry:"):
            return spec
        spec = _registered(spec.removeprefix("registry:"), home_or_default(home))
    raise ModelNotFound(f"registry names lead in a circle at {spec!r}; register one of them with its folder")


def _registered(name: str, home: Path) -> str:
    if not (home / FILE).is_file():
        raise ModelNotFound(
            f"registry:{name} was asked for and {home} holds no store; give --home, or run a turn first"
        )
    with open_home(home, readonly=True) as store:
        registry = Registry(store)
        version = registry.champion() if name == "champion" else registry.get(name)
        if version is None:
            raise ModelNotFound(f"the registry in {home} has no champion yet; promote a version, or name one")
    return version.folder


def _town(name: str) -> str:
    names = sorted(path.name for path in TOWN.iterdir() if path.is_dir()) if TOWN.is_dir() else []
    if name not in names:
        have = (
            f"there are {', '.join(f'town:{known}' for known in names)}"
            if names
            else "none is built; run `trivet town build`"
        )
        raise ModelNotFound(f"no model town:{name}; {have}.{did_you_mean(name, names)}")
    return str(TOWN / name)


def _endpoint(spec: str) -> Model:
    from trivet.core.models.endpoint import Endpoint  # httpx takes 0.1 s, and a local model needs none of it

    url, _, model = spec.partition("#")
    if not model:
        raise ModelNotFound(f"{url} does not say which model; add it after #, like {url}#NAME")
    return Endpoint(url, model)


def _practice() -> Model:
    from trivet.core.models.practice import Practice

    return Practice()


def _anthropic(rest: str) -> Model:
    from trivet.core.models.anthropic import HOST, Anthropic

    url, hash, model = rest.rpartition("#")
    return Anthropic(model, url=url) if hash else Anthropic(rest, url=HOST)


def _rest(rest: str) -> Model:
    from trivet.core.models.rest import load

    return load(rest)


def _python(rest: str) -> Model:
    from trivet.core.models.function import load

    return load(rest)


_REMOTE: dict[str, Callable[[str], Model]] = {"anthropic": _anthropic, "rest": _rest, "python": _python}
"""Targets whose file is loaded when one is asked for."""


def _unknown(spec: str) -> ModelNotFound:
    prefix, colon, _ = spec.partition(":")
    near = did_you_mean(prefix, _PREFIXES) if colon else f' Did you mean "hf:{spec}"?' if "/" in spec else ""
    return ModelNotFound(f"no model {spec!r}: it is no folder here, and models are written {_FORMS}.{near}")
