"""What tokens and keys of known makers look like. One table for all who look for them in text.

Two do, and they err on different sides: what is told to a caller loses only what is surely a secret, what is kept
of a caller's question loses what may be one. So a shape has two bodies behind the same beginning.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Shape(NamedTuple):
    """`start` and the bodies are regular expressions; a body of None is not looked for. One of the `hints` is in
    every text that holds the sure shape, once that is in lower case."""

    start: str
    sure: str | None
    maybe: str | None
    hints: tuple[str, ...] = ()


def private_key(label: str) -> str:
    """A whole key in PEM, or what there is of one that is cut off."""
    return rf"BEGIN {label}-----.*?(?:-----END {label}-----|\Z)"


SHAPES = (
    Shape(
        "-----",
        private_key("(?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?"),
        private_key("[A-Z ]{0,40}PRIVATE KEY"),
        ("private key",),
    ),
    # AWS
    Shape(r"\bA(?:KI|SI|BI|CC)A", r"[A-Z0-9]{16}\b", r"[A-Z0-9]{16}\b", ("akia", "asia", "abia", "acca")),
    # GitHub, GitLab
    Shape(r"\bgh[pousr]_", "[A-Za-z0-9]{20,255}", r"\w{20,}", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_")),
    Shape(r"\bgithub_pat_", r"\w{22,255}", r"\w{20,}", ("github_pat_",)),
    Shape(r"\bglpat-", r"[\w-]{20,255}", r"[\w-]{16,}", ("glpat-",)),
    # Slack
    Shape(r"\bxox[abeoprs]-", "[A-Za-z0-9-]{10,255}", r"[\w-]{10,}", ("xox",)),
    Shape(r"\bxapp-", r"\d-[A-Za-z0-9-]{10,255}", r"[\w-]{10,}", ("xapp-",)),
    Shape(
        r"\bhooks\.slack\.com/",
        r"(?:services|workflows)/[\w/]{8,255}",
        r"(?:services|workflows)/[\w/]{8,}",
        ("hooks.slack",),
    ),
    # Google
    Shape(r"\bAIza", r"[\w-]{35}", r"[\w-]{30,}", ("aiza",)),
    Shape(r"\bya29\.", r"[\w-]{20,1024}", r"[\w-]{20,}", ("ya29.",)),
    # Stripe and several model vendors
    Shape(r"\b[rs]k_", "(?:live|test)_[A-Za-z0-9]{10,255}", None, ("sk_", "rk_")),
    Shape(r"\bsk-", r"(?=[\w-]*\d)[\w-]{20,255}", None, ("sk-",)),
    Shape(r"\b[srp]k[-_]", None, r"[\w-]{16,}"),
    # Packages, mail, secrets, clouds
    Shape(r"\bnpm_", "[A-Za-z0-9]{36}", r"\w{30,}", ("npm_",)),
    Shape(r"\bpypi-", r"[\w-]{50,255}", r"[\w-]{30,}", ("pypi-",)),
    Shape(r"\bSG\.", r"[\w-]{16,64}\.[\w-]{16,64}", r"[\w-]{16,}\.[\w-]{16,}", ("sg.",)),
    Shape(r"\bhvs\.", r"[\w-]{20,255}", r"[\w-]{20,}", ("hvs.",)),
    Shape(r"\bdop_v1_", "[a-f0-9]{64}", r"\w{30,}", ("dop_v1_",)),
    # New Relic, and the keys of this server itself
    Shape(r"\bNRAK-", "[A-Z0-9]{20,40}", r"\w{10,}", ("nrak-",)),
    Shape(r"\bNRAL-", r"\w{10,80}", r"\w{10,}", ("nral-",)),
    Shape(r"\btmcp_", r"\w{16,255}", r"\w{16,}", ("tmcp_",)),
    # JSON web tokens
    Shape(
        r"\beyJ",
        r"[\w-]{8,4096}\.[\w-]{8,4096}(?:\.[\w-]{0,4096})?",
        r"[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?",
        ("eyj",),
    ),
)

SURE = re.compile("|".join(shape.start + shape.sure for shape in SHAPES if shape.sure), re.DOTALL)
MAYBE = re.compile("|".join(shape.start + shape.maybe for shape in SHAPES if shape.maybe), re.DOTALL)
HINTS = tuple(hint for shape in SHAPES for hint in shape.hints)
