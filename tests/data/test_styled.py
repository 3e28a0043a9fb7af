"""Contents and styles: which squares are drawn, what is never trained on, and what is refused by name."""

import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from equipoise.core.errors import DataError
from equipoise.core.seeding import generator
from equipoise.data.digits import digits
from equipoise.data.loader import Loader
from equipoise.data.source import split
from equipoise.data.styled import Place, styled, styled_behind


def write(path, width=24, height=20, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    for number in range(5):
        write(tmp_path / "all" / "content" / f"c{number}.png", seed=number)
    for number in range(4):
        write(tmp_path / "all" / "style" / f"s{number}.png", 30, 26, seed=10 + number)
    return tmp_path / "all"


def opened(folder, **how):
    return styled(Place(folder), Place(folder), **{"crop": 16, **how})


def zipped(folder):
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


def test_the_parts_of_a_folder_and_of_a_zip_are_found_alike(folder):
    source = opened(folder)
    assert len(source) == 5
    assert [name.split("/")[-1] for name in source.style_names] == ["s0", "s1", "s2", "s3"]
    packed = opened(zipped(folder))
    assert packed.fingerprint == source.fingerprint
    one = styled(Place(folder), Place(zipped(folder), "style/s2.png"), crop=16)
    assert len(one.styles) == 1
    assert torch.equal(one.styles[0], source.styles[2])
    alone = styled(Place(folder, "content"), Place(folder / "style" / "s2.png"), crop=16)
    assert torch.equal(alone.styles[0], source.styles[2])


def test_batches_are_a_function_of_the_position(folder):
    source = opened(folder)
    loader = Loader(source, labels=False, seed=0)
    first, again = loader(7, 4), Loader(source, labels=False, seed=0)(7, 4)
    assert first.content.shape == first.style.shape == (4, 3, 16, 16)
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not torch.equal(first.content, loader(11, 4).content)
    assert first.content.min() >= -1
    assert first.content.max() <= 1


def test_style_and_content_are_drawn_on_their_own(folder):
    source = opened(folder, mirror=False)
    seen = set()
    for position in range(60):
        batch = source.batch(torch.tensor([position % 2]), draw=generator(0, "batch", position))
        seen.add((position % 2, which(batch.style[0], source.styles)))
    assert seen == {(content, style) for content in (0, 1) for style in range(4)}


def which(square, pictures):
    """The number of the picture of which a square was cut."""
    pixels = ((square + 1) * 127.5).round().to(torch.uint8)
    for number, x in enumerate(pictures):
        windows = x.unfold(1, 16, 1).unfold(2, 16, 1)  # [3, h, w, 16, 16]
        if (windows == pixels[:, None, None]).all(-1).all(-1).all(0).any():
            return number
    raise AssertionError("a square of no picture")


def test_unseen_styles_are_never_drawn_and_are_what_is_looked_at(folder):
    source = opened(folder, unseen=("s1", "s3.png"))
    assert [name.split("/")[-1] for name in source.unseen_names] == ["s1", "s3"]
    for position in range(40):
        which(source.batch(torch.tensor([0]), draw=generator(position)).style[0], source.styles)
    shown = source.batch(torch.tensor([0, 1, 2])).style
    assert [which(square, source.unseen) for square in shown] == [0, 1, 0]
    drawn = opened(folder, unseen=1, draw=1)
    assert len(drawn.unseen) == 1
    assert opened(folder, unseen=1, draw=1).unseen_names == drawn.unseen_names
    assert len({opened(folder, unseen=1, draw=n).unseen_names for n in range(12)}) > 1
    assert drawn.fingerprint != opened(folder).fingerprint


def test_the_part_set_aside_is_the_right_one_and_never_drawn(folder):
    source = opened(folder, aside=0.4)
    assert [x.shape[2] for x in (source.styles[0], source.aside[0])] == [18, 12]
    whole = opened(folder).styles[0]
    assert torch.equal(torch.cat([source.styles[0], source.aside[0]], dim=2), whole)
    for position in range(20):
        which(source.batch(torch.tensor([0]), draw=generator(position)).style[0], source.styles)


def test_pictures_are_shrunk_to_a_shorter_side_and_never_enlarged(folder):
    source = styled(Place(folder, "content", 18), Place(folder, "style", 400), crop=16)
    assert source.contents[0].shape == (3, 18, 22)
    assert source.styles[0].shape == (3, 26, 30)


def test_small_contents_are_mirrored_where_that_is_asked_for_and_styles_never(folder):
    write(folder / "content" / "tiny.png", 10, 40)
    with pytest.raises(DataError, match=r"tiny has 10 × 40 pixels, and squares are cut of 16 × 16.*data\.small"):
        opened(folder)
    assert opened(folder, small="mirror").contents[-1].shape == (3, 40, 16)
    write(folder / "style" / "s9.png", 40, 12)
    with pytest.raises(DataError, match="s9 has 40 × 12 pixels"):
        opened(folder, small="mirror")


def test_a_style_without_room_beside_what_is_set_aside_is_refused(folder):
    with pytest.raises(DataError, match=r"s0 has 15 × 26 pixels, and with data\.aside = 0\.5 its left part"):
        opened(folder, aside=0.5)


def test_what_cannot_be_read_is_named(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty is empty: no files"):
        styled(Place(folder), Place(tmp_path / "empty"), crop=16)
    with pytest.raises(DataError, match="nowhere does not exist"):
        styled(Place(folder), Place(tmp_path / "nowhere"), crop=16)
    broken = tmp_path / "broken.png"
    broken.write_bytes((folder / "style" / "s0.png").read_bytes()[:70])
    with pytest.raises(DataError, match=r"broken\.png cannot be read: .+"):
        styled(Place(folder), Place(broken), crop=16)
    with pytest.raises(DataError, match=r"has no picture 'style/s7\.png'\. Did you mean 'style/s\d\.png'"):
        styled(Place(folder), Place(folder, "style/s7.png"), crop=16)
    for number in range(2):
        (folder / "content" / f"bad{number}.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"2 of 7 pictures cannot be read.*bad0\.png"):
        opened(folder)


def test_impossible_choices_of_unseen_styles_are_refused(folder):
    with pytest.raises(DataError, match=r"data\.unseen = 4 of 4 styles"):
        opened(folder, unseen=4)
    with pytest.raises(DataError, match=r"no style 's8' \(data\.unseen\)\. Did you mean 's\d'"):
        opened(folder, unseen=("s8",))
    with pytest.raises(DataError, match="all 4 styles are unseen"):
        opened(folder, unseen=("s0", "s1", "s2", "s3"))


def test_held_out_contents_are_those_of_the_split(folder):
    parts = split(opened(folder), 2, seed=0)
    source, indices = styled_behind(parts.held_out)
    assert len(indices) == 2
    expected = source.batch(torch.tensor(indices)).content
    assert torch.equal(parts.held_out.batch(torch.arange(2)).content, expected)
    assert torch.equal(parts.held_out.examples(torch.arange(2)), expected)
    with pytest.raises(DataError, match=r'data\.kind = "styled"'):
        styled_behind(digits())
