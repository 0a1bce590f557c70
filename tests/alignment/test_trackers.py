"""Figures that go to trackers: what is asked for, and what is missing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from trivet.alignment import trackers
from trivet.core.errors import ConfigError


def test_none_are_asked_for(tmp_path):
    assert trackers.trackers("", tmp_path, {}) == []


def test_an_unknown_and_a_missing_one_stop_the_run(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r'"tensorbord" is not known.*Did you mean "tensorboard"'):
        trackers.trackers("tensorbord", tmp_path, {})
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="wandb is not installed; install it with: pip install wandb"):
        trackers.trackers("wandb", tmp_path, {})


def test_rows_are_written_with_their_step(tmp_path, monkeypatch):
    told = []

    class Writer:
        requires_logging_directory = True

        def __init__(self, name, logging_dir):
            told.append((name, logging_dir))

        def start(self):
            told.append("started")

        def store_init_configuration(self, settings):
            told.append(settings)

        def log(self, values, step):
            told.append((values, step))

    from accelerate import tracking

    monkeypatch.setattr(trackers, "find_spec", lambda name: SimpleNamespace())
    monkeypatch.setattr(tracking, "TensorBoardTracker", Writer)
    (write,) = trackers.trackers(" tensorboard ", tmp_path / "run", {"lr": 1e-3, "betas": [0.9, 0.95]})
    write({"step": 3, "loss": 0.5})
    assert told == [("run", str(tmp_path / "run" / "tensorboard")), "started", {"lr": 1e-3}, ({"loss": 0.5}, 3)]
