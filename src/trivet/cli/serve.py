"""`trivet serve`: a model behind the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command()
@click.option(
    "--model",
    "spec",
    default="town:helpful",
    show_default=True,
    help="town:NAME, hf:NAME_OR_PATH, a folder, http://host/v1#model, registry:champion ...",
)
@click.option("--name", default="", help="The name that clients ask for; the model's own if left out.")
@click.option("--policy", default="default", show_default=True, help="A packaged policy's name or a YAML file.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on. There is no login: keep it on loopback or behind a proxy.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes any free one.")
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    help="Where the store and the pseudonym key are.  [default: $TRIVET_HOME or .trivet]",
)
@click.option(
    "--record",
    type=click.Choice(["masked", "full", "none"]),
    default="masked",
    show_default=True,
    help="What is kept of the words.",
)
@click.option(
    "--on-record-failure",
    type=click.Choice(["closed", "open"]),
    default="closed",
    show_default=True,
    help="When the store fails: answer 503, or serve and count.",
)
@click.option("--durable/--no-durable", default=True, show_default=True, help="Reply only when the exchange is stored.")
@click.option("--console/--no-console", default=True, show_default=True, help="The live and review pages.")
@click.option(
    "--allow-host", "hosts", multiple=True, help="Another name it may be called by, as behind a proxy; * for any name."
)
@click.option("--threads", type=click.IntRange(1), help="CPU threads for a local model.")
def serve(
    spec: str,
    name: str,
    policy: str,
    host: str,
    port: int,
    home: Path | None,
    hosts: tuple[str, ...],
    threads: int | None,
    **given: Any,
) -> None:
    """Serve a model behind the guards of a policy, as an OpenAI-compatible API with a console."""
    from trivet.core.models.resolve import resolve
    from trivet.core.store.artefacts import home_or_default
    from trivet.core.store.events import open_home
    from trivet.monitoring.gateway.app import build_app
    from trivet.monitoring.gateway.chat import Settings
    from trivet.monitoring.gateway.origin import LOOPBACK
    from trivet.monitoring.gateway.serve import listen, run
    from trivet.monitoring.policy import Policy
    from trivet.monitoring.privacy import pseudonym_key

    home = home_or_default(home)
    settings = Settings(hosts=(*LOOPBACK, host, *hosts), **given)
    rules = Policy.load(policy)
    with listen(host, port) as listening, open_home(home) as store:
        model = resolve(spec, home=home, threads=threads)
        app = build_app(model, rules, store, model_name=name, settings=settings, pseudonym_key=pseudonym_key(home))
        url = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
        console = f", console {url}/console/live" if settings.console else ""
        click.echo(f"serving {app.state.gateway.name!r} at {url}/v1 (policy {rules.name} {rules.version}{console})")
        try:
            run(app, listening)
        finally:
            # Torch aborts a process that ends while one of its threads is at work.
            if close := getattr(model, "close", None):
                close()
        gateway = app.state.gateway
        lost = gateway.unrecorded or bool(gateway.recorder.failure)
        click.echo("stopped; not everything could be recorded, see the log" if lost else "stopped; everything recorded")
