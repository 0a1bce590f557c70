#!/usr/bin/env bash
# DPO on the public hh-rlhf harmless pairs, from nothing: a tokenizer trained on the texts, a Llama of 1.8 M random
# weights, one short supervised run on the chosen replies, then DPO, measured on prompts that were held out.
#
#   runs/dpo_hh_small.sh [--json PATH] [--out FOLDER]
#
# The pairs are those of TRIVET_DATA (default: ../shared/data), file preferences/hh_harmless_test.jsonl.gz. Some
# minutes on two cores. A model this small learns which words crowd workers preferred, no more: the figure shows that
# the path works on real text, it is not a claim about safety.
set -euo pipefail

json="" out=""
while [ $# -gt 0 ]; do
  case "$1" in
    --json) json=$(realpath -m "$2"); shift 2 ;;
    --out) out=$(realpath -m "$2"); shift 2 ;;
    *) echo "error: unknown option $1; see the top of $0" >&2; exit 2 ;;
  esac
done
cd "$(dirname "$0")/.."

python=.venv/bin/python
[ -x "$python" ] || python=python3
pairs=$(realpath -m "${TRIVET_DATA:-../shared/data}/preferences/hh_harmless_test.jsonl.gz")
[ -r "$pairs" ] || { echo "error: no pairs at $pairs; set TRIVET_DATA" >&2; exit 2; }
if [ -z "$out" ]; then
  out=$(mktemp -d)
  trap 'rm -rf "$out"' EXIT
fi
mkdir -p "$out"

[ -e "$out/chosen.jsonl" ] || "$python" - "$pairs" "$out" <<'PY'
"""The start model, and the chosen replies as demonstrations."""

import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

from trivet.alignment.sources import preferences

logging.disable_progress_bar()
lessons, out = preferences(sys.argv[1]).lessons, Path(sys.argv[2])
texts = [message.content for lesson in lessons for message in lesson.prompt]
texts += [text for lesson in lessons for text in (lesson.chosen, lesson.rejected)]
bpe = Tokenizer(models.BPE())
bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
bpe.decoder = decoders.ByteLevel()
special = ["<|begin|>", "<|end|>", "<|pad|>", "<|user|>", "<|assistant|>"]
alphabet = pre_tokenizers.ByteLevel.alphabet()
bpe.train_from_iterator(
    texts, trainers.BpeTrainer(vocab_size=2048, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
)
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=bpe, bos_token="<|begin|>", eos_token="<|end|>", pad_token="<|pad|>"
)
tokenizer.chat_template = (
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
torch.manual_seed(0)
model = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=192, intermediate_size=384, num_hidden_layers=5, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )
)  # fmt: skip
model.save_pretrained(out / "start")
tokenizer.save_pretrained(out / "start")
rows = [{"prompt": lesson.prompt.rows(), "completion": lesson.chosen} for lesson in lessons]
(out / "chosen.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
PY

"$python" -m trivet.cli.main align configs/sft_small.yaml model="$out/start" out="$out/sft" \
  --data "$out/chosen.jsonl" --hold-out 0.2
"$python" -m trivet.cli.main align configs/dpo_small.yaml model="$out/sft/model" out="$out/dpo" \
  --data "$pairs" --hold-out 0.2 ${json:+--json "$json"}
