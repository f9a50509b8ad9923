"""A report as a picture. Needs matplotlib, which is imported only when one is drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from embark.errors import ConfigurationError
from embark.fit.figures import Report
from embark.fit.plain import series
from embark.fit.verdict import SOON_S

_UNITS = ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))


def require_matplotlib() -> None:
    """Make sure that a plot can be drawn.

    Raises:
        ConfigurationError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ConfigurationError("--plot needs matplotlib: pip install 'embark[demo]'") from None


def draw(report: Report, path: Path) -> None:
    """Write two panels: OOV requests over time, and how soon new inputs are scored again.

    Args:
        report: what to show.
        path: the file; its suffix says the format.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    over_time, again = figure.subplots(1, 2)
    shown = {name: np.array(values) for name, values in series(report.bins).items()}
    size, unit = next(one for one in _UNITS if report.duration_s >= 2 * one[0] or one[0] == 1)
    requests = np.maximum(shown["requests"], 1)
    for name, label, style in (("oov", "placeholder (OOV)", "-"), ("first_seen", "new input", ":")):
        over_time.plot(shown["since_s"] / size, 100 * shown[name] / requests, style, label=label)
    over_time.set(xlabel=f"{unit} since a cold start", ylabel="% of requests", ylim=(0, None))
    over_time.legend()

    for one, label, style in (
        (report.scored_again, "first hit", "-"),
        (report.asked_again, "asked again", ":"),
    ):
        after_s, share = np.maximum(one.after_s, 1e-3), 100 * one.share
        again.plot(after_s, share, style, drawstyle="steps-post", label=label)
    again.axvline(SOON_S, color="grey", linestyle=":")
    again.set(
        xscale="log", xlabel="seconds since the first request", ylabel="% of inputs", ylim=(0, 100)
    )
    again.legend()
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"cannot write {path}: {error}") from None
