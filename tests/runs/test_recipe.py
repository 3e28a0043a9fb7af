"""Recipes: strict keys with near misses named, settings by dotted keys, TOML there and back."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from equipoise.core.errors import RecipeError
from equipoise.core.game import Game
from equipoise.core.schedule import Lazy, Schedule
from equipoise.engine.lookahead import Lookahead
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan
from equipoise.games.gan import GAN
from equipoise.objectives import hinge
from equipoise.recipes import SHIPPED, load
from equipoise.runs.parts import Conditional, Dcgan, Digits, Examples, Files, GameSettings, Gan, Mlp, Resnet
from equipoise.runs.recipe import (
    Recipe,
    differences,
    from_dict,
    parse_setting,
    parse_toml,
    read_toml,
    recipe_hash,
    to_toml,
    with_settings,
)


def recipe() -> Recipe:
    """One of each: a part in a part, a table of parts, a schedule, a lazy weight."""
    return Recipe(
        name="tested",
        game=Gan(network=Dcgan(width=24, critic_width=16), z_dim=5, penalties={"r1": Lazy(0.5, 8)}),
        training=Plan(steps=30, batch=16),
        players={
            "D": Optimizer(learning_rate=Schedule(start=1e-3, end=1e-4), betas=(0.5, 0.9)),
            "G": Optimizer(learning_rate=3e-4),
        },
    )


def changed(*texts: str, base: Recipe | None = None) -> Recipe:
    return with_settings(base or recipe(), dict(map(parse_setting, texts)))


def refusal(*texts: str, base: Recipe | None = None) -> str:
    with pytest.raises(RecipeError) as error:
        changed(*texts, base=base)
    assert error.value.exit_code == 2
    return str(error.value)


# There and back


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipes_survive_toml(name: str):
    shipped = SHIPPED[name]()
    assert from_dict(parse_toml(to_toml(shipped), where="here")) == shipped
    assert shipped.name == name


def test_a_recipe_with_everything_survives_toml():
    full = changed(
        "data.kind=files",
        "data.path=/some/where",
        "data.size=32",
        'data.part="train"',
        "game.penalties.r2={start=1, end=0}",
        'game.penalties.gradient-penalty={weight={start=3.0, end=1.0, shape="cosine"}, every=2}',
        "game.clip=0.01",
        "players.G.clip_norm=1",
    )
    assert from_dict(parse_toml(to_toml(full), where="here")) == full
    assert isinstance(full.data, Files)
    assert full.data.path == Path("/some/where")


def test_equal_recipes_have_equal_hashes_and_only_the_mathematics_counts():
    assert recipe_hash(recipe()) == recipe_hash(recipe())
    assert recipe_hash(recipe()) == recipe_hash(changed("training.steps=99", "watching.samples_every=7", "name=other"))
    assert recipe_hash(recipe()) != recipe_hash(changed("training.batch=32"))


# Unknown keys


@pytest.mark.parametrize(
    ("setting", "where", "near"),
    [
        ("trainin.steps=1", "trainin", "training"),
        ("training.step=1", "training.step", "steps"),
        ("game.los=hinge", "game.los", "loss"),
        ("game.network.widht=3", "game.network.widht", "width"),
        ("players.D.learning_rte=1", "players.D.learning_rte", "learning_rate"),
        ("players.D.learning_rate.star=1", "players.D.learning_rate.star", "start"),
        ("game.penalties.r1.evry=2", "game.penalties.r1.evry", "every"),
        ("watching.sample_every=2", "watching.sample_every", "samples_every"),
        ("data.hold_out=2", "data.hold_out", "held_out"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest_one(setting: str, where: str, near: str):
    assert f"{where}: unknown key. Did you mean '{near}'? Valid:" in refusal(setting)


@pytest.mark.parametrize(
    ("text", "where", "near"),
    [
        ("trainin = {}", "trainin", "training"),
        ("[training]\nstep = 1", "training.step", "steps"),
        ('[game]\nkind = "gan"\nlos = 1', "game.los", "loss"),
        ('[game]\nkind = "conditional"\nconditionin = 1', "game.conditionin", "conditioning"),
        ('[game]\nkind = "gan"\nnetwork = {kind = "mlp", num_layer = 1}', "game.network.num_layer", "num_layers"),
        ('[data]\nkind = "files"\npath = "x"\nchanels = 1', "data.chanels", "channels"),
        ("[players.G]\nrul = 1", "players.G.rul", "rule"),
    ],
)
def test_an_unknown_key_in_a_file_is_answered_with_the_nearest_one(text: str, where: str, near: str):
    with pytest.raises(RecipeError) as error:
        from_dict(parse_toml(text, where="here"))
    assert f"{where}: unknown key. Did you mean '{near}'?" in str(error.value)


# Wrong values


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.steps=abc", "training.steps: Input should be a valid integer"),
        ("training.steps=2.5", "training.steps: Input should be a valid integer"),
        ("training=3", "training: "),
        ("game=3", "game: "),
        ("players=3", "players: "),
        ("name=3", "name: Input should be a valid string, not 3"),
        ("name=a/b", "name: "),
        ("game.loss=hing", "game.loss: 'hing' is not valid; expected 'minimax', .* Did you mean 'hinge'"),
        ("game.kind=gna", "'gna' is not known. Did you mean 'gan'"),
        ("data.kind=file", "'file' is not known. Did you mean 'files'"),
        ("game.network.kind=resnt", "game.network.kind: 'resnt' is not valid; expected .* Did you mean 'resnet'"),
        ("training.precision=fp16", "training.precision: 'fp16' is not valid; expected 'auto', 'fp32' or 'bf16'"),
        ("players.D.rule=addam", "players.D.rule: 'addam' is not valid; .* Did you mean 'adam'"),
        ("players.D.learning_rate.shape=cosin", "players.D.learning_rate.shape: .* Did you mean 'cosine'"),
        (
            "game.penalties.r3=1",
            "game.penalties.r3: 'r3' is not valid; expected 'r1', 'r2', 'gradient-penalty'.* Did you mean 'r2'",
        ),
        ("data.kind=files", "data.path: a value is needed"),
    ],
)
def test_a_wrong_value_is_answered_with_what_was_expected(setting: str, message: str):
    with pytest.raises(RecipeError, match=message):
        changed(setting)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.steps=0", "steps is 0: expected a whole number of at least 1"),
        ("training.steps=-5", "steps is -5: expected a whole number of at least 1"),
        ("training.save_every=0", "save_every is 0"),
        ("training.accumulate=3", "batch = 16 cannot be split into 3 equal micro-batches"),
        ("game.z_dim=0", "game.z_dim: Input should be greater than or equal to 1, not 0"),
        ("game.network.width=-1", "game.network.width: Input should be greater than or equal to 1, not -1"),
        ("game.critic_steps=0", "game.critic_steps: "),
        ("game.clip=0", "game.clip: Input should be greater than 0"),
        ("data.held_out=0", "data.held_out: "),
        ("watching.samples_every=0", "watching.samples_every: "),
        ("game.penalties.r1=-1", "game.penalties.r1: the weight is -1.0: expected a finite number of at least 0"),
        ("game.penalties.r1=inf", "game.penalties.r1: Input should be a finite number"),
        ("game.penalties.r1=nan", "game.penalties.r1: Input should be a finite number"),
        ("game.penalties.r1={start=-1, end=0}", "game.penalties.r1: the weight is "),
        ("game.penalties.r1.every=0", "game.penalties.r1: Lazy.every=0"),
        ("players.D.learning_rate=-1e-3", "players.D: learning_rate is -0.001"),
        ("players.D.learning_rate.end=-1e-3", "players.D: learning_rate is -0.001"),
        ("players.G.betas=[0.5, 1.0]", "players.G: betas are"),
        ("players.G.weight_decay=-1", "players.G: weight_decay is -1"),
        ("players.G.clip_norm=0", "players.G: clip_norm is 0"),
    ],
)
def test_numbers_out_of_range_are_refused(setting: str, message: str):
    with pytest.raises(RecipeError, match=message):
        changed(setting)


def test_of_a_number_that_may_be_a_table_only_the_form_that_was_meant_is_spoken_of():
    assert refusal("game.penalties.r1=much") == ("game.penalties.r1: Input should be a valid number, not 'much'.")
    assert (
        refusal("game.penalties.r1={weight=1.0}") == "game.penalties.r1.every: a value is needed, and none was given."
    )
    assert refusal("players.G.learning_rate={start=1}") == (
        "players.G.learning_rate.end: a value is needed, and none was given."
    )


def test_a_form_that_the_number_cannot_have_is_answered_with_those_that_it_can():
    message = refusal("players.G.learning_rate={weight=1.0, every=2}")
    assert "players.G.learning_rate.start: a value is needed" in message
    assert "players.G.learning_rate.weight: unknown key" in message


def test_errors_quote_no_more_than_a_person_reads():
    assert len(refusal(f"training.steps={'x' * 100_000}")) < 300
    assert len(refusal(f"training.steps={[0] * 10_000}")) < 300
    assert len(refusal(f"game.loss={'[' * 50}{']' * 50}")) < 400


# Settings


def test_a_setting_is_toml_or_else_a_plain_string():
    assert parse_setting("a=1") == ("a", 1)
    assert parse_setting("a = 1e-3") == ("a", 1e-3)
    assert parse_setting("a=true") == ("a", True)
    assert parse_setting("a='1'") == ("a", "1")
    assert parse_setting("a=[1, 2]") == ("a", [1, 2])
    assert parse_setting("a={b=1}") == ("a", {"b": 1})
    assert parse_setting("a=hinge") == ("a", "hinge")
    assert parse_setting("a=b=c") == ("a", "b=c")
    assert parse_setting("a=/data/my images") == ("a", "/data/my images")
    assert parse_setting("a=") == ("a", "")
    assert parse_setting(f"a={'9' * 5000}") == ("a", "9" * 5000)


@pytest.mark.parametrize("text", ["a", "=1", " =1", "", "a.=1", ".a=1", "a..b=1"])
def test_a_setting_without_a_whole_key_is_refused(text: str):
    with pytest.raises(RecipeError, match=r"expected key=value, for example --set training\.steps=2000"):
        parse_setting(text)


def test_settings_change_what_they_name_and_nothing_else():
    new = changed(
        "training.steps=7", "game.network.width=8", "players.G.learning_rate=0.1", "watching.tensorboard=false"
    )
    assert sorted(differences(new, recipe())) == [
        "game.network.width: 24 -> 8",
        "players.G.learning_rate: 0.0003 -> 0.1",
    ]
    assert new.training.steps == 7
    assert not new.watching.tensorboard
    assert new.players["D"] == recipe().players["D"]


def test_another_kind_of_network_starts_from_its_own_defaults():
    game = changed("game.network.width=8", "game.network.kind=resnet").game
    assert isinstance(game, Gan)
    assert game.network == Resnet(width=8)
    assert game.z_dim == 5


def test_another_kind_of_game_starts_from_its_own_defaults():
    assert changed("game.kind=conditional").game == Conditional()
    assert changed("game.conditioning=auxiliary", "game.kind=conditional", "game.network.kind=mlp").game == Conditional(
        conditioning="auxiliary", network=Mlp()
    )


def test_what_a_kind_needs_may_stand_beside_it_in_any_order():
    expected = Files(path=Path("x"), size=16)
    assert changed("data.kind=files", "data.path=x", "data.size=16").data == expected
    assert changed("data.size=16", "data.path=x", "data.kind=files").data == expected


def test_penalties_are_set_changed_and_removed():
    def penalties(*texts: str) -> dict:
        game = changed(*texts).game
        assert isinstance(game, Gan)
        return game.penalties

    assert penalties("game.penalties.r1=1.0") == {"r1": 1.0}
    assert penalties("game.penalties.r2=1.0") == {"r1": Lazy(0.5, 8), "r2": 1.0}
    assert penalties("game.penalties={}") == {}
    assert penalties("game.penalties={}", "game.penalties.r2=2") == {"r2": 2.0}
    assert penalties("game.penalties={gradient-penalty=10}") == {"gradient-penalty": 10.0}
    assert penalties("game.penalties.r1.every=4") == {"r1": Lazy(0.5, 4)}
    assert penalties("game.penalties.r1={start=1.0, end=0.0}") == {"r1": Schedule(start=1.0, end=0.0)}


def test_schedules_come_from_tables():
    new = changed(
        "players.G.learning_rate={start=1e-3, end=0, shape='cosine', warmup=0.1}", "players.D.learning_rate.end=0"
    )
    assert new.players["G"].learning_rate == Schedule(start=1e-3, end=0.0, shape="cosine", warmup=0.1)
    assert new.players["D"].learning_rate == Schedule(start=1e-3, end=0.0)


def test_a_batch_is_a_number_or_a_schedule():
    new = changed("training.batch={start=16, end=64}", "training.lookahead={every=3}", "players.D.rule='extra-adam'")
    assert new.training.batch == Schedule(start=16, end=64)
    assert (new.training.lookahead, new.players["D"].rule) == (Lookahead(every=3), "extra-adam")
    assert from_dict(parse_toml(to_toml(new), where="here")) == new
    for value, message in (
        ("x", "training.batch: Input should be a valid integer, unable to parse string as an integer, not 'x'."),
        ({"start": 1}, "training.batch.end: a value is needed, and none was given."),
    ):
        with pytest.raises(RecipeError) as caught:
            with_settings(recipe(), {"training.batch": value})
        assert str(caught.value) == message


def test_a_table_changes_only_the_keys_that_it_names_at_every_level():
    new = with_settings(
        recipe(),
        {
            "game": {"network": {"width": 8}, "z_dim": 3},
            "players": {"D": {"learning_rate": 1e-5}},
            "training": {"batch": 32},
        },
    )
    assert new.game == Gan(network=Dcgan(width=8, critic_width=16), z_dim=3, penalties={"r1": Lazy(0.5, 8)})
    assert new.players["D"] == Optimizer(learning_rate=1e-5, betas=(0.5, 0.9))
    assert new.players["G"] == recipe().players["G"]
    assert new.training == Plan(steps=30, batch=32)


def test_a_table_with_a_kind_starts_anew():
    new = with_settings(recipe(), {"game": {"kind": "gan", "loss": "hinge"}})
    assert new.game == Gan(loss="hinge")


# Differences


def test_differences_list_the_changed_keys_from_theirs_to_mine():
    mine = changed("training.batch=32", "game.loss=hinge", "game.penalties.r1=1.0")
    assert differences(mine, recipe()) == [
        "game.loss: 'non-saturating' -> 'hinge'",
        "game.penalties.r1.weight: 0.5 -> '(absent)'",
        "game.penalties.r1.every: 8 -> '(absent)'",
        "training.batch: 16 -> 32",
        "game.penalties.r1: '(absent)' -> 1.0",
    ]
    assert differences(recipe(), recipe()) == []


@pytest.mark.parametrize(
    "setting",
    ["name=x", "watching.num_samples=4", "judging.at_end=false", "training.steps=9", "training.precision=fp32"],
)
def test_what_may_change_at_a_resume_is_no_difference(setting: str):
    assert differences(changed(setting), recipe()) == []


# Files


def test_a_file_may_start_from_a_shipped_recipe(tmp_path: Path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'base = "conditional-digits"\nname = "mine"\n[training]\nbatch = 8\n[game]\nconditioning = "auxiliary"\n'
    )
    mine, origin = load(file)
    base, _ = load("conditional-digits")
    assert origin == str(file)
    assert mine.name == "mine"
    changes = [line.partition(":")[0] for line in differences(mine, base)]
    assert changes == ["game.conditioning", "training.batch"]
    assert load(file, settings={"training.batch": 9})[0].training.batch == 9


def test_data_replaces_the_data_of_a_recipe_and_keeps_how_files_are_read(tmp_path: Path):
    file = tmp_path / "mine.toml"
    file.write_text('[data]\nkind = "files"\npath = "elsewhere"\nsize = 16\nheld_out = 7\n')
    assert load(file, data="here")[0].data == Files(path=Path.cwd() / "here", size=16, held_out=7)
    assert load(data=tmp_path)[0].name == "images"
    assert load("sngan", data=tmp_path)[0].data == Files(path=tmp_path)
    assert isinstance(load("images")[0].data, Digits)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a = 1\na = 2\n", "is not valid TOML"),
        (b"[training\nsteps = 3", "is not valid TOML"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe\x00", "is not UTF-8"),
        (b"\x00\x01", "is not valid TOML"),
        (b"a = " + b"[" * 100_000, "is not valid TOML"),
        (b"a = " + b"9" * 9_999, "is not valid TOML"),
        (b"# " + b"x" * 1_000_000, "larger than 1 MB"),
        (b"base = 3", "no recipe '3'"),
        (b'base = "digts"', "Did you mean 'digits'"),
        (b".".join([b"a"] * 10_000) + b" = 1", "a: unknown key"),
        (b"training.steps." + b".".join([b"a"] * 10_000) + b" = 1", "training.steps: Input should be a valid integer"),
    ],
)
def test_files_that_are_no_recipe_are_refused(tmp_path: Path, content: bytes, message: str):
    file = tmp_path / "bad.toml"
    file.write_bytes(content)
    with pytest.raises(RecipeError, match=message) as error:
        load(file)
    assert len(str(error.value)) < 1000


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path):
    with pytest.raises(RecipeError, match=r"no recipe file .*gone\.toml"):
        load(tmp_path / "gone.toml")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_toml(tmp_path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60))
def test_any_text_is_a_setting_or_a_recipe_error(text: str):
    with suppress(RecipeError):
        assert parse_setting(text)[0]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60) | st.from_regex(r"[a-c.=\[\]{}\"'0-9\n#_+-]{0,30}", fullmatch=True))
def test_any_text_is_a_table_or_a_recipe_error(text: str):
    with suppress(RecipeError):
        assert isinstance(parse_toml(text, where="here"), dict)


KEYS = st.sampled_from(
    [
        "training",
        "training.steps",
        "game",
        "game.kind",
        "game.loss",
        "game.network",
        "game.network.kind",
        "game.penalties",
        "game.penalties.r1",
        "game.penalties.r1.every",
        "players",
        "players.D",
        "players.D.learning_rate",
        "data",
        "data.kind",
        "data.path",
        "watching.samples_every",
        "name",
        "players.D.learning_rate.start",
        "x",
        "game.x.y",
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["gan", "mlp", "files"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["kind", "weight", "every", "start", "r1", "D", "width"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(KEYS, VALUES, max_size=3))
def test_any_settings_give_a_recipe_that_survives_toml_or_a_recipe_error(values: dict):
    try:
        new = with_settings(recipe(), values)
    except RecipeError as error:
        assert str(error)  # noqa: PT017 - either outcome is right
    else:
        assert from_dict(parse_toml(to_toml(new), where="here")) == new


# Games of others


class Mine(GameSettings):
    kind: str = "mine"
    width: int = 8
    loss_weight: float | Schedule = 1.0

    def build(self, examples: Examples) -> Game:
        return GAN(nn.Linear(2, 2), nn.Linear(2, 1), z_dim=2, loss=hinge)


def test_a_game_of_ones_own_survives_settings_and_toml():
    mine = changed("game.width=4", "game.loss_weight={start=1, end=0}", "training.steps=3", base=Recipe(game=Mine()))
    assert mine.game == Mine(width=4, loss_weight=Schedule(start=1.0, end=0.0))
    table = parse_toml(to_toml(mine), where="here")
    assert from_dict(table, like=Recipe(game=Mine())) == mine
    with pytest.raises(
        RecipeError, match=r"'mine' is not known\. Valid: aae, adain, cogan, conditional, .*gan, .*srgan"
    ):
        from_dict(table)
    assert "game.widht: unknown key. Did you mean 'width'?" in refusal("game.widht=4", base=Recipe(game=Mine()))
    assert changed("game.kind=gan", base=Recipe(game=Mine())).game == Gan()


def test_a_game_of_ones_own_does_not_stand_in_the_way_of_shipped_data():
    table = parse_toml(to_toml(Recipe(game=Mine())), where="here")
    del table["data"]
    assert from_dict(table, like=Recipe(game=Mine())).data == Digits()


def test_a_recipe_cannot_be_changed_after_validation():
    with pytest.raises(ValueError, match="frozen"):
        recipe().name = "other"  # pyright: ignore


@pytest.mark.parametrize(
    "setting",
    ["training.threads=0", "training.threads=-2", "training.ema_half_life=nan", "players.D.learning_rate=inf"],
)
def test_numbers_that_make_no_sense_are_refused(setting):
    with pytest.raises(RecipeError, match=setting.split("=")[0].rpartition(".")[2]):
        with_settings(Recipe(), dict([parse_setting(setting)]))


def test_a_data_path_does_not_depend_on_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = with_settings(Recipe(), {"data.kind": "files", "data.path": "pictures"})
    assert recipe.data.path == tmp_path / "pictures"


def test_what_is_switched_off_is_absent():
    assert with_settings(Recipe(), {"game.penalties.r1": None}).game.penalties == {}
    assert with_settings(Recipe(), {"game.penalties": {"r1": False, "r2": 1.0}}).game.penalties == {"r2": 1.0}
    assert not with_settings(Recipe(), {"training.lookahead": False}).training.lookahead


def test_a_table_that_is_not_toml_is_refused_with_an_example():
    with pytest.raises(RecipeError, match="strings in quotes"):
        parse_setting("players.D.learning_rate={start=1e-3,end=0,shape=cosine}")
