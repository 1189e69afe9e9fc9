from __future__ import annotations

import pytest

from labelspace.config import Config, apply_overrides, read_yaml, to_yaml, validate
from labelspace.errors import ConfigError


class Run(Config):
    model: str = "none"
    labels: int = 5
    nested: dict[str, int] = {}


def test_overrides_are_yaml_and_go_down_at_dots() -> None:
    data = apply_overrides({"labels": 3, "nested": {"a": 1}}, ["labels=7", "nested.b=2", "model=http://host/v1#name"])
    assert data == {"labels": 7, "nested": {"a": 1, "b": 2}, "model": "http://host/v1#name"}


def test_overrides_leave_the_given_config_alone() -> None:
    given = {"nested": {"a": 1}}
    apply_overrides(given, ["nested.a=2"])
    assert given == {"nested": {"a": 1}}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("labels", "'labels' is not an override; write key=value"),
        ("=3", "'=3' is not an override; write key=value"),
        ("a=[", "'a=[': the value is not valid YAML; quote it"),
        ("labels.a=1", "'labels.a=1': 'labels' holds a value, not a mapping"),
    ],
)
def test_a_bad_override_is_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        apply_overrides({"labels": 3}, [override])
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"modle": "x"}, "my.yaml: unknown key 'modle'; did you mean 'model'?"),
        ({"zzz": 1}, "my.yaml: unknown key 'zzz'; the keys are: model, labels, nested"),
        (
            {"labels": "many"},
            "my.yaml: labels: input should be a valid integer, unable to parse string as an integer, not 'many'",
        ),
    ],
)
def test_a_bad_config_is_refused(data: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(Run, data, origin="my.yaml")
    assert str(caught.value) == message


class Loop(Config):
    rate: float = 0.1
    epochs: int = 1


class Tuned(Config):
    name: str = "x"
    loop: Loop = Loop(rate=5.0, epochs=7)


class Study(Config):
    tuned: Tuned = Tuned(name="y", loop=Loop(rate=9.0))


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        (["tuned.loop.epochs=3"], Study(tuned=Tuned(name="y", loop=Loop(rate=9.0, epochs=3)))),
        (["tuned.name=z"], Study(tuned=Tuned(name="z", loop=Loop(rate=9.0)))),
        (["tuned.loop.rate=2", "tuned.loop.epochs=4"], Study(tuned=Tuned(name="y", loop=Loop(rate=2.0, epochs=4)))),
        ([], Study()),
    ],
)
def test_an_override_within_leaves_the_rest_of_that_fields_default(overrides: list[str], wanted: Study) -> None:
    assert validate(Study, apply_overrides({}, overrides), origin="x") == wanted


def test_the_resolved_config_reads_back(tmp_path) -> None:
    config = validate(Run, {"labels": 9}, origin="x")
    (tmp_path / "c.yaml").write_text(to_yaml(config))
    assert validate(Run, read_yaml(tmp_path / "c.yaml"), origin="x") == config


@pytest.mark.parametrize(
    ("content", "message"), [("- a", "not a list"), ("a: b: c", "not valid YAML"), (None, "no such config")]
)
def test_an_unreadable_config_is_refused(tmp_path, content: str | None, message: str) -> None:
    path = tmp_path / "c.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_yaml(path)
