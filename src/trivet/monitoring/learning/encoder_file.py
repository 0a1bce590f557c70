"""From trained weights to what ships: an ONNX graph in eight bits, the tokenizer, and a few words about them.

Weights of all matrix products and the word table are stored in eight bits with a scale per column, activations are
quantised as they come (dynamic quantisation). Seven of the eight bits are used, since on processors without VNNI the
sum of two products of full eight-bit numbers overflows and saturates.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from trivet.monitoring.guards.encoder import FORMAT
from trivet.monitoring.learning.encoder_training import NAMES, Bert

OPSET = 17


def write_encoder(folder: Path, model: Bert, tokenizer: Tokenizer, notes: Mapping[str, Any]) -> None:
    """encoder.onnx, tokenizer.json and encoder.json in a folder."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    folder.mkdir(parents=True, exist_ok=True)
    ids = torch.ones(2, 8, dtype=torch.long)
    axes = {
        "ids": {0: "rows", 1: "tokens"},
        "mask": {0: "rows", 1: "tokens"},
        "logits": {0: "rows"},
        "vectors": {0: "rows"},
    }
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        # The older exporter is deprecated; the newer one needs another package for the same graph.
        warnings.simplefilter("ignore")
        plain = Path(scratch) / "plain.onnx"
        torch.onnx.export(
            model.eval(),
            (ids, torch.ones_like(ids)),
            str(plain),
            input_names=["ids", "mask"],
            output_names=["logits", "vectors"],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
        quantize_dynamic(
            plain, folder / "encoder.onnx", weight_type=QuantType.QInt8, per_channel=True, reduce_range=True
        )
    # Without blanks: a third smaller.
    data = json.loads(tokenizer.to_str())
    (folder / "tokenizer.json").write_text(
        json.dumps(data, ensure_ascii=False, separators=(",", ":")), encoding="utf-8"
    )
    about = {"format": FORMAT, "heads": list(NAMES), "width": model.head.in_features, **notes}
    (folder / "encoder.json").write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")
