"""Progress of exports on stderr: a bar in a terminal, a line for each step elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

STEPS = 7
"""Most steps that one export reports, engines for older versions apart."""


class Steps:
    """Tells the steps of one export after another."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._name = ""
        self._task: TaskID | None = None

    def begin(self, name: str) -> None:
        """Tell that a model's export begins."""
        self._name = name
        if self._progress is not None:
            self._task = self._progress.add_task(name, total=STEPS, step="")

    def step(self, step: str) -> None:
        """Tell that a step begins."""
        if self._progress is None or self._task is None:
            print(f"{self._name}: {step}", file=sys.stderr, flush=True)
        else:
            self._progress.update(self._task, advance=1, step=step)

    def end(self, result: str) -> None:
        """Tell that the export has ended."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=STEPS, step=result)


@contextmanager
def shown() -> Iterator[Steps]:
    """Show progress while the context lasts."""
    console = Console(stderr=True, highlight=False, markup=False)
    if not console.is_terminal:
        yield Steps(None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[step]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield Steps(progress)
