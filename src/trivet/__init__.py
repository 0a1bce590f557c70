"""Trivet: align a language model, attack it, guard it, and turn every failure into its next version."""
