"""Write what is derived from the models in slingshot/config.py: the JSON schema and the reference of keys.

Editors check a config.yaml against workflow/schemas/config.schema.json; people read docs/config.md. `--check` fails
where a file is not what the models say.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from slingshot.config.reference import reference
from slingshot.config.study import Study
from slingshot.runtime import cli

HOUSE = Path(__file__).parent.parent


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    given = parser.parse_args()
    schema = Study.model_json_schema()
    derived = {
        HOUSE / "workflow/schemas/config.schema.json": json.dumps(schema, indent=2) + "\n",
        HOUSE / "docs/config.md": reference(schema),
    }
    for path, text in derived.items():
        if not given.check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path} is not what slingshot/config.py says: run `make schema`")


if __name__ == "__main__":
    cli.run(main)
