"""Conversations as a model reads them: its own chat template, or a plain one where it has none.

A model folder without a chat template gets PLAIN_TEMPLATE (`User: ...`, `Assistant: ...`), in training and in sampling
alike; what Trivet trains is saved with the template that it was trained with. Works on any tokenizer object of
transformers; imports nothing heavy itself.
"""

from __future__ import annotations

from typing import Any

from trivet.core.errors import DataError
from trivet.core.messages import Conversation

PLAIN_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{ message.role | capitalize }}: {{ message.content }}"
    "{%- if message.role == 'assistant' and eos_token %}{{ eos_token }}{% endif %}{{ '\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt %}Assistant:{% endif %}"
)


def ensure_template(tokenizer: Any) -> Any:
    """The same tokenizer, with PLAIN_TEMPLATE where it had no chat template."""
    if not getattr(tokenizer, "chat_template", None):
        tokenizer.chat_template = PLAIN_TEMPLATE
    return tokenizer


def render(tokenizer: Any, conversation: Conversation, *, open_reply: bool) -> str:
    """The conversation in the template's words; `open_reply` adds the opening of the assistant's next turn."""
    try:
        text = tokenizer.apply_chat_template(conversation.rows(), tokenize=False, add_generation_prompt=open_reply)
    except Exception as refused:  # templates raise through jinja2 whatever their authors chose
        roles = ", ".join(message.role for message in conversation) or "no messages"
        raise DataError(
            f"the chat template of this model refuses a conversation of ({roles}): {refused}. "
            "Send the roles it knows, in the order it wants."
        ) from refused
    return str(text)


def end_ids(tokenizer: Any, generation_config: Any = None) -> frozenset[int]:
    """The tokens that end a reply: the tokenizer's end token and those of the model's generation settings."""
    ends = getattr(generation_config, "eos_token_id", None)
    found = set(ends) if isinstance(ends, (list, tuple)) else {ends}
    return frozenset(int(end) for end in (*found, tokenizer.eos_token_id) if end is not None)
