"""`embark models`: the generations of each model, from the first vector to the last.

`listing` shows them, `filling` fills one and says how far it is, `changing` decides which is live.
"""

from __future__ import annotations

from typing import Any

from embark.cli.models import changing, filling, listing


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("models", help="list models, and change them safely")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for group in (listing, filling, changing):
        group.add_actions(actions)
