"""What `dcdr-deploy tune` finds on this GPU, without keeping it: a table, and every time that was measured as JSON.

    python benchmarks/gpu_tune.py [--seconds 60] [-o measured.json]

Needs the packages of the extra ``cuda-kernels``; this repository need not be installed. The file is written after every
kind of kernel, so that a run that is cut off keeps what it has. Exit code 1 if a kernel is wrong or cannot be launched.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from command_line import Parser, above_zero, new_file, start  # noqa: E402
from text_files import write_text  # noqa: E402

from dcdr_deploy.commands.show.tune import as_text  # noqa: E402 - needs the path
from dcdr_deploy.engines.cuda.engine import gpu_of_device  # noqa: E402
from dcdr_deploy.engines.cuda.tuning.events import Found  # noqa: E402
from dcdr_deploy.engines.cuda.tuning.tune import tune  # noqa: E402
from dcdr_deploy.run.selection import DEMO_MODEL  # noqa: E402
from dcdr_deploy.system.progress import Event  # noqa: E402


def main() -> int:
    parser = Parser(__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, or cuda:1")
    parser.add_argument("--seconds", type=above_zero, default=60.0, help="no kernel is begun after so many")
    parser.add_argument("-o", "--output", type=new_file, help="JSON file of all times")
    options = parser.parse_args()

    def write(report: Mapping[str, Any]) -> None:
        if options.output:
            write_text(options.output, json.dumps(report, indent=2))

    def hear(event: Event) -> None:
        if isinstance(event, Found):
            write(event.report)
        else:
            print(event.note or event.stage, flush=True)

    report = tune(DEMO_MODEL, gpu_of_device(options.device), options.seconds, hear, keep=False)
    print(as_text(report))
    write(report.as_dict())
    return 1 if report.left_out else 0


if __name__ == "__main__":
    start(main)
