"""The U-Net and the critic of several tasks: sizes, reach, and what a task changes."""

import pytest
import torch

from equipoise.networks.patch import PatchCritic
from equipoise.networks.taskunet import Film, TaskCritic, TaskUNet
from equipoise.networks.unet import UNet


def network(**more):
    torch.manual_seed(0)
    made = TaskUNet(4, 3, **{"num_tasks": 3, "width": 4, "depth": 2, **more})
    torch.nn.init.normal_(made.out.weight, std=0.1)
    return made


def x(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("size", [(3, 3), (8, 8), (17, 6), (5, 30)])
def test_any_size_keeps_its_size(size):
    assert network()(x(2, 4, *size), torch.tensor([0, 2])).image.shape == (2, 3, *size)


def test_at_first_all_tasks_are_one_and_the_answer_is_near_what_is_given():
    torch.manual_seed(0)
    fresh, given = TaskUNet(4, 3, num_tasks=2, width=4, depth=2), x(1, 4, 12, 12)
    first, second = (fresh(given, torch.tensor([task])).image for task in (0, 1))
    assert torch.equal(first, second)
    assert (first - given[:, :3]).abs().max() < 0.1


def test_each_example_has_its_own_task():
    made, given = network(), x(2, 4, 8, 8)
    for film in (*made.enter, *made.leave):
        torch.nn.init.normal_(film.table)
    mixed = made(given, torch.tensor([1, 2])).image
    assert torch.allclose(mixed[:1], made(given[:1], torch.tensor([1])).image, atol=1e-5)
    assert torch.allclose(mixed[1:], made(given[1:], torch.tensor([2])).image, atol=1e-5)
    assert not torch.allclose(mixed[:1], made(given[:1], torch.tensor([0])).image, atol=1e-3)


def test_a_task_scales_and_shifts_channels():
    film = Film(2, 3)
    with torch.no_grad():
        film.table[1] = torch.tensor([1.0, 0.0, -1.0, 5.0, 6.0, 7.0])
    h = torch.ones(1, 3, 2, 2)
    assert film(h, torch.tensor([1]))[0, :, 0, 0].tolist() == [7.0, 7.0, 7.0]
    assert torch.equal(film(h, torch.tensor([0])), h)


def test_nothing_beyond_its_reach_changes_a_pixel():
    made = network().double()
    assert made.reach == UNet(4, 3, width=4, depth=2, normalisation="none", final="none").reach
    given = x(1, 4, 64, 64).double().requires_grad_()
    made(given, torch.tensor([0])).image[0, 0, 32, 32].backward()
    touched = given.grad[0].abs().sum(0).nonzero()
    assert (touched - 32).abs().max() <= made.reach


def test_classes_come_from_the_innermost_features():
    made = network(num_classes=5)
    answered = made(x(2, 4, 8, 9), torch.tensor([0, 1]))
    assert answered.classes is not None
    assert answered.classes.shape == (2, 5)
    assert network()(x(1, 4, 8, 8), torch.tensor([0])).classes is None


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="at most as many output channels"):
        TaskUNet(1, 3, num_tasks=2)
    with pytest.raises(ValueError, match="num_tasks=0"):
        TaskUNet(3, 3, num_tasks=0)
    with pytest.raises(ValueError, match="sides of at least 3"):
        network()(x(1, 4, 2, 8), torch.tensor([0]))


def test_the_critic_adds_what_the_features_have_of_the_task():
    torch.manual_seed(0)
    patches = PatchCritic(3, width=4, num_layers=2, normalisation="spectral")
    critic = TaskCritic(patches, num_tasks=2).eval()
    images = x(2, 3, 24, 20)
    plain = patches(images)
    assert torch.equal(critic(images, torch.tensor([0, 1])).logits, plain.logits)
    with torch.no_grad():
        critic.table[1] = 1.0
    told = critic(images, torch.tensor([0, 1])).logits
    assert torch.equal(told[0], plain.logits[0])
    inner = plain.features[-1][1].sum(0)[:4, :4].mean()  # the second row and column of logits see no border
    assert float(told[1, 0, 1, 1] - plain.logits[1, 0, 1, 1]) == pytest.approx(float(inner), rel=1e-4)
