"""Feature networks are called by what they are, frozen, and found again; VGG here is narrower than in the papers."""

import hashlib
import json

import pytest
import torch

from equipoise.core.errors import CheckpointError, DataError
from equipoise.data import subset, tensor_source
from equipoise.metrics.perceptual import feature_distance
from equipoise.networks import vgg
from equipoise.networks.vgg import VGG
from equipoise.objectives import content
from equipoise.runs import feature_networks
from equipoise.runs.feature_networks import fit_small_vgg, vgg_from_file


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "equipoise" / "feature-networks"


@pytest.fixture
def fits(monkeypatch):
    """The seeds with which networks were really fitted."""
    seeds = []
    really = feature_networks._fit

    def noticed(net, source, num_steps, seed):
        seeds.append(seed)
        really(net, source, num_steps, seed)

    monkeypatch.setattr(feature_networks, "_fit", noticed)
    return seeds


@pytest.fixture
def weights_file(monkeypatch, tmp_path):
    """A state dict in torchvision's layout."""
    monkeypatch.setattr(vgg, "WIDTHS", (2, 3, 4, 5, 6))
    state = VGG("vgg19", ["pool5"]).state_dict()
    torch.save({**state, "classifier.0.weight": torch.zeros(3, 6)}, tmp_path / "vgg19.pth")
    return tmp_path / "vgg19.pth"


