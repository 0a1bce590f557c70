"""The `trivet` command: its list of verbs, and how mistakes are told.

A verb's file is imported when the verb is used and not before; the one line of help beside its path is what
`trivet --help` shows, so that asking for help loads nothing. A verb whose file is missing (a trimmed install) is told
as such when it is called, and does no harm to the others.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple, NoReturn

import click


class Verb(NamedTuple):
    """Where a command is defined, `module:attribute`, and what it is for."""

    path: str
    help: str


VERBS: dict[str, Verb] = {
    "align": Verb("trivet.cli.align:align", "Train a model: demonstrations, preferences, LoRA or full."),
    "attack": Verb("trivet.cli.attack:attack", "Attack a model or an endpoint and measure what gets through."),
    "judge": Verb("trivet.cli.judge:judge", "Judge replies, and measure and calibrate judges."),
    "serve": Verb("trivet.cli.serve:serve", "Serve a model behind the gateway and its guards."),
    "guard": Verb("trivet.cli.guard:guard", "Train, measure and try guards and policies."),
    "policy": Verb("trivet.cli.policy:policy", "Show and check policies, and see what a new one would change."),
    "keys": Verb("trivet.cli.keys:keys", "Make, list and revoke the keys of the gateway's clients."),
    "loop": Verb("trivet.cli.loop:loop", "Turn the ring: attack, harvest, train, gate, promote."),
    "adversary": Verb("trivet.cli.adversary:adversary", "Train an attacker and its target against each other."),
    "eval": Verb("trivet.cli.eval:eval", "Measure a model: attack success, over-refusal, capability."),
    "review": Verb("trivet.cli.review:review", "Look at what was flagged, and label it."),
    "models": Verb("trivet.cli.models:models", "List, show, promote and roll back model versions."),
    "data": Verb("trivet.cli.data:data", "Look at data sets and check them, row by row."),
    "town": Verb("trivet.cli.town:town", "The proving ground: look at it, build its models."),
}


class LazyGroup(click.Group):
    """A group whose commands are dotted paths."""

    def __init__(self, verbs: dict[str, Verb], **settings: object) -> None:
        super().__init__(**settings)  # type: ignore[arg-type]
        self.verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return _load(cmd_name, self.verbs[cmd_name]) if cmd_name in self.verbs else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.verbs:
            from trivet.core.errors import did_you_mean

            ctx.fail(f"no command {args[0]!r}; see `trivet --help`.{did_you_mean(args[0], self.verbs)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.help) for name, verb in self.verbs.items()])


def _load(name: str, verb: Verb) -> click.Command:
    """Imports the command. A missing part of Trivet or of its extras is the user's to mend, so it is told in one line."""
    from trivet.core.errors import UserError

    module, _, attribute = verb.path.partition(":")
    try:
        command = getattr(import_module(module), attribute)
    except ModuleNotFoundError as missing:
        if missing.name == module:
            raise UserError(
                f"this Trivet was installed without `{name}` ({module} is missing); reinstall it"
            ) from missing
        raise UserError(
            f"`{name}` needs {missing.name}, which is not installed; install it with: pip install 'trivet[all]'"
        ) from missing
    assert isinstance(command, click.Command)
    return command


def _version(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        click.echo(f"trivet {version('trivet')}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    verbs=VERBS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=False,
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def cli() -> None:
    """Align a language model, attack it, guard it, and turn every failure into its next version.

    Start with `trivet loop --help`, or with `trivet serve --help` to guard an application.
    """


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line and leaves with its exit code; mistakes are one line on stderr, never a traceback."""
    # Torch's threads otherwise spin while they wait, which on a machine with other work costs a hundredfold. It is read
    # when torch is loaded, so it must be said before.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Large temporaries in huge pages: a tenth to a fifth less time goes into faulting them in.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        result = cli.main(args=args, prog_name="trivet", standalone_mode=False)
        code = result if isinstance(result, int) else 0
    except click.ClickException as mistake:
        mistake.show()
        code = mistake.exit_code
    except (KeyboardInterrupt, click.Abort):
        _say("stopped; the same command goes on from here where it keeps a store")
        code = 130
    except BrokenPipeError:
        # The reader has left, as `head` does. Python would complain again when it flushes at exit.
        sys.stderr.close()
        code = 0
    except Exception as error:
        code = _tell(error)
    sys.exit(code)


def _tell(error: Exception) -> int:
    """Prints one of our own errors as a line; anything else is a bug of ours and keeps its traceback."""
    from trivet.core.errors import TrivetError

    if not isinstance(error, TrivetError):
        raise error
    _say(str(error))
    return error.exit_code


def _say(text: str) -> None:
    """One line, even where the words of others within it have several."""
    click.echo(f"error: {' '.join(text.splitlines())}", err=True)


if __name__ == "__main__":
    main()
