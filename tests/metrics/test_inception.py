"""The Inception network of FID: the layout of its file, its answers by another implementation, its two resizers."""

import functools
import hashlib
import math

import numpy as np
import pytest
import torch
from PIL import Image

from equipoise.core.errors import CheckpointError
from equipoise.metrics.inception import (
    FID_WEIGHTS_SHA256,
    FIDInception,
    inception_answers,
    load_inception,
    resized,
)

PIXELS = torch.randint(256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
# Two channels of each branch of the last block.
SAMPLE = [3, 319, 320, 703, 704, 1087, 1088, 1471, 1472, 1855, 1856, 2046]


def as_images(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.float() / 127.5 - 1


@functools.cache
def made_weights() -> dict[str, torch.Tensor]:
    """Weights that keep the size of the signal: as good as trained ones for comparing two implementations."""
    with torch.device("meta"):
        layout = FIDInception().state_dict()
    draw, weights = torch.Generator().manual_seed(0), {}
    for name, value in layout.items():
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.zeros((), dtype=torch.long)
            continue
        x = torch.randn(value.shape, generator=draw)
        if name.endswith("conv.weight"):
            x = x * math.sqrt(2 / value[0].numel())
        elif name.endswith("running_var"):
            x = (0.2 * x).exp()
        elif name.endswith("bn.weight"):
            x = 1 + 0.1 * x
        else:
            x = x / 45 if name.startswith("fc") else 0.1 * x
        weights[name] = x
    return weights


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(made_weights(), path)
    return path


@pytest.fixture(scope="module")
def net(file):
    return load_inception(file, sha256=None)


def test_the_layout_is_that_of_the_public_file():
    # The public file has 566 tensors: 94 convolutions with six each, and the last layer.
    weights = made_weights()
    assert len(weights) == 94 * 6 + 2 == 566
    assert weights["Conv2d_1a_3x3.conv.weight"].shape == (32, 3, 3, 3)
    assert weights["Mixed_5b.branch5x5_2.bn.running_mean"].shape == (64,)
    assert weights["Mixed_6b.branch7x7dbl_2.conv.weight"].shape == (128, 128, 7, 1)
    assert weights["Mixed_7c.branch3x3dbl_3a.conv.weight"].shape == (384, 384, 1, 3)
    assert weights["fc.weight"].shape == (1008, 2048)
    assert not [name for name in weights if "Aux" in name]


def test_the_answers_are_those_of_torch_fidelity(net):
    # Computed once by torch-fidelity 0.4.0 from the same weights and pixels, with its own resizing.
    answer = inception_answers(net, as_images(PIXELS))
    expected = {
        "features": [
            *(1.72629, 0.0847744, 0.965826, 0.210016, 2.04427, 0.465619),
            *(0.975468, 0.0421184, 0.33918, 0.000721353, 1.63951, 0.0),
            *(1.6888, 0.0919695, 0.946293, 0.227797, 1.99981, 0.466045),
            *(0.944596, 0.0425773, 0.345202, 0.00108194, 1.59952, 0.0),
        ],
        "logits": [
            *(-0.0407988, -1.29162, -0.203469, -0.310043, -0.67776),
            *(-0.0469844, -1.2714, -0.212767, -0.305757, -0.701477),
        ],
        "unbiased_logits": [
            *(-0.0271057, -1.25074, -0.218592, -0.285512, -0.661408),
            *(-0.0332913, -1.23052, -0.227889, -0.281227, -0.685125),
        ],
    }
    found = {
        "features": answer.features[:, SAMPLE],
        "logits": answer.logits[:, :5],
        "unbiased_logits": answer.unbiased_logits[:, :5],
    }
    for name, values in expected.items():
        torch.testing.assert_close(found[name].flatten(), torch.tensor(values), rtol=1e-4, atol=1e-5)
    assert answer.features.norm().item() == pytest.approx(48.392998, rel=1e-5)
    assert answer.logits.norm().item() == pytest.approx(34.963902, rel=1e-5)
    assert answer.features.shape == (2, 2048)
    assert answer.logits.shape == (2, 1008)


def test_batches_and_grey_change_nothing(net):
    grey = as_images(PIXELS[:, :1])
    whole = inception_answers(net, grey)
    parts = inception_answers(net, grey.expand(-1, 3, -1, -1), batch=1)
    torch.testing.assert_close(whole.features, parts.features, rtol=1e-4, atol=1e-5)


def test_a_file_without_counts_of_batches_loads_too(tmp_path, net):
    old = {name: x for name, x in made_weights().items() if not name.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    loaded = load_inception(tmp_path / "old.pth", sha256=None)
    assert loaded.state_dict().keys() == net.state_dict().keys()
    assert all(torch.equal(loaded.state_dict()[name], x) for name, x in net.state_dict().items())


def test_another_file_is_refused_with_both_hashes(file):
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(CheckpointError, match=f"expected SHA-256 {FID_WEIGHTS_SHA256}, found {found}"):
        load_inception(file)
    assert load_inception(str(file), sha256=found[:8]).fc.weight.shape == (1008, 2048)


def test_a_missing_file_is_not_downloaded(tmp_path):
    with pytest.raises(CheckpointError, match="nothing is ever downloaded"):
        load_inception(tmp_path / "none.pth")


def test_other_tensors_are_refused(tmp_path):
    weights = {name: torch.zeros(()) for name in made_weights() if not name.startswith("Mixed_7c")}
    torch.save(weights, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"45 of its 472 tensors are missing \(Mixed_7c.branch1x1.bn.bias"):
        load_inception(tmp_path / "other.pth", sha256=None)


def test_loading_leaves_the_global_random_state_alone(file):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    load_inception(file, sha256=None)
    assert torch.equal(torch.get_rng_state(), before)


# Resizing


def test_bilinear_has_no_half_pixel_shift():
    # Two pixels 0 and 255 in a row: output pixel i lies at 2 i / 299, beyond the last pixel its value stays.
    row = as_images(torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2).expand(1, 3, 2, 2))
    expected = (torch.arange(299) * 2 / 299).clamp(max=1) * 255
    out = resized(row, resizer="bilinear-tf1")
    assert out.shape == (1, 3, 299, 299)
    torch.testing.assert_close(out, expected.expand(1, 3, 299, 299), rtol=0, atol=1e-4)


def test_bilinear_has_no_antialias():
    # Halving takes every second pixel and ignores the others.
    pixels = torch.randint(256, (1, 3, 598, 598), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert torch.equal(resized(as_images(pixels), resizer="bilinear-tf1"), pixels[:, :, ::2, ::2].float())


@pytest.mark.parametrize("resizer", ["bilinear-tf1", "bicubic-antialiased"])
def test_an_image_of_the_right_size_stays_as_it_is(resizer):
    pixels = torch.randint(256, (1, 3, 299, 299), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    torch.testing.assert_close(resized(as_images(pixels), resizer=resizer), pixels.float(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", [(32, 32), (400, 333), (299, 100)])
def test_antialiased_bicubic_is_pillows(shape):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    channels = [
        np.asarray(Image.fromarray(pixels[..., c].astype(np.float32)).resize((299, 299), Image.Resampling.BICUBIC))
        for c in range(3)
    ]
    ours = resized(as_images(torch.from_numpy(pixels).permute(2, 0, 1)[None]), resizer="bicubic-antialiased")
    np.testing.assert_allclose(ours[0].numpy(), np.stack(channels).clip(0, 255), atol=0.02)


def test_values_are_rounded_to_eight_bits_first():
    image = torch.full((1, 3, 299, 299), 100.4 / 127.5 - 1)
    assert resized(image, resizer="bilinear-tf1").unique().tolist() == [100]


def test_bad_images_are_refused(net):
    with pytest.raises(ValueError, match="Did you mean 'bilinear-tf1'"):
        resized(as_images(PIXELS), resizer="bilinear")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="images of 2 channels were passed"):
        inception_answers(net, torch.zeros(1, 2, 8, 8))
    with pytest.raises(ValueError, match=r"values from 0 to 255 were passed, but \[-1, 1\] is expected"):
        inception_answers(net, torch.tensor([0.0, 255.0]).view(1, 1, 1, 2))
    with pytest.raises(ValueError, match="1 of 2 images hold NaN or infinity"):
        inception_answers(net, torch.tensor([0.0, torch.nan]).view(2, 1, 1, 1))
