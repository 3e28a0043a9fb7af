"""Penalties in closed form: for critics whose slope is known everywhere, their values and their gradients are too."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from equipoise.objectives import (
    Critic,
    Penalty,
    by_difference,
    dragan,
    gradient_penalty,
    r1,
    r2,
    slope,
    slope_by_difference,
    squared_norm,
    zero_centred_gradient_penalty,
)

EXACT: dict[str, Penalty] = {
    "r1": r1,
    "r2": r2,
    "gradient_penalty": gradient_penalty,
    "zero_centred_gradient_penalty": zero_centred_gradient_penalty,
    "dragan": dragan,
}
PENALTIES = EXACT | {f"{name} by difference": by_difference(penalty) for name, penalty in EXACT.items()}
SQUARED = {"r1": r1, "r2": r2, "zero-centred": zero_centred_gradient_penalty}
CENTRED = {"gradient_penalty": gradient_penalty, "dragan": dragan}
every_penalty = pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)
both_ways = pytest.mark.parametrize("way", [lambda penalty: penalty, by_difference], ids=["exact", "by difference"])


def images(seed: int = 0, num: int = 5) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    real, fake = torch.randn(2, num, 2, 3, 3, generator=draw)
    return real, fake


def direction() -> Tensor:
    return torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(7))


def network(activation: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(18, 32), activation or nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1)
    )


def watched(critic: Critic) -> tuple[Critic, list[Tensor]]:
    """The critic, and the examples that it is asked about."""
    seen: list[Tensor] = []

    def watching(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return critic(x)

    return watching, seen


# Values


@both_ways
@pytest.mark.parametrize("penalty", SQUARED.values(), ids=SQUARED)
def test_a_linear_critic_pays_its_squared_norm_for_every_example(penalty: Penalty, way):
    w, (real, fake) = direction(), images()
    expected = sum(value**2 for value in w.flatten().tolist())
    found = way(penalty)(lambda x: (x * w).sum((1, 2, 3)), real, fake)
    assert found.tolist() == pytest.approx([expected] * 5, rel=1e-4)


@both_ways
@pytest.mark.parametrize("penalty", CENTRED.values(), ids=CENTRED)
def test_a_linear_critic_pays_how_far_its_norm_is_from_one(penalty: Penalty, way):
    w, (real, fake) = direction(), images()
    norm = sum(value**2 for value in w.flatten().tolist()) ** 0.5
    found = way(penalty)(lambda x: (x * w).sum((1, 2, 3)), real, fake)
    assert found.tolist() == pytest.approx([(norm - 1) ** 2] * 5, rel=1e-4)
    unit = way(penalty)(lambda x: (x * w / norm).sum((1, 2, 3)), real, fake)
    assert unit.tolist() == pytest.approx([0.0] * 5, abs=1e-8)


@both_ways
@pytest.mark.parametrize("name", EXACT)
def test_a_quadratic_critic_pays_for_where_it_is_asked(name: str, way):
    matrix = torch.randn(18, 18, generator=torch.Generator().manual_seed(3)) / 10
    real, fake = images()
    critic, seen = watched(lambda x: torch.einsum("ni,ij,nj->n", x.flatten(1), matrix, x.flatten(1)))
    torch.manual_seed(5)
    found = way(EXACT[name])(critic, real, fake)
    norm = (seen[0].flatten(1) @ (matrix + matrix.T)).norm(dim=1)  # ∇ xᵀAx = (A + Aᵀ) x
    expected = (norm - 1) ** 2 if name in CENTRED else norm**2
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=1e-5)
    torch.manual_seed(5)
    share = torch.rand(5, 1, 1, 1)
    torch.manual_seed(5)
    around = real + 0.5 * (real - real.mean()).square().mean().sqrt() * (2 * torch.rand(5, 2, 3, 3) - 1)
    where = {"r1": real, "r2": fake, "dragan": around}.get(name, real + share * (fake - real))
    torch.testing.assert_close(seen[0], where, atol=1e-6, rtol=1e-5)


def test_r1_looks_at_real_and_r2_at_generated_data():
    real, fake = images()

    def bowl(x: Tensor) -> Tensor:
        return x.square().flatten(1).sum(1) / 2

    torch.testing.assert_close(r1(bowl, real, fake), (real.double() ** 2).sum((1, 2, 3)).float())
    torch.testing.assert_close(r2(bowl, real, fake), (fake.double() ** 2).sum((1, 2, 3)).float())


@pytest.mark.parametrize("penalty", [gradient_penalty, zero_centred_gradient_penalty])
def test_interpolating_penalties_look_between_a_real_and_its_fake(penalty: Penalty):
    critic, seen = watched(lambda x: x.flatten(1).sum(1))
    real, fake = images(num=64)
    penalty(critic, real, fake)
    share = (seen[0] - real) / (fake - real)  # the same for all pixels of an example, in [0, 1]
    middle = share.flatten(1).median(dim=1).values
    torch.testing.assert_close(seen[0], real + middle[:, None, None, None] * (fake - real), atol=1e-5, rtol=1e-4)
    assert middle.min() >= 0
    assert middle.max() <= 1
    assert 0.3 < middle.mean() < 0.7
    assert len(middle.unique()) == 64


def test_dragan_looks_around_real_examples_on_the_scale_of_the_data():
    critic, seen = watched(lambda x: x.flatten(1).sum(1))
    real, fake = images(num=64)
    dragan(critic, 3 * real + 1, fake)
    moved = (seen[0] - (3 * real + 1)) / (3 * real + 1).std()
    assert 0.49 < moved.max() < 0.501
    assert -0.501 < moved.min() < -0.49
    assert abs(moved.mean()) < 0.03
    torch.testing.assert_close(dragan(critic, real, fake), dragan(critic, real, 5 * fake))


@both_ways
def test_a_critic_of_patches_is_summed_over_its_patches(way):
    real, fake = images()  # 18 inputs, each of slope 3 in one of 3×3 patches
    assert way(r1)(lambda x: 3 * x.sum(1, keepdim=True), real, fake).tolist() == pytest.approx([18 * 9.0] * 5, rel=1e-4)


@both_ways
def test_each_of_several_critics_has_values_of_its_own(way):
    v, w, (real, fake) = direction(), images(3)[0][0], images()
    expected = [v.square().sum().item()] * 5 + [w.square().sum().item()] * 5
    found = way(r1)(lambda x: torch.stack([(x * v).sum((1, 2, 3)), (x * w).sum((1, 2, 3))], 1), real, fake)
    assert found.tolist() == pytest.approx(expected, rel=1e-4)


def test_the_squared_norm_is_over_everything_but_the_examples():
    assert squared_norm(torch.tensor([[[3.0, 4.0]], [[0.0, 2.0]]])).tolist() == [25.0, 4.0]


@pytest.mark.parametrize(
    "name", [name for name in PENALTIES if "dragan" not in name]
)  # its noise has the batch's scale
def test_the_penalty_of_an_example_does_not_depend_on_the_others(name: str):
    critic, penalty = network(), PENALTIES[name]
    real, fake = images()
    torch.manual_seed(1)
    whole = penalty(critic, real, fake)
    assert whole.shape == (5,)
    changed_real, changed_fake = real.clone(), fake.clone()
    changed_real[0], changed_fake[0] = 9.0, -9.0
    torch.manual_seed(1)
    changed = penalty(critic, changed_real, changed_fake)
    tolerance = 0.01 if "difference" in name else 1e-6  # the step has the batch's scale, here multiplied by four
    torch.testing.assert_close(whole[1:], changed[1:], rtol=tolerance, atol=tolerance / 100)
    assert abs(changed[0] - whole[0]) > 1e-3


# Gradients of the critic


@both_ways
@pytest.mark.parametrize("penalty", SQUARED.values(), ids=SQUARED)
def test_the_gradient_for_the_weights_of_a_linear_critic_is_two_w(penalty: Penalty, way):
    w, (real, fake) = direction().requires_grad_(), images()
    way(penalty)(lambda x: (x * w).sum((1, 2, 3)), real, fake).mean().backward()
    torch.testing.assert_close(w.grad, 2 * w.detach(), rtol=1e-3, atol=1e-3)


@both_ways
@pytest.mark.parametrize("penalty", CENTRED.values(), ids=CENTRED)
def test_the_gradient_of_a_centred_penalty_of_a_linear_critic_is_known(penalty: Penalty, way):
    w, (real, fake) = direction().requires_grad_(), images()
    way(penalty)(lambda x: (x * w).sum((1, 2, 3)), real, fake).mean().backward()
    norm = w.detach().norm()
    torch.testing.assert_close(w.grad, 2 * (norm - 1) * w.detach() / norm, rtol=1e-3, atol=1e-3)


@both_ways
def test_the_gradient_for_a_quadratic_critic_is_known(way):
    matrix = torch.randn(18, 18, generator=torch.Generator().manual_seed(3)).div(10).requires_grad_()
    real, fake = images()
    way(r1)(lambda x: torch.einsum("ni,ij,nj->n", x.flatten(1), matrix, x.flatten(1)), real, fake).sum().backward()
    x = real.flatten(1)
    v = x @ (matrix + matrix.T).detach()
    torch.testing.assert_close(matrix.grad, 2 * (v.T @ x + x.T @ v), rtol=1e-3, atol=1e-3)  # of ‖(A + Aᵀ)x‖²


@both_ways
def test_the_gradient_for_the_scale_of_a_bowl_is_known(way):
    scale, (real, fake) = torch.tensor(1.5, requires_grad=True), images()
    way(r1)(lambda x: scale * x.square().flatten(1).sum(1) / 2, real, fake).sum().backward()  # Σ a²‖x‖²
    torch.testing.assert_close(scale.grad, 2 * 1.5 * real.square().sum(), rtol=1e-4, atol=0)


@every_penalty
def test_examples_get_no_gradient(penalty: Penalty):
    real, fake = (x.requires_grad_() for x in images())
    w = direction().requires_grad_()
    penalty(lambda x: (x.square() * w).sum((1, 2, 3)), real, fake).sum().backward()
    assert real.grad is None
    assert fake.grad is None
    assert w.grad is not None


# By difference


def gradients(value: Tensor, critic: nn.Module) -> Tensor:
    parameters = list(critic.parameters())
    found = torch.autograd.grad(value, parameters, allow_unused=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(parameters, found)])


@pytest.mark.parametrize("name", EXACT)
def test_a_difference_agrees_with_the_double_backward_within_a_thousandth(name: str):
    critic = network()
    real, fake = images(num=16)
    torch.manual_seed(1)
    exact = EXACT[name](critic, real, fake)
    torch.manual_seed(1)
    found = by_difference(EXACT[name])(critic, real, fake)
    torch.testing.assert_close(found, exact, rtol=1e-3, atol=1e-5)
    expected, got = gradients(exact.mean(), critic), gradients(found.mean(), critic)
    assert (got - expected).norm() <= 1e-3 * expected.norm()
    assert expected.norm() > 0.01


def test_the_error_of_a_difference_falls_with_the_square_of_its_step():
    critic, (x, _) = network(), images(num=16)
    exact = slope(critic, x).flatten(1).norm(dim=1)
    expected = gradients(exact.square().mean(), critic)
    values, weights = [], []
    for step in (0.16, 0.08):
        found = slope_by_difference(critic, x, step=step)[:, 0]
        values.append((found - exact).norm().item())
        weights.append((gradients(found.square().mean(), critic) - expected).norm().item())
    assert values[0] / values[1] == pytest.approx(4, rel=0.15)
    assert weights[0] / weights[1] == pytest.approx(4, rel=0.15)


def test_a_difference_is_one_positive_value_for_each_example_near_the_norm():
    critic, (x, _) = network(nn.LeakyReLU(0.2)), images()
    found = slope_by_difference(critic, x)
    assert found.shape == (5, 1)
    torch.testing.assert_close(found[:, 0], slope(critic, x).flatten(1).norm(dim=1), rtol=0.1, atol=0)


def test_a_difference_feels_how_kinks_move_and_the_double_backward_does_not():
    # E‖∇ relu(x - b)‖² = 1 - b for x uniform in [0, 1]: its derivative is -1, while D' is constant on both sides of b.
    bend = torch.tensor(0.3, requires_grad=True)
    x = torch.linspace(0, 1, 20001)[:, None]

    def critic(x: Tensor) -> Tensor:
        return (x - bend).relu()[:, 0]

    value = by_difference(r1)(critic, x, x).mean()
    assert value.item() == pytest.approx(0.7, abs=0.01)
    (felt,) = torch.autograd.grad(value, bend)
    assert felt.item() == pytest.approx(-1, abs=0.01)
    (unfelt,) = torch.autograd.grad(r1(critic, x, x).mean() + 0 * bend, bend)
    assert unfelt.item() == 0


@both_ways
@pytest.mark.parametrize("name", EXACT)
def test_a_flat_critic_gives_its_weights_no_gradient_and_no_nan(name: str, way):
    scale, (real, fake) = torch.tensor(0.0, requires_grad=True), images()
    value = way(EXACT[name])(lambda x: 2 + scale * x.sum((1, 2, 3)), real, fake)
    assert value.tolist() == pytest.approx([1.0 if name in CENTRED else 0.0] * 5)
    (felt,) = torch.autograd.grad(value.sum(), scale)
    assert felt.item() == 0.0


def test_a_batch_of_zeros_has_a_step_too():
    w = direction()
    found = slope_by_difference(lambda x: (x * w).sum((1, 2, 3)), torch.zeros(3, 2, 3, 3))
    assert found.flatten().tolist() == pytest.approx([w.norm().item()] * 3, rel=1e-4)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_the_step_has_the_scale_of_the_data(scale: float):
    critic, (x, _) = network(), images()
    exact = slope(critic, x).flatten(1).norm(dim=1)
    found = slope_by_difference(lambda y: critic(y / scale), x * scale)[:, 0]
    torch.testing.assert_close(found * scale, exact, rtol=1e-3, atol=1e-5)


def test_a_difference_sees_one_draw_of_a_random_critic():
    critic = nn.Sequential(nn.Dropout(0.5), network())  # in train mode: a new mask at each call
    x, _ = images()
    torch.manual_seed(1)
    exact = slope(critic, x).flatten(1).norm(dim=1)
    after = torch.rand(1)
    torch.manual_seed(1)
    found = slope_by_difference(critic, x)[:, 0]
    torch.testing.assert_close(found, exact, rtol=1e-3, atol=1e-5)
    assert torch.equal(torch.rand(1), after)


def test_a_difference_sees_one_state_of_a_spectrally_normalised_critic():
    torch.manual_seed(0)
    layer = parametrizations.spectral_norm(nn.Linear(18, 18))
    with torch.no_grad():
        layer.parametrizations.weight.original.normal_()  # the power iteration starts anew: σ moves at each pass
    x, _ = images()
    found = slope_by_difference(lambda x: 10 + layer(x.flatten(1)).sum(1), x)
    layer.eval()
    assert found.flatten().tolist() == pytest.approx([layer.weight.sum(0).norm().item()] * 5, rel=1e-3)
    found.sum().backward()
    assert layer.parametrizations.weight.original.grad.isfinite().all()


def test_a_penalty_by_difference_keeps_its_name_and_text():
    assert by_difference(r1).__name__ == "r1"
    assert by_difference(r1).__doc__ == r1.__doc__


# Precision


@every_penalty
def test_a_penalty_runs_in_float32_under_autocast(penalty: Penalty):
    critic = network()
    kinds = []
    critic[1].register_forward_hook(lambda module, inputs, output: kinds.append(output.dtype))
    real, fake = images()
    torch.manual_seed(1)
    expected = penalty(critic, real, fake)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        found = penalty(critic, real.bfloat16().float(), fake.bfloat16())
        exact, difference = slope(critic, real), slope_by_difference(critic, real)
    assert set(kinds) == {torch.float32}
    assert found.dtype == exact.dtype == difference.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0.05)
    assert torch.equal(exact, slope(critic, real))
    assert torch.equal(difference, slope_by_difference(critic, real))


@torch.no_grad()
def test_a_difference_can_be_taken_where_no_gradient_is_recorded():
    w, (x, _) = direction(), images()
    found = slope_by_difference(lambda x: (x * w).sum((1, 2, 3)), x)
    assert found.flatten().tolist() == pytest.approx([w.norm().item()] * 5, rel=1e-4)
    assert not found.requires_grad


@every_penalty
def test_real_and_fake_must_fit_together(penalty: Penalty):
    real, fake = images()
    if penalty in (gradient_penalty, zero_centred_gradient_penalty):
        with pytest.raises(Exception, match="fake"):
            penalty(lambda x: x.flatten(1).sum(1), real, fake[:3])
    assert penalty(lambda x: x.flatten(1).sum(1), real, fake).shape == (5,)
