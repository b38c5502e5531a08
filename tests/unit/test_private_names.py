"""The private names of other libraries that we use are counted, listed, and no more than they were."""

from tests import private_names

MOST = 7

SOURCE = """
import torch
torch._dynamo.reset()
x.config._hidden = 1
getattr(m, "_own")
_ours = m._ours
"""


def test_the_table_in_contributing_lists_them():
    page = private_names.PAGE.read_text(encoding="utf-8")
    listed = page[page.index(private_names.BEGIN) : page.index(private_names.END)]
    missing = [name for name in private_names.private_names() if f"`{name}`" not in listed]
    assert not missing, "run python tests/private_names.py --write"


def test_there_are_no_more_of_them():
    assert len(private_names.private_names()) <= MOST


def test_a_private_name_is_found():
    found = private_names.names_in(private_names.ast.parse(SOURCE), {"_ours"})
    assert found == {"torch._dynamo", "._hidden", "._own"}
