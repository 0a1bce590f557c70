"""Names of people and places, by way of Presidio: a plug-in for those who have it installed.

`pip install presidio-analyzer` and a spaCy model (`python -m spacy download en_core_web_lg`); then `Pii(names="presidio")`.
Only what a language model of spaCy's finds is taken from it; numbers and addresses are found by our own rules.

Not covered: other languages than English, unless another `language` is configured in Presidio. It takes tens of
milliseconds for a page, so the guard runs in a thread, and a stream waits for its end.
"""

from __future__ import annotations

from trivet.core.errors import ConfigError
from trivet.monitoring.guards.pii_finder import Found

ENTITIES = ("PERSON", "LOCATION", "NRP")


class PresidioNames:
    """People, places and groups as Presidio's analyzer finds them."""

    def __init__(self, language: str = "en") -> None:
        try:
            from presidio_analyzer import AnalyzerEngine
        except ImportError as error:
            raise ConfigError(
                'names need Presidio: pip install presidio-analyzer, or leave out `names: "presidio"`'
            ) from error
        self.language = language
        try:
            self._analyzer = AnalyzerEngine()
        except (OSError, SystemExit) as error:
            raise ConfigError(
                f"Presidio has no spaCy model ({error}); python -m spacy download en_core_web_lg"
            ) from error

    def find(self, text: str) -> list[Found]:
        """What its language model takes for a person, a place or a group of people."""
        results = self._analyzer.analyze(text=text, language=self.language, entities=list(ENTITIES))
        return [Found(one.start, one.end, one.entity_type, float(one.score)) for one in results]
