"""Runs measured through other networks than their own: Inception from a file, or what a Python file makes."""

import hashlib
import json
from functools import partial

import pytest
import torch
from torch import nn

import equipoise
from equipoise.core.errors import CheckpointError, RecipeError
from equipoise.metrics.distribution import frechet_distance
from equipoise.metrics.inception import InceptionAnswer
from equipoise.runs import extractors, features
from equipoise.runs import run as module
from equipoise.runs.evaluation import evaluate, rows
from equipoise.runs.extractors import extractor_of
from equipoise.runs.recipe import parse_setting
from tests.cli.made import TINY

BACKBONE = """
import torch

def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.AvgPool2d(4), torch.nn.Flatten(), torch.nn.Dropout(0.5))

def function():
    return lambda x: x.flatten(1)[:, :3]

def nothing():
    return 5

def flat():
    return lambda x: x.mean()

def broken():
    return lambda x: x.no_such_thing

def infinite():
    return lambda x: x.flatten(1).log()

def constant():
    return lambda x: torch.ones(len(x), 3)
"""


@pytest.fixture
def backbone(tmp_path):
    path = tmp_path / "backbone.py"
    path.write_text(BACKBONE)
    return path


class TinyInception(nn.Module):
    """Answers as the large one does: the mean of each channel, and classes that are sure of the brighter half."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        means = x.mean((2, 3))
        scores = torch.stack([means[:, 0], -means[:, 0]], 1) * 1000
        return InceptionAnswer(means, scores, scores)


def noise(num, seed):
    return torch.rand(num, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_a_network_of_a_python_file_answers_in_eval_mode_and_is_named_by_file_and_weights(backbone):
    extractor = extractor_of(f"{backbone}:network")
    x = noise(30, 0)
    assert torch.equal(extractor.answers(x, batch=7).features, nn.functional.avg_pool2d(x, 4).flatten(1))
    assert (extractor.name, extractor.class_names) == ("backbone.py:network", ())
    result = evaluate(extractor, x, fake=noise(30, 1), real_train=noise(30, 2))
    assert result.provenance.features == "backbone.py:network"
    assert result.provenance.weights == extractor.weights
    assert result.class_shares is None
    plain = extractor_of(f"{backbone}:function")
    fid = evaluate(plain, x, fake=x, real_train=noise(30, 2)).fake.fid
    assert fid == pytest.approx(frechet_distance(x.flatten(1)[:, :3], x.flatten(1)[:, :3]), abs=1e-9)
    assert plain.weights == hashlib.sha256(backbone.read_bytes()).hexdigest()


def test_inception_measures_with_its_resizer_and_its_weights_in_the_provenance(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"weights")
    monkeypatch.setattr(extractors, "load_inception", lambda path: TinyInception())
    extractor = extractor_of(f"inception:{path}", resizer="bicubic-antialiased")
    dark, bright = -torch.ones(20, 1, 8, 8), torch.ones(20, 1, 8, 8)
    both = torch.cat([dark, bright])
    result = evaluate(extractor, both, fake=both, real_train=both, thorough=True)
    assert (result.provenance.resizer, result.feature_space) == ("bicubic-antialiased", "inception-2015-12-05")
    score = next(row for row in rows(result) if row.name == "Inception Score")
    assert score.value == pytest.approx(2.0)  # sure of either class, and both are there
    collapsed = evaluate(extractor, both, fake=torch.cat([dark, dark]), real_train=both, thorough=True)
    assert next(row for row in collapsed.further if row.name == "Inception Score").value == pytest.approx(1.0)


def test_a_file_that_is_not_what_was_asked_for_is_refused(backbone, tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        extractor_of(f"inception:{tmp_path / 'nowhere.pth'}")
    wrong = tmp_path / "wrong.pth"
    wrong.write_bytes(b"something else")
    with pytest.raises(CheckpointError, match="6726825d"):
        extractor_of(f"inception:{wrong}")
    with pytest.raises(RecipeError, match="inception:FILE"):
        extractor_of("resnet50")
    with pytest.raises(RecipeError, match="returned a int"):
        extractor_of(f"{backbone}:nothing")
    with pytest.raises(RecipeError, match="function"):
        extractor_of(f"{backbone}:functoin")
    with pytest.raises(RecipeError, match=r"expected features \[N, D\]"):
        extractor_of(f"{backbone}:flat").answers(noise(4, 0))


def test_two_files_of_one_name_are_two_feature_spaces(backbone, tmp_path):
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "backbone.py"
    other.write_text(BACKBONE)
    for name in ("function", "network"):
        assert extractor_of(f"{other}:{name}").weights == extractor_of(f"{backbone}:{name}").weights
    other.write_text(BACKBONE.replace(":, :3", ":, :4"))
    for name in ("function", "network"):
        assert extractor_of(f"{other}:{name}").weights != extractor_of(f"{backbone}:{name}").weights
    other.write_text(BACKBONE)
    seeded = extractor_of(f"{other}:network")
    other.write_text(BACKBONE.replace("AvgPool2d(4)", "Linear(8, 8)"))
    one = extractor_of(f"{other}:network")
    torch.nn.init.zeros_(one.function[0].weight)
    assert len({seeded.weights, one.weights}) == 2


def test_a_network_that_fails_or_answers_nothing_of_use_is_refused(backbone):
    x = noise(20, 0)
    with pytest.raises(RecipeError, match=r"backbone\.py:broken stops with AttributeError: .*no_such_thing"):
        extractor_of(f"{backbone}:broken").answers(x)
    bad = int((x < 0).flatten(1).any(1).sum())
    with pytest.raises(RecipeError, match=rf"backbone\.py:infinite answered NaN or infinity to {bad} of 20 examples"):
        extractor_of(f"{backbone}:infinite").answers(x)
    constant = extractor_of(f"{backbone}:constant")
    with pytest.raises(RecipeError, match=r"backbone\.py:constant has the same features for all of 20 held-out"):
        evaluate(constant, x, fake=noise(20, 1), real_train=noise(20, 2))


def test_further_metrics_see_what_they_should():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(300, 1, 24, 24, generator=draw).clamp(-1, 1)
    extractor = extractors.Foreign(name="pixels", function=lambda x: x.flatten(1)[:, :8], weights=None)
    same = evaluate(extractor, x[:100], fake=x[100:200], real_train=x[200:], thorough=True)
    one = evaluate(extractor, x[:100], fake=x[100:101].repeat(100, 1, 1, 1), real_train=x[200:], thorough=True)
    healthy, collapsed = ({row.name: row for row in result.further} for result in (same, one))
    assert set(healthy) == {"sliced Wasserstein", "NDB / 10", "MS-SSIM of pairs, 2 scales"}
    assert collapsed["MS-SSIM of pairs, 2 scales"].value == pytest.approx(1.0)
    assert healthy["MS-SSIM of pairs, 2 scales"].value < 0.2
    assert collapsed["NDB / 10"].value > 0.8 > 0.4 > healthy["NDB / 10"].value
    assert collapsed["sliced Wasserstein"].value > 3 * collapsed["sliced Wasserstein"].floor
    assert not evaluate(extractor, x[:100], fake=x[100:200], real_train=x[200:]).further


def test_a_run_is_evaluated_in_the_features_of_a_file(backbone, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "write_report", lambda folder: folder)
    monkeypatch.setattr(features, "fit_feature_net", partial(features.fit_feature_net, num_steps=3))
    settings = dict(map(parse_setting, TINY)) | {"judging.num_samples": 40}
    recipe, origin = equipoise.load("digits", settings=settings)
    run = equipoise.Run.create(recipe, origin=origin, folder=tmp_path / "run").train(quiet=True)
    result = run.evaluate(extractor=extractor_of(f"{backbone}:network"))
    assert result.feature_space == "backbone.py:network"
    assert result.memorisation is not None
    entry = json.loads((run.folder / "metrics.json").read_text())[-1]
    assert entry["features"] == "backbone.py:network"
    assert entry["further"][0]["name"] == "sliced Wasserstein"
