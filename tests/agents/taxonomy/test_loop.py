"""The loop of TnT-LLM with a scripted model: every step, every retry, and replay from the journal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labelspace.agents.discover import discover
from labelspace.agents.taxonomy.batches import batches_by_size, even_batches, is_long
from labelspace.agents.taxonomy.loop import TaxonomySettings, make_taxonomy
from labelspace.errors import ConfigError, DataError, ModelError
from labelspace.llm import Request, ScriptedLLM
from labelspace.llm.request import CallFailed
from labelspace.space import LabelSpace

TEXTS = [f"text {n} about {'cats' if n % 2 else 'dogs'}" for n in range(10)]


def named(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "description": f"All about {name.lower()}.", **more}


def taxonomy(*labels: dict[str, Any]) -> str:
    return json.dumps({"labels": labels})


def judgement(*labels: dict[str, Any], score: Any = 70) -> str:
    return json.dumps({"score": score, "explanation": "So-so.", "suggestions": "Few.", "labels": labels})


def step_of(request: Request) -> str:
    system = request.messages[0]["content"]
    starts = {
        "You prepare documents": "summarize",
        "You design taxonomies": "generate",
        "You improve taxonomies": "update",
        "You are the last": "review",
        "You arrange the labels": "group",
        "You compare taxonomies": "choose",
    }
    return next(step for start, step in starts.items() if system.startswith(start))


class Script:
    """Answers each step from a list of its own; the last answer stays."""

    def __init__(self, **replies: list[str] | str) -> None:
        self.replies = {name: [text] if isinstance(text, str) else list(text) for name, text in replies.items()}
        self.model = ScriptedLLM(self.answer)

    def answer(self, request: Request) -> str:
        left = self.replies[step_of(request)]
        return left.pop(0) if len(left) > 1 else left[0]

    @property
    def asked(self) -> list[str]:
        return [step_of(request) for request in self.model.requests]


CATS, DOGS = named("Cats", documents=[1]), named("Dogs", documents=[2, 99])
REVIEWED = judgement(named("Cats"), named("Dogs"), score=90)


def settings(**more: Any) -> TaxonomySettings:
    return TaxonomySettings(**more)


def shuffled(request: Request) -> list[str]:
    lines = request.messages[-1]["content"].split("<documents ")[1].split("\n")[1:]
    return [line.split(": ", 1)[1] for line in lines[: lines.index(next(x for x in lines if x.startswith("</")))]]


def test_one_batch_is_generated_and_reviewed() -> None:
    script = Script(generate=taxonomy(CATS, DOGS), review=REVIEWED)
    made = make_taxonomy(TEXTS, model=script.model)
    assert script.asked == ["generate", "review"]
    order = shuffled(script.model.requests[0])
    assert sorted(order) == sorted(TEXTS)
    assert order != TEXTS
    assert made.space.to_data() == {
        "name": "discovered",
        "multi_label": False,
        "other": "Other",
        "labels": [
            {"name": "Cats", "description": "All about cats.", "examples": [order[0]]},
            {"name": "Dogs", "description": "All about dogs.", "examples": [order[1]]},
        ],
    }
    assert [(step.what, step.documents, step.score) for step in made.steps] == [
        ("generate", 10, None),
        ("review", 0, 90),
    ]
    assert made.steps[1].explanation == "So-so."
    assert made.stats["calls"] == 2


def test_the_papers_temperatures_and_what_is_asked() -> None:
    script = Script(generate=taxonomy(CATS, DOGS), update=REVIEWED, review=REVIEWED)
    use = settings(use_case="Find pets.", max_labels=7, batch_size=5, seed=3)
    make_taxonomy(TEXTS, use, model=script.model)
    assert script.asked == ["generate", "update", "review"]
    assert [(request.temperature, request.top_p, request.seed) for request in script.model.requests] == [
        (0.5, 0.5, 3),
        (0.2, 0.5, 3),
        (0.0, 0.5, 3),
    ]
    for request in script.model.requests:
        assert "Find pets." in request.messages[0]["content"]
        assert "at most 7 labels" in request.messages[1]["content"]
        assert request.schema is not None
    assert '{"name": "Cats", "description": "All about cats."}' in script.model.requests[1].messages[1]["content"]
    parts = shuffled(script.model.requests[0]) + shuffled(script.model.requests[1])
    assert sorted(parts) == sorted(TEXTS)


def test_examples_follow_a_label_through_renames_and_merges() -> None:
    script = Script(
        generate=taxonomy(CATS, DOGS, named("Mice", documents=[3])),
        update=judgement(
            named("Felines", **{"from": ["Cats"]}, documents=[1]),
            named("Rest", **{"from": ["dogs", "Mice"]}),
            named("New"),
        ),
        review=judgement(named("Felines"), named("The rest", **{"from": "Rest"}), named("New")),
    )
    made = make_taxonomy(TEXTS, settings(batch_size=5), model=script.model)
    first, second = (shuffled(request) for request in script.model.requests[:2])
    assert {label.name: label.examples for label in made.space.labels} == {
        "Felines": (first[0], second[0]),
        "The rest": (first[1], first[2]),
        "New": (),
    }


def test_two_levels() -> None:
    names = ["Cats", "Dogs", "Oaks", "Elms"]
    script = Script(
        generate=taxonomy(*map(named, names)),
        review=judgement(*map(named, names)),
        group=json.dumps({"groups": [named("Trees", labels=["elms", "Oaks"]), named("Pets", labels=["Dogs", "Cats"])]}),
    )
    made = make_taxonomy(TEXTS, settings(levels=2), model=script.model)
    assert [(label.name, label.parent) for label in made.space.labels] == [
        ("Trees", None),
        ("Elms", "Trees"),
        ("Oaks", "Trees"),
        ("Pets", None),
        ("Dogs", "Pets"),
        ("Cats", "Pets"),
    ]
    assert made.space.leaves == ("Elms", "Oaks", "Dogs", "Cats")
    assert made.steps[-1].what == "group"


def test_groups_that_never_come_leave_one_level(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["Cats", "Dogs", "Oaks", "Elms"]
    script = Script(generate=taxonomy(*map(named, names)), review=judgement(*map(named, names)), group="no")
    made = make_taxonomy(TEXTS, settings(levels=2, retries=1), model=script.model)
    assert made.space.is_flat
    assert script.asked.count("group") == 2
    assert "could not be grouped" in capsys.readouterr().err
    script = Script(generate=taxonomy(CATS, DOGS), review=REVIEWED)
    assert make_taxonomy(TEXTS, settings(levels=2), model=script.model).space.is_flat
    assert "2 labels are too few for two levels" in capsys.readouterr().err


def test_a_bad_reply_is_shown_and_asked_again_warmer() -> None:
    script = Script(generate=["Sure!", taxonomy(), taxonomy(CATS, DOGS)], review=REVIEWED)
    make_taxonomy(TEXTS, model=script.model)
    first, second, third, _ = script.model.requests
    assert [request.temperature for request in (first, second, third)] == [0.5, 0.6, 0.7]
    assert second.messages[:-2] == third.messages[:-2] == first.messages
    assert second.messages[-2]["content"] == "Sure!"
    assert "there is no JSON object in it" in second.messages[-1]["content"]
    assert third.messages[-2]["content"] == '{"labels": []}'
    assert "there is no label" in third.messages[-1]["content"]


def test_an_empty_reply_is_asked_again_as_it_was() -> None:
    script = Script(generate=["  ", taxonomy(CATS, DOGS)], review=REVIEWED)
    make_taxonomy(TEXTS, model=script.model)
    first, second, _ = script.model.requests
    assert (second.messages, second.temperature) == (first.messages, 0.6)


def test_a_taxonomy_that_never_comes_is_an_error() -> None:
    script = Script(generate=taxonomy(*(named(f"L{n}") for n in range(9))))
    with pytest.raises(
        ModelError, match=r"no usable taxonomy in 3 tries: .*there are 9 labels, and at most 5 are wanted"
    ):
        make_taxonomy(TEXTS, settings(max_labels=5, retries=2), model=script.model)
    assert [request.temperature for request in script.model.requests] == [0.5, 0.6, 0.7]


def test_a_failed_update_or_review_is_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    script = Script(generate=taxonomy(CATS, DOGS), update=judgement(CATS, score="high"), review="no")
    made = make_taxonomy(TEXTS, settings(batch_size=4, retries=1), model=script.model)
    assert script.asked == ["generate", "update", "update", "update", "update", "review", "review"]
    assert made.space.names == ("Cats", "Dogs")
    assert all(label.examples for label in made.space.labels)
    assert [step.what for step in made.steps if step.failed] == ["update", "update", "review"]
    assert capsys.readouterr().err.count("was skipped") == 3


LONG = "word " * 100


def summaries(request: Request) -> str:
    count = request.messages[1]["content"].count("</document ")
    return json.dumps({"summaries": [{"document": n, "summary": f"Summary {n}"} for n in range(1, count + 1)]})


def test_only_long_texts_are_summarized() -> None:
    def answer(request: Request) -> str:
        step = step_of(request)
        return {"summarize": summaries, "generate": lambda _: taxonomy(CATS, DOGS), "review": lambda _: REVIEWED}[step](
            request
        )

    texts = ["short one", LONG + "a", "short two", LONG + "b"]
    model = ScriptedLLM(answer)
    made = make_taxonomy(texts, model=model)
    assert [step_of(request) for request in model.requests] == ["summarize", "generate", "review"]
    assert sorted(shuffled(model.requests[1])) == ["Summary 1", "Summary 2", "short one", "short two"]
    assert all(len(example) < 300 for label in made.space.labels for example in label.examples)

    model = ScriptedLLM(answer)
    make_taxonomy(texts, settings(summarize="always"), model=model)
    assert sorted(shuffled(model.requests[1])) == ["Summary 1", "Summary 2", "Summary 3", "Summary 4"]

    model = ScriptedLLM(answer)
    make_taxonomy(texts, settings(summarize="never"), model=model)
    assert [step_of(request) for request in model.requests] == ["generate", "review"]


def test_a_summary_that_never_comes_is_replaced_by_the_beginning(capsys: pytest.CaptureFixture[str]) -> None:
    script = Script(summarize='{"summaries": []}', generate=taxonomy(CATS, DOGS), review=REVIEWED)
    make_taxonomy(["a", "b", LONG], settings(retries=1), model=script.model)
    assert script.asked == ["summarize", "summarize", "generate", "review"]
    assert " ".join(["word"] * 60) in shuffled(script.model.requests[2])
    assert "1 documents got no usable summary" in capsys.readouterr().err


def test_blank_texts_and_copies_are_passed_over() -> None:
    script = Script(generate=taxonomy(CATS, DOGS), review=REVIEWED)
    make_taxonomy(["", "b", " ", "a", "b ", "c"], model=script.model)
    assert sorted(shuffled(script.model.requests[0])) == ["a", "b", "c"]
    with pytest.raises(DataError, match="at least 3 different texts, and there are 2"):
        make_taxonomy(["a", "b", "a", ""], model=script.model)


def test_of_very_many_texts_a_sample_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    script = Script(generate=taxonomy(CATS, DOGS), review=REVIEWED)
    make_taxonomy((f"t{n}" for n in range(500)), settings(max_documents=20), model=script.model)
    assert len(shuffled(script.model.requests[0])) == 20
    assert "20 of 500 texts" in capsys.readouterr().err


def test_a_batch_that_is_too_large_for_the_context_is_halved() -> None:
    def answer(request: Request) -> Any:
        if step_of(request) == "review":
            return REVIEWED
        if len(shuffled(request)) > 3:
            return CallFailed("context_length", "too long")
        return taxonomy(CATS, DOGS)

    model = ScriptedLLM(answer)
    make_taxonomy(TEXTS, model=model)
    assert [len(shuffled(request)) for request in model.requests[:-1]] == [10, 5, 2]


def test_a_rerun_asks_nothing_and_ends_the_same(tmp_path: Path) -> None:
    journal = tmp_path / "journal.sqlite"
    script = Script(
        generate=["?", taxonomy(CATS, DOGS)], update=["?", judgement(CATS, DOGS)], review=REVIEWED, summarize="{}"
    )
    use = settings(batch_size=5, seed=7, retries=2)
    first = make_taxonomy([*TEXTS, LONG], use, model=script.model, journal=journal)
    again = make_taxonomy([*TEXTS, LONG], use, model=ScriptedLLM([]), journal=journal)
    assert again.space == first.space
    assert again.steps == first.steps
    assert again.stats["calls"] == 0
    assert first.stats["calls"] == len(script.model.requests) > 5


def test_what_stops_half_way_goes_on_from_there(tmp_path: Path) -> None:
    journal = tmp_path / "journal.sqlite"
    use = settings(batch_size=5)
    with pytest.raises(ModelError, match="asked for one more"):
        make_taxonomy(TEXTS, use, model=ScriptedLLM([taxonomy(CATS, DOGS)]), journal=journal)
    rest = ScriptedLLM([judgement(CATS, DOGS), REVIEWED])
    assert make_taxonomy(TEXTS, use, model=rest, journal=journal).space.names == ("Cats", "Dogs")
    assert len(rest.requests) == 2


def test_a_server_that_stays_away_is_an_error_and_not_a_skipped_step() -> None:
    def answer(request: Request) -> Any:
        return taxonomy(CATS, DOGS) if step_of(request) == "generate" else CallFailed("broken", "reset")

    with pytest.raises(ModelError, match="reset"):
        make_taxonomy(TEXTS, model=ScriptedLLM(answer), engine={"retries": 0, "patience": 0.0})


@pytest.mark.parametrize("wrong", [{"max_labels": 0}, {"batch_size": 0}, {"levels": 3}, {"patience": -1}])
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        TaxonomySettings(**wrong)


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [(3, 200, [3]), (200, 200, [200]), (201, 200, [100, 101]), (10, 4, [3, 3, 4]), (2, 1, [1, 1])],
)
def test_batches_are_even(count: int, size: int, sizes: list[int]) -> None:
    batches = even_batches(count, size)
    assert [len(batch) for batch in batches] == sizes
    assert [place for batch in batches for place in batch] == list(range(count))


def test_batches_by_size_hold_every_text() -> None:
    texts = ["x" * 5000] * 5 + ["y" * 20_000] + ["z"] * 25
    batches = batches_by_size(texts)
    assert [place for batch in batches for place in batch] == list(range(31))
    assert [len(batch) for batch in batches] == [2, 2, 1, 1, 10, 10, 5]
    assert batches_by_size([]) == []


def test_long_in_words_or_where_there_are_none_in_characters() -> None:
    assert not is_long("word " * 60, 60)
    assert is_long("word " * 61, 60)
    assert is_long("字" * 721, 60)


# -- discover --------------------------------------------------------------------------------------


def test_discover_with_a_model() -> None:
    script = Script(generate=taxonomy(CATS, DOGS), review=REVIEWED)
    space = discover(TEXTS, model=script.model, use_case="Find pets.", max_labels=4)
    assert space.names == ("Cats", "Dogs")
    assert "at most 4 labels" in script.model.requests[0].messages[1]["content"]


@pytest.mark.parametrize("wrong", [{"max_labels": 1}, {"levels": 3}])
def test_discover_refuses_what_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        discover(TEXTS, model=ScriptedLLM([]), **wrong)


def test_over_a_real_connection(chat_server: Callable[..., str], tmp_path: Path) -> None:
    served: list[dict[str, Any]] = []

    def answer(body: dict[str, Any]) -> str:
        served.append(body)
        return REVIEWED if body["messages"][0]["content"].startswith("You are the last") else taxonomy(CATS, DOGS)

    address = chat_server(answer)
    journal = tmp_path / "journal.sqlite"
    first = discover(TEXTS, model=address, journal=journal)
    assert first.names == ("Cats", "Dogs")
    assert [body["temperature"] for body in served] == [0.5, 0.0]
    assert served[0]["response_format"]["json_schema"]["schema"]["required"] == ["labels"]
    assert discover(TEXTS, model=address, journal=journal) == first
    assert len(served) == 2


# -- candidates, early stopping, starting from labels ----------------------------------------------


def test_candidates_see_other_orders_and_votes_on_held_out_texts_choose() -> None:
    made = iter(["Cats", "Felines", "Pets"])

    def answer(request: Request) -> str:
        step = step_of(request)
        if step == "generate":
            return taxonomy(named(next(made), documents=[1]), DOGS)
        if step == "review":
            name = request.messages[1]["content"].split('"name": "')[1].split('"')[0]
            return judgement(named(name), named("Dogs"), score=90)
        tables = request.messages[1]["content"].split("</taxonomy ")
        best = next(place for place, table in enumerate(tables, start=1) if "Felines" in table)
        return json.dumps({"explanation": "Names the animal.", "best": best})

    model = ScriptedLLM(answer)
    texts = [f"text {n}" for n in range(30)]
    use = settings(candidates=3, held_out=0.2, vote_batch=3, votes=3, seed=5)
    made_of = make_taxonomy(texts, use, model=model)
    assert made_of.space.names == ("Felines", "Dogs")
    asked = [step_of(request) for request in model.requests]
    assert asked.count("choose") == 6, "two batches of three, three times each"
    generates = [request for request in model.requests if step_of(request) == "generate"]
    assert [request.seed for request in generates] == [5, 6, 7]
    orders = [shuffled(request) for request in generates]
    assert len({tuple(order) for order in orders}) == 3
    assert len({frozenset(order) for order in orders}) == 1
    held_out = {text for request in model.requests if step_of(request) == "choose" for text in shuffled(request)}
    assert len(held_out) == 6
    assert held_out.isdisjoint(orders[0])
    choices = [request.messages[1]["content"] for request in model.requests if step_of(request) == "choose"]
    firsts = [content.split('"name": "')[1].split('"')[0] for content in choices[:3]]
    assert sorted(firsts) == ["Cats", "Felines", "Pets"], "each stands first once"
    vote = made_of.steps[-1]
    assert (vote.what, vote.score, vote.candidate, vote.explanation) == ("choose", 1.0, 1, "Names the animal.")


def test_few_texts_are_voted_on_themselves() -> None:
    script = Script(
        generate=[taxonomy(CATS), taxonomy(DOGS)],
        review=[judgement(named("Cats")), judgement(named("Dogs"))],
        choose='{"explanation": "", "best": "Taxonomy 2"}',
    )
    made = make_taxonomy(["a", "b", "c"], settings(candidates=2, votes=1), model=script.model)
    assert sorted(shuffled(script.model.requests[-1])) == ["a", "b", "c"]
    assert len(made.space.names) == 1


@pytest.mark.parametrize("vote", ["no", '{"best": 0}', '{"best": 3}', '{"best": "both"}'])
def test_votes_that_cannot_be_read_leave_the_first(vote: str, capsys: pytest.CaptureFixture[str]) -> None:
    script = Script(generate=[taxonomy(CATS), taxonomy(DOGS)], review="no", choose=vote)
    made = make_taxonomy(TEXTS, settings(candidates=2, retries=1, votes=1), model=script.model)
    assert made.space.names == ("Cats",)
    assert script.asked.count("choose") == 2
    assert script.model.requests[-1].temperature == 0.1
    assert "no vote could be read" in capsys.readouterr().err


def test_a_candidate_that_fails_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    model = ScriptedLLM(
        lambda request: "no" if request.seed == 0 else (taxonomy(DOGS) if step_of(request) == "generate" else "no")
    )
    made = make_taxonomy(TEXTS, settings(candidates=2, retries=0), model=model)
    assert made.space.names == ("Dogs",)
    assert "only one of 2 candidates" in capsys.readouterr().err
    with pytest.raises(ModelError, match="no usable taxonomy in 1 tries"):
        make_taxonomy(TEXTS, settings(candidates=2, retries=0), model=ScriptedLLM(lambda _: "no"))


def test_batches_that_change_nothing_end_the_reading(capsys: pytest.CaptureFixture[str]) -> None:
    script = Script(generate=taxonomy(CATS, DOGS), update=judgement(CATS, DOGS), review=REVIEWED)
    make_taxonomy(TEXTS, settings(batch_size=1, patience=3), model=script.model)
    assert script.asked == ["generate", "update", "update", "update", "review"]
    assert "3 batches in a row changed nothing, so the last 6 documents are not read" in capsys.readouterr().err
    script = Script(generate=taxonomy(CATS, DOGS), update=judgement(CATS, DOGS), review=REVIEWED)
    make_taxonomy(TEXTS, settings(batch_size=1, patience=0), model=script.model)
    assert script.asked.count("update") == 9


SPACE = LabelSpace.from_data(
    {
        "name": "pets",
        "other": "else",
        "labels": [
            {"name": "Furry", "description": "Animals with fur."},
            {"name": "Cats", "description": "All about cats.", "parent": "Furry", "examples": ["meow"]},
            {"name": "Dogs", "description": "All about dogs.", "parent": "Furry", "instructions": "Not wolves."},
            {"name": "Scaly", "description": "Animals with scales."},
            {"name": "Fish", "description": "All about fish.", "parent": "Scaly"},
        ],
    }
)


def test_it_starts_from_labels_that_a_user_wrote() -> None:
    flat = LabelSpace.of(["Cats", "Dogs"])
    script = Script(update=judgement(named("Cats", documents=[1]), named("Dogs"), named("Mice")), review="no")
    made = make_taxonomy(TEXTS, settings(retries=0), model=script.model, start=flat)
    assert script.asked == ["update", "review"]
    assert made.space.names == ("Cats", "Dogs", "Mice")
    assert made.space.other == "Other"
    assert "People use this taxonomy already" not in script.model.requests[0].messages[0]["content"]


def test_an_update_gives_reasons_and_leaves_alone_what_does_not_change() -> None:
    same = {"why": "", "recheck": False}
    reply = json.dumps(
        {
            "score": 60, "explanation": "e", "suggestions": "s",
            "labels": [
                named("Cats", **{"from": ["Cats"]}, documents=[2], **same),
                named("Dogs", **{"from": ["Dogs"]}, **same),
                named("Wolves", **{"from": ["Dogs"]}, why="Texts 3 and 4 are about wolves.", recheck=True),
                named("Sharks", **{"from": ["Fish"]}, why="All fish are sharks."),
            ],
            "dropped": [],
        }
    )  # fmt: skip
    script = Script(update=reply)
    made = make_taxonomy(TEXTS, settings(), model=script.model, start=SPACE, reasons=True)
    assert script.asked == ["update"], "no review, and all labels have their group already"
    assert "People use this taxonomy already" in script.model.requests[0].messages[0]["content"]
    assert script.model.requests[0].schema["required"][-1] == "dropped"
    space = made.space
    assert (space.name, space.other) == ("pets", "else")
    assert space["Cats"] == SPACE["Cats"]
    assert space["Dogs"] == SPACE["Dogs"]
    assert [(name, space[name].parent) for name in space.leaves] == [
        ("Cats", "Furry"),
        ("Dogs", "Furry"),
        ("Wolves", "Furry"),
        ("Sharks", "Scaly"),
    ]
    assert str(made.changes).splitlines() == [
        "~ Dogs -> Dogs + Wolves: split (asked again)",
        "    Texts 3 and 4 are about wolves.",
        "~ Fish -> Sharks: renamed",
        "    All fish are sharks.",
    ]


def test_a_new_label_without_a_group_has_them_grouped_with_those_there_are() -> None:
    birds = named("Birds", **{"from": []}, why="Text 1 is about a bird.")
    script = Script(
        update=json.dumps(
            {
                "score": 60, "explanation": "", "suggestions": "", "dropped": [],
                "labels": [*(named(name, **{"from": [name]}) for name in ("Cats", "Dogs", "Fish")), birds],
            }
        ),
        group=json.dumps(
            {"groups": [named("Furry", labels=["Cats", "Dogs"]), named("Scaly", labels=["Fish"]),
                        named("Feathered", labels=["Birds"])]}
        ),
    )  # fmt: skip
    made = make_taxonomy(TEXTS, settings(), model=script.model, start=SPACE, reasons=True)
    assert (
        '{"name": "Scaly", "description": "Animals with scales.", "labels": ["Fish"]}'
        in (script.model.requests[1].messages[1]["content"])
    )
    assert [(name, made.space[name].parent) for name in made.space.leaves] == [
        ("Cats", "Furry"),
        ("Dogs", "Furry"),
        ("Fish", "Scaly"),
        ("Birds", "Feathered"),
    ]
    assert str(made.changes).startswith("+ Birds: added")
    script.replies["group"] = ["no"]
    made = make_taxonomy(TEXTS, settings(retries=0), model=script.model, start=SPACE, reasons=True)
    assert [made.space[name].parent for name in made.space.leaves] == ["Furry", "Furry", "Scaly", None]


def test_what_cannot_be_started_from_is_refused() -> None:
    deep = LabelSpace.from_data({"labels": ["a", {"name": "b", "parent": "a"}, {"name": "c", "parent": "b"}]})
    with pytest.raises(ConfigError, match="more than two levels"):
        make_taxonomy(TEXTS, model=ScriptedLLM([]), start=deep)
    with pytest.raises(ConfigError, match="has 3 labels, and max_labels is 2"):
        make_taxonomy(TEXTS, settings(max_labels=2), model=ScriptedLLM([]), start=SPACE)
    with pytest.raises(ConfigError, match="leave out start"):
        discover(TEXTS, start=SPACE)


def test_summaries_may_be_asked_for_without_quotations() -> None:
    text = "one two three four five six seven eight nine ten " * 10
    script = Script(
        summarize=[
            json.dumps(
                {"summaries": [{"document": 1, "summary": "It says two three four five six seven eight nine."}]}
            ),
            json.dumps({"summaries": [{"document": 1, "summary": "It counts."}]}),
        ],
        generate=taxonomy(CATS, DOGS),
        review=REVIEWED,
    )
    make_taxonomy(["a", "b", text], settings(own_words=True), model=script.model)
    assert script.asked == ["summarize", "summarize", "generate", "review"]
    assert "Use your own words" in script.model.requests[0].messages[0]["content"]
    assert "repeats 'two three four five six seven eight nine'" in script.model.requests[1].messages[-1]["content"]
    assert "It counts." in shuffled(script.model.requests[2])
