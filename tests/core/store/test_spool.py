"""What is in the spool is not lost, is stored once, and does not grow without end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from trivet.core.errors import StoreError
from trivet.core.events import Alert, encode
from trivet.core.store import connections
from trivet.core.store import spool as module
from trivet.core.store.events import Store
from trivet.core.store.spool import Spool, folder_of, left_behind


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "t.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(path) as store:
        yield store


def alert(n: int, why: str = "") -> Alert:
    return Alert(id=str(n), detector="test", why=why)


def line(n: int) -> bytes:
    return encode(alert(n))


def ids(store: Store) -> list[str]:
    return [event.id for event in store.events()]


KILLED = """
import os, signal, sys
from trivet.core.events import Alert, encode
from trivet.core.store.spool import Spool
spool = Spool(__import__("pathlib").Path(sys.argv[1]))
spool.append([encode(Alert(id=str(n), detector="test", why="")) for n in range(3)])
os.write(spool._file.handle, b'{"id": "cut sh')
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_had_acknowledged_is_taken_in_once(path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, timeout=60)
    (file,) = (file for file in folder_of(path).glob("*.jsonl") if file.stat().st_size)
    again = file.read_bytes()
    for _ in range(2):
        with Store.open(path) as store:
            assert ids(store) == ["0", "1", "2"]
        assert not folder_of(path).exists()
        folder_of(path).mkdir()
        file.write_bytes(again)  # a crash between storing and removing
    with Store.open(path, readonly=True) as fixed:
        assert fixed.count() == 3 and file.exists(), "a reader takes nothing in"


def test_a_process_that_is_alive_keeps_its_own(path: Path) -> None:
    spool = Spool(path)
    spool.append([line(1)])
    with Store.open(path) as store:
        assert ids(store) == []
    spool.close(done=False)
    with Store.open(path) as store:
        assert ids(store) == ["1"]


def test_what_is_stored_is_thrown_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONG", 100)
    spool = Spool(path)

    def sizes() -> list[int]:
        return sorted(file.stat().st_size for file in spool.folder.glob("*"))

    for n in range(10):
        spool.append([line(n)])
        spool.stored(0)  # makes the next file, and has nothing to remove
    assert len(sizes()) == 7 and 100 < sizes()[-1] < 200, "two lines in each of five, one in use, and the next"
    spool.stored(9)
    assert len(sizes()) == 3, "the one of the last two lines, the one in use, and the next"
    spool.stored(10)
    assert sizes() == [0, 0]
    for n in range(6):
        spool.append([line(n)])
    assert len(sizes()) == 2, "without a next one it goes on in the one that is full"
    spool.close(done=True)
    assert not spool.folder.exists()


def test_a_disk_that_fills_in_the_middle_of_a_line_leaves_no_half_of_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(path)
    spool.append([line(1)])
    real, room = os.write, [10, 0]

    def full(handle: int, data: bytes) -> int:
        if not room:
            return real(handle, data)
        if not (left := room.pop(0)):
            raise OSError(28, "No space left on device")
        return real(handle, data[:left])

    monkeypatch.setattr(module.os, "write", full)
    with pytest.raises(StoreError, match="No space left"):
        spool.append([line(2), line(3)])
    spool.append([line(4)])
    assert spool.appended == 2
    spool.close(done=False)
    with Store.open(path) as store:
        assert ids(store) == ["1", "4"]


def test_a_half_line_that_cannot_be_cut_off_is_followed_by_another_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(path)
    spool.append([line(1)])
    first, real = spool._file, os.write

    def broken(handle: int, data: bytes | int) -> int:
        if isinstance(data, bytes) and data != b"x" and len(data) > 5:
            real(handle, data[:5])
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(module.os, "write", broken)
        patched.setattr(module.os, "ftruncate", broken)
        with pytest.raises(StoreError, match="Input/output"):
            spool.append([line(2)])
        assert spool._file != first, "the next one is used"
        for said in ("Input/output", "half a line"):  # there is no other: the second finds the first's half line
            with pytest.raises(StoreError, match=said):
                spool.append([line(3)])
    spool.append([line(4)])
    with monkeypatch.context() as patched:
        patched.setattr(module.os, "write", broken)
        patched.setattr(module.os, "ftruncate", broken)
        with pytest.raises(StoreError):
            spool.append([line(5)])
    spool.stored(0)
    with monkeypatch.context() as patched:
        patched.setattr(module.os, "ftruncate", broken)
        spool.append([line(6)])
    spool.close(done=False)
    with Store.open(path) as store:
        assert sorted(ids(store)) == ["1", "4", "6"]


