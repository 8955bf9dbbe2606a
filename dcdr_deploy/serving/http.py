"""The service's routes: ``POST /restore``, ``GET /health``, ``GET /metrics``. Needs FastAPI.

A picture is the body itself, no form: its size is known before and while it arrives. What is wished for stands in the
query, and a name that is not known there is refused. No answer names a file or folder of this machine.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Annotated, Any

import fastapi
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from dcdr_deploy._version import __version__
from dcdr_deploy.errors import DcdrError, EngineError, EngineOutOfMemory, InputError, OutputError
from dcdr_deploy.imaging.write import media_type
from dcdr_deploy.run.dials import NEUTRAL, Dials
from dcdr_deploy.run.outputs import DEFAULT_FORMAT, ConvertOptions
from dcdr_deploy.run.reports import FileReport
from dcdr_deploy.run.working_scale import parse_scale
from dcdr_deploy.serving.metrics import Metrics
from dcdr_deploy.serving.service import REPORT_HEADER, BusyError, GivenUpError, Service, Ticket
from dcdr_deploy.system.file_faults import FULL, reason_of
from dcdr_deploy.system.json_text import json_text

_ROUTES = "POST /restore, GET /health and GET /metrics"
_FORM = "multipart/"
"""Forms of the other type cannot be told: curl calls any body one."""
_DRAINED = 1 << 20
"""Bytes of a refused body that are read and dropped: a client that is still sending would not read the answer."""
_POLL = 0.25
"""Seconds after which it is looked whether the client is still there."""

_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (EngineOutOfMemory, 413),
    (EngineError, 500),
    (InputError, 400),
    (OutputError, 507),
    (DcdrError, 400),
)
"""First match counts."""

_logger = logging.getLogger(__name__)


class RestoreQuery(BaseModel):
    """The query of a request; all have the defaults of ``dcdr-deploy run``."""

    model_config = ConfigDict(extra="forbid")
    format: str = DEFAULT_FORMAT
    scale: str = "auto"
    strength: float = NEUTRAL.strength
    exposure: float = NEUTRAL.exposure
    max_boost: float | None = NEUTRAL.max_boost
    saturation: float = NEUTRAL.saturation
    protect_below: int | None = NEUTRAL.protect_below
    wrap: bool = False
    strip: bool = False

    def options(self) -> ConvertOptions:
        """Return what is made of the picture.

        Raises:
            InputError, OutputError: a value out of range.
        """
        dials = Dials(self.strength, self.exposure, self.max_boost, self.saturation, self.protect_below)
        scale = parse_scale(self.scale)
        return ConvertOptions(format=self.format, scale=scale, dials=dials, wrap=self.wrap, strip=self.strip)


class RefusalError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class _Result(FileResponse):
    """A file that is let go once it is sent, or cannot be."""

    def __init__(self, ticket: Ticket, report: FileReport) -> None:
        super().__init__(
            report.output,
            media_type=media_type(report.output),
            filename=f"restored{report.output.suffix}",
            headers={REPORT_HEADER: json_text(_told(report))},
        )
        self._ticket = ticket
        ticket.hold()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ticket.drop()


def make_app(service: Service) -> fastapi.FastAPI:
    """Return the application for a service, which the caller closes."""
    metrics = Metrics(lambda: service.taken, service.limits.places)
    # The pages at /docs would load scripts from another host; /openapi.json is what they are made of.
    app = fastapi.FastAPI(title="dcdr-deploy", version=__version__, docs_url=None, redoc_url=None)

    @app.post("/restore", response_class=Response)
    async def restore(request: Request, query: Annotated[RestoreQuery, fastapi.Query()]) -> Response:
        """Turn the SDR picture in the body into the HDR picture of the answer."""
        try:
            response = await _restore(request, query, service, metrics)
        except RefusalError as refusal:
            await _drain(request)
            response = _error(refusal.status, str(refusal))
        metrics.answered(response.status_code)
        return response

    @app.exception_handler(RequestValidationError)
    async def unknown_parameter(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"][1:]))
        await _drain(request)
        metrics.answered(400)
        if first["type"] == "extra_forbidden":
            return _error(400, f"{name} is not known; the query takes {', '.join(RestoreQuery.model_fields)}")
        return _error(400, f"{name}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> Response:
        await _drain(request)
        sentence = f"{request.method} {request.url.path}: {error.detail}; there are {_ROUTES}"
        return _error(error.status_code, sentence, error.headers)

    @app.head("/health", include_in_schema=False)
    @app.get("/health")
    async def health() -> Response:
        """Tell whether pictures are taken, by what, and how many places are left."""
        told = {
            "state": service.state,
            "version": __version__,
            "model": service.info.model.name if service.info.model else service.info.metadata.name,
            "backend": service.info.backend,
            "device": service.info.device,
            "places": service.limits.places,
            "taken": service.taken,
        }
        return JSONResponse(told, 200 if service.state == "ok" else 503)

    @app.head("/metrics", include_in_schema=False)
    @app.get("/metrics", response_class=Response)
    async def figures() -> Response:
        """Tell what was counted, as text for Prometheus."""
        return Response(metrics.text(), media_type=metrics.content_type)

    return app


async def _restore(request: Request, query: RestoreQuery, service: Service, metrics: Metrics) -> Response:
    if request.headers.get("content-type", "").startswith(_FORM):
        raise RefusalError(415, "send the picture itself as the body, no form (curl --data-binary @photo.jpg)")
    try:
        options = query.options()
        ticket = service.admit()
    except DcdrError as error:
        raise RefusalError(400, str(error)) from error
    except BusyError:
        raise RefusalError(429, "all places are taken; try again in some seconds") from None
    except OSError as error:
        raise _unkept(error) from error
    try:
        await _receive(request, ticket, service.limits.bytes)
        report = await _converted(request, ticket, service, options)
        metrics.restored(report)
        return _Result(ticket, report)
    finally:
        ticket.drop()


async def _receive(request: Request, ticket: Ticket, most: int) -> None:
    """Put the body into the ticket's file."""
    too_large = RefusalError(413, f"the picture has more than {most:,} bytes")
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > most:
        raise too_large

    async def copy() -> None:
        received = 0
        with ticket.source.open("wb") as file:
            async for chunk in request.stream():
                received += len(chunk)
                if received > most:
                    raise too_large
                file.write(chunk)

    try:
        await asyncio.wait_for(copy(), ticket.seconds_left)
    except (TimeoutError, asyncio.TimeoutError):  # two classes before Python 3.11
        raise RefusalError(408, "the picture did not arrive in time") from None
    except ClientDisconnect:
        raise RefusalError(499, "the client is gone") from None
    except OSError as error:
        raise _unkept(error) from error


