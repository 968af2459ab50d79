"""Documents: a YAML or JSON file read without losing a digit and without guessing.

YAML is read by the core rules of its version 1.2: `no` is a text, 010 is ten, a date is a text. A
number with a point or an exponent arrives as a Decimal, never as a float, so that 0.1 means one
tenth. A key given twice is refused: which of the two was meant cannot be known.
"""

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import NoReturn

import yaml

from schemas.errors import InputUnreadable, ValidationFailed

# Ten times what a large catalog needs; a log given by mistake must not be read to its end.
DOCUMENT_BYTES_MAX = 32 * 1024 * 1024


class ExactLoader(yaml.SafeLoader):
    """A loader with the core rules only, exact decimals, and no repeated keys."""

    # Set below; the rules of the parent (YAML 1.1) are not inherited.
    yaml_implicit_resolvers = {}  # noqa: RUF012 - the parent declares it as an instance variable.
    yaml_constructors = {  # noqa: RUF012 - likewise; dates, sets and binaries are left out.
        tag: construct
        for tag, construct in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.rpartition(":")[2] in {"null", "bool", "str", "seq"}
    }


def integer(loader: ExactLoader, node: yaml.ScalarNode) -> int:
    """Read decimal digits; other bases do not resolve to integers."""
    return int(loader.construct_scalar(node))


def decimal(loader: ExactLoader, node: yaml.ScalarNode) -> Decimal:
    """Read a number with a point or an exponent with all its digits."""
    return Decimal(loader.construct_scalar(node))


def mapping(loader: ExactLoader, node: yaml.MappingNode) -> dict[str, object]:
    """Read a mapping whose keys are texts, each given once."""
    result: dict[str, object] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        line = key_node.start_mark.line + 1
        if not isinstance(key, str):
            raise ValidationFailed(f"line {line}: a key must be a text, not {key!r}")
        if key in result:
            raise ValidationFailed(f"line {line}: the key {key} is given twice")
        result[key] = loader.construct_object(value_node, deep=True)
    return result


for tag, pattern, first in (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+", list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?",
        list("-+.0123456789"),
    ),
):
    ExactLoader.add_implicit_resolver(tag, re.compile(f"^(?:{pattern})$"), first)
ExactLoader.add_constructor("tag:yaml.org,2002:int", integer)
ExactLoader.add_constructor("tag:yaml.org,2002:float", decimal)
ExactLoader.add_constructor("tag:yaml.org,2002:map", mapping)


def read_document(path: str) -> object:
    """Return what a file holds: mappings, lists, texts, integers, decimals, booleans, None.

    A name ending in `.json` is read as JSON, any other as YAML. Raises InputUnreadable if the file
    cannot be read, ValidationFailed if it is no document; each names the file.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputUnreadable(f"{path}: {(error.strerror or str(error)).lower()}") from error
    if len(data) > DOCUMENT_BYTES_MAX:
        raise ValidationFailed(f"{path}: larger than {DOCUMENT_BYTES_MAX} bytes, so no catalog")
    try:
        text = data.decode("utf-8-sig")
        return parse_json(text) if path.endswith(".json") else parse_yaml(text)
    except UnicodeDecodeError as error:
        raise ValidationFailed(f"{path}: not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise ValidationFailed(f"{path}: nested too deeply") from error
    except ValidationFailed as error:
        raise ValidationFailed(f"{path}: {error}") from error


def parse_yaml(text: str) -> object:
    """Return one YAML document.

    >>> parse_yaml("{rate: 0.10, count: 010, at: 2026-01-01, off: no}")
    {'rate': Decimal('0.10'), 'count': 10, 'at': '2026-01-01', 'off': 'no'}
    """
    try:
        return yaml.load(text, ExactLoader)  # noqa: S506 - ExactLoader is a SafeLoader.
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ValidationFailed(f"{line}not YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, KeyError, ArithmeticError) as error:
        # No YAMLError: an integer too long for Python, a tag on a text that is none of its kind.
        raise ValidationFailed(f"not YAML: {' '.join(str(error).split())}") from error


def parse_json(text: str) -> object:
    """Return one JSON document.

    >>> parse_json('{"rate": 0.10, "count": 1e2}')
    {'rate': Decimal('0.10'), 'count': Decimal('1E+2')}
    """
    try:
        return json.loads(
            text, parse_float=Decimal, parse_constant=refuse_constant, object_pairs_hook=once
        )
    except json.JSONDecodeError as error:
        raise ValidationFailed(f"line {error.lineno}: not JSON: {error.msg.lower()}") from error
    except ValueError as error:
        # Python itself bounds the digits of an integer.
        raise ValidationFailed(f"not JSON: {error}") from error


def refuse_constant(word: str) -> NoReturn:
    """Refuse NaN and the infinities, which Python would read."""
    raise ValidationFailed(f"not JSON: {word}")


def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object of which each key is given once."""
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValidationFailed(f"the key {twice} is given twice")
    return result
