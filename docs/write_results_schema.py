"""Write docs/results.schema.json, the JSON schema of `results.json`: python docs/write_results_schema.py."""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from longspan.evaluate.results import Results

SCHEMA = Path(__file__).with_name("results.schema.json")


def schema() -> str:
    """The schema as text."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(dialect | Results.model_json_schema(mode="serialization"), indent=1) + "\n"


def main() -> None:
    """Write the schema."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    SCHEMA.write_text(schema(), encoding="utf-8")
    print(SCHEMA)


if __name__ == "__main__":
    main()
