"""Convert a publisher's file into a code tree for data.labels: {tree: file.csv}.

icd9cm: CMS32_DESC_LONG_DX.txt; claml: ICD-10 of WHO or GM as XML; meta: icd10...syst_codes.txt or ..._kodes.txt;
icpc2: a table of codes and titles; icd10cm: the order file of another year.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import get_args

from slingshot.data.tree_converters import Form, convert_tree
from slingshot.runtime import cli

log = logging.getLogger("convert_tree")


def main() -> None:
    arguments = cli.make_parser(__doc__)
    arguments.add_argument("form", choices=get_args(Form), help="what the file is")
    arguments.add_argument("file", type=Path, help="the publisher's file")
    arguments.add_argument("tree", type=Path, help="the CSV to write")
    given = arguments.parse_args()
    log.info("%d codes written to %s", convert_tree(given.form, given.file, given.tree), given.tree)


if __name__ == "__main__":
    cli.run(main)
