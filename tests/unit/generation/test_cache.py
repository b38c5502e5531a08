"""The cache gives back what was put in, whatever happens to its file or beside it."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading

import pytest

from slingshot.generation.cache import PredictionCache, prompt_key

ANSWER = {"ids": [5, 7], "new_tokens": 3, "text": "ä\N{HAIR SPACE}"}


def test_an_answer_comes_back_and_a_missing_one_does_not(tmp_path):
    with PredictionCache(tmp_path / "deep" / "m.sqlite") as cache:
        assert cache.get(["a"]) == {}
        cache.put({"a": ANSWER, "b": {"candidates": [["A00", -0.123456]]}})
    with PredictionCache(tmp_path / "deep" / "m.sqlite") as cache:
        assert cache.get(["a", "b", "c"]) == {"a": ANSWER, "b": {"candidates": [["A00", -0.123456]]}}


def test_many_keys_in_one_go(tmp_path):
    with PredictionCache(tmp_path / "m.sqlite") as cache:
        cache.put({str(number): {"n": number} for number in range(2000)})
        assert cache.get(map(str, range(1999, 2003))) == {"1999": {"n": 1999}}
        assert len(cache.get(map(str, range(2000)))) == 2000


@pytest.mark.parametrize(
    "changed", [{"model": "r2"}, {"adapter": "a2"}, {"dtype": "float32"}, {"quantization": "nf4"}, {"end_ids": [2, 3]}]
)
def test_the_key_depends_on_every_setting_and_on_the_prompt(changed):
    settings = {"model": "r1", "adapter": None, "dtype": "bfloat16", "quantization": "none", "end_ids": [2]}
    key = prompt_key(settings, [1, 2, 3])
    assert key == prompt_key(dict(reversed(settings.items())), (1, 2, 3))
    assert key != prompt_key({**settings, **changed}, [1, 2, 3])
    assert key != prompt_key(settings, [1, 23])


@pytest.mark.parametrize(
    "content", [b"this is no database at all, but a text of some length" * 40, b"SQLite format 3\0garbage"]
)
def test_a_damaged_file_is_set_aside(tmp_path, caplog, content):
    path = tmp_path / "m.sqlite"
    path.write_bytes(content)
    with PredictionCache(path) as cache:
        cache.put({"a": ANSWER})
        assert cache.get(["a"]) == {"a": ANSWER}
    assert (tmp_path / "m.sqlite.damaged").read_bytes() == content
    assert "set aside" in caplog.text


def test_a_file_damaged_inside_is_set_aside(tmp_path, caplog):
    path = tmp_path / "m.sqlite"
    with PredictionCache(path) as cache:
        cache.put({str(number): {"text": "x" * 400} for number in range(400)})
    bytes_ = bytearray(path.read_bytes())
    bytes_[4096:40960] = b"\xff" * (40960 - 4096)
    path.write_bytes(bytes_)
    with PredictionCache(path) as cache:
        assert cache.get(["1"]) == {}
        cache.put({"1": ANSWER})
        assert cache.get(["1"]) == {"1": ANSWER}
    assert "set aside" in caplog.text


def test_a_changed_answer_is_not_believed(tmp_path, caplog):
    path = tmp_path / "m.sqlite"
    with PredictionCache(path) as cache:
        cache.put({"a": ANSWER, "b": ANSWER})
    with sqlite3.connect(path) as database:
        database.execute("UPDATE answers SET answer = replace(answer, '7', '8') WHERE key = 'a'")
    with PredictionCache(path) as cache:
        assert cache.get(["a", "b"]) == {"b": ANSWER}
    assert "computed again" in caplog.text


def _write(path, first):
    with PredictionCache(path) as cache:
        for number in range(first, first + 40):
            cache.put({str(number): {"n": number}})


def test_processes_share_a_file(tmp_path):
    path = tmp_path / "m.sqlite"
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_write, args=(path, first)) for first in (0, 20, 1000)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    with PredictionCache(path) as cache:
        assert len(cache.get(map(str, range(2000)))) == 100


def test_a_file_that_another_process_is_about_to_switch_is_waited_for(tmp_path):
    """SQLite answers "database is locked" at once there, whatever its time-out."""
    path = tmp_path / "m.sqlite"
    other = sqlite3.connect(path, check_same_thread=False)
    other.execute("CREATE TABLE other (a)")
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, other.rollback)
    release.start()
    with PredictionCache(path) as cache:
        cache.put({"1": ANSWER})
        assert cache.get(["1"]) == {"1": ANSWER}
    release.join()
    other.close()


def test_a_killed_writer_loses_nothing_that_was_put(tmp_path):
    path = tmp_path / "m.sqlite"
    spawn = multiprocessing.get_context("spawn")
    writer = spawn.Process(target=_write_and_hang, args=(path,))
    writer.start()
    with_answer = {}
    for _ in range(600):
        writer.join(0.1)
        if path.exists():
            with PredictionCache(path) as cache:
                with_answer = cache.get(["a"])
        if with_answer:
            break
    writer.kill()
    writer.join(10)
    with PredictionCache(path) as cache:
        assert cache.get(["a"]) == {"a": ANSWER}


def _write_and_hang(path):
    cache = PredictionCache(path)
    cache.put({"a": ANSWER})
    multiprocessing.Event().wait(60)