def stripes(num=64, size=8, channels=1, *, name="stripes", seed=0):
    """Noisy stripes that lie or stand: bytes [N, C, H, W] and two classes."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(num) % 2
    lines = (torch.arange(size) % 4 < 2).float() * 200
    lying = lines[:, None].expand(size, size)
    pictures = torch.where(labels[:, None, None] == 0, lying, lying.T)[:, None].expand(-1, channels, -1, -1)
    noise = torch.randint(0, 56, (num, channels, size, size), generator=draw)
    return tensor_source(name, (pictures + noise).to(torch.uint8), labels, classes=("lying", "standing"))


def quick(source, **settings):
    return fit_small_vgg(source, **{"num_steps": 30, "width": 4, "seed": 0} | settings)


# VGG


def test_vgg_of_a_file_answers_as_the_network_that_was_saved_and_is_called_by_layers_and_hash(weights_file):
    digest = hashlib.sha256(weights_file.read_bytes()).hexdigest()
    found = vgg_from_file(weights_file, "vgg19", ["relu2_2", "conv5_4"], sha256=digest[:8])
    assert found.name == f"vgg19[relu2_2 conv5_4, sha {digest[:8]}]"
    assert found.weights == digest
    whole = VGG("vgg19", ["relu2_2", "conv5_4"])
    state = torch.load(weights_file, weights_only=True)
    whole.load_state_dict({name: state[name] for name in whole.state_dict()})
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    torch.testing.assert_close(found(x), whole(x))
    averaged = vgg_from_file(weights_file, "vgg19", ["pool1"], pooling="average")
    assert averaged.name == f"vgg19[pool1, average pooling, sha {digest[:8]}]"


def test_vgg_is_frozen_but_gradients_flow_to_the_image_and_the_random_state_stays(weights_file):
    state = torch.get_rng_state()
    network = vgg_from_file(weights_file, "vgg19", ["relu3_1", "relu4_1"])
    assert torch.equal(torch.get_rng_state(), state)
    assert not network.net.training
    assert not any(parameter.requires_grad for parameter in network.net.parameters())
    real, fake = torch.rand(2, 2, 1, 16, 16) * 2 - 1
    fake.requires_grad_()
    content(network(real), network(fake)).sum().backward()
    assert fake.grad.abs().sum() > 0


def test_other_files_are_refused(weights_file, tmp_path):
    with pytest.raises(CheckpointError, match="expected SHA-256 dcbb9e9d, found"):
        vgg_from_file(weights_file, "vgg19", ["conv5_4"], sha256="dcbb9e9d")
    # The whole file is compared, also where only its first layers would be used.
    with pytest.raises(CheckpointError, match="not the weights of torchvision's vgg16"):
        vgg_from_file(weights_file, "vgg16", ["relu1_1"])
    state = torch.load(weights_file, weights_only=True)
    torch.save(state | {"features.1.running_mean": torch.zeros(2)}, tmp_path / "bn.pth")
    with pytest.raises(CheckpointError, match="are unexpected"):
        vgg_from_file(tmp_path / "bn.pth", "vgg19", ["relu1_1"])
    with pytest.raises(CheckpointError, match="nothing is ever downloaded"):
        vgg_from_file(tmp_path / "missing.pth", "vgg19", ["relu1_1"])
    with pytest.raises(ValueError, match="there is no layer 'conv3_5'"):
        vgg_from_file(weights_file, "vgg19", ["conv3_5"])


# A small network that is fitted


def test_it_learns_the_classes_is_frozen_and_leaves_the_random_state_alone():
    state = torch.get_rng_state()
    network = quick(stripes(), held_out=stripes(20, name="others", seed=1))
    assert torch.equal(torch.get_rng_state(), state)
    assert network.accuracy == 1.0
    assert network.name == f"small-vgg[stripes, 100.0 % on held-out, sha {network.weights[:8]}]"
    assert not network.net.training
    assert not any(parameter.requires_grad for parameter in network.net.parameters())
    real, fake = torch.rand(2, 3, 1, 8, 8) * 2 - 1
    answers = network(fake.requires_grad_())
    assert [layer.shape[1] for layer in answers] == [4, 8, 16]
    content(network(real), answers).sum().backward()
    assert (fake.grad != 0).flatten(1).any(1).all()
    assert feature_distance(network, real, fake).shape == (3,)


def test_no_later_mode_changes_its_answers():
    network = quick(stripes(), num_steps=5)
    x = stripes().examples(torch.arange(6))
    before = network(x)
    torch.testing.assert_close(network.net.train()(x), before)
    torch.testing.assert_close([layer[:1] for layer in before], list(network(x[:1])))


def test_it_is_fitted_without_gradients_around_and_the_same_seed_gives_the_same_weights(monkeypatch, tmp_path):
    first = quick(stripes(), num_steps=3)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    torch.manual_seed(5)
    with torch.no_grad():
        assert quick(stripes(), num_steps=3).weights == first.weights
    assert quick(stripes(), num_steps=3, seed=1).weights != first.weights


def test_without_classes_it_learns_how_images_are_turned():
    shades = torch.linspace(0, 255, 8)[:, None].expand(64, 1, 8, 8) * torch.linspace(0.5, 1, 64)[:, None, None, None]
    source = tensor_source("shades", shades.to(torch.uint8))
    network = quick(source, width=8, num_steps=60, held_out=subset(source, torch.arange(10), name="some"))
    assert network.accuracy == 1.0
    assert network.name == f"small-vgg[shades, rotation, 100.0 % on held-out, sha {network.weights[:8]}]"
    one_class = tensor_source("ones", shades.to(torch.uint8), torch.zeros(64), classes=("1",))
    assert quick(one_class, num_steps=1).name.startswith("small-vgg[ones, rotation, sha")
    assert len(quick(one_class, num_steps=1).net.head.weight) == 4
    flat = tensor_source("flat", shades[:, :, :4].to(torch.uint8))
    assert len(quick(flat, num_steps=1).net.head.weight) == 2  # upright or on its head


def test_large_images_are_seen_through_windows(monkeypatch):
    seen = set()
    really = vgg.SmallVGG.classes
    monkeypatch.setattr(vgg.SmallVGG, "classes", lambda net, x: (seen.add(tuple(x.shape[2:])), really(net, x))[1])
    monkeypatch.setattr(feature_networks, "WINDOW", 16)
    network = quick(stripes(16, 24, channels=3), held_out=stripes(8, 24, channels=3, seed=1))
    assert seen == {(16, 16)}
    assert network.accuracy == 1.0
    assert network(torch.zeros(1, 1, 24, 40))[0].shape == (1, 4, 24, 40)


def test_windows_lie_inside_or_repeat_the_border():
    x = torch.arange(64.0).view(1, 1, 8, 8).repeat(50, 1, 1, 1)
    draw = torch.Generator().manual_seed(0)
    windows = feature_networks._window(x, draw)
    starts = set()
    for window in windows[:, 0]:
        # rows grow by 8 and columns by 1, but for repeated ones at one end
        rows, columns = (window[:, 4] // 8).long(), (window[4] % 8).long()
        assert torch.equal(window, x[0, 0][rows][:, columns])
        starts.add((tuple(rows.tolist()), tuple(columns.tolist())))
        for line in (rows, columns):
            assert line.tolist() in ([0, 0, 1, 2, 3, 4, 5, 6], list(range(8)), [1, 2, 3, 4, 5, 6, 7, 7])
    assert len(starts) == 9
    torch.testing.assert_close(feature_networks._window(x, None), x)


# What is remembered


def test_the_same_is_not_fitted_twice_and_taps_need_no_new_fit(fits, own_cache):
    first = quick(stripes(), held_out=stripes(20, seed=1))
    again = quick(stripes(name="renamed"), held_out=stripes(20, seed=1), taps=["conv1_1"])
    assert fits == [0]
    assert again.weights == first.weights
    assert again.accuracy == first.accuracy == 1.0
    assert again.name == f"small-vgg[renamed, conv1_1, 100.0 % on held-out, sha {first.weights[:8]}]"
    x = stripes().examples(torch.arange(4))
    assert torch.equal(again(x)[0].clamp(min=0), quick(stripes(), taps=["relu1_1"], held_out=stripes(20, seed=1))(x)[0])
    assert again.net.state_dict().keys() == first.net.state_dict().keys()
    (card,) = own_cache.glob("*.json")
    assert json.loads(card.read_text())["weights_sha256"] == first.weights
    assert [path.name for path in own_cache.glob("*.safetensors")] == [f"{first.weights}.safetensors"]


def test_other_data_settings_and_seeds_are_fitted_anew(fits, monkeypatch):
    quick(stripes(), num_steps=1)
    for source, settings in [
        (stripes(), {"seed": 1}),
        (stripes(), {"width": 5}),
        (stripes(), {"num_steps": 2}),
        (stripes(), {"held_out": stripes(20, seed=1)}),
        (stripes(seed=2), {}),
    ]:
        before = len(fits)
        quick(source, **{"num_steps": 1} | settings)
        assert len(fits) == before + 1
    monkeypatch.setattr(feature_networks, "FORMAT", 2)
    quick(stripes(), num_steps=1)
    assert len(fits) == 7


@pytest.mark.parametrize("damage", ["weights", "no weights", "card", "other settings", "no number", "other weights"])
def test_what_is_damaged_is_fitted_again(fits, own_cache, damage):
    first = quick(stripes(), num_steps=2, held_out=stripes(20, seed=1))
    (card,), (weights,) = own_cache.glob("*.json"), own_cache.glob("*.safetensors")
    content = json.loads(card.read_text())
    match damage:
        case "weights":
            weights.write_bytes(weights.read_bytes()[:-1] + b"\x55")
        case "no weights":
            weights.unlink()
        case "card":
            card.write_text("[1, 2")
        case "other settings":
            card.write_text(json.dumps(content | {"settings": {}}))
        case "no number":
            card.write_text(json.dumps(content | {"accuracy": "high"}))
        case "other weights":
            wider = quick(stripes(), num_steps=2, width=5)
            card.write_text(json.dumps(content | {"weights_sha256": wider.weights}))
            fits.pop()
    again = quick(stripes(), num_steps=2, held_out=stripes(20, seed=1))
    assert fits == [0, 0]
    assert (again.weights, again.accuracy) == (first.weights, first.accuracy)
    assert quick(stripes(), num_steps=2, held_out=stripes(20, seed=1)).weights == first.weights
    assert fits == [0, 0]


def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(fits, own_cache):
    own_cache.parent.mkdir(parents=True)
    own_cache.write_text("a file where the folder should be")
    assert quick(stripes(), num_steps=1).weights == quick(stripes(), num_steps=1).weights
    assert fits == [0, 0]


# What is refused


def test_data_without_images_or_of_two_kinds_is_refused():
    with pytest.raises(DataError, match=r"images .* with sides of at least 4 are expected"):
        quick(tensor_source("points", torch.zeros(9, 2)))
    with pytest.raises(DataError, match="sides of at least 4"):
        quick(stripes(size=3))
    with pytest.raises(DataError, match="has 1 examples"):
        quick(tensor_source("one", torch.zeros(1, 1, 8, 8)))
    with pytest.raises(DataError, match="Hold out a part of the same data"):
        quick(stripes(), held_out=stripes(size=12))
    with pytest.raises(ValueError, match="num_steps=0"):
        quick(stripes(), num_steps=0)
    with pytest.raises(ValueError, match="there is no layer 'pool3'"):
        quick(stripes(), taps=["pool3"])
    with pytest.raises(DataError, match="became nan"):
        quick(tensor_source("nan", torch.full((4, 1, 8, 8), torch.nan)), num_steps=1)
