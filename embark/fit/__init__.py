"""Whether EmbArk fits a stream of requests: a replay of its times and inputs through an archive.

    CSV → reading → Trace → replay (encoders) → Replay ─┐
                      ├──→ returns, growth ─────────────┼→ report → verdict
                      └──→ sizing ──────────────────────┘

Pure NumPy: no model is run, no service is asked. What a request log cannot know (how fast an
encoder is, how often a model changes) is given as numbers. See docs/fit.md.
"""

from embark.fit.encoders import Encoders
from embark.fit.figures import Assumed, Report
from embark.fit.reading import Columns, Reading, read_log
from embark.fit.replay import Replay, replay
from embark.fit.report import build_report
from embark.fit.sizing import Storage
from embark.fit.trace import Trace

__all__ = [
    "Assumed",
    "Columns",
    "Encoders",
    "Reading",
    "Replay",
    "Report",
    "Storage",
    "Trace",
    "build_report",
    "read_log",
    "replay",
]
