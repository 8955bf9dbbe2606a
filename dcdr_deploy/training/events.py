"""What a training run tells, for a :data:`~dcdr_deploy.system.progress.Listener`: where it stands, then every step."""

from __future__ import annotations

from dataclasses import dataclass

from dcdr_deploy.system.progress import Event

TRAINING = "training"
"""The stage; ``done`` of ``total`` are steps of the whole run."""


@dataclass(frozen=True, kw_only=True)
class StepDone(Event):
    """Told after every step: mean loss and PSNR-mu in dB since the last log line, seconds of the run so far."""

    loss: float
    psnr_mu: float
    seconds: float
