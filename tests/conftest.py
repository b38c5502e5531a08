"""Hypothesis without its clock, and one study that is run whole once for all tests."""

import shutil

import pytest
from hypothesis import settings

from tests.workflow import small_study

settings.register_profile("slingshot", deadline=None)  # on a busy machine a slow example is no fault
settings.load_profile("slingshot")


@pytest.fixture(scope="session")
def house(tmp_path_factory):
    """A checkout that tests may change and move: the Snakefile and all that it reads."""
    place = tmp_path_factory.mktemp("checkout") / "house"
    place.mkdir()
    for name in ("workflow", "scripts", "profiles", "envs"):
        shutil.copytree(small_study.HOUSE / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(small_study.HOUSE / "Snakefile", place / "Snakefile")
    return place


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """A study that was never run."""
    study = tmp_path_factory.mktemp("written") / "study"
    small_study.write_study(study)
    return study


@pytest.fixture(scope="session")
def finished(tmp_path_factory, house, written):
    """A study that was run to its report. Copy it before you change it."""
    study = small_study.copy(written, tmp_path_factory.mktemp("finished") / "study")
    code, said = small_study.run(study, "--cores", "2", house=house)
    assert code == 0, said[-5000:]
    return study


def pytest_collection_modifyitems(config, items):
    """Leave out tests marked slow unless -m asks for them."""
    if "slow" in config.option.markexpr:
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if not item.get_closest_marker("slow")]
