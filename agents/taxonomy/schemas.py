"""JSON schemas of the replies about taxonomies."""

from __future__ import annotations

from typing import Any


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_TEXT, _NUMBER, _PLACE, _FLAG = {"type": "string"}, {"type": "number"}, {"type": "integer"}, {"type": "boolean"}
_NAMED = {"name": _TEXT, "description": _TEXT}
SUMMARIES = _object(summaries=_list(_object(document=_PLACE, summary=_TEXT)))
TAXONOMY = _object(labels=_list(_object(**_NAMED, documents=_list(_PLACE))))
_JUDGED = {"score": _NUMBER, "explanation": _TEXT, "suggestions": _TEXT}
_CHANGED = {**_NAMED, "from": _list(_TEXT)}
UPDATE = _object(**_JUDGED, labels=_list(_object(**_CHANGED, documents=_list(_PLACE))))
REASONED = _object(
    **_JUDGED,
    labels=_list(_object(**_CHANGED, documents=_list(_PLACE), why=_TEXT, recheck=_FLAG)),
    dropped=_list(_object(name=_TEXT, why=_TEXT)),
)
REVIEW = _object(**_JUDGED, labels=_list(_object(**_CHANGED)))
GROUPS = _object(groups=_list(_object(**_NAMED, labels=_list(_TEXT))))
CHOICE = _object(explanation=_TEXT, best=_PLACE)
NAME = _object(**_NAMED)
