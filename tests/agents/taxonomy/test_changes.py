"""What becomes of labels when their space changes, and of the documents that carry them."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelspace.agents.taxonomy.changes import Change, Changes, Lineage
from labelspace.agents.taxonomy.checks import Draft
from labelspace.agents.taxonomy.migrate import migrate, plan_migration
from labelspace.agents.taxonomy.replies import Judgement
from labelspace.errors import DataError
from labelspace.records import EMPTY_TEXT, Prediction, Record
from labelspace.space import LabelSpace


def space(**labels: str) -> LabelSpace:
    return LabelSpace.from_data({"labels": [{"name": name, "description": text} for name, text in labels.items()]})


def judged(*drafts: Draft, dropped: tuple[tuple[str, str], ...] = ()) -> Judgement:
    return Judgement(drafts, 50.0, "", "", dropped)


OLD = space(cats="c", dogs="d", mice="m", rats="r", fish="f", birds="b")


def test_labels_are_followed_through_several_steps() -> None:
    lineage = Lineage(OLD.leaves)
    lineage.follow(
        judged(
            Draft("cats", "c", ("cats",)),
            Draft("canines", "d", ("dogs",), why="Wolves too.", recheck=True),
            Draft("rodents", "mr", ("mice", "rats"), why="Too few."),
            Draft("fish", "f", ("fish",)),
            Draft("birds", "b2", ("birds",), why="Clearer."),
        )
    )
    lineage.follow(
        judged(
            Draft("cats", "c", ("cats",)),
            Draft("tame dogs", "t", ("canines",), why="At home."),
            Draft("wolves", "w", ("canines",), why="In woods."),
            Draft("rodents", "mr", ("rodents",)),
            Draft("birds", "b2", ("birds",)),
            Draft("bats", "x", (), why="Text 3."),
            dropped=(("fish", "None left."),),
        )
    )
    new = LabelSpace.from_data(
        {
            "labels": [
                {"name": name, "description": text}
                for name, text in [("cats", "c"), ("tame dogs", "t"), ("wolves", "w"), ("rodents", "mr"),
                                   ("birds", "b2"), ("bats", "x")]
            ]
        }
    )  # fmt: skip
    changes = lineage.changes(OLD, new)
    assert {(change.kind, change.before, change.after, change.recheck) for change in changes.changes} == {
        ("split", ("dogs",), ("tame dogs", "wolves"), True),
        ("dropped", ("fish",), (), True),
        ("merged", ("mice", "rats"), ("rodents",), False),
        ("redescribed", ("birds",), ("birds",), False),
        ("added", (), ("bats",), False),
    }
    why = {change.kind: change.why for change in changes.changes}
    assert why == {
        "split": "Wolves too. At home. In woods.",
        "dropped": "None left.",
        "merged": "Too few.",
        "redescribed": "Clearer.",
        "added": "Text 3.",
    }
    assert (changes.old, changes.new) == (OLD.version, new.version)


CHANGES = Changes(
    old="1",
    new="2",
    changes=(
        Change(kind="renamed", before=("cats",), after=("felines",)),
        Change(kind="merged", before=("mice", "rats"), after=("rodents",)),
        Change(kind="split", before=("dogs",), after=("dogs", "wolves"), recheck=True),
        Change(kind="dropped", before=("fish",), recheck=True, why="None."),
        Change(kind="redescribed", before=("birds",), after=("birds",), recheck=True),
        Change(kind="renamed", before=("ants",), after=("insects",), recheck=True),
    ),
)


@pytest.mark.parametrize(
    ("labels", "after", "again"),
    [
        (["cats"], ("felines",), False),
        (["mice", "rats", "cats"], ("rodents", "felines"), False),
        (["dogs"], ("dogs",), True),
        (["fish"], (), True),
        (["fish", "cats"], ("felines",), True),
        (["birds"], ("birds",), True),
        (["ants"], ("insects",), True),
        (["bees"], ("bees",), False),
    ],
)
def test_labels_migrate(labels: list[str], after: tuple[str, ...], again: bool) -> None:
    assert CHANGES.migrate(labels) == (after, again)


def test_they_are_shown_as_a_diff_and_come_back_from_a_file(tmp_path: Path) -> None:
    assert str(CHANGES).splitlines()[:5] == [
        "~ cats -> felines: renamed",
        "~ mice + rats -> rodents: merged",
        "~ dogs -> dogs + wolves: split (asked again)",
        "- fish: dropped (asked again)",
        "    None.",
    ]
    assert str(Changes(old="1", new="1")) == "no difference"
    CHANGES.save(tmp_path / "c.json")
    assert Changes.load(tmp_path / "c.json") == CHANGES
    (tmp_path / "bad.json").write_text('{"old": "1"}')
    with pytest.raises(DataError, match=r"bad\.json: no list of changes: Field required"):
        Changes.load(tmp_path / "bad.json")
    (tmp_path / "bad.json").write_text("nonsense")
    with pytest.raises(DataError, match="no list of changes"):
        Changes.load(tmp_path / "bad.json")
    with pytest.raises(DataError, match="discover DATA --update"):
        Changes.load(tmp_path / "none.json")
    with pytest.raises(DataError, match="can't be written"):
        CHANGES.save(tmp_path / "no" / "c.json")


def test_a_change_by_hand_is_read_from_the_two_spaces() -> None:
    new = space(felines="c", dogs="d2", mice="m", rats="r", fish="f", bats="x")
    found = Changes.between(OLD, new)
    assert {(change.kind, change.before, change.after) for change in found.changes} == {
        ("dropped", ("birds",), ()),
        ("added", (), ("bats",)),
        ("renamed", ("cats",), ("felines",)),
        ("redescribed", ("dogs",), ("dogs",)),
    }
    assert found.adds


class Counting:
    """A classifier that says "wolves", and remembers what it was asked."""

    label_space = space(wolves="w")

    def __init__(self) -> None:
        self.asked: list[str] = []

    def predict(self, texts):
        for record in texts:
            self.asked.append(record.id)
            yield Prediction(record.id, ("wolves",))


def test_only_what_the_change_affects_is_labelled_again() -> None:
    new = space(felines="c", rodents="mr", dogs="d", wolves="w", birds="b2")
    given = {
        "1": Prediction("1", ("cats",), {"cats": 0.7, "mice": 0.1, "rats": 0.2}, 0.7, source={"model": "m"}),
        "2": Prediction("2", ("dogs",)),
        "3": Prediction("3", ("rats",)),
        "4": Prediction("4", (), status="abstained", reason="no label fits"),
        "5": Prediction("5", (), status="abstained", reason=EMPTY_TEXT),
        "6": Prediction("6", (), status="failed", reason="broken"),
        "8": Prediction("8", ("cats",)),
        "9": Prediction("9", ("unheard of",)),
    }
    records = [Record(number, "" if number == "5" else "text") for number in "1234567"] + [Record("9", "t")]
    plan = plan_migration(given.values(), records, CHANGES, new)
    assert [record.id for record in plan.again] == ["2", "4", "6", "7", "9"]
    assert plan.renamed == 2
    classifier = Counting()
    made = list(migrate(plan, records, classifier))
    assert classifier.asked == ["2", "4", "6", "7", "9"]
    assert [one.record_id for one in made] == [record.id for record in records]
    assert [one.label for one in made] == ["felines", "wolves", "rodents", "wolves", None, "wolves", "wolves", "wolves"]
    assert made[0].scores == pytest.approx({"felines": 0.7, "rodents": 0.3})
    assert made[0].source == {"model": "m", "space": new.version, "migrated_from": "1"}
    quiet = Changes(old="1", new="2", changes=(CHANGES.changes[0],))
    assert "4" in plan_migration(given.values(), records, quiet, new).kept
