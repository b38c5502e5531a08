"""Write what is derived from the models in slingshot/config: the JSON schema and the reference of keys.

Editors check a config.yaml against workflow/schemas/config.schema.json; people read docs/config.md. `--check` fails
where a file is not what the models say.
"""

from __future__ import annotations

from pathlib import Path

from slingshot.config.reference import write_derived_files
from slingshot.config.study import Study
from slingshot.runtime import cli

HOUSE = Path(__file__).parent.parent


def main() -> None:
    parser = cli.make_parser(__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    write_derived_files(Study, HOUSE, parser.parse_args().check)


if __name__ == "__main__":
    cli.run(main)
