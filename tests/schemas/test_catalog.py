"""The doors of the catalog file, and the JSON Schema that ships with them."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import schemas.catalog
from schemas.catalog import CatalogFile, catalog_json_schema
from schemas.catalog_products import Part

SHIPPED = Path(schemas.catalog.__file__).with_name("catalog.schema.json")


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(SHIPPED.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_shipped_json_schema_is_that_of_the_models() -> None:
    assert SHIPPED.read_text() == catalog_json_schema()


def test_the_catalog_of_the_demo_fits_the_json_schema(
    validator: jsonschema.Draft202012Validator, root: Path
) -> None:
    catalog = yaml.safe_load((root / "flows" / "demo" / "catalog.yaml").read_text())

    assert list(validator.iter_errors(catalog)) == []


@pytest.mark.parametrize(
    "body",
    [
        {"mters": []},
        {"meters": [{"name": 5}]},
        {"plans": [{"name": "a", "prices": [{"colour": "red"}]}]},
        {"plans": [{}]},
        {"coupons": [{"name": "half"}]},
        {"changes": [{"at": "2026-01-01T00:00:00Z", "route": "pause"}]},
    ],
)
def test_what_the_models_refuse_the_json_schema_refuses(
    validator: jsonschema.Draft202012Validator, body: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="validation error"):
        CatalogFile.model_validate(body, extra="forbid")

    assert list(validator.iter_errors(body)) != []


def test_no_key_is_both_there_and_later() -> None:
    for model in Part.__subclasses__():
        assert not model.LATER & model.model_fields.keys(), model
