"""Secrets: every published shape, what is assigned to a name, disorder; and all that only looks like it."""

from __future__ import annotations

import base64
import hashlib
import random
import string
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trivet.core.errors import ConfigError
from trivet.monitoring.guards.secret_kinds import SHAPES
from trivet.monitoring.guards.secrets import ENTROPY, KINDS, Secrets, find

DRAW = random.Random(7)


def drawn(n: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    """Made here, so that no scanner of repositories finds a key in this file."""
    return "".join(DRAW.choices(alphabet, k=n))


HEX = "0123456789abcdef"
UPPER = string.ascii_uppercase + "234567"
EXAMPLES = {
    "AWS_ACCESS_KEY": "AKIA" + drawn(16, UPPER),
    "GOOGLE_API_KEY": "AIza" + drawn(35),
    "GOOGLE_OAUTH": "GOCSPX-" + drawn(28),
    "AZURE_SECRET": drawn(3) + "8Q~" + drawn(34),
    "DIGITALOCEAN_TOKEN": "dop_v1_" + drawn(64, HEX),
    "VAULT_TOKEN": "hvs." + drawn(95),
    "ANTHROPIC_KEY": "sk-ant-api03-" + drawn(95),
    "OPENROUTER_KEY": "sk-or-v1-" + drawn(64, HEX),
    "OPENAI_KEY": "sk-proj-" + drawn(40) + "_" + drawn(60),
    "HUGGINGFACE_TOKEN": "hf_" + drawn(34),
    "GROQ_KEY": "gsk_" + drawn(52),
    "DATABRICKS_TOKEN": "dapi" + drawn(32, HEX),
    "GITHUB_TOKEN": "ghp_" + drawn(36),
    "GITLAB_TOKEN": "glpat-" + drawn(20),
    "NPM_TOKEN": "npm_" + drawn(36),
    "PYPI_TOKEN": "pypi-AgEIcHlwaS5vcmc" + drawn(80),
    "DOCKER_TOKEN": "dckr_pat_" + drawn(27),
    "SLACK_TOKEN": "xoxb-" + drawn(12, string.digits) + "-" + drawn(24),
    "SLACK_WEBHOOK": "https://hooks.slack.com/services/T" + drawn(8) + "/B" + drawn(8) + "/" + drawn(24),
    "DISCORD_TOKEN": "M" + drawn(23) + "." + drawn(6) + "." + drawn(27),
    "TELEGRAM_TOKEN": drawn(9, "123456789") + ":AA" + drawn(33),
    "TWILIO_KEY": "SK" + drawn(32, HEX),
    "SENDGRID_KEY": "SG." + drawn(22) + "." + drawn(43),
    "STRIPE_KEY": "sk_live_" + drawn(24),
    "SHOPIFY_TOKEN": "shpat_" + drawn(32, HEX),
    "NOTION_TOKEN": "ntn_" + drawn(46),
    "AIRTABLE_TOKEN": "pat" + drawn(14) + "." + drawn(64, HEX),
    "LINEAR_KEY": "lin_api_" + drawn(40),
    "JWT": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0." + drawn(43),
    "PRIVATE_KEY": "-----BEGIN RSA PRIVATE KEY-----\n"
    + "\n".join(drawn(64) for _ in range(25))
    + "\n-----END RSA PRIVATE KEY-----",
}


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_key_is_found_by_its_shape_where_it_stands(kind: str) -> None:
    key = EXAMPLES[kind]
    text = f"Why does this fail? key: ({key}), thanks"
    start, end, found = next(found for found in find(text) if found[2] == kind)
    assert text[start:end] in key
    assert len(text[start:end]) >= 24 or kind in ("AWS_ACCESS_KEY",)
    assert found == kind


def test_every_kind_is_named_once_and_its_shape_is_of_one_file() -> None:
    assert len(set(KINDS)) == len(KINDS) >= 70
    assert {shape.kind for shape in SHAPES} < set(KINDS)
    assert set(EXAMPLES) <= set(KINDS)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("password = 'hunter2!'", "hunter2!"),
        ("DB_PASSWORD=xK9#mm2pq", "xK9#mm2pq"),
        ("my password is Tr0ub4dor&3.", "Tr0ub4dor&3"),
        ('{"apiKey": "9fJ2kLmN8qRsT4vW"}', "9fJ2kLmN8qRsT4vW"),
        ("client_secret: 8f14e45fceea167a5a36dedd4bea2543", "8f14e45fceea167a5a36dedd4bea2543"),
        ("postgres://bob:s3cr3tPW@db.internal:5432/x", "s3cr3tPW"),
        ("Authorization: Bearer abcDEF123456789xyz", "abcDEF123456789xyz"),
    ],
)
def test_what_is_assigned_is_a_secret_and_only_the_value_is(text: str, secret: str) -> None:
    assert [text[start:end] for start, end, _ in find(text)] == [secret]


