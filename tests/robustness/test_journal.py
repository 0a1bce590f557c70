"""The journal: on disk at once, taken over once, cut lines left out, and gone when nobody needs it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from trivet.core.errors import StoreError
from trivet.core.events import Attempt
from trivet.core.messages import Conversation
from trivet.core.store.events import Store
from trivet.core.verdicts import Verdict
from trivet.robustness import journal
from trivet.robustness.journal import Journal, asked, folder_of

HELLO = asked((Conversation.user("Hello?"),))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "trivet.db") as opened:
        yield opened


def files(store: Store) -> list[Path]:
    return sorted(folder_of(store.path).glob("*"))


def left_by_a_killed_process(store: Store, *lines: tuple[str, str, list[str]], run: str = "r") -> Path:
    """What a process leaves that had no time for anything: its file, and no lock on it."""
    dead = Journal(store, run, "t")
    for line in lines:
        dead.note(*line)
    os.close(dead._handle)
    return dead._path


def keep(store: Store, id: str) -> None:
    store.add(
        [
            Attempt(
                id=id, suite="attack", task="", conversation=Conversation(), verdict=Verdict("x", 0.0, "j"), target="t"
            )
        ]
    )


def test_a_reply_is_on_disk_when_it_has_been_noted(store: Store) -> None:
    mine = Journal(store, "r", "t")
    assert not files(store), "nothing is made before there is something to keep"
    mine.note("one", HELLO, ["Good day."], 3, 2)
    (path,) = files(store)
    assert path.read_bytes() == f'["one","{HELLO}",["Good day."],3,2]\n'.encode()
    assert path.stat().st_mode & 0o77 == 0, "replies are nobody else's"
    mine.stored(["one"])
    mine.close()
    assert not folder_of(store.path).exists()


def test_hasty_lines_are_written_together_and_none_is_left_behind(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "TOGETHER", 3)
    mine = Journal(store, "r", "t")
    for number in range(5):
        mine.note(str(number), HELLO, ["x"], hasty=True)
    (path,) = files(store)
    assert path.read_bytes().count(b"\n") == 3
    mine.close()
    assert path.read_bytes().count(b"\n") == 5


def test_what_a_killed_process_heard_is_recalled_by_attempt_words_and_number(store: Store) -> None:
    path = left_by_a_killed_process(store, ("one", HELLO, ["first"]), ("one", f"{HELLO}.1", ["second"]))
    mine = Journal(store, "r", "t")
    assert not path.exists(), "taken over"
    found = mine.recall("one", f"{HELLO}.1")
    assert found
    assert found.replies == ["second"]
    assert mine.recall("two", HELLO) is mine.recall("one", asked((Conversation.user("Bye."),))) is None
    # Killed again before anything was done: nothing is lost with the second file.
    os.close(mine._handle)
    again = Journal(store, "r", "t").recall("one", HELLO)
    assert again
    assert again.replies == ["first"]


def test_several_files_are_taken_over_and_equal_lines_once(store: Store) -> None:
    first = left_by_a_killed_process(store, ("one", HELLO, ["said"]))
    copy = first.with_name(first.name.replace(".jsonl", "0.jsonl"))
    copy.write_bytes(first.read_bytes() + f'["two","{HELLO}",["more"]]\n'.encode())
    mine = Journal(store, "r", "t")
    assert mine.recall("two", HELLO)
    (path,) = files(store)
    assert path.read_bytes().count(b"\n") == 2


def test_a_line_that_a_kill_cut_short_was_not_heard(store: Store) -> None:
    path = left_by_a_killed_process(store, ("one", HELLO, ["whole"]))
    with path.open("ab") as file:
        file.write(b'["two","abc",["half a li')
    mine = Journal(store, "r", "t")
    assert mine.recall("one", HELLO)
    assert mine.recall("two", "abc") is None


@pytest.mark.parametrize("junk", [b"\xff\xfe\x00\n", b"{}\n", b'["one"]\n', b"[1,2,3]\n", b"null\n", b"\n\n"])
def test_junk_in_a_file_is_no_line(store: Store, junk: bytes) -> None:
    path = left_by_a_killed_process(store, ("one", HELLO, ["whole"]))
    path.write_bytes(junk + path.read_bytes())
    assert Journal(store, "r", "t").recall("one", HELLO)


def test_what_is_stored_by_now_is_not_kept(store: Store) -> None:
    path = left_by_a_killed_process(store, ("one", HELLO, ["said"]), ("two", HELLO, ["said"]))
    keep(store, "one")
    mine = Journal(store, "r", "t")
    assert mine.recall("one", HELLO) is None
    assert mine.recall("two", HELLO)
    assert not path.exists()
    mine.close()
    assert len(files(store)) == 1, "two is still needed"


def test_the_file_of_a_living_process_and_of_another_campaign_stay(store: Store) -> None:
    living = Journal(store, "r", "t")
    living.note("one", HELLO, ["said"])
    other = left_by_a_killed_process(store, ("one", HELLO, ["said"]), run="another")
    mine = Journal(store, "r", "t")
    assert mine.recall("one", HELLO) is None
    assert {living._path, other} <= set(files(store))
    mine.close()
    living.stored(["one"])
    living.close()
    assert files(store) == [other]


def test_a_long_file_is_begun_anew_with_what_is_needed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "LONG", 2000)
    mine = Journal(store, "r", "t")
    for number in range(100):
        mine.note(str(number), HELLO, ["x" * 100])
        if number != 50:
            mine.stored([str(number)])
    (path,) = files(store)
    assert path.stat().st_size < 2500
    assert b'"50"' in path.read_bytes()


def test_a_full_disk_stops_the_campaign_with_one_line(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Journal(store, "r", "t")
    mine.note("one", HELLO, ["said"])

    def full(handle: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreError, match=r"No space left on device; free some space and repeat the command"):
        mine.note("two", HELLO, ["said"])


def test_a_folder_that_cannot_be_made_is_told(store: Store) -> None:
    folder_of(store.path).write_text("in the way", encoding="utf-8")
    with pytest.raises(StoreError, match="cannot be made"):
        Journal(store, "r", "t").note("one", HELLO, ["said"])