def test_a_next_file_that_cannot_be_made_is_tried_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONG", 1)
    spool = Spool(path)
    spool.append([line(1)])

    def none_left(*given: object) -> int:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(module.os, "open", none_left)
        with pytest.raises(StoreError, match="Too many open files"):
            spool.stored(1)
        spool.append([line(2)])
    spool.stored(1)
    assert spool._next
    spool.close(done=False)
    with Store.open(path) as store:
        assert ids(store) == ["2"]


@pytest.mark.parametrize("broken", [b'{"kind": "alert", "id": "cut', b"\xff\x00", b""])
def test_half_a_line_is_set_aside_with_an_alert(path: Path, broken: bytes) -> None:
    for _ in range(2):
        folder_of(path).mkdir()
        (folder_of(path) / "1-a.jsonl").write_bytes(b"\n".join([line(1), broken, line(2), b""]))
        with Store.open(path) as store:
            assert ids(store) == ["1", "2", "spool-1-a"], "told once, also after a crash before the spool was removed"
        assert path.with_name("t.db-spool-1-a.broken").read_bytes() == broken + b"\n"
        assert not folder_of(path).exists()


def test_what_cannot_be_set_aside_keeps_the_spool(path: Path) -> None:
    folder_of(path).mkdir()
    file = folder_of(path) / "1-a.jsonl"
    file.write_bytes(b"{\n")
    path.with_name("t.db-spool-1-a.broken").mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        Store.open(path)
    assert file.exists()


def test_who_is_taken_for_gone_before_he_had_the_lock_begins_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, thieves = module.fcntl.flock, [True]

    def late(handle: int, how: int) -> None:
        if how == module.fcntl.LOCK_EX and thieves:
            thieves.clear()
            assert [left.lines for left in left_behind(path)] == [[]]
        real(handle, how)

    monkeypatch.setattr(module.fcntl, "flock", late)
    spool = Spool(path)
    spool.append([line(1)])
    assert spool._file.path.exists()
    spool.close(done=True)


def test_a_folder_that_another_has_just_removed_is_made_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, times = os.open, [True]

    def gone(place: Path, *how: int) -> int:
        if times:
            times.clear()
            folder_of(path).rmdir()
        return real(place, *how)

    monkeypatch.setattr(module.os, "open", gone)
    Spool(path).close(done=True)
    assert not times


def test_places_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.db-spool").write_text("")
    with pytest.raises(StoreError, match="check its folder"):
        Spool(tmp_path / "t.db")
    assert list(left_behind(tmp_path / "t.db")) == []
    gone = folder_of(tmp_path / "u.db")
    gone.mkdir()
    (gone / "1-a.jsonl").symlink_to(gone / "nowhere")
    assert list(left_behind(tmp_path / "u.db")) == [], "another process has just taken it in"


def test_a_line_of_another_trivet_stops_the_door_and_is_not_thrown_away(path: Path) -> None:
    folder_of(path).mkdir()
    file = folder_of(path) / "1-a.jsonl"
    file.write_bytes(b'{"kind": "future", "id": "x"}\n')
    with pytest.raises(StoreError, match="cannot read"):
        Store.open(path)
    assert file.exists()


def test_a_file_that_another_has_taken_in_meanwhile(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_of(path).mkdir()
    file = folder_of(path) / "1-a.jsonl"
    file.write_bytes(line(1) + b"\n")
    real = module.fcntl.flock

    def taken(handle: int, how: int) -> None:
        real(handle, how)
        file.unlink()

    monkeypatch.setattr(module.fcntl, "flock", taken)
    assert list(left_behind(path)) == []


# The store's part


def test_a_store_has_its_spools_beside_it(store: Store) -> None:
    spool = store.spool()
    assert spool.folder == folder_of(store.path)
    spool.close(done=True)


def test_lines_are_stored_like_events(store: Store) -> None:
    pairs = [(alert(n), line(n)) for n in range(700)]
    assert store.add_lines(pairs) == 700 and store.add_lines(pairs[:3]) == 0 and store.add_lines([]) == 0
    assert store.add([alert(n) for n in range(690, 710)]) == 10
    assert ids(store) == [str(n) for n in range(710)]


def test_the_log_is_folded_in_by_another_thread(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "FOLD_SECONDS", 0.001)
    monkeypatch.setattr(connections, "LONG_LOG", 1 << 20)
    end = store.folding()
    before, look = store.path.stat().st_size, threading.Event()
    for n in range(3000):
        store.add([alert(n, "x" * 4000)])
    for _ in range(1000):
        if store.path.stat().st_size > before + (8 << 20):
            break
        look.wait(0.01)
    assert store.path.stat().st_size > before + (8 << 20), "most of it is in the file although the log was never closed"
    end()
    assert not [thread for thread in threading.enumerate() if thread.name == "trivet-store"] and store.count() == 3000


def test_folding_may_end_after_the_store(path: Path) -> None:
    store = Store.open(path)
    end = store.folding()
    store.close()
    end()
