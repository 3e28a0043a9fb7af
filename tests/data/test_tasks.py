"""Several tasks over the same pictures: exact, seeded by position, mixed by their shares."""

import numpy as np
import pytest
import torch
from PIL import Image

from equipoise.core.errors import DataError
from equipoise.core.seeding import generator
from equipoise.data.degradations import Downscale, Grey, Noise, resized
from equipoise.data.loader import Loader
from equipoise.data.masks import Boxes
from equipoise.data.pictures import Task, pictures
from equipoise.data.source import split
from equipoise.data.tasks import Part, tasks

NOISE = Task(degradations=(Noise(sigma=(25.0, 25.0)),))
PARTS = (
    Part(name="denoise", task=NOISE, share=0.5),
    Part(name="super-resolve", task=Task(degradations=(Downscale(factor=2),)), share=0.25),
    Part(name="inpaint", task=Task(masks=(Boxes(),)), share=0.125),
    Part(name="colourise", task=Task(degradations=(Grey(),)), share=0.125),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    for number in range(20):
        place = path / ("cat" if number % 2 else "dog")
        place.mkdir(exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (21, 30, 3), dtype=np.uint8)).save(place / f"{number:02d}.png")
    return path


@pytest.fixture(scope="module")
def source(folder):
    return tasks(pictures(folder, crop=16), PARTS)


def test_a_batch_has_each_task_as_often_as_its_share(source):
    for position in (0, 7, 80):
        given, target = source.batch(torch.arange(16), draw=generator(0, "batch", position))
        assert given.shape == (16, 5, 16, 16)
        assert target.shape == (16, 3, 16, 16)
        assert given[:, 4, 0, 0].long().bincount(minlength=4).tolist() == [8, 4, 2, 2]
        assert (given[:, 4] == given[:, 4, :1, :1]).all()
    orders = [source.dealt(16, generator(0, position)).tolist() for position in range(3)]
    assert orders[0] != orders[1]


def test_shares_hold_on_average_where_a_batch_is_too_small_for_them(source):
    counts = torch.zeros(4, dtype=torch.long)
    for position in range(2000):
        counts += source.dealt(3, generator(0, position)).bincount(minlength=4)
    assert (counts / counts.sum()).tolist() == pytest.approx([0.5, 0.25, 0.125, 0.125], abs=0.02)


def test_a_batch_is_a_function_of_its_position(source):
    loader, again = Loader(source, labels=False, seed=3), Loader(source, labels=False, seed=3)
    later = loader(32, 8)
    again(0, 8)
    assert all(torch.equal(a, b) for a, b in zip(later, again(32, 8)))
    assert not torch.equal(later[0], Loader(source, labels=False, seed=4)(32, 8)[0])


def test_looking_always_shows_a_picture_with_the_same_task_in_any_company(source):
    given, target = source.batch(torch.arange(20))
    alone = [source.batch(torch.tensor([index])) for index in range(20)]
    assert torch.equal(given, torch.cat([one.given for one in alone]))
    assert torch.equal(target, torch.cat([one.target for one in alone]))
    assert set(given[:, 4, 0, 0].tolist()) == {0.0, 1.0, 2.0, 3.0}


def test_what_is_given_is_that_of_its_task(source):
    target = source.batch(torch.arange(1)).target
    draws = lambda: torch.Generator().manual_seed(5)  # noqa: E731
    noisy, small, holes, grey = (source.given(task, target, draws()) for task in range(4))
    assert torch.equal(noisy[:, :3], NOISE.given(target, draws()))
    halved = Task(degradations=(Downscale(factor=2),)).given(target, draws())
    assert torch.equal(small[:, :3], resized(halved, (16, 16)).clamp(-1, 1))
    hidden = holes[:, 3:4]
    assert 0 < hidden.mean() < 1
    assert torch.equal(holes[:, :3], target * (1 - hidden))
    assert torch.equal(grey[:, 0], grey[:, 2])
    for task, given in enumerate((noisy, small, holes, grey)):
        assert (given[:, 4] == task).all()
        assert bool((given[:, 3] > 0).any()) == (task == 2)


