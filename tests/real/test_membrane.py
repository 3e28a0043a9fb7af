"""The membrane set opens as it is, either way. The folder that holds it is named by EQUIPOISE_DATA."""

import os
from pathlib import Path

import pytest
import torch

from equipoise.runs.restoring import PicturesData


@pytest.mark.parametrize(("direction", "channels"), [("AtoB", (1, 2)), ("BtoA", (2, 1))])
def test_microscopy_and_segmentation_are_pairs_either_way(direction, channels):
    path = Path(os.environ.get("EQUIPOISE_DATA", "")) / "membrane.zip"
    if not path.is_file():
        pytest.skip("membrane.zip is not in the folder that EQUIPOISE_DATA names")
    source = PicturesData(
        path=path,
        part="train/label",
        given_part="train/image",
        direction=direction,
        labels={"B": {"membrane": 0, "cell": 255}},
        crop=64,
    ).open()
    assert (len(source), source.skipped, source.names[2]) == (30, (), "train/label/2")
    given, target = source.whole(0)
    assert (given.shape, target.shape) == tuple((1, number, 512, 512) for number in channels)
    grey, planes = (given, target) if direction == "AtoB" else (target, given)
    cells = planes.argmax(1, keepdim=True) == 1
    assert 0.7 < cells.float().mean() < 0.85
    assert grey[cells].mean() > grey[~cells].mean() + 0.2  # membranes are dark
    assert source.examples(torch.tensor([0])).shape == (1, channels[1], 64, 64)
