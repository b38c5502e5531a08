"""The folder of locks is one user's own, and whatever lies there is neither followed nor changed."""

import os

import pytest

from slingshot.core.errors import StudyError
from slingshot.runtime.locks import LOCK_FOLDER_VARIABLE, holder_of, lock_folder, try_lock


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(LOCK_FOLDER_VARIABLE, str(tmp_path / "locks"))
    return tmp_path / "locks"


def test_each_user_has_a_folder_that_no_other_user_may_enter(folder, monkeypatch):
    os.close(try_lock("device-a", "someone"))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "device-a.lock").stat().st_mode & 0o777 == 0o600
    monkeypatch.delenv(LOCK_FOLDER_VARIABLE)
    assert lock_folder().name == f"slingshot-locks-{os.geteuid()}"


def test_a_folder_that_was_open_to_all_is_closed(folder):
    folder.mkdir()
    folder.chmod(0o777)
    os.close(try_lock("device-a", "someone"))
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_link_in_a_locks_place_is_not_followed(folder, tmp_path):
    """The attack: the predictable name is a link to a file of the victim, which was emptied and made writable."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    victim.chmod(0o600)
    folder.mkdir()
    (folder / "device-a.lock").symlink_to(victim)
    (folder / "device-b.lock").symlink_to(tmp_path / "made by a link")
    for name in ("device-a", "device-b"):
        with pytest.raises(StudyError, match="cannot keep locks"):
            try_lock(name, "someone")
        with pytest.raises(StudyError, match="cannot keep locks"):
            holder_of(name)
    assert victim.read_text() == "precious"
    assert victim.stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "made by a link").exists()


def test_a_hard_link_a_pipe_and_a_folder_in_a_locks_place_are_refused(folder, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder.mkdir()
    os.link(victim, folder / "hard.lock")
    os.mkfifo(folder / "pipe.lock")
    (folder / "folder.lock").mkdir()
    for name in ("hard", "pipe", "folder"):
        with pytest.raises(StudyError):
            try_lock(name, "someone")
    assert victim.read_text() == "precious"


def test_a_folder_that_is_a_link_is_refused(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StudyError, match="is a link"):
        try_lock("device-a", "someone")
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_another_users_folder_is_refused(folder):
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    with pytest.raises(StudyError, match="belongs to another user"):
        try_lock("device-a", "someone")


@pytest.mark.parametrize("name", ["../escape", "a/../../escape", "/tmp/escape"])
def test_a_name_does_not_leave_the_folder(folder, name):
    os.close(try_lock(name, "someone"))
    assert [path.parent for path in folder.iterdir()] == [folder]
