"""The child process that measures: ``python -m dcdr_deploy.engines.cuda.tuning.worker``.

A kernel that breaks the GPU's context makes every later call of its process fail, and one that never ends holds the
process for ever, so they are tried in one that can be lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dcdr_deploy.engines.cuda.tuning.report import report_of
from dcdr_deploy.engines.cuda.tuning.session import measure
from dcdr_deploy.engines.cuda.weights import read_onnx
from dcdr_deploy.system import worker
from dcdr_deploy.system.progress import Listener


def tune(request: Mapping[str, Any], listener: Listener) -> dict[str, Any]:
    """Measure what a report does not tell yet.

    Args:
        request: ``"model"`` and ``"folder"`` (paths), ``"device"``, ``"seconds"``, and the ``"report"`` of what an
            earlier process came to, ``None`` without one; see :func:`dcdr_deploy.engines.cuda.tuning.session.measure`.
        listener: told of stages and trials, and what is found.

    Returns:
        the report.

    Raises:
        DcdrError: as ``measure``.
    """
    known = None if request["report"] is None else report_of(request["report"])
    weights, folder = read_onnx(Path(request["model"])), Path(request["folder"])
    return measure(weights, request["device"], request["seconds"], folder, listener, known).as_dict()


def main() -> None:
    """Do one job, see :func:`dcdr_deploy.system.worker.main`."""
    worker.main({"tune": tune})


if __name__ == "__main__":
    main()
