"""Text that reads like an instruction to an agent. Such text is flagged, and never obeyed nor left out: it may be
an attack, or somebody's note about one. A heuristic with a list of its own; it finds what is clumsy.
"""

from __future__ import annotations

import re

HINTS = (
    *("ignore", "disregard", "forget", "override", "bypass", "systemprompt", "newinstruction", "fromnowon"),
    *(
        "youarenow",
        "youarea",
        "actas",
        "pretend",
        "donottell",
        "don'ttell",
        "withouttell",
        "withoutask",
        "withoutinform",
        "reveal",
        "repeat",
    ),
    *("exfiltrate", "assistant", "chatgpt", "claude", "copilot", "languagemodel", "aiagent", "aimodel", "llm"),
    *("<|", "[inst]", "[/inst]", "<<sys>>", "###", "tool_call", "function_call", "tools/call", "<invoke"),
    *('"arguments":', '"parameters":', '"input":', "![", "<img", "<system", "</system", "<instruction"),
)
"""One of these is in every text that the patterns find; both are looked for in lower case and without spaces,
for what is hidden between two letters becomes a space before it comes here."""

EARLIER = "(?:previous|prior|above|earlier|preceding|foregoing|existing|system|safety|your|other)"
FILLER = "(?:all|any|every|everything|of|the|these|those|my|and|or|in|to)"
NOUN = "(?:instruction|prompt|guideline|directive|direction|restriction|guardrail|rule|command|context|training)"
AGENT = "(?:ai|llm|chatgpt|claude|copilot|languagemodel|aiagent|aimodel|aiassistant|(?:helpful|ai)?assistant)"
MUST = "(?:must|should|shall|needto|needsto|haveto|hasto|isto|will)"

PATTERNS = re.compile(
    "|".join(
        (
            rf"(?:ignore|disregard|forget|override|bypass){FILLER}{{0,4}}{EARLIER}{{1,3}}{FILLER}{{0,2}}{NOUN}",
            r"(?:ignore|disregard|forget)(?:all|any|the|your)+instructions",
            r"(?:ignore|disregard|forget)(?:everything|all)(?:above|before|youweretold|yousaw)",
            r"(?:reveal|print|show|repeat|output|leak|send|tell)(?:me|us)?(?:your|the)(?:system|hidden|initial)prompt",
            r"systemprompt(?::|is|override)",
            r"(?:reveal|exfiltrate|leak)(?:all|your|the|any)*(?:secret|credential|apikey|password|token)s?",
            r"newinstructions?(?::|foryou|foryourself)",
            r"fromnowon,?(?:you|ignore|act|answer|respond)",
            rf"youare(?:now)?(?:an?|the)?(?:unrestricted|jailbroken|uncensored|{AGENT}(?![a-z]|[/.-]))",
            r"youarenow(?:dan|in(?:developer|debug|god|admin)mode)",
            rf"(?:actas|pretend(?:tobe|youare))(?:an?|the|if)?(?:unrestricted|{AGENT}(?![a-z]))",
            r"(?:do(?:not|n't)tell|without(?:telling|informing|asking))(?:the)?(?:user|human|operator)",
            rf"(?:dear|hey|note|attention|instructions?)(?:to|for)?(?:the)?(?:any)?{AGENT}(?:[:,!]|s:|reading)",
            rf"(?:the|any|you,?an?|every|,)?(?:aiassistant|assistant|chatgpt|copilot|languagemodel){MUST}",
            r"<\|[a-z_]{2,40}\|?>",
            r"\[/?inst\]|<<sys>>",
            r"</?(?:system|instructions?|tool_calls?|function_calls?|function_results?|invoke)(?:>|name=|role=)",
            r"###(?:system|instructions?|assistant|user|human)(?::|###)",
            r'"(?:tool|tool_name|name|function)":"[^"]{1,80}","(?:arguments|parameters|input)":[{"\[]',
            r'"(?:tool_calls|function_call)":[{"\[]',
            r'"method":"tools/call"',
            r"!\[[^\]]{0,200}\]\(https?://[^)]{1,500}[?&][^)]{0,1000}[=$]",
            r"<imgsrc=[\"']?https?://[^>]{1,500}\?",
        )
    )
)
INVISIBLE = re.compile("[\u200b\u202a-\u202e\u2060-\u2064\u2066-\u2069\U000e0000-\U000e007f]")
"""Of no width, written backwards, or tags that no font shows. What joins letters of Persian, or the parts of an
emoji, is not among them."""


def concealing(text: str) -> bool:
    """Whether a text, as its source wrote it, holds characters that a reader cannot see."""
    return not text.isprintable() and INVISIBLE.search(text) is not None


def instructing(text: str) -> bool:
    """Whether a text looks as if it were written for an agent, and not for people."""
    dense = "".join(text.lower().split())
    for hint in HINTS:
        if hint in dense:
            return PATTERNS.search(dense) is not None
    return False
