"""Recipes: a YAML file becomes a dataclass, and every mistake in it is told at once.

The dataclass is the schema: its fields, their types and defaults, nested dataclasses and all. Values come from the
defaults, then the file, then `key=value` overrides (`data.rows=100` for nested ones). Unknown keys are refused, because
a misspelt learning rate that is silently ignored costs a night of training.

Two departures from plain YAML: a key given twice is a mistake (YAML would keep the last), and `1e-4` is a number (YAML
1.1 takes it for a word).
"""

from __future__ import annotations

import types
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import MISSING, Field, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from trivet.core.errors import ConfigError, UserError, did_you_mean

T = TypeVar("T")


def option(default: Any = MISSING, help: str = "") -> Any:
    """A field with its line of help. A list or dict as default is copied for each config; a class is called for it."""
    metadata = {"help": help}
    if default is MISSING:
        return field(metadata=metadata)
    if isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    if isinstance(default, (list, dict, set)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def load(
    cls: type[T],
    path: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    values: Mapping[str, Any] | None = None,
) -> T:
    """The config of this class: defaults, then the file, then the overrides. Raises one ConfigError for all mistakes.

    `values` stand for the file's where it has been read already; `path` is then only named in mistakes.
    """
    reading = _Reading()
    given = dict(values) if values is not None else read(path) if path is not None else {}
    for override in overrides:
        reading.override(given, cls, override)
    config = reading.build(cls, given, "")
    if reading.mistakes:
        where = f"{path}: " if path is not None else ""
        raise ConfigError(where + "; ".join(reading.mistakes))
    return config  # type: ignore[no-any-return]


class Peeled(NamedTuple, Generic[T]):
    """A config, and the keys and overrides that were not its own."""

    config: T
    values: dict[str, Any]
    overrides: list[str]


def peel(cls: type[T], path: str | Path, overrides: Sequence[str] = ()) -> Peeled[T]:
    """The config of this class from a file that holds more than its keys; the rest is left for another `load`."""
    own = {item.name for item in fields(cls)}  # type: ignore[arg-type]
    everything = read(path)
    mine = [text for text in overrides if text.partition("=")[0].strip() in own]
    config = load(cls, path, mine, values={key: value for key, value in everything.items() if key in own})
    rest = {key: value for key, value in everything.items() if key not in own}
    return Peeled(config, rest, [text for text in overrides if text not in mine])


class Row(NamedTuple):
    """One field as documentation shows it."""

    name: str
    type: str
    default: str
    help: str


def describe(cls: type) -> list[Row]:
    """The fields of a config class, nested ones with dotted names."""
    rows = []
    hints = get_type_hints(cls)
    for item in fields(cls):
        hint = hints[item.name]
        if isinstance(hint, type) and is_dataclass(hint):
            rows += [row._replace(name=f"{item.name}.{row.name}") for row in describe(hint)]
        else:
            rows.append(Row(item.name, _name(hint), _default(item), item.metadata.get("help", "")))
    return rows


class _Reading:
    """One attempt to read a config: the mistakes so far."""

    def __init__(self) -> None:
        self.mistakes: list[str] = []

    def override(self, values: dict[str, Any], cls: type, text: str) -> None:
        """Lays one `key=value` over the values."""
        key, equals, raw = text.partition("=")
        if not equals or not key.strip():
            self.mistakes.append(f"the override {text!r} is not of the form key=value")
            return
        *parents, last = key.strip().split(".")
        here: Any = values
        for parent in parents:
            here = here.setdefault(parent, {}) if isinstance(here, dict) else None
        if not isinstance(here, dict):
            self.mistakes.append(f"the override {text!r} reaches into something that is not a section")
            return
        wanted = _hint_at(cls, [*parents, last])
        # `name=on` and `name=007` are taken as written where text is wanted.
        as_written = wanted in (str, Path) or (wanted in (str | None, Path | None) and raw not in ("", "null", "none"))
        try:
            here[last] = raw if as_written else None if raw == "none" else yaml.load(raw, _Loader)
        except yaml.YAMLError:
            self.mistakes.append(f"the override {text!r} has a value that is not YAML; quote it")

    def build(self, cls: type, values: Any, at: str) -> Any:
        """An instance of the dataclass, or None where there were mistakes."""
        if not isinstance(values, dict):
            self.mistakes.append(f"{at or 'the file'} is {_shown(values)}, wanted a mapping of keys to values")
            return None
        before = len(self.mistakes)
        known = {item.name: item for item in fields(cls) if item.init}
        for key in values:
            if key not in known:
                self.mistakes.append(
                    f"unknown key {_dotted(at, str(key))!r}.{did_you_mean(str(key), known)}".rstrip(".")
                )
        hints = get_type_hints(cls)
        given = {}
        for name, item in known.items():
            if name in values:
                given[name] = self.convert(values[name], hints[name], _dotted(at, name))
            elif item.default is MISSING and item.default_factory is MISSING:
                self.mistakes.append(f"{_dotted(at, name)} is missing; it has no default (wanted {_name(hints[name])})")
        if len(self.mistakes) > before:
            return None
        try:
            return cls(**given)
        except (ValueError, UserError) as error:
            self.mistakes.append(f"{at}: {error}" if at else str(error))
            return None

    def convert(self, value: Any, hint: Any, at: str) -> Any:
        """The value as the type wants it, or None and a mistake."""
        if isinstance(hint, type) and is_dataclass(hint):
            return self.build(hint, {} if value is None else value, at)
        origin, args = get_origin(hint), get_args(hint)
        if origin in (Union, types.UnionType):
            return self._union(value, hint, args, at)
        if isinstance(value, (list, tuple)):
            if origin in (list, Sequence) and args:
                return [self.convert(item, args[0], f"{at}[{i}]") for i, item in enumerate(value)]
            if origin is tuple and args[-1] is Ellipsis:
                return tuple(self.convert(item, args[0], f"{at}[{i}]") for i, item in enumerate(value))
            if origin is tuple and len(args) == len(value):
                return tuple(
                    self.convert(item, arg, f"{at}[{i}]") for i, (item, arg) in enumerate(zip(value, args, strict=True))
                )
        if isinstance(value, dict) and origin in (dict, Mapping) and args:
            keys = [self.convert(key, args[0], f"{at} (its key {key!r})") for key in value]
            return dict(
                zip(
                    keys,
                    [self.convert(item, args[1], _dotted(at, str(key))) for key, item in value.items()],
                    strict=True,
                )
            )
        fits, result = _scalar_as(value, hint)
        if not fits:
            near = did_you_mean(value, map(str, args)) if origin is Literal and isinstance(value, str) else ""
            self.mistakes.append(f"{at} is {_shown(value)}, wanted {_name(hint)}.{near}".rstrip("."))
        return result

    def _union(self, value: Any, hint: Any, args: tuple[Any, ...], at: str) -> Any:
        """The first member that fits; where only one is left beside None, its own mistakes are the ones to tell."""
        if value is None and types.NoneType in args:
            return None
        members = [arg for arg in args if arg is not types.NoneType]
        if len(members) == 1:
            return self.convert(value, members[0], at)
        for member in members:
            attempt = _Reading()
            result = attempt.convert(value, member, at)
            if not attempt.mistakes:
                return result
        self.mistakes.append(f"{at} is {_shown(value)}, wanted {_name(hint)}")
        return None


def _scalar_as(value: Any, hint: Any) -> tuple[bool, Any]:
    """Whether a single value fits a plain type, and what it is then."""
    if hint is Any:
        return True, value
    if get_origin(hint) is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(hint)), value
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        return _number(value)
    if hint is Path and isinstance(value, str):
        return True, Path(value)
    if hint is int and isinstance(value, bool):
        return False, None
    kind = get_origin(hint) or hint
    return (isinstance(kind, type) and isinstance(value, kind) and not get_args(hint)), value


