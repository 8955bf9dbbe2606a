"""``dcdr-deploy serve``: a picture by HTTP in, an HDR picture out."""

from __future__ import annotations

from typing import Any

import click

from dcdr_deploy.commands.options import engine
from dcdr_deploy.commands.show.run import NORMAL, QUIET, VERBOSE, Console
from dcdr_deploy.commands.show.text import printable
from dcdr_deploy.run.opening import open_runner
from dcdr_deploy.run.selection import require_named
from dcdr_deploy.serving import SERVICE_PACKAGES
from dcdr_deploy.serving.service import REPORT_HEADER, Limits, Service
from dcdr_deploy.system.json_text import json_text
from dcdr_deploy.system.packages import require
from dcdr_deploy.system.progress import Event

EPILOG = f"""\b
Examples:
  dcdr-deploy serve
  curl --data-binary @photo.jpg 'http://127.0.0.1:8000/restore' -o photo.exr
  curl --data-binary @photo.jpg 'http://127.0.0.1:8000/restore?format=hdr&strength=0.7' -o photo.hdr
  dcdr-deploy serve -m my.onnx --port 9000 --queue 4 --timeout 20

\b
Routes:
  POST /restore   the picture is the body; the query takes format, scale, strength,
                  exposure, max_boost, saturation, protect_below, wrap, strip, as `run`
                  does; the header {REPORT_HEADER} says what was recovered
  GET /health     200 if pictures are accepted, else 503
  GET /metrics    figures for Prometheus

\b
Errors: 400 no picture or an unknown parameter, 408 not received in time, 413 too
large, 415 a form, 429 queue full, 500 the engine failed, 503 shutting down, 504
not done in time, 507 disk full. The body is {{"error": "one sentence"}}.

\b
Model, without --model: the one that `dcdr-deploy run` takes.
"""


@click.command("serve", epilog=EPILOG)
@engine.options
@engine.tile_options
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 picks a free port.")
@click.option(
    "--max-megabytes", type=float, default=Limits.max_megabytes, show_default=True, help="Largest request body."
)
@click.option("--max-megapixels", type=float, default=Limits.max_megapixels, show_default=True, help="Largest picture.")
@click.option(
    "--timeout", type=float, default=Limits.timeout, show_default=True, help="Seconds from a request to its result."
)
@click.option(
    "--queue", type=int, default=Limits.queue, show_default=True, help="Pictures that may wait; others get 429."
)
@click.option("--json", "as_json", is_flag=True, help="Print the address as a line of JSON.")
@click.option("-q", "--quiet", "verbosity", flag_value=QUIET, type=int, help="Print only the address and errors.")
@click.option("-v", "--verbose", "verbosity", flag_value=VERBOSE, type=int, help="Also print log messages.")
def command(host: str, port: int, as_json: bool, verbosity: int | None, **chosen: Any) -> None:
    """Serve one engine by HTTP until Ctrl-C or SIGTERM; pictures in work are finished first.

    Without --host only this machine can reach it. It has no authentication and no encryption: put a proxy that provides
    both between it and an untrusted network.
    """
    limits = Limits(*(chosen[name] for name in ("max_megabytes", "max_megapixels", "timeout", "queue")))
    settings = engine.runner_settings(chosen)
    require(SERVICE_PACKAGES, "serve")
    require_named(chosen["model"])
    # What is wrong is said by now, but for a port that is taken: these bring FastAPI.
    from dcdr_deploy.serving.http import make_app
    from dcdr_deploy.serving.server import address_of, is_loopback, listening_socket, serve

    with Console(verbosity=NORMAL if verbosity is None else verbosity) as console:
        bound = listening_socket(host, port)  # a port that is taken is told before a model is loaded
        with bound, open_runner(chosen["model"], settings, console) as runner, Service(runner, limits) as service:
            address = address_of(bound)

            def ready() -> None:
                told = {"status": "listening", "address": address}
                click.echo(json_text(told) if as_json else printable(f"listening on {address}"))
                if not is_loopback(bound):
                    console.note(f"{address} can be reached from other machines; there are no users and no encryption")

            serve(make_app(service), bound, places=limits.places, patience=limits.timeout, ready=ready)
        console(Event(note="stopped"))
