"""Writes where the course is published into every place that links there.

`make publish-config REPO=owner/name [BRANCH=main]`: repository links, Colab and Binder
buttons (_config.yml), what Colab clones (the bootstrap cell of every notebook), and
CITATION.cff. Run it again with another name to move; `REPO=none` takes it all out.
"""

import re
import sys
from pathlib import Path

from tools.sync_bootstrap import sync

ROOT = Path(__file__).resolve().parent.parent
HOST = "https://github.com"


class ConfigError(Exception):
    """A name that cannot be a repository or branch, or a file that was changed."""


def replace_line(path: Path, pattern: str, line: str) -> None:
    """Replace the one line of a file that matches; raise `ConfigError` otherwise."""
    text, count = re.subn(f"^{pattern}.*$", line, path.read_text(), flags=re.MULTILINE)
    if count != 1:
        raise ConfigError(
            f"{path.name}: expected one line like {pattern!r}, not {count}"
        )
    path.write_text(text)


def write(repository: str, branch: str, root: Path = ROOT) -> None:
    """Write `owner/name` and branch into the course at `root`; "none" takes them out.

    Raises `ConfigError` before anything is written if a name cannot be right.
    """
    published = repository != "none"
    if published and not re.fullmatch(r"[\w-]+/[\w.-]+", repository):
        raise ConfigError(
            f"REPO is {repository!r}; expected owner/name, as in "
            "make publish-config REPO=owner/name, or REPO=none to take it out."
        )
    if not re.fullmatch(r"[\w][\w./-]*", branch):
        raise ConfigError(f"BRANCH is {branch!r}; expected a branch's name, as main.")
    url = f"{HOST}/{repository}" if published else ""
    binder = "https://mybinder.org" if published else ""
    colab = "https://colab.research.google.com" if published else ""
    shown = str(published).lower()
    branch = branch if published else "main"
    config, citation = root / "_config.yml", root / "CITATION.cff"
    replace_line(config, "  url:", f'  url: "{url}"')
    owner, _, name = repository.partition("/")
    pages = f"https://{owner.lower()}.github.io/{name}/" if published else ""
    replace_line(config, "  baseurl:", f'  baseurl: "{pages}"')
    replace_line(config, "  branch:", f"  branch: {branch}")
    replace_line(config, "  binderhub_url:", f'  binderhub_url: "{binder}"')
    replace_line(config, "  colab_url:", f'  colab_url: "{colab}"')
    replace_line(
        config, "  use_repository_button:", f"  use_repository_button: {shown}"
    )
    replace_line(config, "  use_issues_button:", f"  use_issues_button: {shown}")
    course = f"--branch {branch} {url}" if published else ""
    replace_line(root / "tools/bootstrap_cell.py", "COURSE =", f'COURSE = "{course}"')
    line = re.compile(r"^repository-code:.*\n", re.MULTILINE)
    text = line.sub("", citation.read_text())
    citation.write_text(text + (f'repository-code: "{url}"\n' if published else ""))
    sync(root)


def main(arguments: list[str]) -> int:
    """Write what the command line names; return an exit status."""
    repository, branch = arguments
    try:
        write(repository, branch)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    if repository == "none":
        print("Taken out: buttons and notebooks name no repository.")
    else:
        print(
            f"Written: {HOST}/{repository}, branch {branch}. Look at it with git diff,"
        )
        print("commit it, and push. To take it out: make publish-config REPO=none")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
