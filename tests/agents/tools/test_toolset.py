"""Tool sets: from every source the same tools, and a clear word about what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from labelspace.agents.tools import Tool, ToolSet, from_data, from_functions, from_langchain, from_openai
from labelspace.agents.tools.sources import import_all
from labelspace.agents.tools.toolset import spoken
from labelspace.errors import DataError, SpaceError

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = Tool("get_weather", "Weather of a city.", CITY)


def get_weather(city: str) -> str:
    """Weather of a city.

    Args:
        city: Its name.
    """
    return city


FORMS: list[tuple[str, Any]] = [
    ("request", {"type": "function", "function": {"name": "get_weather", "description": "Weather of a city.",
                                                  "parameters": CITY}}),
    ("bare", {"name": "get_weather", "description": "Weather of a city.", "parameters": CITY}),
    ("anthropic", {"name": "get_weather", "description": "Weather of a city.", "input_schema": CITY}),
    ("mcp", {"name": "get_weather", "description": " Weather of a city. ", "inputSchema": CITY}),
]  # fmt: skip


@pytest.mark.parametrize(("form", "data"), FORMS, ids=[form for form, _ in FORMS])
def test_schemas_of_every_form_give_the_same_tool(form: str, data: dict[str, Any]) -> None:
    assert from_openai([data]).tools == (WEATHER,)
    assert from_data({"tools": [data]}).tools == (WEATHER,)


def test_functions_and_langchain_tools_give_the_same_tool() -> None:
    from langchain_core.tools import tool

    assert from_functions([get_weather]).tools == (WEATHER,)
    found = from_langchain([tool(description="Weather of a city.")(get_weather)]).tools[0]
    assert (found.name, found.description) == ("get_weather", "Weather of a city.")
    assert found.parameters["properties"]["city"]["type"] == "string"


def test_types_of_a_function_become_a_schema() -> None:
    def book(flight: str, seats: int, prices: list[float], note: str | None = None, **more: object) -> None:
        """Book a flight.

        Pays at once.

        Returns:
            Nothing.
        """

    tool = from_functions([book]).tools[0]
    assert tool.description == "Book a flight. Pays at once."
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "flight": {"type": "string"},
            "seats": {"type": "integer"},
            "prices": {"type": "array"},
            "note": {"type": "string"},
        },
        "required": ["flight", "seats", "prices"],
    }


API = {
    "openapi": "3.1.0",
    "info": {"title": "Shop"},
    "paths": {
        "/orders/{id}": {
            "parameters": [{"$ref": "#/components/parameters/Id"}],
            "get": {"operationId": "getOrder", "summary": "One order.", "description": "With its items."},
            "delete": {"summary": "Cancel an order"},
        },
        "/orders": {
            "post": {
                "operationId": "place order",
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}}},
            }
        },
    },
    "components": {
        "parameters": {"Id": {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}},
        "schemas": {
            "Order": {
                "type": "object",
                "properties": {"items": {"type": "array", "items": {"$ref": "#/components/schemas/Item"}}},
                "required": ["items"],
            },
            "Item": {"type": "object", "properties": {"sku": {"type": "string"},
                                                      "part_of": {"$ref": "#/components/schemas/Item"}}},
        },
    },
}  # fmt: skip


def test_operations_of_an_openapi_document_are_tools() -> None:
    tools = from_data(API)
    assert tools.name == "Shop"
    assert [(tool.name, tool.description) for tool in tools] == [
        ("getOrder", "One order. With its items"),
        ("delete_orders_id", "Cancel an order"),
        ("place_order", "POST /orders"),
    ]
    assert tools["getOrder"].parameters == {
        "type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"],
    }  # fmt: skip
    items = tools["place_order"].parameters["properties"]["items"]
    assert items["items"]["properties"]["sku"] == {"type": "string"}
    assert tools["place_order"].parameters["required"] == ["items"]


def test_what_an_openapi_document_leaves_empty_is_nothing() -> None:
    body = {"content": {"application/json": {"schema": {"type": "object", "properties": None, "required": True}}}}
    tools = from_data({
        "openapi": "3.0.0",
        "paths": {
            "/a": {"parameters": None, "get": {"operationId": "查询", "parameters": None},
                   "post": {"requestBody": body}},
            "/b": {"put": {"requestBody": {"content": None}}, "get": {"operationId": "/"}},
            "/c": None,
        },
    })  # fmt: skip
    assert tools.names == ("查询", "post_a", "get_b", "put_b")
    assert {str(tool.parameters["properties"]) for tool in tools} == {"{}"}


def test_schemas_that_contain_each_other_are_read_to_an_end() -> None:
    """Forty that each contain all forty: six levels of them would be four thousand million."""
    names = [f"S{i}" for i in range(40)]
    parts = {name: {"$ref": f"#/components/schemas/{name}"} for name in names}
    post = {"requestBody": {"content": {"application/json": {"schema": parts["S0"]}}}}
    document = {
        "openapi": "3.0.0",
        "paths": {"/a": {"post": post}},
        "components": {"schemas": {name: {"type": "object", "properties": parts} for name in names}},
    }
    tools = from_data(document)
    assert list(tools.tools[0].parameters["properties"]) == names
    assert tools.tools[0].parameters["properties"]["S0"] == {}, "what it is in"
    assert "a huge schema" in tools.remarks()[0]


def test_sources_that_share_a_name_are_named(tmp_path: Path) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.json"
    one.write_text('\ufeff{"name": "a"}\n{"name": "b"}\n', encoding="utf-8")
    two.write_text('\ufeff[{"name": "c"}]', encoding="utf-8")
    assert import_all([str(one), str(two)]).names == ("a", "b", "c")
    two.write_text('[{"name": "b"}]')
    with pytest.raises(SpaceError) as caught:
        import_all([str(one), str(two)])
    assert str(caught.value) == f"{one} and {two} both have a tool named 'b'; rename or drop one"


def test_what_langchain_refuses_is_said() -> None:
    with pytest.raises(SpaceError, match="LangChain can't make a tool of '3'"):
        from_langchain([3])


BROKEN: list[tuple[Any, str]] = [
    ([], "the tool set 'tools' has no tools"),
    ([{"name": "a"}, {"name": "b"}, {"name": "a"}],
     "several tools of 'tools' have the same name: 'a' (tools 1 and 3); rename or drop them"),
    ([{"title": "a"}], 'a tool is an object with a name, not {"title": "a"}'),
    ([{"name": "a", "parameters": "x"}], "the parameters of the tool 'a' are no JSON schema: 'x'"),
    ([{"name": " a"}], "tool 1 of 'tools' is named ' a'; a name needs text and no blanks"),
    ("a", "tools come as a list of function schemas, as {'tools': [...]}, or as an OpenAPI document"),
    ({"openapi": "3", "paths": {}}, "the OpenAPI document has no 'paths', so there is nothing to call"),
    ({"openapi": "3", "paths": {"/a": {"$ref": "#/x"}}},
     "the OpenAPI document refers to '#/x', which it does not have"),
    ({"openapi": "3", "paths": {"/a": {"$ref": "o.yaml#/x"}}},
     "the OpenAPI document refers to 'o.yaml#/x' outside of itself; bundle it first"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "message"), BROKEN)
def test_what_is_wrong_with_tools_is_said(data: Any, message: str) -> None:
    with pytest.raises(SpaceError) as caught:
        from_data(data)
    assert str(caught.value) == message


def test_remarks_name_what_will_make_trouble() -> None:
    huge = {"type": "object", "properties": {f"p{i}": {"type": "string", "description": "x" * 90} for i in range(100)}}
    tools = ToolSet([Tool("a"), Tool("b c", "Does."), Tool("d", "does. "), Tool("e", "Big.", huge)])
    assert tools.remarks() == [
        "a has no description: only usage, or the name, can find them",
        "e (about 3,428 tokens) has a huge schema, which fills the prompt; drop what callers don't need",
        "b c has a name that providers refuse (up to 64 letters, digits, '_' and '-')",
        "b c = d has the same description: nothing but usage tells them apart",
    ]
    assert ToolSet([WEATHER]).remarks() == []


def test_a_tool_set_is_a_label_space() -> None:
    space = ToolSet([WEATHER, Tool("book")], name="trip").space
    assert (space.name, space.leaves, space.multi_label) == ("trip", ("get_weather", "book"), True)
    assert space["get_weather"].description == "Weather of a city."


@pytest.mark.parametrize("name", ["tools.jsonl", "tools.jsonl.gz"])
def test_tools_are_read_as_they_were_written(tmp_path: Path, name: str) -> None:
    tools = ToolSet([WEATHER, Tool("book", "Bücher.")])
    assert tools.save(tmp_path / name) == 2
    assert ToolSet.load(tmp_path / name).tools == tools.tools


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"name": "a"}\n{"name"\n', "{}, row 2: not valid JSON: Expecting ':' delimiter"),
        ('{"name": "a"}\n\n{"tool": "b"}\n', '{}, row 3: a tool is an object with a name, not {"tool": "b"}'),
        (
            '{\n "name": "a"\n}',
            "{}, row 1: not valid JSON: Expecting property name enclosed in double quotes; "
            "give one tool a line; `labelspace tools import` makes that of a .json file",
        ),
        (
            '[{"name": "a"}]',
            '{}, row 1: a tool is an object with a name, not [{"name": "a"}]; '
            "give one tool a line; `labelspace tools import` makes that of a .json file",
        ),
        (None, "{}: no such file of tools; make one with `labelspace tools import`"),
    ],
)
def test_a_bad_file_is_named_with_its_row(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "tools.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError) as caught:
        ToolSet.load(path)
    assert str(caught.value) == message.replace("{}", str(path), 1)


@pytest.mark.parametrize(
    ("name", "words"),
    [("getUserInfo", "get User Info"), ("HTTPServer_v2", "HTTP Server v2"), ("a.b-c", "a b c"), ("___", "___")],
)
def test_names_are_spoken(name: str, words: str) -> None:
    assert spoken(name) == words


def test_yaml_has_the_types_of_json(tmp_path: Path) -> None:
    (tmp_path / "api.yaml").write_text(
        """\
openapi: 3.0.3
paths:
  /orders:
    get:
      operationId: listOrders
      parameters:
        - name: no
          in: query
          schema:
            enum: [no, yes, 2024-01-01, 2024-01-01T10:00:00Z, 10:30, 012, 1e3, 1_000, 0.5, .inf, true, null, ~, "7"]
"""
    )
    [tool] = import_all([str(tmp_path / "api.yaml")])
    assert tool.parameters["properties"]["no"]["enum"] == [
        "no", "yes", "2024-01-01", "2024-01-01T10:00:00Z", "10:30", 12, 1000.0, "1_000", 0.5, ".inf", True, None, None,
        "7",
    ]  # fmt: skip
    assert tool.tokens > 0
