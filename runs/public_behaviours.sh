#!/usr/bin/env bash
# Public behaviours against a Hugging Face model through a public chat template.
#
#   runs/public_behaviours.sh [--json PATH] [--model hf:NAME_OR_PATH] [--limit N]
#
# The behaviours are those of TRIVET_DATA (default: ../shared/data), set jailbreakbench. Without --model a small Llama
# with random weights and a ChatML template is made on the spot. Such a model babbles, and babble is no refusal: its
# "attack success" near 100 % shows that the whole path works (template, batching, multi-turn, storing, resuming) and
# says nothing about safety. Give a real model for a real figure.
set -euo pipefail

json="" model="" limit=""
while [ $# -gt 0 ]; do
  case "$1" in
    --json) json=$(realpath -m "$2"); shift 2 ;;
    --model) model=$2; shift 2 ;;
    --limit) limit=$2; shift 2 ;;
    *) echo "error: unknown option $1; see the top of $0" >&2; exit 2 ;;
  esac
done
[ -d "${model#hf:}" ] && model="hf:$(realpath "${model#hf:}")"
cd "$(dirname "$0")/.."

python=.venv/bin/python
[ -x "$python" ] || python=python3
goals="${TRIVET_DATA:-../shared/data}/behaviors/jailbreakbench.jsonl.gz"
[ -r "$goals" ] || { echo "error: no behaviours at $goals; set TRIVET_DATA" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ -z "$model" ]; then
  "$python" - "$work/random-llama" <<'PY'
"""A Llama of random weights with a tokenizer of its own and the ChatML template."""

import sys

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

from trivet.robustness.attacks.library import BASIC, attacks
from trivet.robustness.suites import capability, overrefusal

logging.disable_progress_bar()
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
texts = [probe.request for probe in [*overrefusal.packaged(), *capability.packaged()]]
texts += [turn for attack in attacks("train", BASIC) for turn in attack.how.turns]
bpe = Tokenizer(models.BPE())
bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
bpe.decoder = decoders.ByteLevel()
special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
alphabet = pre_tokenizers.ByteLevel.alphabet()
bpe.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=1024, special_tokens=special, initial_alphabet=alphabet))
tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>")
tokenizer.chat_template = CHATML
torch.manual_seed(0)
model = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=2048, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )
)  # fmt: skip
model.save_pretrained(sys.argv[1])
tokenizer.save_pretrained(sys.argv[1])
PY
  model="hf:$work/random-llama"
fi

"$python" -m trivet.cli.main attack --config configs/attack_public.yaml --target "$model" --goals "$goals" \
  --home "$work/home" --set max_tokens=48 ${limit:+--limit "$limit"} ${json:+--json "$json"}
