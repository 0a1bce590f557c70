"""`trivet serve`: models behind the gateway."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from trivet.monitoring.gateway.keys import Keyring


@click.command()
@click.option(
    "--model",
    "spec",
    default="town:helpful",
    show_default=True,
    help="town:NAME, hf:NAME_OR_PATH, a folder, http://host/v1#model, registry:champion ...",
)
@click.option(
    "--upstreams",
    "upstreams_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Several servers and fallbacks, as YAML (docs/gateway.md), instead of --model.",
)
@click.option(
    "--name", default="", help="The name that clients ask for; if left out, that of --model without its folder."
)
@click.option(
    "--policy",
    default="default",
    show_default=True,
    help="A packaged policy's name, a YAML file, or a file of tenants; a file is watched for changes.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on. Others than loopback need keys (`trivet keys create`).",
)
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes any free one.")
@click.option("--insecure", is_flag=True, help="Listen beyond loopback although there are no keys.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes on one port.")
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    help="Where the store, the keys and the pseudonym key are.  [default: $TRIVET_HOME or .trivet]",
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
@click.option("--parallel-input", is_flag=True, help="Ask the model while the input is checked; its reply waits.")
@click.option(
    "--reask/--no-reask", default=True, show_default=True, help="Ask once more for a reply in the wrong format."
)
@click.option("--restore", is_flag=True, help="Put the caller's own data, masked for the model, back into replies.")
@click.option("--blocked-in-band", is_flag=True, help="A blocked reply is a reply (content_filter), not an error.")
@click.option("--unchecked-media", is_flag=True, help="Let pass images, audio and files, which no guard reads.")
@click.option(
    "--max-in-flight", type=click.IntRange(1), default=512, show_default=True, help="Requests at a time; 503 beyond."
)
@click.option(
    "--max-body-bytes", type=click.IntRange(1), default=4 << 20, show_default=True, help="A longer request gets 413."
)
@click.option(
    "--upstream-seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=120.0,
    show_default=True,
    help="For a reply, and between two pieces of a stream.",
)
@click.option(
    "--ca", type=click.Path(path_type=Path), help="Certificates (PEM) that an https upstream is checked against."
)
@click.option("--tracing", is_flag=True, help="OpenTelemetry spans (needs the extra `otel`).")
@click.option(
    "--allow-host", "hosts", multiple=True, help="Another name it may be called by, as behind a proxy; * for any name."
)
@click.option("--threads", type=click.IntRange(1), help="CPU threads for a local model.")
def serve(
    spec: str,
    upstreams_file: Path | None,
    name: str,
    policy: str,
    host: str,
    port: int,
    insecure: bool,
    workers: int,
    home: Path | None,
    ca: Path | None,
    hosts: tuple[str, ...],
    threads: int | None,
    **given: Any,
) -> None:
    """Serve models behind the guards of a policy, as an OpenAI- and Anthropic-compatible API with a console."""
    from trivet.core.store.artefacts import home_or_default
    from trivet.core.store.events import open_home
    from trivet.monitoring.gateway.app import build_app
    from trivet.monitoring.gateway.keys import Keyring
    from trivet.monitoring.gateway.origin import LOOPBACK
    from trivet.monitoring.gateway.serve import listen, run
    from trivet.monitoring.gateway.settings import Settings
    from trivet.monitoring.gateway.workers import Workers
    from trivet.monitoring.live import Policies
    from trivet.monitoring.privacy import pseudonym_key
    from trivet.monitoring.reviewed import ReviewedAttacks

    home = home_or_default(home)
    settings = Settings(hosts=(*LOOPBACK, host, *hosts), **given)
    keyring = Keyring.of_home(home)
    _guarded_door(host, keyring, insecure)
    policies = Policies.load(policy)
    with listen(host, port, shared=workers > 1, only_hold=workers > 1) as listening:
        port = listening.getsockname()[1]
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        if workers > 1:
            _local_is_one(spec, upstreams_file)
            open_home(home).close()  # migrated once, before all of them open it
            told = f"serving with {workers} workers at {url}/v1 (policy {policies.for_tenant('').name})"
            if Workers(workers).parent(lambda: click.echo(told)):
                return
            listening = listen(host, port, shared=True)  # the kernel deals connections out between these
        with open_home(home) as store, ReviewedAttacks(store) as attacks:
            policies.prepare(attacks.join)
            attacks.poll()  # what is known is known to the first request
            model = _model(spec, upstreams_file, ca, home, threads)
            app = build_app(
                model,
                policies,
                store,
                model_name=name or _called(spec, upstreams_file),
                settings=settings,
                pseudonym_key=pseudonym_key(home),
                keyring=keyring,
                share=1 / workers,
            )
            console = f", console {url}/console/live" if settings.console else ""
            rules = policies.for_tenant("")
            if workers == 1:
                names = ", ".join(repr(model) for model in app.gateway.models)
                click.echo(f"serving {names} at {url}/v1 (policy {rules.name} {rules.version}{console})")
            policies.start()
            try:
                run(app, listening)
            finally:
                policies.stop()
                # Torch aborts a process that ends while one of its threads is at work.
                if close := getattr(model, "close", None):
                    close()
            gateway = app.gateway
            lost = gateway.unrecorded or bool(gateway.recorder and gateway.recorder.failure)
            click.echo(
                "stopped; not everything could be recorded, see the log" if lost else "stopped; everything recorded"
            )


def _guarded_door(host: str, keyring: Keyring, insecure: bool) -> None:
    """Nobody is let in from elsewhere without a key, unless the operator says so."""
    from trivet.core.errors import UserError
    from trivet.monitoring.gateway.origin import LOOPBACK

    if host not in LOOPBACK and not host.startswith("127.") and not len(keyring) and not insecure:
        raise UserError(
            f"--host {host} is open to others and there are no keys; make one with `trivet keys create NAME`, "
            "or say --insecure"
        )


def _called(spec: str, upstreams_file: Path | None) -> str:
    """The name that clients ask for when none is given: what was served, without where it lies; "" asks the model."""
    if upstreams_file is not None or spec.startswith(("http:", "https:", "scripted:")):
        return ""
    spec = spec.removeprefix("hf:")
    return Path(spec).name if Path(spec).is_dir() else spec


def _local_is_one(spec: str, upstreams_file: Path | None) -> None:
    from trivet.core.errors import UserError

    if upstreams_file is None and not spec.startswith(("http:", "https:", "scripted:")):
        raise UserError(f"--workers would load {spec} once for each; it is for models behind http:// or --upstreams")


def _model(spec: str, upstreams_file: Path | None, ca: Path | None, home: Path, threads: int | None) -> Any:
    """What is behind: servers from a file, one server whose JSON passes through as it is, or a model of this process."""
    if upstreams_file is not None:
        from trivet.monitoring.gateway.upstreams import read_upstreams

        return read_upstreams(upstreams_file)
    if spec.startswith(("http:", "https:")):
        from trivet.core.models.resolve import resolve
        from trivet.monitoring.gateway.upstream import HttpUpstream

        endpoint: Any = resolve(spec)  # says what is wrong with an address in its own words
        url, _, model = spec.partition("#")
        key = "TRIVET_API_KEY" if "TRIVET_API_KEY" in os.environ or "//api.openai.com" not in url else "OPENAI_API_KEY"
        return HttpUpstream(url, name=endpoint.name, model=model, key=os.environ.get(key, ""), ca=ca)
    from trivet.core.models.resolve import resolve

    return resolve(spec, home=home, threads=threads)
