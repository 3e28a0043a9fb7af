"""TensorBoard event files: scalars, labelled pictures, histograms of weights and gradients."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

_MAX_VALUES = 100_000  # per histogram; beyond that an even selection is shown


class Board:
    """Event files in `folder`. At a resume, what was written from step `purge_step` on disappears from view."""

    def __init__(self, folder: Path | str, *, purge_step: int | None = None):
        self._writer = SummaryWriter(str(folder), purge_step=purge_step)

    def scalars(self, step: int, signals: Mapping[str, Any]) -> None:
        """Numbers by name; moments {"mean", "std", …} as their mean, and as their spread if watched."""
        for name, value in signals.items():
            moments = value if isinstance(value, Mapping) else {"mean": value}
            if moments.get("mean") is not None:
                self._writer.add_scalar(name, moments["mean"], step)
            if name.startswith("watch/") and moments.get("std") is not None:
                self._writer.add_scalar(f"spread/{name.removeprefix('watch/')}", moments["std"], step)
        self._writer.flush()

    def picture(self, step: int, name: str, png: bytes, height: int, width: int, channels: int) -> None:
        """A PNG as it is: the bytes are not encoded anew, so the label inside survives."""
        image = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=png)
        writer = self._writer._get_file_writer()
        assert writer is not None, "the board was closed"
        writer.add_summary(Summary(value=[Summary.Value(tag=name, image=image)]), step)
        self._writer.flush()

    def histograms(self, step: int, player: str, tensors: Mapping[str, tuple[Tensor, Tensor | None]]) -> None:
        """Finite weights and gradients of one player, (weight, gradient) by parameter name."""
        for name, pair in tensors.items():
            for kind, tensor in zip(("weights", "gradients"), pair):
                if tensor is None or not tensor.numel():
                    continue
                values = tensor.detach().flatten()
                values = values[:: -(-values.numel() // _MAX_VALUES)].float().cpu()
                values = values[values.isfinite()]
                if values.numel():
                    self._writer.add_histogram(f"{kind}/{player}/{name}", values, step)
        self._writer.flush()

    def close(self) -> None:
        """Write everything out. The board cannot be used after that."""
        self._writer.close()
