"""Keys by their shapes, as their makers publish them: a prefix that nothing else has, an alphabet, a length.

Sources: the makers' own pages on key formats and secret scanning, GitHub's list of scanned partners. Kinds whose keys are bare hex or letters (Datadog,
Cohere, Mistral, Together, W&B, Plaid ...) cannot be told from hashes; they are found where they are assigned to a name (see `ASSIGNED`).

Where a shape has a group, the group is the secret. LONGEST is how long one can be: a kind's entry, or the last.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Shape(NamedTuple):
    """A kind of secret and the RE2 pattern of it."""

    kind: str
    pattern: str


LONGEST = {"PRIVATE_KEY": 3500, "JWT": 2048, "": 512}  # an RSA key of 4,096 bits as PEM has 3,272 characters
_TOKEN = r"[A-Za-z0-9_\-]"
_VALUE = r"[^\s\"'`<>,;()\[\]{}|\\]"

PRIVATE_KEY = Shape(
    "PRIVATE_KEY",
    r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:[A-Za-z0-9+/=\s:,.()@<>\-]|\\[nr])+?"
    r"-----END (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----",
)
OPEN_PRIVATE_KEY = Shape(  # cut off before its end, or longer than a key is
    "PRIVATE_KEY",
    r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:\s|\\[nr])*(?:[A-Za-z0-9+/=]{16,}(?:\s|\\[nr])*)+",
)
JWT = Shape("JWT", rf"\beyJ{_TOKEN}{{8,}}\.eyJ{_TOKEN}{{4,}}\.{_TOKEN}{{8,}}")

SHAPES = (
    # Clouds
    Shape("AWS_ACCESS_KEY", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"),
    Shape("GOOGLE_API_KEY", r"\b(AIza[A-Za-z0-9_\-]{35})(?:[^A-Za-z0-9_\-]|$)"),
    Shape("GOOGLE_OAUTH", rf"\bGOCSPX-{_TOKEN}{{28}}\b|\bya29\.{_TOKEN}{{20,400}}"),
    Shape("AZURE_SECRET", r"\b[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.\-]{31,34}\b|\bAccountKey=([A-Za-z0-9+/]{86}==)"),
    Shape("DIGITALOCEAN_TOKEN", r"\bdo[opr]_v1_[a-f0-9]{64}\b"),
    Shape("ALIBABA_KEY", r"\bLTAI[A-Za-z0-9]{12,20}\b"),
    Shape("TENCENT_KEY", r"\bAKID[A-Za-z0-9]{32}\b"),
    Shape("CLOUDFLARE_CA_KEY", r"\bv1\.0-[0-9a-f]{24}-[0-9a-f]{146}\b"),
    Shape("HEROKU_KEY", rf"\bHRKU-{_TOKEN}{{36,70}}\b"),
    Shape("FLY_TOKEN", r"\bfm[12][ar]?_[A-Za-z0-9+/=_\-]{100,400}"),
    Shape("VAULT_TOKEN", rf"\bhv[sbr]\.{_TOKEN}{{24,300}}"),
    Shape("TERRAFORM_TOKEN", rf"\b[A-Za-z0-9]{{14}}\.atlasv1\.{_TOKEN}{{60,70}}"),
    Shape("DOPPLER_TOKEN", r"\bdp\.(?:pt|st|ct|sa|scim|audit)\.(?:[a-z0-9_\-]{2,35}\.)?[A-Za-z0-9]{40,44}\b"),
    Shape("PULUMI_TOKEN", r"\bpul-[a-f0-9]{40}\b"),
    Shape("PLANETSCALE_TOKEN", r"\bpscale_(?:pw|tkn|oauth)_[A-Za-z0-9_.\-]{32,64}\b"),
    Shape("SUPABASE_KEY", rf"\bsbp_[a-f0-9]{{40}}\b|\bsb_secret_{_TOKEN}{{22,50}}"),
    # Models
    Shape("ANTHROPIC_KEY", rf"\bsk-ant-(?:api|admin|oat|sid)[0-9]{{2}}-{_TOKEN}{{80,120}}"),
    Shape("OPENROUTER_KEY", r"\bsk-or-v1-[a-f0-9]{64}\b"),
    Shape(
        "OPENAI_KEY",
        rf"\bsk-(?:proj|svcacct|admin|service|None)-{_TOKEN}{{20,220}}|\bsk-{_TOKEN}{{10,60}}T3BlbkFJ{_TOKEN}{{20,80}}|\bsk-[A-Za-z0-9]{{32,64}}\b",
    ),
    Shape("HUGGINGFACE_TOKEN", r"\bhf_[A-Za-z0-9]{30,40}\b|\bapi_org_[A-Za-z]{34}\b"),
    Shape("REPLICATE_TOKEN", r"\br8_[A-Za-z0-9]{37}\b"),
    Shape("GROQ_KEY", r"\bgsk_[A-Za-z0-9]{52}\b"),
    Shape("XAI_KEY", r"\bxai-[A-Za-z0-9]{80}\b"),
    Shape("PERPLEXITY_KEY", r"\bpplx-[A-Za-z0-9]{48,56}\b"),
    Shape("LANGSMITH_KEY", r"\blsv2_(?:pt|sk)_[a-f0-9]{32}_[a-f0-9]{10}\b"),
    Shape("DATABRICKS_TOKEN", r"\bdapi[a-f0-9]{32}(?:-\d)?\b"),
    Shape("PINECONE_KEY", r"\bpcsk_[A-Za-z0-9_]{60,80}\b"),
    Shape("TAVILY_KEY", rf"\btvly-(?:dev-|prod-)?{_TOKEN}{{30,50}}"),
    # Code and packages
    Shape("GITHUB_TOKEN", r"\bgh[pousr]_[A-Za-z0-9]{36,251}\b|\bgithub_pat_[A-Za-z0-9_]{22,90}\b"),
    Shape("GITLAB_TOKEN", rf"\bgl(?:pat|dt|rt|cbt|ptt|ft|soat|imt|agent|oas|ffct)-{_TOKEN}{{20,64}}"),
    Shape("BITBUCKET_TOKEN", r"\bATBB[A-Za-z0-9]{28,40}\b"),
    Shape("ATLASSIAN_TOKEN", r"\bAT(?:ATT|CTT)3[A-Za-z0-9_\-=]{150,250}"),
    Shape("NPM_TOKEN", r"\bnpm_[A-Za-z0-9]{36}\b"),
    Shape("PYPI_TOKEN", rf"\bpypi-AgE[A-Za-z0-9]{{5,20}}{_TOKEN}{{50,400}}"),
    Shape("RUBYGEMS_KEY", r"\brubygems_[a-f0-9]{48}\b"),
    Shape("NUGET_KEY", r"\boy2[a-z0-9]{43}\b"),
    Shape("DOCKER_TOKEN", rf"\bdckr_(?:pat|oat)_{_TOKEN}{{27,40}}"),
    Shape("JFROG_TOKEN", r"\bAKCp[A-Za-z0-9]{60,75}\b|\bcmVmdGtu[A-Za-z0-9]{50,60}\b"),
    Shape("SENTRY_TOKEN", r"\bsntry[us]_[A-Za-z0-9+/=_]{40,300}"),
    Shape("SONAR_TOKEN", r"\bsq[pua]_[a-f0-9]{40}\b"),
    Shape("GRAFANA_TOKEN", r"\bglsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}\b|\bglc_eyJ[A-Za-z0-9+/]{32,400}={0,2}"),
    Shape("NEW_RELIC_KEY", r"\bNRAK-[A-Z0-9]{27}\b|\bNRJS-[a-f0-9]{19}\b|\bNRII-[A-Za-z0-9_\-]{32}"),
    Shape("DYNATRACE_TOKEN", r"\bdt0[a-zA-Z][0-9]{2}\.[A-Z0-9]{24}\.[A-Z0-9]{64}\b"),
    Shape("POSTMAN_KEY", r"\bPMAK-[a-f0-9]{24}-[a-f0-9]{34}\b"),
    # Messages and mail
    Shape("SLACK_TOKEN", r"\bxox[abeoprs]-[A-Za-z0-9\-]{10,250}\b|\bxapp-\d-[A-Z0-9]{8,14}-\d{8,16}-[a-f0-9]{48,80}\b"),
    Shape("SLACK_WEBHOOK", r"\bhooks\.slack\.com/(?:services|workflows)/([A-Za-z0-9/_]{30,90})"),
    Shape("DISCORD_WEBHOOK", rf"\bdiscord(?:app)?\.com/api/webhooks/(\d{{15,21}}/{_TOKEN}{{60,80}})"),
    Shape("DISCORD_TOKEN", rf"\b[MNO][A-Za-z0-9_\-]{{23,27}}\.[A-Za-z0-9_\-]{{6}}\.{_TOKEN}{{27,40}}"),
    Shape("TELEGRAM_TOKEN", rf"\b\d{{8,10}}:AA{_TOKEN}{{33}}\b"),
    Shape("TWILIO_KEY", r"\bSK[a-f0-9]{32}\b"),
    Shape("SENDGRID_KEY", rf"\bSG\.{_TOKEN}{{22}}\.{_TOKEN}{{43}}"),
    Shape("MAILGUN_KEY", r"\bkey-[a-f0-9]{32}\b"),
    Shape("MAILCHIMP_KEY", r"\b[a-f0-9]{32}-us\d{1,2}\b"),
    Shape("BREVO_KEY", r"\bxkeysib-[a-f0-9]{64}-[A-Za-z0-9]{16}\b"),
    # Money and shops
    Shape("STRIPE_KEY", r"\b[srp]k_(?:live|test)_[A-Za-z0-9]{16,200}\b|\bwhsec_[A-Za-z0-9+/=]{32,64}"),
    Shape("SQUARE_TOKEN", rf"\bsq0(?:atp|csp|idp)-{_TOKEN}{{22,43}}\b"),
    Shape("SHOPIFY_TOKEN", r"\bshp(?:at|ca|pa|ss)_[A-Fa-f0-9]{32}\b"),
    Shape("BRAINTREE_TOKEN", r"\baccess_token\$production\$[a-z0-9]{16}\$[a-f0-9]{32}\b"),
    Shape("RAZORPAY_KEY", r"\brzp_live_[A-Za-z0-9]{14}\b"),
    Shape("FLUTTERWAVE_KEY", r"\bFLWSECK(?:_TEST|_LIVE)?-[A-Za-z0-9]{12,40}(?:-X)?\b"),
    Shape("EASYPOST_KEY", r"\bEZ[AT]K[A-Za-z0-9]{54}\b"),
    # Other services
    Shape("LINEAR_KEY", r"\blin_(?:api|oauth)_[A-Za-z0-9]{40,64}\b"),
    Shape("NOTION_TOKEN", r"\bntn_[A-Za-z0-9]{40,50}\b|\bsecret_[A-Za-z0-9]{43}\b"),
    Shape("AIRTABLE_TOKEN", r"\bpat[A-Za-z0-9]{14}\.[a-f0-9]{64}\b"),
    Shape("FIGMA_TOKEN", rf"\bfig[dou]_{_TOKEN}{{38,50}}"),
    Shape("HUBSPOT_TOKEN", r"\bpat-(?:na|eu)\d-[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}\b"),
    Shape("NETLIFY_TOKEN", r"\bnfp_[A-Za-z0-9]{36,40}\b"),
    Shape("ADAFRUIT_KEY", r"\baio_[A-Za-z0-9]{28}\b"),
    Shape("AGE_KEY", r"\bAGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}\b"),
    Shape("FACEBOOK_TOKEN", r"\bEAA[A-Za-z0-9]{3,8}(?:BA|BO)[A-Za-z0-9]{60,300}\b"),
    Shape("TWITTER_BEARER", r"\bA{20,24}[A-Za-z0-9%]{60,120}"),
    JWT,
    PRIVATE_KEY,
    OPEN_PRIVATE_KEY,
)

CONNECTION = Shape(
    "CONNECTION_STRING", r"\b[A-Za-z][A-Za-z0-9+.\-]{1,24}://[^\s:/@'\"<>?#]{0,80}:([^\s/@'\"<>]{3,128})@[A-Za-z0-9\[]"
)
AUTHORIZATION = Shape(
    "AUTHORIZATION",
    r"(?i)\bauthorization['\"]?\s{0,3}[:=]\s{0,3}['\"]?(?:basic|bearer|token)\s{1,3}([A-Za-z0-9+/_.~\-]{12,400}={0,2})",
)
_NAME = r"(?:pass(?:word|wd|phrase|code)?|pwd|secret|token|api[_\-. ]?key|access[_\-. ]?key(?:[_\-. ]?id)?|private[_\-. ]?key|secret[_\-. ]?key|auth[_\-. ]?key|encryption[_\-. ]?key|credentials?)"
ASSIGNED = Shape(
    "PASSWORD",
    rf"(?i){_NAME}(?:[_\-](?:value|key|id|prod|dev|test))?[\"'`]?\s{{0,8}}(?::=|=>|==?|:|\bis\b:?|\bwas\b)\s{{0,8}}(?:[bru]?[\"'`])?({_VALUE}{{4,128}})",
)

# What people write where a secret would stand.
PLACEHOLDER = re.compile(
    r"""(?ix) ^(?:
      [x*.\-_?\#]+ | <.*> | \$.* | %.* | \{.* | \[.* | @.*
      | (?:(?:my|your|the|a|an|some|new|old|user|db|admin|test|example|sample|dummy|fake|default|strong|secure|super|secret|insert|enter|change)
         [_\-. ]?){1,4} (?:pass(?:word|wd)?|pwd|key|token|secret|value|string|here|me|it|api|user|name|code|id|\d{0,4})*
      | (?:pass(?:word|wd)?|passphrase|pwd|secret|token|key|value|string|str|text|int|bool|none|null|nil|undefined|true|false|todo|tbd|redacted
         |hidden|masked|required|optional|empty|varchar|char|number|object|any|default|changeme|placeholder|foo|bar|baz)[\d_]*
      )\W*$ | ^(?:process\.env|os\.|env\.|config|self\.|this\.|request|req\.|args\.|settings|params|data\.|user\.|getenv|input|await|new|function|return)
      | \.\.\. | example | placeholder | xxxx | \*\*\* | your[_\-] | 1234567890123
    """
)
