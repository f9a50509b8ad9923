"""The options of a test, as plain Locust takes them; `python -m loadtests` fills them in."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embark.errors import ConfigurationError
from loadtests.objectives import Objective, check_endpoints, read_objectives
from loadtests.scenario import Scenario, parse_scenario, read_scenario

DEFAULT_OBJECTIVES = Path(__file__).parent / "slo.toml"


@dataclass(frozen=True)
class Test:
    """What is to be done, and what is to be reached.

    Attributes:
        text: the scenario's TOML, which workers are sent.
        commands: shell commands by the name of their event.
        scenario: what `text` says.
        objectives: those that apply to it.
    """

    text: str
    commands: dict[str, str]
    scenario: Scenario
    objectives: Sequence[Objective]

    @property
    def labels(self) -> list[str]:
        """The calls of the mix, which objectives may name."""
        return [call.label for call in self.scenario.mix]


def add_options(parser: Any) -> None:
    """Declare the options of a test; `parser` is Locust's, or one like argparse's.

    Their values are strings, since Locust sends them to its workers.
    """
    group = parser.add_argument_group("EmbArk's load tests")
    group.add_argument("--scenario", default="steady", help="a file, or the name of a shipped one")
    group.add_argument(
        "--objectives",
        default=str(DEFAULT_OBJECTIVES),
        help="file whose breach is exit status 1",
    )
    group.add_argument("--score-host", default="", help="the scoring service (default: --host)")
    group.add_argument("--report", default="", help="write a page about the test to this file")
    group.add_argument("--result", default="", help="write every figure to this file, JSON")
    group.add_argument(
        "--on-event",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="shell command that an event of the scenario runs; may be repeated",
    )


def read_test(options: argparse.Namespace) -> Test:
    """Read the files that the options name.

    Raises:
        ConfigurationError: one is missing or wrong, or they do not fit together.
    """
    commands = _commands(options.on_event)
    text = read_scenario(options.scenario)
    scenario = parse_scenario(text, options.scenario, commands)
    objectives = read_objectives(Path(options.objectives)).of(scenario.name)
    test = Test(text, commands, scenario, objectives)
    check_endpoints(objectives, test.labels)
    return test


def _commands(given: Iterable[str]) -> dict[str, str]:
    commands = {}
    for one in given:
        name, separator, command = one.partition("=")
        if not (name and separator and command):
            raise ConfigurationError(f"--on-event must read NAME=COMMAND, not {one!r}")
        commands[name] = command
    return commands
