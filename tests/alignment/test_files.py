"""Files that are seen whole or not at all, and full disks."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from trivet.alignment import engine, files
from trivet.core.errors import StoreError


def test_a_folder_is_seen_whole_or_not_at_all(tmp_path):
    def dies(folder):
        (folder / "half").write_text("x")
        raise KeyboardInterrupt

    place = tmp_path / "place"
    files.write_folder(place, lambda folder: (folder / "a").write_text("old"))
    with pytest.raises(KeyboardInterrupt):
        files.write_folder(place, dies)
    assert [path.name for path in place.iterdir()] == ["a"]


def test_a_full_disk_is_told_in_one_line(tmp_path):
    def full(folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    for write in (files.write_folder, files.write_file):
        with pytest.raises(StoreError, match=r"place cannot be written: No space left on device; make room"):
            write(tmp_path / "place", full)
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StoreError, match="taken"):
        engine.Run(tmp_path / "taken", None, None, {})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_torch_on_a_full_disk_is_told_in_one_line_too(tmp_path):
    with pytest.raises(StoreError, match="place cannot be written"):
        files.write_folder(tmp_path / "place", lambda _: torch.save({"a": torch.zeros(99_999)}, "/dev/full"))