@pytest.mark.parametrize(
    "text",
    [
        "password = 'your_password'",
        "password: <your password here>",
        "api_key = os.environ['API_KEY']",
        "api_key=${API_KEY}",
        "token = self.tokens.next2()",
        "token = get_token(v2)",
        "password: str = Field(min_length=8)",
        "The password is required and the token is optional.",
        "secret=xxxxxxxxxxxx1",
        "the secret is: love",
        "passwd: changeme123",
        "postgres://user:password@localhost/db",
        "https://example.com:8080/a@b",
        "entity_token=entity_mask2_token",
        f"sha256 {hashlib.sha256(b'x').hexdigest()}",
        f"commit {hashlib.sha1(b'x').hexdigest()}",
        str(uuid.UUID(int=2**127 + 12345)),
        "data:image/png;base64," + base64.b64encode(random.Random(1).randbytes(120)).decode(),
        'integrity="sha384-' + base64.b64encode(random.Random(2).randbytes(48)).decode() + '"',
        base64.b64encode(b"This is plain text in Base64, number 1234567").decode(),
        "https://docs.google.com/document/d/1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgvE2upms/edit",
        "src/trivet/monitoring/guards/secret_kinds2024.py",
        "class Wav2Vec2EncoderStableLayerNorm(nn.Module):",
        "meta-llama/Meta-Llama-3-70B-Instruct",
        "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt",
        "-----BEGIN PUBLIC KEY-----\n"
        + base64.b64encode(b"not a secret at all").decode()
        + "\n-----END PUBLIC KEY-----",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
    ],
)
def test_what_only_looks_like_it_is_left_alone(text: str) -> None:
    assert list(find(text)) == []


def test_most_random_strings_are_found_by_their_disorder() -> None:
    for n, least in ((24, 0.6), (32, 0.8), (48, 0.85)):
        hits = sum(any(kind == ENTROPY for *_, kind in find(f"use {drawn(n)} here")) for _ in range(300))
        assert hits >= least * 300


def test_a_private_key_that_is_cut_off_is_found_as_far_as_it_goes() -> None:
    text = EXAMPLES["PRIVATE_KEY"][:700]
    assert [(start, end, kind) for start, end, kind in find(text)] == [(0, 700, "PRIVATE_KEY")]


def test_the_guard_reports_kinds_and_places_of_the_original() -> None:
    text = f"é — my key: sk_live_\u200b{drawn(24)}!"
    verdict = Secrets().scan(text)
    assert (verdict.label, verdict.why) == ("secret", "found STRIPE_KEY")
    (span,) = verdict.spans
    assert text[span.start : span.end].startswith("sk_live_\u200b") and text[span.end :] == "!"
    assert Secrets(["JWT"]).scan(text).score == 0
    assert Secrets().scan("nothing to see").score == 0


def test_a_stream_waits_for_little_however_long_a_key_may_be() -> None:
    assert Secrets().reach == Secrets(["JWT"]).reach == 512
    assert Secrets([]).reach == 0


def test_an_unknown_kind_is_refused_with_a_hint() -> None:
    with pytest.raises(ConfigError, match="Did you mean"):
        Secrets(["GITHUB_TOKE"])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from([*EXAMPLES.values(), "password = 'hunter2!'", "é漢", " ", "x", "\n", "=", "AKIA"]), max_size=6
    )
)
def test_findings_are_in_order_apart_and_in_range(pieces: list[str]) -> None:
    text = "".join(pieces)
    at = 0
    for start, end, kind in find(text):
        assert at <= start < end <= len(text) and kind in KINDS
        at = end
