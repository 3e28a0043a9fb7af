"""Penalties in closed form: for critics whose slope is known everywhere, their values and their gradients are too."""

import pytest
import torch
from torch import Tensor, nn

from equipoise.objectives import Penalty, gradient_penalty, r1, r2, slope, squared_norm

PENALTIES: dict[str, Penalty] = {"r1": r1, "r2": r2, "gradient_penalty": gradient_penalty}
every_penalty = pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)


def images(seed: int = 0, num: int = 5) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    real, fake = torch.randn(2, num, 2, 3, 3, generator=draw)
    return real, fake


def direction() -> Tensor:
    return torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(7))


# Values


@pytest.mark.parametrize("penalty", [r1, r2])
def test_a_linear_critic_pays_its_squared_norm_for_every_example(penalty: Penalty):
    w, (real, fake) = direction(), images()
    expected = sum(value**2 for value in w.flatten().tolist())
    assert penalty(lambda x: (x * w).sum((1, 2, 3)), real, fake).tolist() == pytest.approx([expected] * 5)


def test_the_gradient_penalty_of_a_linear_critic_is_how_far_its_norm_is_from_one():
    w, (real, fake) = direction(), images()
    norm = sum(value**2 for value in w.flatten().tolist()) ** 0.5
    found = gradient_penalty(lambda x: (x * w).sum((1, 2, 3)), real, fake)
    assert found.tolist() == pytest.approx([(norm - 1) ** 2] * 5, rel=1e-5)
    unit = gradient_penalty(lambda x: (x * w / norm).sum((1, 2, 3)), real, fake)
    assert unit.tolist() == pytest.approx([0.0] * 5, abs=1e-10)


def test_r1_looks_at_real_and_r2_at_generated_data():
    real, fake = images()

    def bowl(x: Tensor) -> Tensor:
        return x.square().flatten(1).sum(1) / 2

    torch.testing.assert_close(r1(bowl, real, fake), (real.double() ** 2).sum((1, 2, 3)).float())
    torch.testing.assert_close(r2(bowl, real, fake), (fake.double() ** 2).sum((1, 2, 3)).float())


def test_the_gradient_penalty_looks_between_a_real_and_its_fake():
    seen = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x.flatten(1).sum(1)

    real, fake = images(num=64)
    gradient_penalty(critic, real, fake)
    share = (seen[0] - real) / (fake - real)  # the same for all pixels of an example, in [0, 1]
    middle = share.flatten(1).median(dim=1).values
    torch.testing.assert_close(seen[0], real + middle[:, None, None, None] * (fake - real), atol=1e-5, rtol=1e-4)
    assert middle.min() >= 0
    assert middle.max() <= 1
    assert 0.3 < middle.mean() < 0.7
    assert len(middle.unique()) == 64


def test_a_critic_of_patches_is_summed_over_its_patches():
    real, fake = images()  # 18 inputs, each of slope 3 in one of 3×3 patches
    assert r1(lambda x: 3 * x.sum(1), real, fake).tolist() == pytest.approx([18 * 9.0] * 5)


def test_the_squared_norm_is_over_everything_but_the_examples():
    assert squared_norm(torch.tensor([[[3.0, 4.0]], [[0.0, 2.0]]])).tolist() == [25.0, 4.0]


@every_penalty
def test_the_penalty_of_an_example_does_not_depend_on_the_others(penalty: Penalty):
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Flatten(), nn.Linear(18, 8), nn.Tanh(), nn.Linear(8, 1))
    real, fake = images()
    torch.manual_seed(1)
    whole = penalty(critic, real, fake)
    assert whole.shape == (5,)
    changed_real, changed_fake = real.clone(), fake.clone()
    changed_real[0], changed_fake[0] = 9.0, -9.0
    torch.manual_seed(1)
    changed = penalty(critic, changed_real, changed_fake)
    torch.testing.assert_close(whole[1:], changed[1:])
    assert changed[0] != whole[0]


# Gradients of the critic


@pytest.mark.parametrize("penalty", [r1, r2])
def test_the_gradient_for_the_weights_of_a_linear_critic_is_two_w(penalty: Penalty):
    w, (real, fake) = direction().requires_grad_(), images()
    penalty(lambda x: (x * w).sum((1, 2, 3)), real, fake).mean().backward()
    torch.testing.assert_close(w.grad, 2 * w.detach())


def test_the_gradient_of_the_gradient_penalty_of_a_linear_critic_is_known():
    w, (real, fake) = direction().requires_grad_(), images()
    gradient_penalty(lambda x: (x * w).sum((1, 2, 3)), real, fake).mean().backward()
    norm = w.detach().norm()
    torch.testing.assert_close(w.grad, 2 * (norm - 1) * w.detach() / norm)


def test_the_gradient_for_the_scale_of_a_bowl_is_known():
    scale, (real, fake) = torch.tensor(1.5, requires_grad=True), images()
    r1(lambda x: scale * x.square().flatten(1).sum(1) / 2, real, fake).sum().backward()  # Σ a²‖x‖²
    torch.testing.assert_close(scale.grad, 2 * 1.5 * real.square().sum())


@every_penalty
def test_examples_get_no_gradient(penalty: Penalty):
    real, fake = (x.requires_grad_() for x in images())
    w = direction().requires_grad_()
    penalty(lambda x: (x.square() * w).sum((1, 2, 3)), real, fake).sum().backward()
    assert real.grad is None
    assert fake.grad is None
    assert w.grad is not None


# Precision


@every_penalty
def test_a_penalty_runs_in_float32_under_autocast(penalty: Penalty):
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Flatten(), nn.Linear(18, 16), nn.Tanh(), nn.Linear(16, 1))
    kinds = []
    critic[1].register_forward_hook(lambda module, inputs, output: kinds.append(output.dtype))
    real, fake = images()
    torch.manual_seed(1)
    expected = penalty(critic, real, fake)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        found = penalty(critic, real.bfloat16().float(), fake.bfloat16())
        exact = slope(critic, real)
    assert set(kinds) == {torch.float32}
    assert found.dtype == exact.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0.05)
    assert torch.equal(exact, slope(critic, real))


@every_penalty
def test_real_and_fake_must_fit_together(penalty: Penalty):
    real, fake = images()
    if penalty is gradient_penalty:
        with pytest.raises(Exception, match="fake"):
            penalty(lambda x: x.flatten(1).sum(1), real, fake[:3])
    assert penalty(lambda x: x.flatten(1).sum(1), real, fake).shape == (5,)
