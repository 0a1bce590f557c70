"""Rows of a data set, whatever it is kept in: JSON Lines, JSON, Parquet, a folder of Hugging Face, a name on its hub.

    set.jsonl, set.jsonl.gz         one object a line
    set.json, set.json.gz           one array of objects, or one object a line
    set.parquet                     needs the extra `data`
    folder                          saved by `datasets` (save_to_disk), or holding .parquet files
    folder:train                    one split of a folder that was saved with several
    hf:owner/name[/config][:split]  from the Hugging Face hub, or from its cache where the machine is offline

Rows are numbered from 1: by lines of text, else by rows. In tables a value that is null is no value, because a column
exists for all rows or none. Needs `datasets` 4 or newer, which no longer runs code that a data set brings along.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from trivet.core.errors import DataError, did_you_mean

HUB = "hf:"
SUFFIXES = (".jsonl", ".json", ".parquet")


class Table(NamedTuple):
    """Where rows come from: the name that lessons keep, what a row is called, and (number, row) one by one."""

    name: str
    unit: str
    rows: Iterator[tuple[int, dict[str, Any]]]


def table(source: str | Path) -> Table:
    """Opens a source; raises DataError where there is none or a package is missing, and while rows are read."""
    text = str(source)
    if text.startswith(HUB):
        return Table(text.removeprefix(HUB), "row", _numbered(_hub(text)))
    place, split = _place(text)
    if place.is_dir():
        return Table(place.name + (f":{split}" if split else ""), "row", _numbered(_folder(place, split)))
    if not place.is_file():
        raise DataError(f"there is no data set {place}; give one of {', '.join(SUFFIXES)} (.gz), a folder or hf:NAME")
    name = place.name.removesuffix(".gz")
    stem = next((name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)), name)
    if name.endswith(".parquet"):
        return Table(stem, "row", _numbered(_parquet([place])))
    if name.endswith(".json") and _starts_with_a_bracket(place):
        return Table(stem, "row", _array(place))
    return Table(stem, "line", _lines(place))


def _place(text: str) -> tuple[Path, str]:
    """(path, split): `folder:train` where no file of that whole name exists."""
    place = Path(text).expanduser()
    head, colon, split = text.rpartition(":")
    if colon and not place.exists() and Path(head).expanduser().is_dir():
        return Path(head).expanduser(), split
    return place, ""


def _lines(place: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    with gzip.open(place, "rb") if place.suffix == ".gz" else place.open("rb") as lines:
        try:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, _object(line)
        except (ValueError, EOFError, OSError, zlib.error) as why:
            raise DataError(f"{place} line {number or 1}: {why}") from why


def _object(line: bytes) -> dict[str, Any]:
    row = _parsed(line)
    if not isinstance(row, dict):
        raise ValueError(f"a row must be an object with fields, this is {line.decode(errors='replace')!r:.60}")
    return row


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except UnicodeDecodeError as why:
        raise ValueError(f"not UTF-8 text (byte {why.start}); save the file as UTF-8") from why
    except json.JSONDecodeError as why:
        raise ValueError(f"not JSON: {why.msg} at character {why.pos + 1}") from why


def _starts_with_a_bracket(place: Path) -> bool:
    try:
        with gzip.open(place, "rb") if place.suffix == ".gz" else place.open("rb") as file:
            return file.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    except (EOFError, OSError, zlib.error) as why:
        raise DataError(f"{place} cannot be read: {why}") from why


def _array(place: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        found = _parsed(gzip.decompress(place.read_bytes()) if place.suffix == ".gz" else place.read_bytes())
    except (ValueError, EOFError, OSError, zlib.error) as why:
        raise DataError(f"{place}: {why}") from why
    for number, row in enumerate(found, start=1):
        if not isinstance(row, dict):
            raise DataError(f"{place} row {number}: a row must be an object with fields, this is {row!r:.60}")
        yield number, row


def _numbered(rows: Iterable[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, row in enumerate(rows, start=1):
        yield number, {name: value for name, value in row.items() if value is not None}


def _folder(place: Path, split: str) -> Iterable[dict[str, Any]]:
    if (place / "dataset_dict.json").is_file() or (place / "state.json").is_file():
        datasets = _package("datasets", str(place))
        try:
            return _split_of(datasets.load_from_disk(str(place)), split, str(place))
        except (OSError, ValueError, KeyError, TypeError) as why:
            raise DataError(f"{place} cannot be read as a saved data set: {why}") from why
    files = sorted(place.glob(f"{split}*.parquet" if split else "*.parquet"))
    if not files:
        raise DataError(
            f"the folder {place} holds no data set{f' for the split {split}' if split else ''}; it needs .parquet files "
            "or what `datasets` writes by save_to_disk"
        )
    return _parquet(files)


def _parquet(files: list[Path]) -> Iterator[dict[str, Any]]:
    parquet, arrow = _package("pyarrow.parquet", str(files[0])), _package("pyarrow", str(files[0]))
    for file in files:
        try:
            with parquet.ParquetFile(file) as opened:
                for batch in opened.iter_batches(batch_size=1024):
                    yield from batch.to_pylist()
        except (OSError, arrow.ArrowException) as why:
            raise DataError(f"{file} cannot be read as Parquet: {why}") from why


def _hub(text: str) -> Iterable[dict[str, Any]]:
    name, _, split = text.removeprefix(HUB).partition(":")
    owner, _, rest = name.partition("/")
    name, _, config = rest.partition("/")
    if not owner or not name:
        raise DataError(
            f"{text!r} names no data set of the hub; write hf:owner/name, hf:owner/name/config or ...:split"
        )
    datasets = _package("datasets", text)
    try:
        found = datasets.load_dataset(f"{owner}/{name}", config or None)
    except Exception as why:  # network, hub, cache and format each have their own; all are one line to the user
        told = " ".join(str(why).split())
        raise DataError(f"{text} cannot be loaded: {told or type(why).__name__}") from why
    return _split_of(found, split, text)


def _split_of(found: Any, split: str, source: str) -> Iterable[dict[str, Any]]:
    """The rows of one split. A set with several is ambiguous until one is named."""
    if not isinstance(found, dict):
        if split:
            raise DataError(f"{source} has no splits; leave out :{split}")
        return found  # type: ignore[no-any-return]
    if split in found:
        return found[split]  # type: ignore[no-any-return]
    if not split and len(found) == 1:
        return next(iter(found.values()))  # type: ignore[no-any-return]
    names = ", ".join(found)
    wrong = f"has no split {split!r}" if split else "has several splits"
    raise DataError(f"{source} {wrong}; name one of {names} as ...:{next(iter(found))}.{did_you_mean(split, found)}")


def _package(name: str, source: str) -> Any:
    try:
        return import_module(name)
    except ImportError as missing:
        package = name.partition(".")[0]
        raise DataError(
            f"{source} needs {package}, which is not installed; install it with: pip install 'trivet[data]'"
        ) from missing