def _number(value: float | str) -> tuple[bool, float | None]:
    """Any number as a float. Text too, for `1e-4`; but not `nan`, which is never meant."""
    try:
        number = float(value)
    except ValueError:
        return False, None
    return number == number, number


def _hint_at(cls: type, path: Sequence[str]) -> Any:
    """The type of the field at a path of names, or None where there is no such field."""
    hint: Any = cls
    for name in path:
        if not (isinstance(hint, type) and is_dataclass(hint)):
            return None
        hint = get_type_hints(hint).get(name)
    return hint


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # the base class says so in its own words
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read(path: str | Path) -> dict[str, Any]:
    """The keys and values of a YAML file."""
    path = Path(path)
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds {_shown(values)}, wanted a mapping of keys to values")
    return values


def _dotted(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


def _shown(value: Any) -> str:
    """A value as a mistake shows it, with its type where that is the point."""
    if value is None:
        return "empty"
    kind = {bool: "a yes/no", int: "a whole number", float: "a number", str: "text", list: "a list", dict: "a mapping"}
    return f"{value!r:.60} ({kind.get(type(value), type(value).__name__)})"


def _name(hint: Any) -> str:
    """A type as people read it: `int | None`, `'a' or 'b'`."""
    if get_origin(hint) is Literal:
        return " or ".join(repr(choice) for choice in get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return " | ".join(_name(arg) for arg in get_args(hint))
    if hint is types.NoneType:
        return "None"
    if args := get_args(hint):
        inner = ", ".join("..." if arg is Ellipsis else _name(arg) for arg in args)
        return f"{get_origin(hint).__name__}[{inner}]"
    return getattr(hint, "__name__", str(hint))


def _default(item: Field[Any]) -> str:
    if item.default is not MISSING:
        return str(item.default) if isinstance(item.default, Path) else repr(item.default)
    return "required" if item.default_factory is MISSING else repr(item.default_factory())
