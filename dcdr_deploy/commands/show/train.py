"""What ``dcdr-deploy train`` shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dcdr_deploy.training.loop import Progress


@contextmanager
def progress_bar(steps: int, first: int) -> Iterator[Callable[[Progress], None]]:
    """Progress with loss, PSNR and ETA on stderr; plain lines now and then where it is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.5f}  PSNR-mu {task.fields[psnr]:.2f} dB"),
        TimeRemainingColumn(),
    )
    every = max(1, steps // 100)
    with Bar(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("training", total=steps, completed=first, loss=0.0, psnr=0.0)

        def listen(progress: Progress) -> None:
            bar.update(task, completed=progress.step, loss=progress.loss, psnr=progress.psnr_mu)
            if not console.is_terminal and progress.step % every == 0:
                done = progress.step / progress.steps
                left = progress.seconds * (1 / done - 1) / 60
                console.print(
                    f"step {progress.step}/{progress.steps}  loss {progress.loss:.5f}  "
                    f"PSNR-mu {progress.psnr_mu:.2f} dB  ETA {left:.0f} min"
                )

        yield listen
