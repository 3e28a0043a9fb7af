"""Several critics, past critics and clusters of the data."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from equipoise.networks.dcgan import DCGANCritic
from equipoise.networks.ensemble import Clusters, Critics, Pool
from equipoise.networks.mlp import MLPCritic
from equipoise.networks.resnet import ResNetCritic

X = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
LABELS = torch.tensor([0, 1, 2, 0, 1])

CRITICS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: MLPCritic((1, 8, 8), width=8),
    "batch normalised": lambda: DCGANCritic(1, 8, width=4, normalisation="batch"),
    "spectral": lambda: ResNetCritic(1, 8, width=4, normalisation="spectral"),
    "minibatch, dropout": lambda: DCGANCritic(1, 8, width=4, minibatch="discrimination", dropout=0.5),
}


# Side by side


def test_several_critics_answer_a_column_each_and_all_their_features():
    members = [MLPCritic((1, 8, 8), width=8), DCGANCritic(1, 8, width=4, num_classes=3, conditioning="auxiliary")]
    verdict, single = Critics(members)(X, LABELS), [member(X, LABELS) for member in members]
    assert verdict.logits.shape == (5, 2)
    for k in range(2):
        assert torch.equal(verdict.logits[:, k], single[k].logits)
    assert len(verdict.features) == len(single[0].features) + len(single[1].features)
    assert torch.equal(verdict.features[-1], single[1].features[-1])
    assert torch.equal(verdict.classes, single[1].classes)


def test_critics_without_classifier_have_no_class_scores():
    assert Critics([MLPCritic((1, 8, 8), width=8) for _ in range(3)])(X).classes is None


def test_no_critic_is_refused():
    with pytest.raises(ValueError, match="expected at least one critic"):
        Critics([])


# Past critics


@torch.no_grad()
def changed(critic: nn.Module) -> None:
    for parameter in critic.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    critic(X, LABELS)  # moves running statistics and power iterations


def remembered(make: Callable[[], nn.Module], size: int, times: int) -> tuple[nn.Module, Pool, list[nn.Module]]:
    """A critic, a pool that it was remembered in, and independent copies of what was remembered."""
    critic, copies = make(), []
    pool = Pool(critic, size)
    for _ in range(times):
        changed(critic)
        pool.remember(critic)
        copies.append(copy.deepcopy(critic))
    changed(critic)
    return critic, pool, copies


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", CRITICS)
def test_a_pool_scores_as_the_critics_of_then_would_and_changes_nothing(name: str, training: bool):
    critic, pool, copies = remembered(CRITICS[name], size=3, times=3)
    for network in (critic, *copies):
        network.train(training)
    live, stored = state(critic), state(pool)
    torch.manual_seed(1)
    found = pool(critic, X)
    torch.manual_seed(1)
    expected = torch.stack([past(X).logits for past in copies], dim=1)
    torch.testing.assert_close(found, expected.detach())
    assert same(state(critic), live)
    assert same(state(pool), stored)
    assert not torch.equal(found[:, 0], critic(X).logits)


def test_a_full_pool_forgets_its_oldest_copy():
    critic, pool, copies = remembered(CRITICS["mlp"], size=2, times=3)
    found = pool(critic, X)
    assert found.shape == (5, 2)
    assert torch.equal(found[:, 1], copies[1](X).logits)
    assert torch.equal(found[:, 0], copies[2](X).logits)


def test_a_pool_scores_only_with_the_copies_that_there_are():
    critic, pool, _ = remembered(CRITICS["mlp"], size=3, times=1)
    assert pool(critic, X).shape == (5, 1)
    assert Pool(critic, 2)(critic, X).shape == (5, 0)


def test_remembering_the_same_critic_again_changes_nothing():
    critic, pool, _ = remembered(CRITICS["spectral"], size=3, times=1)
    pool.remember(critic)
    critic(X)  # a power iteration moves, the parameters stay
    before = state(pool)
    pool.remember(critic)
    assert same(state(pool), before)
    assert pool(critic, X).shape == (5, 2)


def test_the_gradient_of_a_pool_reaches_the_examples_and_not_the_critic():
    critic, pool, copies = remembered(CRITICS["spectral"], size=2, times=2)
    x = X.clone().requires_grad_()
    pool(critic, x).sum().backward()
    again = X.clone().requires_grad_()
    sum(past(again).logits.sum() for past in copies).backward()  # type: ignore[union-attr]
    assert x.grad is not None
    torch.testing.assert_close(x.grad, again.grad)
    assert all(parameter.grad is None for parameter in critic.parameters())


def test_a_pool_takes_labels():
    critic, pool, copies = remembered(
        lambda: MLPCritic((1, 8, 8), width=8, num_classes=3, conditioning="projection"), size=1, times=1
    )
    assert torch.equal(pool(critic, X, LABELS)[:, 0], copies[0](X, LABELS).logits)


def test_a_pool_survives_saving_loading_and_the_memory_layout_of_images():
    critic, pool, _ = remembered(CRITICS["batch normalised"], size=3, times=2)
    other = Pool(CRITICS["batch normalised"](), 3)
    other.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    other.load_state_dict(pool.state_dict())
    assert not list(pool.parameters())
    assert torch.equal(other(critic, X), pool(critic, X))


def test_a_pool_without_room_is_refused():
    with pytest.raises(ValueError, match=r"size=0.*room for at least one copy"):
        Pool(CRITICS["mlp"](), 0)


# Clusters


def clusters(centroids: list[float], share: list[float] | None = None) -> Clusters:
    made = Clusters(len(centroids), (1,))
    made.centroids.copy_(torch.tensor(centroids)[:, None])
    made.share.copy_(torch.tensor(share or [1 / len(centroids)] * len(centroids)))
    made.started.fill_(1)
    return made


def column(*values: float) -> Tensor:
    return torch.tensor(values)[:, None]


def after(made: Clusters, x: Tensor) -> tuple[list[float], list[float], float]:
    (_, centroids), (_, share), (_, started) = made.news(x)
    return centroids.flatten().tolist(), share.tolist(), started.item()


def test_examples_belong_to_the_nearest_centroid_and_move_it_by_a_hundredth():
    made, x = clusters([0, 10]), column(1, 3, 11)
    assert made.assign(x).tolist() == [0, 0, 1]
    centroids, share, _ = after(made, x)
    assert centroids == pytest.approx([0.99 * 0 + 0.01 * 2, 0.99 * 10 + 0.01 * 11])
    assert share == pytest.approx([0.99 / 2 + 0.01 * 2 / 3, 0.99 / 2 + 0.01 / 3])


def test_looking_writes_nothing_and_names_the_buffers():
    made = clusters([0, 10])
    before = state(made)
    assert [id(buffer) for buffer, _ in made.news(column(1, 2))] == [id(buffer) for buffer in made.buffers()]
    assert same(state(made), before)


def test_the_first_batch_sets_the_centroids():
    made, x = Clusters(2, (1,)), column(0, 1, 10, 11)
    # The mean is 5.5: 1 is the first of the two nearest examples, 11 the farthest from it.
    assert made.assign(x).tolist() == [0, 0, 1, 1]
    centroids, _, started = after(made, x)
    assert centroids == pytest.approx([0.99 * 1 + 0.01 * 0.5, 0.99 * 11 + 0.01 * 10.5])
    assert started == 1


def test_a_batch_of_fewer_examples_than_clusters_is_no_error():
    made = Clusters(4, (1,))
    assert made.assign(column(0, 1)).tolist() == [0, 1]
    assert all(torch.isfinite(value).all() for _, value in made.news(column(0, 1)))


def test_a_cluster_that_has_long_been_empty_starts_again_at_the_farthest_example():
    centroids, share, _ = after(clusters([0, 100], share=[0.99, 0.01]), column(0, 1, 7))
    assert centroids[1] == 7
    assert share[1] == 0.5


def test_two_empty_clusters_start_again_at_different_examples():
    centroids, _, _ = after(clusters([0, 100, 200], share=[0.98, 0.01, 0.01]), column(0, 1, 7, 9))
    assert centroids[1:] == [9, 7]


def test_a_cluster_without_members_in_one_batch_stays():
    centroids, share, _ = after(clusters([0, 100]), column(0, 0))
    assert centroids == [0, 100]
    assert share == pytest.approx([0.99 / 2 + 0.01, 0.99 / 2])


def test_clusters_find_the_modes_of_a_mixture():
    modes = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 4.0]])
    made = Clusters(4, (2,))
    for _ in range(300):
        which = torch.randint(4, (64,))
        for buffer, value in made.news(modes[which] + 0.3 * torch.randn(64, 2)):
            buffer.copy_(value)
    assert sorted(made.assign(modes).tolist()) == [0, 1, 2, 3]
    torch.testing.assert_close(made.centroids[made.assign(modes)], modes, atol=0.2, rtol=0)


@pytest.mark.parametrize(("shape", "num_features"), [((3, 32, 32), 192), ((1, 8, 8), 64), ((2, 5, 40), 80), ((7,), 7)])
def test_images_are_compared_at_eight_by_eight_pixels_and_vectors_as_they_are(shape, num_features: int):
    made = Clusters(2, shape)
    x = torch.randn(3, *shape)
    assert made.centroids.shape == (2, num_features)
    assert made.features(x).shape == (3, num_features)
    if shape == (3, 32, 32):
        assert made.features(x)[1, 65].item() == pytest.approx(x[1, 1, :4, 4:8].mean().item(), abs=1e-5)
    if shape in ((7,), (1, 8, 8)):
        assert torch.equal(made.features(x), x.flatten(1))


def test_clusters_work_on_bfloat16_images_under_autocast():
    made: Any = Clusters(2, (3, 16, 16))
    x = torch.randn(6, 3, 16, 16).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        assert made.assign(x.bfloat16()).dtype == torch.int64
        assert all(value.dtype == torch.float32 for _, value in made.news(x.bfloat16()))
        assert torch.equal(made.assign(x), Clusters(2, (3, 16, 16)).assign(x.contiguous()))


@pytest.mark.parametrize("wrong", [{"num": 0}, {"shape": (3, 4)}, {"size": 0}, {"decay": 1.0}])
def test_impossible_clusters_are_refused(wrong: dict[str, Any]):
    with pytest.raises(ValueError, match=r"expected at least one cluster"):
        Clusters(**{"num": 2, "shape": (3,), **wrong})