def _unkept(error: OSError) -> RefusalError:
    """Return the answer where a picture cannot be put down: whose fault that is depends on whether the disk is full."""
    if error.errno in FULL:
        return RefusalError(507, f"no room for the picture ({reason_of(error)})")
    return RefusalError(500, f"the picture cannot be kept on the server ({reason_of(error)})")


async def _converted(request: Request, ticket: Ticket, service: Service, options: ConvertOptions) -> FileReport:
    """Wait for the picture's turn and its result; leave where its time is over or the client is gone."""
    try:
        work = asyncio.wrap_future(service.submit(ticket, options))
    except BusyError:
        raise RefusalError(503, "the service is being stopped") from None
    try:
        while not (await asyncio.wait({work}, timeout=min(_POLL, ticket.seconds_left)))[0]:
            if not ticket.seconds_left:
                raise GivenUpError
            if await request.is_disconnected():
                raise RefusalError(499, "the client is gone")
        return work.result()
    except GivenUpError:
        raise RefusalError(504, f"not done within {service.limits.timeout:g} seconds") from None
    except (asyncio.CancelledError, CancelledError):
        if not work.cancelled():
            raise
        raise RefusalError(503, "the service is being stopped") from None
    except DcdrError as error:
        raise _refusal(error, ticket) from error
    finally:
        ticket.give_up()  # no more than a mark where it is done
        if not work.done():
            work.add_done_callback(_looked_at)
            work.cancel()


def _looked_at(work: asyncio.Future[FileReport]) -> None:
    """Ask for the outcome of work that nobody waits for: asyncio tells of those that nobody asked for."""
    if not work.cancelled():
        work.exception()


def _refusal(error: DcdrError, ticket: Ticket) -> RefusalError:
    """Say what was wrong without a path of this machine; what the engine says goes to the log alone."""
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    if status >= 500:
        _logger.error("%s", error)
        return RefusalError(status, "the engine failed" if status == 500 else "the result could not be stored")
    told = str(error).replace(str(ticket.source), "picture")
    return RefusalError(status, told.replace(f"{ticket.folder}{os.sep}", ""))  # the result's name alone


async def _drain(request: Request) -> None:
    async def read() -> None:
        received = 0
        async for chunk in request.stream():
            received += len(chunk)
            if received > _DRAINED:
                return

    with suppress(TimeoutError, asyncio.TimeoutError, ClientDisconnect, RuntimeError):  # RuntimeError: read before
        await asyncio.wait_for(read(), 1.0)


def _error(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    if status == 429:
        headers = {"Retry-After": "2"}
    return JSONResponse({"error": " ".join(sentence.split())}, status, headers)


def _told(report: FileReport) -> dict[str, Any]:
    """What is said of a result: figures only, no names."""
    return {
        "width": report.width,
        "height": report.height,
        **report.recovery.as_dict(),
        "statistics": report.statistics,
        "working_sizes": [list(size) for size in report.working_sizes],
        "seconds": {stage: round(seconds, 4) for stage, seconds in report.stages.items()},
    }
