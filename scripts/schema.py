"""Writes docs/reference/zaffre.schema.json: what an editor needs to help with declarations.

    python scripts/schema.py [--check]

It comes from the structs that read the documents. With --check the file is compared, not written.
"""

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from zaffre.config.fields import (
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    ServerlessEndpoint,
    ShortForm,
)

FILE = Path(__file__).parents[1] / "docs" / "reference" / "zaffre.schema.json"
KINDS = (ManagedOnlineEndpoint, ManagedOnlineDeployment, ServerlessEndpoint, ShortForm)
DRAFT = "http://json-schema.org/draft-07/schema#"  # the one that all editors know
REFUSED = "Refused:"


def schema() -> dict[str, Any]:
    """The schema of one document."""
    names, definitions = msgspec.json.schema_components(KINDS, ref_template="#/definitions/{name}")
    for definition in definitions.values():
        for name, field in definition.get("properties", {}).items():
            if str(field.get("description", "")).startswith(REFUSED):
                definition["properties"][name] = {**field, "type": "null"}
    return {
        "$schema": DRAFT,
        "title": "Zaffre declaration",
        "description": "One document of a file for `zaffre serve -f` and `zaffre apply -f`.",
        "anyOf": list(names),
        "definitions": definitions,
    }


def main(arguments: list[str]) -> int:
    """Write or check the file."""
    current = json.dumps(schema(), indent=2, sort_keys=True) + "\n"
    if "--check" not in arguments:
        FILE.write_text(current, encoding="utf-8")
        return 0
    if FILE.exists() and FILE.read_text(encoding="utf-8") == current:
        return 0
    print(f"{FILE.name} is not what scripts/schema.py would write")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
