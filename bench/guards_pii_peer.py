"""Presidio's pattern recognisers on texts from standard input: run by bench/guards_pii.py in an environment of its own.

No language model: the recognisers need none. Their context words are left out, since these need the lemmas of one; that only
makes Presidio faster. Two times are taken: the recognisers one by one, and the analyzer around them.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

import presidio_analyzer
import tldextract
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry, predefined_recognizers
from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine

# The list of top-level domains that comes with the package: none is fetched.
tldextract.extract = tldextract.TLDExtract(suffix_list_urls=())


class NoLanguage(NlpEngine):
    """An engine that finds nothing and takes no time."""

    def load(self) -> None: ...
    def is_loaded(self) -> bool:
        return True

    def process_text(self, text: str, language: str) -> NlpArtifacts:
        return NlpArtifacts([], [], [], [], None, language)

    def process_batch(self, texts: Any, language: str, **more: Any) -> Any:
        return ((text, self.process_text(text, language)) for text in texts)

    def is_stopword(self, word: str, language: str) -> bool:
        return False

    def is_punct(self, word: str, language: str) -> bool:
        return False

    def get_supported_entities(self) -> list[str]:
        return []

    def get_supported_languages(self) -> list[str]:
        return ["en"]


def recognisers(entities: set[str]) -> list[Any]:
    """One of every pattern recogniser whose entities are all wanted, in English."""
    found = []
    for name in sorted(vars(predefined_recognizers)):
        kind = getattr(predefined_recognizers, name)
        if not (isinstance(kind, type) and issubclass(kind, presidio_analyzer.EntityRecognizer)) or kind in SKIPPED:
            continue
        try:
            one = kind(supported_language="en")
        except Exception:  # needs a model, a key or another package: no pattern recogniser
            continue
        if set(one.supported_entities) <= entities and isinstance(one, PATTERNED):
            one.context = []
            found.append(one)
    return found


PATTERNED = (presidio_analyzer.PatternRecognizer, predefined_recognizers.PhoneRecognizer)
SKIPPED = (presidio_analyzer.PatternRecognizer,)


def main() -> None:
    given = json.load(sys.stdin)
    kinds = recognisers(set(given["entities"]))
    entities = sorted({entity for one in kinds for entity in one.supported_entities})
    if given.get("list"):
        json.dump(
            {"entities": entities, "recognisers": [one.name for one in kinds], "version": given["list"]}, sys.stdout
        )
        return
    registry = RecognizerRegistry(recognizers=kinds)
    analyzer = AnalyzerEngine(registry=registry, nlp_engine=NoLanguage(), supported_languages=["en"])
    nothing = NoLanguage().process_text("", "en")
    for text in given["texts"][:20]:  # warm
        analyzer.analyze(text, "en")
    times: dict[str, list[float]] = {"recognisers_us": [], "analyzer_us": []}
    for text in given["texts"]:
        alone, whole = [], []
        for _ in range(given["rounds"]):
            start = time.perf_counter()
            for one in kinds:
                one.analyze(text, one.supported_entities, nothing)
            middle = time.perf_counter()
            analyzer.analyze(text, "en")
            alone.append(middle - start)
            whole.append(time.perf_counter() - middle)
        times["recognisers_us"].append(min(alone) * 1e6)
        times["analyzer_us"].append(min(whole) * 1e6)
    rows = [
        [[r.start, r.end, r.entity_type, r.score] for r in analyzer.analyze(text, "en")]
        for text in given.get("rows", ())
    ]
    json.dump(
        {"entities": entities, **{k: statistics.median(v) for k, v in times.items() if v}, "each": times, "rows": rows},
        sys.stdout,
    )


main()
