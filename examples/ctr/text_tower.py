"""Training the text tower with a head of its own, end to end, and handing it to `embark export`."""

from __future__ import annotations

from torch import nn

from examples.ctr import towers
from examples.ctr.catalogue import Items
from examples.ctr.cells import Split
from examples.ctr.content import TrainedText
from examples.ctr.deployment import Deployment, console
from examples.ctr.tower import MODEL, TextTower
from examples.ctr.training import Losses, Schedule, fit, make_arm
from examples.ctr.work import Work


def train_tower(split: Split, items: Items, epochs: int, seed: int) -> nn.Module:
    """Return a text tower, trained on the training cells; its head is thrown away."""

    def tell(epoch: int, losses: Losses) -> None:
        console.print(
            f"text tower, epoch {epoch + 1} of {epochs}: loss {losses.training:.4f}, held out"
            f" {losses.heldout:.4f}"
        )

    ids, mask = towers.tokenised([items.text(item) for item in range(len(items))])
    content = TrainedText(TextTower().module(), ids, mask)
    arm = make_arm(content, split.training, items, seed=seed)
    schedule = Schedule(epochs, drop=0.0)
    fit(arm, split.training, split.heldout, items, schedule, seed=seed, report=tell)
    return content.tower


def export_tower(tower: nn.Module, work: Work, deployment: Deployment) -> None:
    """Export the tower, and make it live if an earlier one is.

    Raises:
        ConfigurationError: the export is refused; the message says why.
    """
    towers.save_tower(tower, work.tower)
    (export,) = deployment.command(
        *("export", "examples.ctr.tower:TextTower", "--name", MODEL),
        *("--weights", str(work.tower), "--output", str(deployment.repository)),
    )
    console.print(f"{MODEL} version {export['version']}: generation {export['generation']}")
    shown = deployment.command("models", "show", MODEL)
    (made,) = (one for one in shown["generations"] if one["version"] == export["version"])
    if made["state"] != "live":
        # An earlier run's tower is live, and no vector of this one is there yet: `fill` comes next.
        generation = export["generation"]
        deployment.command("models", "promote", MODEL, "--generation", generation, "--force")
