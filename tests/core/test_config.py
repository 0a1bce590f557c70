"""Recipes: what is read, and that each mistake says where, what was given and what is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Optional

import pytest

from trivet.core.config import Row, describe, load, option
from trivet.core.errors import ConfigError


@dataclass
class Data:
    rows: int = option(10, "how many rows")
    names: tuple[str, ...] = option(("a",), "which")


@dataclass(frozen=True)
class Strict:
    beta: float = 0.1

    def __post_init__(self) -> None:
        if self.beta <= 0:
            raise ValueError(f"beta must be positive, is {self.beta}")


@dataclass
class Recipe:
    model: str = option(help="which model")
    rate: float = option(1e-3, "learning rate")
    loss: Literal["dpo", "ipo", 3] = "dpo"
    out: Optional[Path] = option(None, "folder")  # noqa: UP045 - both spellings are in use
    full: bool = False
    pair: tuple[int, float] = (1, 2.0)
    layers: list[str] = option(["q"], "which layers")
    several: Sequence[int] = ()
    weights: dict[str, float] = option({}, "mixture")
    either: int | str = 3
    extra: Any = None
    plain: dict = field(default_factory=dict)  # type: ignore[type-arg]
    base: Path = Path("here")
    data: Data = option(Data, "the data")
    strict: Strict = Strict()
    hidden: int = field(default=5, init=False)


def told(tmp_path: Path, text: str | bytes, *overrides: str) -> str:
    """The mistakes in a recipe, without its folder."""
    path = tmp_path / "r.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load(Recipe, path, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_defaults_then_file_then_overrides(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("model: m\nrate: 1e-4\ndata: {rows: 3}\nlayers: [k, v]\nfull: yes\nout: runs/x\npair: [3, 4]\n")
    found = load(Recipe, path, ["data.names=[x, y]", "rate=2", "weights={a: 1}"])
    assert found == Recipe(
        model="m",
        rate=2.0,
        full=True,
        out=Path("runs/x"),
        pair=(3, 4.0),
        layers=["k", "v"],
        weights={"a": 1.0},
        data=Data(3, ("x", "y")),
    )
    assert isinstance(found.rate, float) and isinstance(found.pair[1], float)


def test_without_a_file() -> None:
    assert load(Data) == Data()
    assert load(Recipe, None, ["model=x", "several=[1, 2]", "plain={a: b}", "extra=[1]"]).several == [1, 2]


def test_mutable_defaults_are_not_shared() -> None:
    one, two = Recipe("a"), Recipe("b")
    one.layers.append("x")
    one.data.rows = 0
    assert two.layers == ["q"] and two.data.rows == 10


@pytest.mark.parametrize(
    ("override", "name", "value"),
    [
        ("model=on", "model", "on"),
        ("model=007", "model", "007"),
        ("model=", "model", ""),
        ("model=a=b", "model", "a=b"),
        ("base=1", "base", Path("1")),
        ("out=7", "out", Path("7")),
        ("out=null", "out", None),
        ("out=none", "out", None),
        ("rate=1e-5", "rate", 1e-5),
        ("either=x", "either", "x"),
        ("either=4", "either", 4),
        ("loss=3", "loss", 3),
        ("full=true", "full", True),
        ("extra=none", "extra", None),
        ("data=", "data", Data()),
    ],
)
def test_override(override: str, name: str, value: Any) -> None:
    found = getattr(load(Recipe, None, ["model=m", override]), name)
    assert found == value and type(found) is type(value)


def test_an_empty_file_or_section_means_defaults(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("")
    assert load(Data, path) == Data()
    path.write_text("model: m\ndata:\n")
    assert load(Recipe, path).data == Data()


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    message = told(tmp_path, "modle: x\nrate: fast\nloss: dop\ndata: {rows: 2.5, row: 1}\n", "data.names=3", "zzz")
    assert message.startswith("r.yaml: ")
    for part in (
        "unknown key 'modle'. Did you mean \"model\"?",
        "model is missing; it has no default (wanted str)",
        "rate is 'fast' (text), wanted float",
        "loss is 'dop' (text), wanted 'dpo' or 'ipo' or 3. Did you mean \"dpo\"?",
        "data.rows is 2.5 (a number), wanted int",
        "unknown key 'data.row'. Did you mean \"rows\"?",
        "data.names is 3 (a whole number), wanted tuple[str, ...]",
        "the override 'zzz' is not of the form key=value",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("rate: yes", "rate is True (a yes/no), wanted float"),
        ("rate: .nan", "rate is nan (a number), wanted float"),
        ("rate:", "rate is empty, wanted float"),
        ("data: 3", "data is 3 (a whole number), wanted a mapping of keys to values"),
        ("pair: [1]", "pair is [1] (a list), wanted tuple[int, float]"),
        ("pair: [1, x]", "pair[1] is 'x' (text), wanted float"),
        ("data: {names: [a, 1]}", "data.names[1] is 1 (a whole number), wanted str"),
        ("data: {rows: true}", "data.rows is True (a yes/no), wanted int"),
        ("layers: {a: 1}", "layers is {'a': 1} (a mapping), wanted list[str]"),
        ("layers: [1]", "layers[0] is 1 (a whole number), wanted str"),
        ("weights: {a: b}", "weights.a is 'b' (text), wanted float"),
        ("weights: {1: 2}", "weights (its key 1) is 1 (a whole number), wanted str"),
        ("either: 2.5", "either is 2.5 (a number), wanted int | str"),
        ("out: 5", "out is 5 (a whole number), wanted Path"),
        ("out: 2020-01-01", "out is datetime.date(2020, 1, 1) (date), wanted Path"),
        ("full: 1", "full is 1 (a whole number), wanted bool"),
        ("loss: 4", "loss is 4 (a whole number), wanted 'dpo' or 'ipo' or 3"),
        ("strict: {beta: -1}", "strict: beta must be positive, is -1.0"),
        ("hidden: 6", "unknown key 'hidden'"),
        ("3: x", "unknown key '3'"),
    ],
)
def test_mistake(tmp_path: Path, line: str, mistake: str) -> None:
    assert told(tmp_path, f"model: m\n{line}\n") == f"r.yaml: {mistake}"


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("a: [1\nb: 2", "r.yaml:2: not valid YAML: expected ',' or ']'"),
        ("model: a\nmodel: b", "r.yaml:2: not valid YAML: the key 'model' is given twice"),
        ("? [a]\n: 3\n", "r.yaml:1: not valid YAML: found unhashable key"),
        ("a: !!python/object:os.system x", "r.yaml:1: not valid YAML: could not determine a constructor"),
        ("model: 'a\x00b'", "r.yaml: not valid YAML: unacceptable character"),
        ("- 1", "r.yaml holds [1] (a list), wanted a mapping of keys to values"),
        (b"model: \xff", "r.yaml is not UTF-8 text (byte 7); save it as UTF-8"),
    ],
)
def test_file_that_is_no_recipe(tmp_path: Path, text: str | bytes, mistake: str) -> None:
    assert told(tmp_path, text).startswith(mistake)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.yaml cannot be read: No such file or directory; check the path"):
        load(Recipe, tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("override", "mistake"),
    [
        ("=3", "the override '=3' is not of the form key=value"),
        ("rate=[1", "the override 'rate=[1' has a value that is not YAML; quote it"),
        ("strict.x=1", "unknown key 'strict.x'"),
        ("model.x=1", "model is {'x': 1} (a mapping), wanted str"),
        ("data.rows.x=1", "data.rows is {'x': 1} (a mapping), wanted int"),
        ("nope.x=1", "unknown key 'nope'"),
    ],
)
def test_override_that_cannot_be(override: str, mistake: str) -> None:
    required = [] if override.startswith("model") else ["model=m"]
    with pytest.raises(ConfigError) as caught:
        load(Recipe, None, [*required, override])
    assert str(caught.value) == mistake


def test_override_into_a_value(tmp_path: Path) -> None:
    assert "'data.x=1' reaches into something that is not a section" in told(tmp_path, "model: m\ndata: 3", "data.x=1")
    assert "'data.x.y=1' reaches into" in told(tmp_path, "model: m\ndata: 3", "data.x.y=1")


def test_a_mistake_of_the_whole_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^beta must be positive, is 0.0$"):
        load(Strict, None, ["beta=0"])


def test_describe() -> None:
    rows = {row.name: row for row in describe(Recipe)}
    assert rows["model"] == Row("model", "str", "required", "which model")
    assert rows["out"].type == "Path | None"
    assert rows["base"].default == "here"
    assert rows["loss"].type == "'dpo' or 'ipo' or 3"
    assert rows["layers"] == Row("layers", "list[str]", "['q']", "which layers")
    assert rows["data.rows"] == Row("data.rows", "int", "10", "how many rows")
    assert rows["extra"].type == "Any"
