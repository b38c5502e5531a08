"""Write workflow/schemas/config.schema.json, which editors check a config.yaml against.

The models in slingshot/config.py are the one source; `--check` fails where the file is not what they say.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from slingshot import cli
from slingshot.config import Study

SCHEMA = Path(__file__).parent.parent / "workflow/schemas/config.schema.json"


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    given = parser.parse_args()
    text = json.dumps(Study.model_json_schema(), indent=2) + "\n"
    if not given.check:
        SCHEMA.write_text(text, encoding="utf-8")
    elif not SCHEMA.exists() or SCHEMA.read_text(encoding="utf-8") != text:
        sys.exit(f"{SCHEMA} is not what slingshot/config.py says: run `make schema`")


if __name__ == "__main__":
    cli.run(main)
