"""The command line: help that loads nothing, mistakes in one line, exit codes."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from importlib.util import find_spec

import click
import pytest

from trivet.cli import main as module
from trivet.cli.main import VERBS, Verb, main
from trivet.core.errors import Interrupted, StoreError, UserError


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(list(args))
    out, err = capsys.readouterr()
    assert isinstance(end.value.code, int)
    return end.value.code, out, err


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Makes `trivet align` do something else."""

    def put(action: Callable[[], object]) -> None:
        fake = types.ModuleType("trivet.cli.fake")
        fake.align = click.Command("align", callback=action)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "trivet.cli.fake", fake)
        monkeypatch.setitem(VERBS, "align", Verb("trivet.cli.fake:align", "Fake."))

    return put


def test_help_shows_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(f"  {name} " in out and verb.help in out for name, verb in VERBS.items())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--version")
    assert code == 0 and out.startswith("trivet ")


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_is_there_and_helps(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert find_spec(VERBS[name].path.partition(":")[0]), f"`{name}` is in VERBS and its file is missing"
    code, out, err = run(capsys, name, "--help")
    assert (code, err) == (0, "") and out.startswith(f"Usage: trivet {name} ")


def test_unknown_verb(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "atack")
    assert code == 2 and "no command 'atack'; see `trivet --help`. Did you mean \"attack\"?" in err


def test_unknown_option(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "--nope")
    assert code == 2 and "No such option" in err


def test_a_missing_file_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(VERBS, "align", Verb("trivet.cli.nowhere:align", "Gone."))
    assert run(capsys, "align") == (
        2,
        "",
        "error: this Trivet was installed without `align` (trivet.cli.nowhere is missing); reinstall it\n",
    )
    assert run(capsys, "--help")[0] == 0


def test_a_missing_extra_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_torch(name: str) -> types.ModuleType:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(module, "import_module", no_torch)
    code, _, err = run(capsys, "align")
    assert code == 2
    assert err == "error: `align` needs torch, which is not installed; install it with: pip install 'trivet[all]'\n"


@pytest.mark.parametrize(
    ("error", "code"), [(UserError("a, b"), 2), (StoreError("a, b"), 2), (Interrupted("a, b"), 130)]
)
def test_our_errors_are_one_line(
    capsys: pytest.CaptureFixture[str], verb: Callable[..., None], error: Exception, code: int
) -> None:
    def fail() -> None:
        raise error

    verb(fail)
    assert run(capsys, "align") == (code, "", "error: a, b\n")


def test_ctrl_c(capsys: pytest.CaptureFixture[str], verb: Callable[..., None]) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    verb(stop)
    code, _, err = run(capsys, "align")
    assert code == 130 and "Traceback" not in err and "stopped" in err


def test_bugs_keep_their_traceback(verb: Callable[..., None]) -> None:
    verb(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        main(["align"])


def test_exit_codes(capsys: pytest.CaptureFixture[str], verb: Callable[..., None]) -> None:
    verb(lambda: 3)
    assert run(capsys, "align")[0] == 3
    verb(lambda: "done")
    assert run(capsys, "align")[0] == 0


def test_a_reader_that_left(verb: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    class Quiet:
        closed = False

        def close(self) -> None:
            self.closed = True

    def write() -> None:
        raise BrokenPipeError

    verb(write)
    stderr = Quiet()
    monkeypatch.setattr(sys, "stderr", stderr)
    with pytest.raises(SystemExit) as end:
        main(["align"])
    assert end.value.code == 0 and stderr.closed
