from pathlib import Path

import numpy as np
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from equipoise.runs.board import Board
from equipoise.runs.provenance import Label, png_bytes, read_label


def events_in(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0, "histograms": 0}).Reload()


def test_scalars_come_back(tmp_path: Path):
    board = Board(tmp_path)
    board.scalars(100, {"loss/D/adversarial": {"mean": 1.25, "std": 0.5, "count": 4}, "speed/images_per_second": 520.0})
    board.scalars(200, {"watch/real": {"mean": 2.0, "std": 0.5, "count": 4}, "loss/D/adversarial": {"mean": None}})
    board.close()
    events = events_in(tmp_path)
    assert [(event.step, event.value) for event in events.Scalars("loss/D/adversarial")] == [(100, 1.25)]
    assert events.Scalars("speed/images_per_second")[0].value == 520.0
    assert events.Scalars("watch/real")[0].value == 2.0
    assert events.Scalars("spread/real")[0].value == 0.5


def test_pictures_keep_their_bytes_and_so_their_label(tmp_path: Path):
    label = Label(run="digits-1", step=300, seed=1)
    png = png_bytes(np.zeros((6, 5, 3), dtype=np.uint8), label)
    board = Board(tmp_path)
    board.picture(300, "samples", png, 6, 5, 3)
    board.close()
    (image,) = events_in(tmp_path).Images("samples")
    assert image.encoded_image_string == png
    assert read_label(image.encoded_image_string) == label
    assert (image.step, image.height, image.width) == (300, 6, 5)


def test_histograms_of_weights_and_gradients_come_back(tmp_path: Path):
    broken = torch.tensor([1.0, float("nan"), float("inf")])
    board = Board(tmp_path)
    board.histograms(
        7,
        "G",
        {
            "first.weight": (torch.randn(10, 10, requires_grad=True), torch.randn(10, 10)),
            "second.weight": (torch.randn(3), None),
            "third.weight": (broken, torch.full((2,), float("nan"))),
            "large": (torch.ones(250_001, dtype=torch.bfloat16), None),
        },
    )
    board.close()
    events = events_in(tmp_path)
    assert set(events.Tags()["histograms"]) == {
        "weights/G/first.weight",
        "gradients/G/first.weight",
        "weights/G/second.weight",
        "weights/G/third.weight",
        "weights/G/large",
    }
    assert events.Histograms("weights/G/first.weight")[0].histogram_value.num == 100
    assert events.Histograms("weights/G/third.weight")[0].histogram_value.num == 1
    assert 50_000 < events.Histograms("weights/G/large")[0].histogram_value.num <= 100_000


def test_a_resume_hides_what_it_writes_again(tmp_path: Path):
    board = Board(tmp_path)
    for step in (10, 20, 30):
        board.scalars(step, {"x": 1.0})
    board.close()
    for file in tmp_path.iterdir():  # an older file by name, however fast the test is
        file.rename(file.with_name(file.name.replace("tfevents.", "tfevents.0")))
    board = Board(tmp_path, purge_step=20)
    board.scalars(20, {"x": 2.0})
    board.close()
    assert [(event.step, event.value) for event in events_in(tmp_path).Scalars("x")] == [(10, 1.0), (20, 2.0)]