def test_whole_pictures_are_cut_to_what_the_task_can_halve(source):
    assert source.whole(0, 0).target.shape == (1, 3, 21, 30)
    assert source.whole(0, 1).target.shape == (1, 3, 20, 30)
    assert source.whole(0, 1).given.shape == (1, 5, 20, 30)
    assert torch.equal(source.whole(3, 2).given, source.whole(3, 2).given)


def test_holes_of_large_pictures_are_as_large_as_in_training(folder):
    boxes = Task(masks=(Boxes(boxes=(1, 1), side=(0.5, 0.5), margin=0.0),))
    whole = tasks(pictures(folder, crop=8), [Part(name="inpaint", task=boxes, share=1.0)]).whole(0, 0)
    mask = whole.given[0, 3]
    assert mask.shape == (21, 30)
    squares = mask[:16, :24].reshape(2, 8, 3, 8).transpose(1, 2)
    assert (squares.sum((2, 3)) == 16).all()  # one box of 4 × 4 in each square of 8 × 8
    assert len({tuple(one.flatten().tolist()) for one in squares.flatten(0, 1)}) > 1


def test_smaller_pictures_with_holes_are_enlarged_and_then_masked(folder):
    both = Task(degradations=(Downscale(factor=2),), masks=(Boxes(),))
    given, target = tasks(pictures(folder, crop=16), [Part(name="both", task=both, share=1.0)]).batch(torch.arange(2))
    assert given.shape == (2, 5, 16, 16)
    assert (given[:, :3] * given[:, 3:4] == 0).all()
    assert target.shape == (2, 3, 16, 16)


def test_folders_are_classes_and_come_as_a_further_plane(source):
    assert source.classes == ("cat", "dog")
    given, _ = source.batch(torch.arange(20), labels=True)
    assert given.shape[1] == 6
    assert given[:, 5, 3, 3].long().tolist() == source.labels(torch.arange(20)).tolist()
    parts = split(source, 6, seed=0)
    assert parts.held_out.batch(torch.arange(6), labels=True)[0][:, 5, 0, 0].mean() == 0.5


def test_facts_are_what_a_game_must_know(source):
    assert {name: tuple(facts) for name, facts in source.tasks.items()} == {
        "denoise": (0.5, 1, False),
        "super-resolve": (0.25, 2, False),
        "inpaint": (0.125, 1, True),
        "colourise": (0.125, 1, False),
    }
    assert source.given_shape == (5, 16, 16)


def test_other_tasks_are_other_data(folder, source):
    other = tasks(pictures(folder, crop=16), PARTS[::-1])
    assert other.fingerprint != source.fingerprint
    assert tasks(pictures(folder, crop=16), PARTS).fingerprint == source.fingerprint


def part(name, share, task=NOISE):
    return Part(name=name, task=task, share=share)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([], "at least one"),
        ([part("a", 0.5), part("a", 0.5)], "task a is named twice"),
        ([part("a", 0.5), part("b", 0.4)], "together 0.9: expected shares above 0 of sum 1"),
        ([part("a", 1.5), part("b", -0.5)], "shares above 0"),
        ([part("a", 1.0, Task(degradations=(Downscale(factor=3),)))], "expected a multiple of 3, by which a makes"),
    ],
)
def test_parts_that_do_not_fit_are_refused(folder, parts, words):
    with pytest.raises(DataError, match=words):
        tasks(pictures(folder, crop=16), parts)


def test_pictures_without_folders_have_no_classes(tmp_path):
    for number in range(3):
        Image.new("RGB", (16, 16), (number, 0, 0)).save(tmp_path / f"{number}.png")
    plain = tasks(pictures(tmp_path, crop=16), PARTS)
    assert plain.classes == ()
    with pytest.raises(DataError, match="has no labels"):
        plain.batch(torch.arange(2), labels=True)
