"""What must not get out of PagerDuty's answers: integration keys, and all else that looks like a credential."""

from __future__ import annotations

import re

HIDDEN = "***"

KEY = r"(?:routing|service|integration|api|access|private|secret)[_-]?key"
NAME = rf"(?:{KEY}|token|secret|passw(?:or)?d)"
"""How the name of a member that holds a credential ends."""
NAMED = re.compile(rf"[\w.-]*{NAME}s?", re.IGNORECASE)
# Shorter values are too likely to be ordinary words, which would then vanish from the whole answer.
PLANTED = re.compile(rf'"[\w.-]{{0,40}}{NAME}"\s*:\s*"((?:[^"\\]|\\.){{12,500}})"'.encode(), re.IGNORECASE)
SCHEME = r"(?:(?:bearer|basic|token)[ =]+)?"
ASSIGNED = re.compile(rf"""({NAME}["']?\s*[:=]\s*["']?){SCHEME}[^\s"',;&<>*]{{6,}}""", re.IGNORECASE)
BARE = re.compile(
    r"""\bR[0-9A-Z]{31}\b                                         # an integration of the Events API v2
      | (?<=/integration/)[0-9a-zA-Z]{32}\b                       # the same in an address
      | (?<=hooks\.slack\.com/services/)[\w/]{10,}
      | (?<=://)[^/\s:@]{1,200}:[^/\s@]{1,200}(?=@)               # user:password@host
      | (?i:(?<=bearer\ )|(?<=basic\ ))[\w.~+/=-]{16,}
      | \b(?:gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|sk-|NRAK-|AIza)[\w-]{16,}
      | \b(?:AKIA|ASIA)[0-9A-Z]{16}\b
      | \beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*                         # a JSON Web Token
      | -----BEGIN[ A-Z]+PRIVATE\ KEY-----[^-]*(?:-----END[ A-Z]+-----)?
    """,
    re.VERBOSE,
)


def without_planted(body: bytes) -> bytes:
    """A JSON body in which no value of a member such as `routing_key` is left, wherever else it stands too."""
    for value in set(PLANTED.findall(body)):
        body = body.replace(value, HIDDEN.encode())
    return body


def without_secrets(text: str) -> str:
    """Prose without what looks like a credential in it."""
    return BARE.sub(HIDDEN, ASSIGNED.sub(rf"\1{HIDDEN}", text))


def is_secret(name: str) -> bool:
    """Whether a member of this name holds a credential."""
    return NAMED.fullmatch(name) is not None
