"""The doctor watches loops that are not ours, changes nothing in them, and makes do with little."""

import pytest
import torch
from torch import nn
from torch.nn.functional import softplus

from equipoise import Doctor
from equipoise.doctor.words import setting, sparkline
from equipoise.networks.dcgan import DCGANCritic, DCGANGenerator


def ring(num: int, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    angle = 2 * torch.pi * torch.randint(8, (num,), generator=draw) / 8
    return torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(num, 2, generator=draw)


def mlp(a: int, b: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(a, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, b))


def trained(doctor: Doctor, *, steps: int = 600, rates: tuple[float, float] = (1e-3, 1e-3), **what: bool) -> Doctor:
    """A plain loop of somebody else's."""
    torch.manual_seed(0)
    G, D = mlp(2, 2), mlp(2, 1)
    best_G, best_D = (torch.optim.Adam(net.parameters(), rate, (0.5, 0.9)) for net, rate in zip((G, D), rates))
    for step in range(steps):
        x, fake = ring(64, step), G(torch.randn(64, 2))
        real_logits, fake_logits = D(x), D(fake.detach())
        best_D.zero_grad()
        (softplus(-real_logits) + softplus(fake_logits)).mean().backward()
        best_D.step()
        best_G.zero_grad()
        softplus(-D(fake)).mean().backward()
        best_G.step()
        networks = {"G": G, "D": D} if what.get("networks", True) else {}
        fakes = {"fake": fake} if what.get("fakes", True) else {}
        doctor.observe(step, real_logits=real_logits, fake_logits=fake_logits, **fakes, **networks)
    return doctor


def watching(**rest) -> Doctor:
    return Doctor(held_out=ring(256, 10**6), train=ring(256, 10**7), every=25, **rest)


def test_a_healthy_loop_is_healthy():
    doctor = trained(watching(latents=torch.randn(256, 2)))
    assert doctor.findings() == []
    assert "No fault in 26 looks." in str(doctor)


def test_a_critic_that_hardly_learns_is_found_with_evidence_and_remedies():
    doctor = trained(watching(), rates=(1e-3, 1e-7))
    [finding] = doctor.findings()
    assert finding.fault == "critic-too-weak"
    assert finding.active
    assert finding.remedies
    text = str(doctor)
    assert "Critic too weak (warning), since step" in text
    assert "try: It hardly moves: the generator's optimiser for both." in text
    assert "players.D.learning_rate × 2, players.G.learning_rate × 0.25" in text
    assert "--set" not in text


def test_a_finding_is_told_once():
    doctor, told = watching(), []
    original = doctor.observe
    doctor.observe = lambda *a, **k: told.extend(original(*a, **k)) or []  # type: ignore[method-assign]
    trained(doctor, rates=(1e-3, 1e-7))
    assert [finding.fault for finding in told] == ["critic-too-weak"]


def test_two_tensors_of_logits_are_enough_for_something():
    doctor = trained(Doctor(every=25), steps=100, networks=False, fakes=False)
    assert doctor.diagnosis.history.knows("auc/held_out", "logits/fake")
    assert "critic-too-strong (needs energy)" in str(doctor)


def test_steps_that_begin_anew_are_refused():
    doctor, logits = Doctor(every=10), torch.randn(8)
    for step in range(20):
        doctor.observe(step, real_logits=logits, fake_logits=logits)
    with pytest.raises(ValueError, match="step 0 after step 19: expected a number that counts through all epochs"):
        doctor.observe(0, real_logits=logits, fake_logits=logits)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"held_out": torch.full((32, 2), float("nan"))}, "held_out holds values that are not finite"),
        ({"train": [[1.0, 2.0]] * 32}, "train is of the type list: expected a tensor"),
        ({"space": "critic"}, "space = 'critic': expected one of pixels, random"),
    ],
)
def test_what_is_no_set_of_examples_is_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Doctor(**settings)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"real_logits": 0.5}, "Logits are a single number"),
        ({"real_logits": torch.zeros(0)}, "or none"),
        ({"losses": {"g": None}}, "The loss 'g' is None"),
        ({"G": nn.Linear(3, 2)}, "Linear cannot be called with latents alone, of the shape"),
    ],
)
def test_what_is_no_step_is_refused(given, words):
    doctor = Doctor(held_out=torch.randn(32, 2), latents=torch.randn(32, 2), every=1)
    with pytest.raises(ValueError, match=words):
        doctor.observe(1, **{"real_logits": torch.randn(8), "fake_logits": torch.randn(8), **given})


def test_values_that_are_not_finite_are_found_at_once():
    doctor = Doctor(every=1)
    doctor.observe(1, real_logits=torch.zeros(4), fake_logits=torch.zeros(4))
    [finding] = doctor.observe(2, real_logits=torch.full((4,), torch.nan), fake_logits=torch.zeros(4))
    assert finding.fault == "non-finite"


