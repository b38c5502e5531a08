"""Hypothesis without its clock, and one study that is run whole once for all tests of all workers."""

import os
import shutil

import pytest
from filelock import FileLock
from hypothesis import settings

from tests.workflow import small_study

settings.register_profile("slingshot", deadline=None)  # on a busy machine a slow example is no fault
settings.load_profile("slingshot")


def build_once(tmp_path_factory, name, build):
    """A worker's copy of a folder that the first of pytest-xdist's workers to ask builds; the others wait for it.

    The lock is the one that pytest-xdist's documentation recommends for fixtures that should run only once.
    """
    place = tmp_path_factory.getbasetemp()
    shared = (place.parent if "PYTEST_XDIST_WORKER" in os.environ else place) / f"shared-{name}"
    done, failed = shared.with_suffix(".done"), shared.with_suffix(".failed")
    with FileLock(shared.with_suffix(".lock")):
        if failed.exists():
            pytest.fail(f"{name}: another worker could not build it; its tests say why")
        if not done.exists():
            failed.touch()
            build(shared)
            failed.rename(done)
    return small_study.copy(shared, tmp_path_factory.mktemp(name) / "study")


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
    return build_once(tmp_path_factory, "written", small_study.write_study)


@pytest.fixture(scope="session")
def finished(tmp_path_factory, house, written):
    """A study that was run to its report. Copy it before you change it."""

    def build(study):
        small_study.copy(written, study)
        code, output = small_study.run(study, "--cores", "2", house=house)
        assert code == 0, output[-5000:]

    return build_once(tmp_path_factory, "finished", build)


def pytest_collection_modifyitems(config, items):
    """Leave out tests marked slow unless -m asks for them, and order files so that workers wait little."""
    if "slow" not in config.option.markexpr:
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
    items[:] = [item for _, item in sorted(zip(turns_of(items), items, strict=True), key=lambda pair: pair[0])]


def turns_of(items):
    """A number per test, to sort by. While one worker runs the `finished` study, the next has files that don't ask for
    it: one file that does comes first, then those of tests/workflow that don't, then all others in their order."""
    asking = list(dict.fromkeys(item.path for item in items if "finished" in item.fixturenames))
    return [
        0 if asking[:1] == [item.path] else 1 if item.path.parent.name == "workflow" and item.path not in asking else 2
        for item in items
    ]
