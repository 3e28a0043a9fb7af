"""Trackers that people already use: where a run's numbers and pictures go beside its own journals."""

import io
import json
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from equipoise.core.errors import EquipoiseError
from equipoise.runs.board import Board
from equipoise.runs.recipe import dotted, to_dict

if TYPE_CHECKING:
    from equipoise.runs.run import Run


class Tracker(Protocol):
    """Takes what a run tells of itself."""

    def scalars(self, step: int, signals: Mapping[str, Any]) -> None:
        """Numbers by name; moments {"mean", …} count as their mean."""

    def picture(self, step: int, name: str, png: bytes, height: int, width: int, channels: int) -> None:
        """A PNG as it is, with the label inside."""

    def histograms(self, step: int, player: str, tensors: Mapping[str, tuple[Tensor, Tensor | None]]) -> None:
        """Weights and gradients of one player."""

    def close(self) -> None:
        """The last call."""


class WeightsAndBiases:
    """A run of Weights & Biases, written to wandb/ in the run's folder; `wandb sync` uploads it.

    WANDB_MODE=online uploads at once, WANDB_PROJECT names the project; by default that is the recipe. Needs the extra
    `equipoise[wandb]`.
    """

    def __init__(self, run: "Run"):
        wandb = imported("wandb")
        self.wandb = wandb
        self.session = wandb.init(
            project=os.environ.get("WANDB_PROJECT", run.recipe.name),
            id=run.id,
            name=run.id,
            dir=str(run.folder),
            config=dotted(to_dict(run.recipe)),
            mode=os.environ.get("WANDB_MODE", "offline"),
            resume="allow",
            settings=wandb.Settings(console="off", silent=True),
        )

    def scalars(self, step: int, signals: Mapping[str, Any]) -> None:
        self.session.log(means(signals), step=step)

    def picture(self, step: int, name: str, png: bytes, height: int, width: int, channels: int) -> None:
        from PIL import Image

        self.session.log({name: self.wandb.Image(Image.open(io.BytesIO(png)))}, step=step)

    def histograms(self, step: int, player: str, tensors: Mapping[str, tuple[Tensor, Tensor | None]]) -> None:
        values = {f"weights/{player}/{name}": weight for name, (weight, _) in tensors.items()}
        self.session.log(
            {name: self.wandb.Histogram(v.float().cpu().numpy()) for name, v in values.items() if v.isfinite().all()},
            step=step,
        )

    def close(self) -> None:
        self.session.finish(quiet=True)


class MLflow:
    """A run of MLflow, in the server that MLFLOW_TRACKING_URI names, or else in mlflow.db beside the run folders.

    A resumed run goes on in the same one. Needs `equipoise[mlflow]`.
    """

    def __init__(self, run: "Run"):
        client = imported("mlflow.tracking")
        place = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{run.folder.parent / 'mlflow.db'}")
        self.client = client.MlflowClient(tracking_uri=place)
        note = run.folder / "mlflow.json"
        if note.exists():
            self.id = json.loads(note.read_text("utf-8"))["run"]
            self.client.update_run(self.id, status="RUNNING")
            return
        experiment = self.client.get_experiment_by_name(run.recipe.name)
        number = experiment.experiment_id if experiment else self.client.create_experiment(run.recipe.name)
        self.id = self.client.create_run(number, run_name=run.id).info.run_id
        for key, value in dotted(to_dict(run.recipe)).items():
            self.client.log_param(self.id, key, str(value)[:500])
        note.write_text(json.dumps({"uri": place, "run": self.id}), "utf-8")

    def scalars(self, step: int, signals: Mapping[str, Any]) -> None:
        for name, value in means(signals).items():
            self.client.log_metric(self.id, name, value, step=step)

    def picture(self, step: int, name: str, png: bytes, height: int, width: int, channels: int) -> None:
        from PIL import Image

        self.client.log_image(self.id, Image.open(io.BytesIO(png)), artifact_file=f"{name}/step-{step:08d}.png")

    def histograms(self, step: int, player: str, tensors: Mapping[str, tuple[Tensor, Tensor | None]]) -> None:
        """MLflow has none."""

    def close(self) -> None:
        self.client.set_terminated(self.id)


class Everybody:
    """Several trackers at once. One that fails is left out from then on, and training goes on."""

    def __init__(self, trackers: Mapping[str, Tracker], notice: Callable[[str], None]):
        self.trackers, self.notice = dict(trackers), notice

    def scalars(self, step: int, signals: Mapping[str, Any]) -> None:
        self.each(lambda tracker: tracker.scalars(step, signals))

    def picture(self, step: int, name: str, png: bytes, height: int, width: int, channels: int) -> None:
        self.each(lambda tracker: tracker.picture(step, name, png, height, width, channels))

    def histograms(self, step: int, player: str, tensors: Mapping[str, tuple[Tensor, Tensor | None]]) -> None:
        self.each(lambda tracker: tracker.histograms(step, player, tensors))

    def close(self) -> None:
        self.each(lambda tracker: tracker.close())

    def each(self, tell: Callable[[Tracker], None]) -> None:
        for name, tracker in [*self.trackers.items()]:
            try:
                tell(tracker)
            except Exception as error:  # a server that is gone must not end a training
                del self.trackers[name]
                self.notice(f"{name} failed, and is told nothing more: {type(error).__name__}: {error}")


def tracking(run: "Run", *, step: int, notice: Callable[[str], None]) -> Tracker:
    """The trackers that a recipe asks for, for a run that stands at a step. Raises where an extra is missing."""
    settings = run.recipe.watching
    made: dict[str, Tracker] = {}
    if settings.tensorboard:
        made["TensorBoard"] = Board(run.folder / "tensorboard", purge_step=step + 1 if step else None)
    if settings.wandb:
        made["Weights & Biases"] = WeightsAndBiases(run)
    if settings.mlflow:
        made["MLflow"] = MLflow(run)
    return Everybody(made, notice)


def means(signals: Mapping[str, Any]) -> dict[str, float]:
    """Finite numbers by name."""
    values = {name: value.get("mean") if isinstance(value, Mapping) else value for name, value in signals.items()}
    return {name: float(value) for name, value in values.items() if value is not None and abs(value) < float("inf")}


def imported(module: str) -> Any:
    """A module of an extra. Raises `EquipoiseError` with what to install."""
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise EquipoiseError(f"watching.{name} needs the extra: pip install 'equipoise[{name}]'.") from error