def test_looking_changes_nothing():
    G, D = DCGANGenerator(4, 1, 8, width=4), DCGANCritic(1, 8, width=4, normalisation="batch")
    G.train()
    D.eval()
    before = {k: v.clone() for net in (G, D) for k, v in net.state_dict().items()}
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    x = torch.rand(64, 1, 8, 8)
    torch.manual_seed(0)
    doctor = Doctor(held_out=x, latents=torch.zeros(32, 4), every=1)
    for step in range(3):
        doctor.observe(step, real_logits=torch.zeros(4), fake_logits=torch.zeros(4), G=G, D=D)
    assert torch.equal(torch.rand(1), expected)
    assert G.training
    assert not D.training
    after = {k: v for net in (G, D) for k, v in net.state_dict().items()}
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="at least 16 examples"):
        Doctor(held_out=torch.zeros(3, 2))
    with pytest.raises(ValueError, match="every = 0"):
        Doctor(every=0)
    doctor = Doctor(held_out=torch.zeros(16, 2))
    with pytest.raises(ValueError, match="expected the same shape"):
        doctor.observe(1, real_logits=torch.zeros(4), fake_logits=torch.zeros(4), fake=torch.zeros(4, 3))


def test_words():
    assert sparkline([]) == ""
    assert sparkline([(0, 1.0), (1, 1.0)]) == "▁▁"
    assert len(sparkline([(i, float(i)) for i in range(1000)])) == 40
    assert setting("game.ada", True) == "game.ada=true"
    assert setting("game.ada", {"limit": 0.5}) == 'game.ada="{limit = 0.5}"'
    assert setting("game.loss", "hinge") == "game.loss=hinge"


def test_an_update_is_known_only_from_one_step_to_the_next():
    D = nn.Linear(2, 1)
    doctor = Doctor(held_out=torch.randn(64, 2), every=1)
    for step in range(12):
        with torch.no_grad():
            D.weight.add_(0.001)
        x = torch.randn(8, 2)
        doctor.observe(step, real_logits=D(x), fake_logits=D(x), D=D)
    sizes = [value for _, value in doctor.diagnosis.history.values["update/D"]]
    assert max(sizes) < 2 * min(sizes)
    sparse = Doctor(every=50)
    for step in range(0, 400, 7):
        sparse.observe(step, real_logits=D(x), fake_logits=D(x), D=D)
    assert "update/D" not in sparse.diagnosis.history.values


@pytest.mark.parametrize("given", [{}, {"D": nn.Linear(2, 1)}, {"held_out": torch.randn(64, 2)}])
def test_logits_alone_tell_who_wins_whatever_else_is_given(given):
    held_out = {"held_out": given["held_out"]} if "held_out" in given else {}
    doctor = Doctor(every=1, **held_out)
    doctor.observe(1, real_logits=torch.ones(8), fake_logits=torch.zeros(8), D=given.get("D"))
    doctor.observe(2, real_logits=torch.ones(8), fake_logits=torch.zeros(8), D=given.get("D"))
    assert doctor.diagnosis.history.last("auc/held_out") == 1
    assert "critic-overfitting" in doctor.diagnosis.silent()


def test_what_cannot_be_called_or_read_is_said():
    doctor = Doctor(held_out=torch.randn(64, 2), latents=torch.randn(64, 2), every=1)
    logits = torch.zeros(8)
    with pytest.raises(ValueError, match="Bilinear cannot be called with latents alone"):
        doctor.observe(1, real_logits=logits, fake_logits=logits, G=nn.Bilinear(2, 2, 2))
    with pytest.raises(ValueError, match="Logits are a single number"):
        doctor.observe(2, real_logits=torch.tensor(1.0), fake_logits=logits)


def test_networks_of_another_precision_are_asked_in_theirs():
    G, D = nn.Linear(2, 2).double(), nn.Linear(2, 1).double()
    doctor = Doctor(held_out=torch.randn(64, 2), latents=torch.randn(64, 2), every=1)
    logits = torch.zeros(8)
    for step in (1, 2):
        doctor.observe(step, real_logits=logits, fake_logits=logits, G=G, D=D)
    assert doctor.diagnosis.history.knows("auc/held_out", "energy")


def test_observing_draws_no_randomness():
    doctor = Doctor(held_out=torch.randn(64, 2), latents=torch.randn(64, 2), every=1)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    doctor.observe(1, real_logits=torch.zeros(8), fake_logits=torch.zeros(8), G=nn.Sequential(nn.Dropout(0.5)))
    assert torch.equal(torch.rand(3), expected)
