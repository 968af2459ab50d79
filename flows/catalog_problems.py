"""What is wrong with a catalog file, in words: where in the file, and what was expected there.

Pydantic finds the faults of shape; this module says each in one line with its path (as in
`plans[0].prices[1].tiers[0].up_to`), names the nearest key of an unknown one, and tells a key that
is no key from one that this version does not have yet.
"""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from schemas.errors import ValidationFailed

Place = tuple[str | int, ...]

# Longer values are cut in messages.
VALUE_CHARACTERS_MAX = 40


def path_text(place: Sequence[str | int]) -> str:
    """Return a place in the file as a person writes it.

    >>> path_text(("plans", 0, "prices", 1, "amount"))
    'plans[0].prices[1].amount'
    """
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def refusal(path: str, problems: Iterable[tuple[Place, str]]) -> ValidationFailed:
    """Return the error that lists every problem of a file, one a line.

    >>> str(refusal("a.yaml", [(("meters", 0), "expected a mapping")]))
    'a.yaml: meters[0]: expected a mapping'
    """
    found = list(dict.fromkeys(problems))
    lines = [": ".join(filter(None, (path, path_text(place), text))) for place, text in found]
    return ValidationFailed("\n".join(lines), field=path_text(found[0][0]))


def shape_problems(model: type[BaseModel], error: ValidationError) -> list[tuple[Place, str]]:
    """Return what Pydantic found wrong with a body of the model, in its order."""
    problems = []
    for detail in error.errors(include_url=False):
        place, parent = walked(model, detail["loc"])
        problems.append((place, sentence(parent, detail)))
    return problems


def walked(model: type[BaseModel], location: Place) -> tuple[Place, type[BaseModel] | None]:
    """Return the place in the file of a location, and the model of the mapping that holds it.

    A location names the member of a union that was tried; the file has no such step. The model is
    None where a mapping is free.
    """
    place: list[str | int] = []
    models: tuple[type[BaseModel], ...] = (model,)
    parent: type[BaseModel] | None = model
    keyed = False
    for part in location:
        if keyed:
            # The key of a mapping is no field; what it holds has some.
            keyed = False
            place.append(part)
            continue
        tagged = [each for each in models if part in tags(each)]
        if tagged:
            models = (tagged[0],)
            continue
        place.append(part)
        if isinstance(part, str):
            parent = models[0] if models else None
            field = parent.model_fields.get(part) if parent else None
            models = inner_models(field.annotation) if field else ()
            keyed = field is not None and get_origin(field.annotation) is dict
    return tuple(place), parent


def tags(model: type[BaseModel]) -> tuple[object, ...]:
    """Return the words by which a model is told from the others of its union."""
    route = model.model_fields.get("route")
    return get_args(route.annotation) if route else ()


def sentence(parent: type[BaseModel] | None, detail: Mapping[str, Any]) -> str:
    """Return what was expected in a mapping of the parent, and what is there."""
    kind, given, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return unknown_key(parent, str(detail["loc"][-1]))
    if kind == "missing":
        return "is needed"
    if kind == "union_tag_not_found":
        return "a change needs its route"
    if kind == "union_tag_invalid":
        return f"this version knows no route {context['tag']!r}, only {context['expected_tags']}"
    expected = {
        "string_type": "a text",
        "list_type": "a list",
        "dict_type": "a mapping",
        "model_type": "a mapping",
        "model_attributes_type": "a mapping",
        "bool_type": "true or false",
        "bool_parsing": "true or false",
        "string_too_short": "a text that is not empty",
        "string_too_long": f"at most {context.get('max_length')} characters",
        "greater_than_equal": f"{context.get('ge')} or more",
    }.get(kind)
    if kind in ("enum", "literal_error"):
        expected = str(context["expected"]).replace("'", "")
    if kind == "value_error":
        return f"{context['error']}; got {shown(given)}"
    return f"expected {expected or detail['msg']}, not {shown(given)}"


def shown(value: object) -> str:
    """Return a value of the file as a message shows it.

    >>> shown("usd"), shown({"a": 1}), shown(True)
    ("'usd'", 'a mapping', 'true')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value) if isinstance(value, str) else "nothing" if value is None else str(value)
    return text if len(text) <= VALUE_CHARACTERS_MAX else f"{text[:VALUE_CHARACTERS_MAX]}…"


def unknown_key(model: type[BaseModel] | None, key: str) -> str:
    """Say that a key is unknown, and which one was probably meant; or that it comes later."""
    if model is None:
        return "unknown key"
    if key in getattr(model, "LATER", ()):
        return "is not supported by this version; leave it out"
    return f"unknown key{nearest(key, model.model_fields)}"


def nearest(name: str, names: Iterable[str]) -> str:
    """Return the hint at the name that was probably meant, or all of them if they are few.

    >>> nearest("tokesn", ["tokens", "calls"])
    '; did you mean tokens?'
    """
    known = sorted(names)
    near = get_close_matches(name, known, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; known are {', '.join(known)}" if 0 < len(known) <= 40 else ""


def inner_models(annotation: object) -> tuple[type[BaseModel], ...]:
    """Return the models inside an annotation, as in `list[Model] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    if get_origin(annotation) in {list, dict, Union, UnionType, Annotated}:
        return tuple(model for part in get_args(annotation) for model in inner_models(part))
    return ()
