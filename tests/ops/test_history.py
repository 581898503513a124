"""The history of generations as a value, and in a folder that may fail, be damaged, or belong to others."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gatewayproxy.errors import ConfigError
from gatewayproxy.ops.history import Bounds, Generation, History, UnknownGenerationError
from gatewayproxy.ops.history_folder import HistoryFolder

ROOMY = Bounds(100, 1 << 20)
HOW = {"back_to": 1}


def generation(number: int, *, n_bytes: int = 10, **rest: object) -> Generation:
    known = {"reason": "SIGHUP", "accepted": 1.5, "input": f"input-{number}", "digest": "d", **rest}
    return Generation(number=number, document_bytes=n_bytes, **known)  # type: ignore[arg-type]


def filled(history: History, *numbers: int, n_bytes: int = 10) -> History:
    for number in numbers:
        history.add(generation(number, n_bytes=n_bytes), b"%d" % number)
    history.flush()
    return history


def numbers_of(history: History) -> list[int]:
    return [each.number for each in history.generations]


class Shelf:
    """A disk that may be without room."""

    def __init__(self) -> None:
        self.full = True
        self.files: dict[int, bytes] = {}

    def put(self, generation: Generation, documents: bytes) -> None:
        if self.full:
            raise OSError("no space left")
        self.files[generation.number] = documents

    def get(self, number: int) -> bytes:
        return self.files[number]

    def drop(self, number: int) -> None:
        self.files.pop(number, None)


# --- as a value


def test_the_oldest_goes_where_there_are_too_many() -> None:
    history = filled(History(Bounds(3, 1 << 20)), 1, 2, 3, 4, 5)
    assert numbers_of(history) == [3, 4, 5]
    assert history.documents(4) == b"4"
    with pytest.raises(UnknownGenerationError, match="there is no generation 2: 3 to 5 are kept"):
        history.documents(2)


def test_the_oldest_goes_where_they_take_too_much_room_but_never_the_newest() -> None:
    history = filled(History(Bounds(100, 25)), 1, 2, 3)
    assert numbers_of(history) == [2, 3]
    history.add(generation(4, n_bytes=1000), b"4")
    assert numbers_of(history) == [4]


def test_an_input_that_was_taken_back_is_known_until_somebody_wants_it() -> None:
    history = filled(History(ROOMY), 1, 2, 3)
    history.mark_reverted(2, HOW)
    found = history.reverted_with("input-2")
    assert found is not None
    assert (found.number, found.reverted) == (2, HOW)
    assert history.reverted_with("input-1") is None
    assert history.documents(2) == b"2"
    history.unmark(2)
    assert history.reverted_with("input-2") is None


def test_an_input_that_served_well_later_counts_as_good() -> None:
    history = filled(History(ROOMY), 1, 2)
    history.mark_reverted(2, HOW)
    history.add(generation(3, input="input-2"), b"3")
    assert history.reverted_with("input-2") is None


def test_the_last_good_generation_was_not_taken_back() -> None:
    history = filled(History(ROOMY), 1, 2, 3)
    history.mark_reverted(3, HOW)
    good = history.last_good()
    assert good is not None
    assert good.number == 2
    assert History(ROOMY).last_good() is None


def test_what_cannot_be_written_is_kept_in_memory_and_written_later() -> None:
    shelf = Shelf()
    history = History(Bounds(2, 1 << 20), shelf)
    for number in (1, 2, 3):
        history.add(generation(number), b"%d" % number)
        with pytest.raises(OSError, match="no space"):
            history.flush()
    assert numbers_of(history) == [2, 3]
    assert history.documents(3) == b"3"
    shelf.full = False
    history.flush()
    assert shelf.files == {2: b"2", 3: b"3"}
    assert history.documents(3) == b"3"


class LossyShelf(Shelf):
    """A disk that has lost generation 1."""

    def get(self, number: int) -> bytes:
        if number == 1:
            raise OSError("gone bad")
        return super().get(number)


def test_a_generation_that_the_disk_has_lost_keeps_no_other_from_being_written() -> None:
    shelf = LossyShelf()
    shelf.full = False
    history = filled(History(ROOMY, shelf), 1)
    history.mark_reverted(1, HOW)
    history.add(generation(2), b"2")
    with pytest.raises(OSError, match="gone bad"):
        history.flush()
    assert shelf.files[2] == b"2"


class MarkingShelf(Shelf):
    """A disk so slow that the guard takes a generation back while it is written."""

    history: History

    def put(self, generation: Generation, documents: bytes) -> None:
        super().put(generation, documents)
        self.written = generation
        if generation.reverted is None:
            self.history.mark_reverted(generation.number, HOW)


def test_a_mark_that_comes_while_its_generation_is_written_is_written_next() -> None:
    shelf = MarkingShelf()
    shelf.full = False
    shelf.history = history = History(ROOMY, shelf)
    filled(history, 1)
    assert shelf.written.reverted is None
    history.flush()
    assert (shelf.written.reverted, shelf.files) == (HOW, {1: b"1"})


# --- in a folder


def reopened(path: Path) -> tuple[History, list[str]]:
    folder = HistoryFolder(str(path))
    found, problems = folder.load()
    history = History(ROOMY, folder)
    history.recall(found)
    return history, problems


def close(history: History) -> None:
    assert isinstance(history.shelf, HistoryFolder)
    history.shelf.close()


def test_it_outlives_the_process_and_is_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "history"
    first, _ = reopened(path)
    filled(first, 1, 2)
    first.mark_reverted(2, HOW)
    first.flush()
    close(first)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()} == {0o600}
    second, problems = reopened(path)
    assert problems == []
    assert second.generations == first.generations
    assert second.documents(1) == b"1"
    close(second)


def test_files_beyond_the_bounds_are_removed(tmp_path: Path) -> None:
    history, _ = reopened(tmp_path)
    filled(history, 1, 2, 3)
    fewer = History(Bounds(1, 1 << 20), history.shelf)
    fewer.recall(history.generations)
    fewer.flush()
    assert [file.name for file in tmp_path.iterdir()] == ["00000003.generation"]
    close(history)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(b"", "Expecting value", id="empty"),
        pytest.param(b"{}\n", "another version", id="of another version"),
        pytest.param(b"[1]\ntext", "another version", id="another tree"),
        pytest.param(b'{"format": 1, "documents": "00"}\nhalf', "damaged", id="damaged"),
        pytest.param(
            b'{"format": 1, "documents": "cae66941d9efbd404e4d88758ea67670"}\n', "without a number", id="no number"
        ),
        pytest.param(
            b'{"format": 1, "documents": "cae66941d9efbd404e4d88758ea67670", "number": 1, "reason": "SIGHUP", '
            b'"accepted": 1.5, "input": "i", "digest": "d", "document_bytes": null}\n',
            "document_bytes",
            id="a field of another type",
        ),
        pytest.param(b"[" * 100_000 + b"\n", "00000001", id="deeper than any of ours"),
    ],
)
def test_a_file_that_does_not_read_back_is_passed_over_and_named(tmp_path: Path, content: bytes, why: str) -> None:
    history, _ = reopened(tmp_path)
    filled(history, 1, 2)
    close(history)
    (tmp_path / "00000001.generation").write_bytes(content)
    found, problems = reopened(tmp_path)
    assert numbers_of(found) == [2]
    assert len(problems) == 1
    assert "00000001.generation" in problems[0]
    assert why in problems[0]
    close(found)


def test_links_pipes_and_strange_names_are_not_followed(tmp_path: Path) -> None:
    history, _ = reopened(tmp_path)
    filled(history, 1)
    close(history)
    (tmp_path / "00000002.generation").symlink_to(tmp_path / "00000001.generation")
    os.mkfifo(tmp_path / "00000003.generation")
    (tmp_path / "00000004.generation").write_bytes((tmp_path / "00000001.generation").read_bytes())
    (tmp_path / "notes.txt").write_text("mine")
    found, problems = reopened(tmp_path)
    assert numbers_of(found) == [1]
    assert len(problems) == 3
    assert (tmp_path / "notes.txt").exists()
    close(found)


def test_a_write_that_was_cut_short_leaves_what_was_there(tmp_path: Path) -> None:
    history, _ = reopened(tmp_path)
    filled(history, 1)
    close(history)
    (tmp_path / "00000001.generation.tmp").write_bytes(b"half a f")
    found, problems = reopened(tmp_path)
    assert (numbers_of(found), problems) == ([1], [])
    assert [file.name for file in tmp_path.iterdir()] == ["00000001.generation"]
    close(found)


def test_documents_damaged_while_it_runs_are_an_error_not_a_rollback(tmp_path: Path) -> None:
    history, _ = reopened(tmp_path)
    filled(history, 1)
    (tmp_path / "00000001.generation").write_bytes(b"gone bad")
    with pytest.raises(OSError, match=r"00000001\.generation"):
        history.documents(1)
    close(history)


def test_two_gateways_do_not_share_a_folder(tmp_path: Path) -> None:
    first = HistoryFolder(str(tmp_path))
    with pytest.raises(ConfigError, match="another gateway"):
        HistoryFolder(str(tmp_path))
    first.close()
    HistoryFolder(str(tmp_path)).close()


def test_a_folder_that_others_may_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigError, match="others may write here"):
        HistoryFolder(str(tmp_path))


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot keep a history"):
        HistoryFolder(str(tmp_path / "file"))
