"""The methods section has words for each way to keep an adapter."""

from typing import get_args

from slingshot.config.base import SelectBy
from slingshot.report.methods import KEPT


def test_each_way_to_select_an_adapter_has_its_words():
    assert set(KEPT) == set(get_args(SelectBy))
