"""Every shipped config is loaded against its recipe, and every recipe has one."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelspace.cli.run import load_recipe, shipped_configs
from labelspace.errors import ConfigError
from labelspace.finetune.head_settings import shipped_settings

ROOT = Path(__file__).resolve().parents[2]


def test_every_yaml_in_configs_is_found() -> None:
    assert set((ROOT / "configs").rglob("*.y*ml")) == {
        *(ROOT / "configs" / path.name for path in shipped_configs().values()),
        *(ROOT / "configs" / "heads" / path.name for path in shipped_settings().values()),
    }


def test_every_recipe_has_a_config_of_its_name() -> None:
    assert set(shipped_configs()) == {path.stem for path in (ROOT / "recipes").glob("[!_]*.py")}


@pytest.mark.parametrize("name", shipped_configs())
def test_a_shipped_config_fits_its_recipe(name: str) -> None:
    recipe, config = load_recipe(name)
    assert recipe.__name__ == f"labelspace.recipes.{name}"
    assert type(config).model_validate(config.model_dump()) == config
    assert f"labelspace run {name}" in recipe.__doc__


def test_a_users_file_runs_the_pipeline(tmp_path) -> None:
    (tmp_path / "my.yaml").write_text("data: mine.jsonl\n")
    recipe, config = load_recipe(str(tmp_path / "my.yaml"), ("max_labels=7",))
    assert recipe.__name__ == "labelspace.recipes.pipeline"
    assert (config.data, config.max_labels) == ("mine.jsonl", 7)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("recipe: pipelin", "there is no recipe 'pipelin'; there are: "),
        ("dta: x", "unknown key 'dta'; did you mean 'data'?"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, content: str, message: str) -> None:
    (tmp_path / "my.yaml").write_text(content)
    with pytest.raises(ConfigError) as caught:
        load_recipe(str(tmp_path / "my.yaml"))
    assert message in str(caught.value)


def test_an_unknown_config_lists_what_there_is() -> None:
    with pytest.raises(ConfigError, match="there is no config 'nonsense'; give a YAML file, or one of: .*pipeline"):
        load_recipe("nonsense")
