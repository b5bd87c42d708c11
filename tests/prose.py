"""What a reader sees of a markdown text, for the tests that read prose."""

import re

# What is not prose: code, formulas, where links go, comments, tags, addresses.
NOT_PROSE = re.compile(
    r"```.*?```|~~~.*?~~~"
    r"|<!--.*?-->"
    r"|\$\$.*?\$\$|\$[^$\n]+\$"
    r"|`[^`]*`"
    r"|!(?=\[)"
    r"|(?<=\])\([^)\s]*\)"
    r"|<[^>\n]+>"
    r"|https?://\S+|\bdoi:?\s*10\.\S+",
    re.DOTALL,
)


def plain(text: str) -> str:
    """Make printed numbers comparable: plain spaces, one before %, a plain minus."""
    text = re.sub(r"[\u00a0\u202f\u2009]|&nbsp;", " ", text).replace("−", "-")
    return re.sub(r"(?<=\d)\s*%", " %", text)


def read(text: str) -> str:
    """Return what a reader sees of a text as prose."""
    return NOT_PROSE.sub(" ", plain(text))
