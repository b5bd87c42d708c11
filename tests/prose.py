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


def matches(printed: str, value: float) -> bool:
    """Tell whether a printed number is `value` at the printed precision.

    `printed` may be plain (`0.979`, `1,311`), a fraction as percent (`97.9 %` for
    0.979), or carry words (`97.9 percent`).
    """
    found = re.search(r"-?\d[\d,]*(?:\.\d+)?|-?\.\d+", printed)
    if not found:
        return False
    text = found[0].replace(",", "")
    decimals = len(text.partition(".")[2])
    rest = printed[found.end() :]
    scale = 100 if re.match(r"\s*(%|percent|points)", rest) else 1
    # Half a unit of the last printed digit, and a hair for binary rounding.
    return abs(float(text) - value * scale) <= 0.5 * 10**-decimals + 1e-9
