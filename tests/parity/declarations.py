"""Random declarations of tools in JSON form, the same for the same seed."""

import random

from tests.parity.conversations import text, value


def tool(rng: random.Random) -> dict[str, object]:
    """A declaration as people write them, with fields that a format may or may not know."""
    schema = {name: parameter(rng) for name in rng.sample(("q", "city", "n", "opts"), rng.randrange(4))}
    parameters: dict[str, object] = {"type": "object", "properties": schema}
    if schema and rng.random() < 0.5:
        parameters["required"] = list(schema)[:2]
    if rng.random() < 0.3:
        parameters["additionalProperties"] = False
    made: dict[str, object] = {"name": rng.choice(("search", "get_weather")), "description": text(rng)}
    made["parameters"] = parameters
    return made | ({"strict": True} if rng.random() < 0.3 else {})


def parameter(rng: random.Random) -> dict[str, object]:
    made: dict[str, object] = {"type": rng.choice(("string", "integer", "object"))}
    extras = {"description": text(rng), "enum": ["ä", 1, None], "default": value(rng), "minimum": 0, "items": {"x": 1}}
    return made | {key: extra for key, extra in extras.items() if rng.random() < 0.3}


def typed_tool(rng: random.Random) -> dict[str, object]:
    """A declaration with schemas of every kind, nested, as the formats that write types have to read it."""
    made: dict[str, object] = {"name": rng.choice(("search", "get_weather")), "parameters": record(rng, 0)}
    if rng.random() < 0.2:
        made["parameters"] = {}
    elif rng.random() < 0.2:
        made["parameters"]["$defs"] = {"Item": record(rng, 1)}
        made["parameters"]["properties"]["item"] = {"$ref": "#/$defs/Item", "description": text(rng)}
        if rng.random() < 0.5:
            made["parameters"]["properties"]["inner"] = {"type": "array", "items": {"$ref": "#"}}
    return made | {"description": rng.choice(("", text(rng)))}


def record(rng: random.Random, depth: int) -> dict[str, object]:
    names = rng.sample(("q", "city", "n", "opts", "_id"), rng.randrange(5))
    made: dict[str, object] = {"type": "object", "properties": {name: schema(rng, depth + 1) for name in names}}
    if rng.random() < 0.5:
        made["required"] = names[:2]
    if rng.random() < 0.3:
        made["additionalProperties"] = rng.choice((True, False, {"type": "integer"}))
    return made | noted(rng)


def schema(rng: random.Random, depth: int) -> dict[str, object]:
    kind = rng.choice(("string", "integer", "number", "boolean", "enum", "array", "object", "any", "union"))
    if kind == "object" and depth < 3:
        return record(rng, depth)
    if kind == "array" and depth < 3:
        items = {"items": schema(rng, depth + 1)} if rng.random() < 0.8 else {}
        return {"type": "array", **items, **({"minItems": 1} if rng.random() < 0.3 else {}), **noted(rng)}
    if kind == "any":
        return {"anyOf": [{"type": "string"}, {"type": "null"}], **noted(rng)}
    if kind == "union":
        return {"type": rng.choice((["string", "null"], ["integer", "boolean"])), **noted(rng)}
    if kind == "enum":
        return {"type": "string", "enum": ["ä", 'b"', ""], **noted(rng)}
    limits: dict[str, object] = (
        {"minLength": 1, "pattern": "^a+$"} if kind == "string" else {"minimum": 0, "maximum": 9.5}
    )
    kept = {key: limit for key, limit in limits.items() if rng.random() < 0.3 and kind != "boolean"}
    return {"type": kind if kind not in ("object", "array") else "string", **kept, **noted(rng)}


def noted(rng: random.Random) -> dict[str, object]:
    notes = {
        "description": rng.choice((text(rng), "Two\n\nlines")),
        "default": rng.choice((value(rng), True, 0.5)),
        "title": "A title",
        "examples": [1, "é"],
        "nullable": True,
    }
    return {key: note for key, note in notes.items() if rng.random() < 0.25}
