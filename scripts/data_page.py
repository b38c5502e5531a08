"""Write data.html: the data to look at before any model runs. Its last lines say what leaks and where the page is."""

from __future__ import annotations

from pathlib import Path

from slingshot.artifacts.layout import DataFiles
from slingshot.config.specs import DataPageSpec, parse_spec
from slingshot.report.data_page import write_data_page
from slingshot.runtime import cli


def main() -> None:
    arguments = cli.make_parser(__doc__)
    cli.add_spec(arguments, "DataPageSpec")
    arguments.add_argument("--data", type=Path, required=True, help="folder that prepare_data wrote to")
    given = arguments.parse_args()
    parse_spec(DataPageSpec, given.spec)
    write_data_page(DataFiles(given.data))


if __name__ == "__main__":
    cli.run(main)
