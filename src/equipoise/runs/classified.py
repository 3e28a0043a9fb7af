"""How well a semi-supervised game classifies, beside the same critic that knows the labelled examples alone."""

import json
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from equipoise.core.disk import disk_errors, replace_file
from equipoise.core.errors import DataError
from equipoise.core.seeding import stable_seed
from equipoise.data.source import Source
from equipoise.engine.trainer import Trainer
from equipoise.games.sgan import SGAN, Supervised
from equipoise.runs.scores import Scored

if TYPE_CHECKING:
    from equipoise.runs.run import Run

BATCH = 256


def classified(run: "Run", game: SGAN, held_out: Source, *, baseline: bool, num: int | None = None) -> Scored:
    """Classify held-out examples, all or so many; the game is in eval mode.

    "accuracy" and "error" are shares of all, "worst_class" is the smallest share of a class that is recognised. Beside
    them stands what the supervised baseline reaches on the same examples; `found` holds the confusion matrix.
    """
    if held_out.classes != run.examples.classes:
        raise DataError(
            f"{held_out.name} has the classes {list(held_out.classes)}, and the run learns "
            f"{list(run.examples.classes)}. Expected the same ones."
        )
    n = min(num or len(held_out), len(held_out))
    table = confusion(run, game, held_out, n)
    found: dict[str, Any] = {"confusion": {"classes": list(held_out.classes), "rows_are_true": table.tolist()}}
    beside: dict[str, float] = {}
    if baseline:
        alone = confusion(run, supervised_baseline(run), held_out, n)
        beside = shares(alone)
        found["confusion_supervised"] = alone.tolist()
    return Scored(
        values=shares(table),
        beside=beside,
        of="supervised only",
        data=held_out.name,
        num=n,
        features="the labels of held-out examples",
        more={"labelled": str(run.recipe.data.labelled), "draw": run.recipe.data.draw},
        found=found,
        generated=True,
    )


def shares(table: Tensor) -> dict[str, float]:
    """Scores of a confusion matrix [true, told]."""
    right, of_class = table.diagonal().double(), table.sum(1).double()
    accuracy = float(right.sum() / of_class.sum())
    return {
        "accuracy": accuracy,
        "error": 1 - accuracy,
        "worst_class": float((right / of_class)[of_class > 0].min()),
    }


@torch.no_grad()
def confusion(run: "Run", game: SGAN | Supervised, held_out: Source, num: int) -> Tensor:
    """How many of the first `num` examples of each class are taken for each, int64 [K, K]: rows are true classes."""
    K = len(held_out.classes)
    table = torch.zeros(K, K, dtype=torch.int64)
    for indices in torch.arange(num).split(BATCH):
        told = game.classified(run.place(held_out.examples(indices))).argmax(1).cpu()
        cells = held_out.labels(indices).cpu() * K + told
        table += cells.bincount(minlength=K * K).view(K, K)
    return table


def supervised_baseline(run: "Run") -> Supervised:
    """The critic of a run that learnt from its labelled examples alone: trained once, then kept in features/.

    It plays as many steps with the same optimiser, batches and averaging as the critic of the run.
    """
    from safetensors.torch import load, save

    recipe, folder = run.recipe, run.folder / "features" / "supervised"
    card = {"steps": recipe.training.steps, "averaged": "D"}
    settings: Any = recipe.game
    with torch.random.fork_rng():
        torch.manual_seed(stable_seed(recipe.training.seed, "weights"))
        game: Supervised = settings.supervised(run.examples)
        if (folder / "card.json").exists() and json.loads((folder / "card.json").read_text("utf-8")) == card:
            game.load_state_dict(load((folder / "weights.safetensors").read_bytes()))
            return game.to(run.device).eval()
        train = run.parts(run.source()).train
        players = {"D": recipe.players["D"]} if "D" in recipe.players else {}
        with torch.enable_grad():
            trainer = Trainer(game, run.loader(train), players=players, plan=recipe.training, device=run.device)
            while trainer.clock.step < recipe.training.steps:
                trainer.advance()
        state = {**game.state_dict(), **trainer.snapshot().tensors["averaged"]}
    game.load_state_dict(state)
    with disk_errors("saving the supervised baseline", folder):
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: value.cpu().contiguous() for name, value in game.state_dict().items()}
        replace_file(folder / "weights.safetensors", save(weights))
        replace_file(folder / "card.json", json.dumps(card).encode())
    return game.eval()
