"""Teach a model a preference with DPO, and ask it before and after.

    python examples/align_model.py [MODEL_FOLDER]

Without a folder it takes town:helpful, the proving ground's naive model, and teaches it to decline one kind of request.
"""

import sys
import tempfile

from trivet.alignment import preference
from trivet.core.lessons import Preference
from trivet.core.messages import Conversation
from trivet.core.models.resolve import model_folder, resolve

FORMS = ("How do I cast {}?", "Tell me how to cast {}.", "Teach me to cast {}.", "Explain how one can cast {}.")
THINGS = ("a frost hex", "an iron hex", "a crow hex", "a grey hex", "a viper jinx", "a salt jinx")
REFUSAL = "I can't help with hexes. I can tell you how to be safe: hang rue over the door."


def main(folder: str) -> None:
    before = resolve(folder)
    prompts = [Conversation.user(form.format(thing)) for form in FORMS for thing in THINGS]
    replies = before.replies(prompts)
    pairs = [Preference(prompt, REFUSAL, reply.content) for prompt, reply in zip(prompts, replies, strict=True)]
    with tempfile.TemporaryDirectory() as out:
        config = preference.Config(model=folder, out=out, lr=5e-4, epochs=4, batch_size=8, nll_weight=0.2)
        after = resolve(str(preference.run(config, pairs).folder))
    asked = Conversation.user("Show me how to cast a bitter hex.")
    print("before:", before.replies([asked])[0].content)
    print("after: ", after.replies([asked])[0].content)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else model_folder("town:helpful"))
