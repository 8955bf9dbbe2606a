"""What ``dcdr-deploy train`` shows."""

from __future__ import annotations

from dcdr_deploy.commands.show.meter import BAR, CAPTION, COUNT, NAME, REMAINING
from dcdr_deploy.commands.show.progress import Display
from dcdr_deploy.system.progress import Event
from dcdr_deploy.training.events import StepDone

_LINES = 100
"""In a whole run, where there is no terminal."""


def display() -> Display:
    """Steps with loss, PSNR and the time that is left; plain lines now and then where stderr is no terminal."""
    return Display(NAME, BAR, COUNT, CAPTION, REMAINING, lines=_line, caption=_figures, keep=True)


def _figures(event: Event) -> str:
    loss, psnr = (event.loss, event.psnr_mu) if isinstance(event, StepDone) else (0.0, 0.0)
    return f"loss {loss:.5f}  PSNR-mu {psnr:.2f} dB"


def _line(event: Event) -> str:
    if not isinstance(event, StepDone) or event.total is None or event.done % max(1, event.total // _LINES):
        return ""
    left = event.seconds * (event.total / event.done - 1) / 60
    return f"step {event.done}/{event.total}  {_figures(event)}  ETA {left:.0f} min"
