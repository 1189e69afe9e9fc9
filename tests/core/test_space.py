from __future__ import annotations

import pytest

from labelspace import Label, LabelSpace
from labelspace.errors import SpaceError


@pytest.fixture
def tree() -> LabelSpace:
    return LabelSpace(
        name="shop",
        labels=(
            Label(name="Money"),
            Label(name="Refund", parent="Money", description="Wants money back."),
            Label(name="Invoice", parent="Money", description="Asks about a bill."),
            Label(name="Device"),
            Label(name="Broken", parent="Device", description="It does not work."),
            Label(name="Praise"),
        ),
    )


def test_lookups_in_a_tree(tree: LabelSpace) -> None:
    assert tree.leaves == ("Refund", "Invoice", "Broken", "Praise")
    assert tree.roots == ("Money", "Device", "Praise")
    assert tree.children("Money") == ("Refund", "Invoice")
    assert tree.ancestors("Refund") == ("Money",)
    assert tree.path("Broken") == ("Device", "Broken")
    assert not tree.is_flat
    assert "Refund" in tree and "refund" not in tree and len(tree) == 6


@pytest.mark.parametrize(
    ("one", "two", "edges"),
    [
        ("Refund", "Refund", 0),
        ("Refund", "Money", 1),
        ("Refund", "Invoice", 2),
        ("Refund", "Broken", 4),
        ("Praise", "Refund", 3),
    ],
)
def test_distance_counts_edges_through_the_common_root(tree: LabelSpace, one: str, two: str, edges: int) -> None:
    assert tree.distance(one, two) == tree.distance(two, one) == edges


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_a_saved_space_reads_back_equal(tree: LabelSpace, tmp_path, suffix: str) -> None:
    path = tmp_path / "made" / f"space{suffix}"
    tree.save(path)
    assert LabelSpace.load(path) == tree
    assert LabelSpace.load(path).version == tree.version


def test_the_version_follows_content_and_order() -> None:
    space = LabelSpace.of(["a", "b"])
    assert space.version == LabelSpace.of(["a", "b"]).version
    assert space.version != LabelSpace.of(["b", "a"]).version
    assert space.version != LabelSpace.of(["a", "b"], multi_label=True).version


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("labels: [a, a]", "two labels are named 'a'; names must be unique"),
        ("labels: []", "a label space needs at least one label"),
        ("labels: [{name: a, parent: b}]", "label 'a' has the parent 'b', which is not a label of this space"),
        ("labels: [{name: a, parent: b}, {name: b, parent: a}]", "is its own ancestor"),
        ("labels: [{name: ' a'}]", "labels.0: a label's name must have text and no surrounding blanks, not ' a'"),
        ("labels: [{name: a, colour: red}]", "labels.0.colour: Extra inputs are not permitted"),
        ("{other: a, labels: [a]}", "the 'other' bucket 'a' is also a label; leave it out of the labels"),
        ("[a, b]", "a label space is a mapping with a list under 'labels'"),
        ("labels: [1]", "labels.0: Input should be a valid dictionary or instance of Label"),
        ("labels: [a: b: c]", "not valid YAML"),
    ],
)
def test_a_malformed_space_is_refused_with_one_line(tmp_path, yaml: str, message: str) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(yaml)
    with pytest.raises(SpaceError) as caught:
        LabelSpace.load(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_says_how_to_make_one(tmp_path) -> None:
    with pytest.raises(SpaceError, match="no such label space; make one with `labelspace discover"):
        LabelSpace.load(tmp_path / "none.yaml")


def test_an_unknown_label_names_the_nearest(tree: LabelSpace) -> None:
    with pytest.raises(SpaceError, match="the label 'refunds' is not in the space 'shop'; did you mean 'Refund'"):
        tree["refunds"]


def test_diff_tells_added_removed_renamed_redescribed_and_moved(tree: LabelSpace) -> None:
    new = LabelSpace(
        name="shop",
        labels=(
            Label(name="Money"),
            Label(name="Money back", parent="Money", description="Wants money back."),
            Label(name="Invoice", parent="Money", description="Asks about a bill or a tax form."),
            Label(name="Device"),
            Label(name="Broken", description="It does not work."),
            Label(name="Thanks"),
        ),
    )
    diff = tree.diff(new)
    assert diff.renamed == {"Refund": "Money back"}
    assert diff.added == ("Thanks",)
    assert diff.removed == ("Praise",)
    assert diff.redescribed == ("Invoice",)
    assert diff.moved == ("Broken",)
    assert diff.migrate(["Refund", "Broken"]) == (("Money back", "Broken"), False)
    assert diff.migrate(["Praise"]) == ((), True)
    assert str(diff).splitlines() == [
        "+ Thanks",
        "- Praise",
        "~ Refund -> Money back",
        "~ Invoice: new description",
        "~ Broken: new parent",
    ]
    assert not tree.diff(tree)


def test_a_known_renaming_wins_over_the_guess(tree: LabelSpace) -> None:
    new = LabelSpace.of(["Money", "Repay", "Invoice", "Device", "Broken", "Praise"])
    assert tree.diff(new, renamed={"Refund": "Repay"}).renamed == {"Refund": "Repay"}
    assert tree.diff(new).renamed == {}
