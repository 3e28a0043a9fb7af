"""Feature networks fitted on the spot, and evaluations that set fakes beside the floor of real data."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from equipoise.core.errors import CheckpointError, DataError
from equipoise.core.seeding import generator
from equipoise.data.digits import digits
from equipoise.data.source import Source, Split, split, tensor_source
from equipoise.data.toy import ring
from equipoise.metrics.distribution import density_coverage, frechet_distance
from equipoise.runs.evaluation import Evaluation, evaluate, rows
from equipoise.runs.features import FeatureExtractor, _shifted, fit_feature_net, load, save


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def parts(one_thread: None) -> Split:
    return split(digits(), 500, seed=0)


@pytest.fixture(scope="module")
def judge(parts: Split) -> FeatureExtractor:
    return fit_feature_net(parts.train, held_out=parts.held_out)


def every(source: Source) -> Tensor:
    return source.examples(torch.arange(len(source)))


def unlabelled(source: Source, num: int, *shape: int) -> Source:
    return tensor_source("bare", every(source)[:num].reshape(num, *shape))


def weights(extractor: FeatureExtractor) -> Tensor:
    assert extractor.net is not None
    return torch.cat([tensor.flatten().double() for tensor in extractor.net.state_dict().values()])


# Fitting


def test_the_judge_of_digits_is_nearly_always_right(judge: FeatureExtractor, parts: Split):
    scores = judge.classes(every(parts.held_out))
    assert scores is not None
    right = (scores.argmax(1) == parts.held_out.labels(torch.arange(500))).double().mean().item()
    assert judge.accuracy == pytest.approx(right)
    assert right >= 0.975
    assert judge.name == f"classifier[digits, 64-d, {100 * right:.1f} % on held-out]"


def test_features_are_those_of_the_network_in_any_batches(judge: FeatureExtractor, parts: Split):
    x = every(parts.held_out)[:50]
    features = judge.features(x)
    assert features.shape == (50, 64)
    assert not features.requires_grad
    torch.testing.assert_close(judge.features(x, batch=7), features)
    assert judge.net is not None
    torch.testing.assert_close(judge.net.head(features), judge.classes(x))


def test_a_fit_is_decided_by_its_seed_and_leaves_the_global_random_state_alone(parts: Split):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = fit_feature_net(parts.train, seed=3, num_steps=4)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(weights(fit_feature_net(parts.train, seed=3, num_steps=4)), weights(first))
    assert not torch.equal(weights(fit_feature_net(parts.train, seed=4, num_steps=4)), weights(first))


def test_a_fit_does_not_look_at_the_held_out_data(parts: Split):
    with_held_out = fit_feature_net(parts.train, held_out=parts.held_out, num_steps=3)
    without = fit_feature_net(parts.train, num_steps=3)
    assert torch.equal(weights(with_held_out), weights(without))
    assert without.accuracy is None
    assert without.name == "classifier[digits, 64-d]"


def test_a_fit_works_where_gradients_are_switched_off(parts: Split):
    with torch.no_grad():
        inside = fit_feature_net(parts.train, num_steps=3)
    assert torch.equal(weights(inside), weights(fit_feature_net(parts.train, num_steps=3)))


def test_without_labels_the_turn_of_an_image_is_learned(parts: Split):
    bare, held_out = unlabelled(parts.train, 600, 1, 8, 8), unlabelled(parts.held_out, 100, 1, 8, 8)
    extractor = fit_feature_net(bare, held_out=held_out)
    assert extractor.accuracy is not None
    assert extractor.accuracy > 0.6
    assert extractor.name == f"rotation[bare, 64-d, {100 * extractor.accuracy:.1f} % on held-out]"
    assert extractor.classes(every(held_out)) is None
    # The features see digits, though nobody named them: another digit is farther than another drawing of the same.
    labels = parts.train.labels(torch.arange(600))
    ones, nines = every(bare)[labels == 1], every(bare)[labels == 9]
    same = frechet_distance(extractor.features(ones[:25]), extractor.features(ones[25:50]))
    assert same < 0.5 * frechet_distance(extractor.features(ones[:25]), extractor.features(nines[:25]))


def test_images_are_shifted_by_at_most_an_eighth_of_each_side_while_a_classifier_learns():
    image = torch.arange(16 * 8).float().reshape(1, 1, 16, 8)
    shifted = _shifted(image.repeat(200, 2, 1, 1), generator(0, "shift"))
    rows = shifted[:, 0, :, 4] // 8 - torch.arange(16)  # how far down each pixel of a column was taken from
    columns = shifted[:, 0, 8] % 8 - torch.arange(8)
    assert torch.equal(shifted[:, 0], shifted[:, 1])
    assert set(rows[:, 4].tolist()) == {-2, -1, 0, 1, 2}
    assert set(columns[:, 4].tolist()) == {-1, 0, 1}
    assert torch.equal(shifted[0, 0, :, 0], shifted[0, 0, :, 0].sort().values)  # the border repeats, nothing wraps


def test_images_that_are_not_square_are_told_apart_by_half_turns():
    wide = tensor_source("wide", torch.randint(0, 256, (20, 3, 8, 16), dtype=torch.uint8))
    extractor = fit_feature_net(wide, held_out=wide, num_steps=2)
    assert extractor.net is not None
    assert extractor.net.head.out_features == 2
    assert extractor.features(every(wide)).shape == (20, 64)


def test_vectors_without_labels_pass_through_a_random_network(parts: Split, tmp_path: Path):
    bare = unlabelled(parts.train, 600, 64)
    extractor = fit_feature_net(bare, held_out=bare)
    assert extractor.name == "random[bare, 64-d]"
    assert extractor.classes(every(bare)) is None
    assert 0.5 < extractor.features(every(bare)).std(0).mean() < 1.0
    save(extractor, tmp_path)
    assert load(tmp_path).name == extractor.name


def test_points_are_their_own_features_and_may_have_classes(tmp_path: Path):
    points, held_out = ring().source(500), ring().source(200, seed=1)
    extractor = fit_feature_net(points, held_out=held_out)
    assert torch.equal(extractor.features(every(held_out)), every(held_out))
    assert extractor.accuracy is not None
    assert extractor.accuracy > 0.99
    assert extractor.name.startswith("coordinates[ring, 2-d")
    bare = fit_feature_net(unlabelled(points, 500, 2))
    assert bare.net is None
    assert bare.name == "coordinates[bare, 2-d]"
    assert bare.classes(every(held_out)) is None
    save(bare, tmp_path)
    assert load(tmp_path).name == bare.name


def test_unfit_data_is_refused(judge: FeatureExtractor, parts: Split):
    with pytest.raises(DataError, match="at least 2"):
        fit_feature_net(unlabelled(parts.train, 1, 1, 8, 8))
    with pytest.raises(DataError, match="Hold out a part of the same data"):
        fit_feature_net(parts.train, held_out=unlabelled(parts.held_out, 5, 1, 8, 8))
    with pytest.raises(DataError, match="NaN or infinity"):
        fit_feature_net(tensor_source("broken", torch.full((9, 1, 8, 8), torch.nan)), num_steps=1)
    with pytest.raises(ValueError, match="num_steps=0"):
        fit_feature_net(parts.train, num_steps=0)
    with pytest.raises(ValueError, match=r"\[2, 3, 8, 8\] were passed to classifier\[digits"):
        judge.features(torch.zeros(2, 3, 8, 8))


# Keeping


def test_a_saved_judge_comes_back_bit_for_bit(judge: FeatureExtractor, parts: Split, tmp_path: Path):
    save(judge, tmp_path / "new" / "folder")
    state = torch.get_rng_state()
    back = load(tmp_path / "new" / "folder")
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(weights(back), weights(judge))
    x = every(parts.held_out)[:20]
    assert torch.equal(back.features(x), judge.features(x))
    assert (back.name, back.shape, back.class_names) == (judge.name, judge.shape, judge.class_names)
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == [
        "extractor.json",
        "extractor.safetensors",
    ]


def test_a_damaged_judge_is_refused(judge: FeatureExtractor, tmp_path: Path):
    with pytest.raises(CheckpointError, match="no feature network can be read"):
        load(tmp_path)
    save(judge, tmp_path)
    path = tmp_path / "extractor.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="does not match its checksum"):
        load(tmp_path)
    save(judge, tmp_path)
    card = json.loads((tmp_path / "extractor.json").read_text())
    (tmp_path / "extractor.json").write_text(json.dumps(card | {"format": 99}))
    with pytest.raises(CheckpointError, match="format 99"):
        load(tmp_path)


# Evaluating


def assess(judge: FeatureExtractor, parts: Split, fake: Tensor) -> Evaluation:
    return evaluate(judge, every(parts.held_out), fake=fake, real_train=every(parts.train))


def test_real_examples_in_place_of_fakes_reach_the_floor(judge: FeatureExtractor, parts: Split):
    found = assess(judge, parts, every(parts.train)[:600])
    assert found.num_samples == 500
    assert found.feature_space == judge.name
    assert found.fake.fid == pytest.approx(found.floor.fid, rel=0.5)
    assert abs(found.floor.kid) < 0.1
    assert min(found.fake.coverage, found.floor.coverage) > 0.9
    assert min(found.fake.precision, found.fake.recall, found.floor.precision, found.floor.recall) > 0.8
    assert found.floor.density == pytest.approx(1.0, abs=0.15)
    assert found.class_shares is not None
    assert found.real_class_shares is not None
    assert list(found.class_shares) == list("0123456789")
    assert sum(found.class_shares.values()) == pytest.approx(1.0)
    assert all(0.05 < share < 0.15 for share in [*found.class_shares.values(), *found.real_class_shares.values()])


def test_blurred_reals_are_worse_than_the_floor(judge: FeatureExtractor, parts: Split):
    found = assess(judge, parts, avg_pool2d(every(parts.train)[:500], 3, stride=1, padding=1))
    assert found.fake.fid > 10 * found.floor.fid
    assert found.fake.kid > found.floor.kid + 5 * found.fake.kid_std
    assert found.fake.coverage < 0.5
    assert found.fake.density < 0.5


def test_more_noise_is_a_larger_distance(judge: FeatureExtractor, parts: Split):
    reals = every(parts.train)[:500]
    noise = torch.randn(reals.shape, generator=generator(0, "noise"))
    distances = [assess(judge, parts, reals + level * noise).fake.fid for level in (0.0, 0.2, 0.5, 1.0)]
    assert distances == sorted(distances)


def test_collapse_to_one_example_shows_in_recall_coverage_and_classes(judge: FeatureExtractor, parts: Split):
    found = assess(judge, parts, every(parts.train)[:1].repeat(500, 1, 1, 1))
    assert found.fake.recall < 0.02
    assert found.fake.coverage < 0.1
    assert found.class_shares is not None
    assert max(found.class_shares.values()) == 1.0
    assert found.real_class_shares is not None
    assert max(found.real_class_shares.values()) < 0.15


def test_a_missing_class_shows_in_the_shares_and_in_recall(judge: FeatureExtractor, parts: Split):
    labels = parts.train.labels(torch.arange(len(parts.train)))
    found = assess(judge, parts, every(parts.train)[labels >= 5])
    assert found.class_shares is not None
    assert sum(found.class_shares[name] for name in "01234") < 0.03
    assert found.fake.recall < found.floor.recall - 0.3
    assert found.fake.precision == pytest.approx(found.floor.precision, abs=0.1)


def test_agreement_is_the_share_classified_as_requested(judge: FeatureExtractor, parts: Split):
    fake, labels = every(parts.train)[:400], parts.train.labels(torch.arange(400))
    wrong = torch.where(torch.arange(400) < 100, (labels + 1) % 10, labels)
    found = evaluate(judge, every(parts.held_out), fake=fake, real_train=every(parts.train), requested=wrong)
    assert found.num_samples == 400
    assert found.agreement == pytest.approx(0.75, abs=0.01)
    assert found.agreement_floor == judge.accuracy


def test_labels_follow_the_fakes_when_only_some_are_drawn(judge: FeatureExtractor, parts: Split):
    fake, labels = every(parts.train), parts.train.labels(torch.arange(len(parts.train)))
    found = evaluate(judge, every(parts.held_out)[:50], fake=fake, real_train=fake, requested=labels)
    assert found.num_samples == 50
    assert found.agreement is not None
    assert found.agreement > 0.95


def test_the_scores_are_those_of_the_metrics_on_sets_of_equal_size(judge: FeatureExtractor, parts: Split):
    held_out, fake = every(parts.held_out), every(parts.train)[:500] * 0.8
    found = assess(judge, parts, fake)
    real_features, fake_features = judge.features(held_out), judge.features(fake)
    assert found.fake.fid == pytest.approx(frechet_distance(real_features, fake_features), rel=1e-4)
    assert (found.fake.density, found.fake.coverage) == pytest.approx(
        density_coverage(real_features, fake_features), abs=0.01
    )


def test_an_evaluation_is_decided_by_its_seed_and_leaves_the_global_random_state_alone(parts: Split):
    extractor = fit_feature_net(ring().source(200), num_steps=5)
    points = ring().sample(400, seed=0)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = evaluate(extractor, points[:50], fake=points[50:150], real_train=points[150:])
    assert torch.equal(torch.get_rng_state(), before)
    assert evaluate(extractor, points[:50], fake=points[50:150], real_train=points[150:]) == first
    assert evaluate(extractor, points[:50], fake=points[50:150], real_train=points[150:], seed=1) != first


def test_points_are_evaluated_in_their_coordinates():
    extractor = fit_feature_net(ring().source(500), num_steps=20)
    held_out, train, points = (ring().sample(300, seed=seed) for seed in (1, 2, 3))
    found = evaluate(extractor, held_out, fake=points + torch.tensor([3.0, 4.0]), real_train=train)
    assert found.feature_space == "coordinates[ring, 2-d]"
    assert found.fake.fid == pytest.approx(25, rel=0.1)
    assert found.floor.fid < 0.05
    assert (found.fake.precision, found.fake.coverage) == (0, 0)


def test_an_evaluation_is_plain_json_and_a_table(judge: FeatureExtractor, parts: Split):
    labels = parts.train.labels(torch.arange(300))
    found = evaluate(
        judge, every(parts.held_out), fake=every(parts.train)[:300], real_train=every(parts.train), requested=labels
    )
    back = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert back["fake"]["fid"] == found.fake.fid
    assert back["feature_space"] == judge.name
    table = {row.name: row for row in rows(found)}
    assert list(table) == ["FID", "KID", "precision", "recall", "density", "coverage", "agreement"]
    assert (table["FID"].value, table["FID"].floor, table["FID"].better) == (found.fake.fid, found.floor.fid, "lower")
    assert table["coverage"].better == "higher"
    assert [row.name for row in rows(assess(judge, parts, every(parts.train)))][-1] == "coverage"


def test_bad_sets_are_refused(judge: FeatureExtractor, parts: Split):
    held_out, train = every(parts.held_out), every(parts.train)
    with pytest.raises(ValueError, match="fake: 9 examples were passed"):
        evaluate(judge, held_out, fake=train[:9], real_train=train)
    broken = train[:20].clone()
    broken[3, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="fake: 1 of 20 examples hold NaN"):
        evaluate(judge, held_out, fake=broken, real_train=train)
    with pytest.raises(ValueError, match=r"requested: class numbers of shape \[3\] were passed for 20 fakes"):
        evaluate(judge, held_out, fake=train[:20], real_train=train, requested=torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="Examples of shape"):
        evaluate(judge, held_out, fake=train[:20, :, :4], real_train=train)
