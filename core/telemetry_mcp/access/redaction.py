"""Secrets and e-mail addresses in text that somebody else wrote, found by their shape: a heuristic, not a proof.

A title, a note or a label now and then holds a token that somebody pasted. Text on its way out loses it.
"""

from __future__ import annotations

import re
from functools import lru_cache

from telemetry_mcp import credential

SECRET = "[secret]"
EMAIL = "[e-mail]"

HINTS = (
    *credential.HINTS,
    *("bearer ", "basic ", "authorization", "passphrase", "passw", "pwd", "secret", "token", "key", "credential"),
    "sig",
)
"""No secret that is known here is in a text without one of these, in lower case: to look for them costs a
hundredth of what the patterns cost."""

LOGIN = re.compile(r"(?P<kept>://[^\s/?#:@]{0,128}:)[^\s/?#]{1,256}(?=@)")
"""The password in an address; an `@` may stand in it."""
SCHEME = re.compile(
    r"(?P<kept>\bauthorization[\"']?\s*[:=]\s*[\"']?(?:[a-z]+\s+)?|\b(?:bearer|basic)\s+)"
    r"(?=[^\s\"',;]*\d)[\w.~+/=-]{8,4096}",
    re.IGNORECASE,
)
PASSWORD = re.compile(
    r"(?P<kept>(?:password|passwd|passphrase|passwort|pwd)[\"']?(?:\s*=\s*|\s*:\s*|\s+is\s+))"
    r"(?:\"(?P<quoted>[^\"]{3,256})\"|(?P<value>[^\s\"&,;]{3,256}))",
    re.IGNORECASE,
)
ASSIGNED = re.compile(
    r"(?P<kept>(?:secret|token|credentials?|(?:api|access|account|private|signing|secret|auth|app)[ _-]?key)"
    r"[\"']?(?:\s*=\s*|\s*:\s*))(?:\"(?P<quoted>[^\"]{6,4096})\"|(?P<value>[^\s\"&,;\[\]{}]{6,4096}))",
    re.IGNORECASE,
)
PARAMETER = re.compile(r"(?P<kept>[?&](?:key|sig|signature|auth|code|x-amz-signature)=)[^\s&#]{12,4096}", re.I)
ADDRESS = re.compile(r"[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")
WORD = re.compile(r"[a-z][a-z_-]*[.!?)]*", re.IGNORECASE)
SMALL_NUMBER = re.compile(r"\d{1,7}(?:\.\d+)?")


def redact(text: str, emails: bool = True) -> str:
    """The text with `[secret]` in place of what looks like one; with `emails`, `[e-mail]` in place of addresses.
    The very same object where there is none."""
    if not hinted(text):
        return text
    text = without_secrets(text)
    if emails and "@" in text:
        found = ADDRESS.sub(EMAIL, text)
        text = found if found != text else text
    return text


def hinted(text: str) -> bool:
    """Whether there may be anything to take out. Several texts can be asked for at once, with a zero between."""
    lower = text.lower()
    for hint in HINTS:  # every text passes here, and any() takes twice as long
        if hint in lower:
            return True
    return "@" in text


@lru_cache(maxsize=2048)
def without_secrets(text: str) -> str:
    found = credential.SURE.sub(SECRET, text)
    found = LOGIN.sub(rf"\g<kept>{SECRET}", found)
    found = SCHEME.sub(rf"\g<kept>{SECRET}", found)
    found = PARAMETER.sub(rf"\g<kept>{SECRET}", found)
    found = PASSWORD.sub(lambda match: assigned(match, plain_words=True), found)
    found = ASSIGNED.sub(lambda match: assigned(match, plain_words=False), found)
    return found if found != text else text


def assigned(match: re.Match[str], plain_words: bool) -> str:
    """A key and its value, which is a secret unless it reads like prose: "token: expired", "max_token=4096"."""
    kept, value = match["kept"], match["quoted"] or match["value"].strip("'")
    if value.startswith((SECRET, "***", "$", "<", "(")):
        return match[0]
    prose = WORD.fullmatch(value) is not None and not (plain_words and "=" in kept)
    number = not plain_words and SMALL_NUMBER.fullmatch(value) is not None
    return match[0] if prose or number else f"{kept}{SECRET}"
