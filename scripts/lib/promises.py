"""The tests that docs/guarantees.md names for its promises: do they exist, and did they pass?"""

import re
import typing

TABLE = "## Promise by promise"
NAME = re.compile(r"`([^`]+)`")
PASSED = re.compile(r"^test (\S+?)(?: - should panic)? \.\.\. ok\b")
# What a test prints can come between its name and how it ended.
BEGUN = re.compile(r"^test (\S+) \.\.\. ")
HISTORIES = "every_history_comes_out_as_it_is_told"


class Named(typing.NamedTuple):
    """One promise and the tests that show it."""

    promise: str
    tests: tuple


def rows(markdown):
    """The promises of the table, with the names in its last column."""
    found = []
    lines = iter(markdown.splitlines())
    for line in lines:
        if line.startswith(TABLE):
            break
    for line in lines:
        if line.startswith("## "):
            break
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|") or len(cells) < 3 or set(cells[0]) <= set("-: "):
            continue
        if cells[-1] != "shown by":
            found.append(Named(cells[0], tuple(NAME.findall(cells[-1]))))
    return found


def failed(log):
    """Names of the tests that failed or were ignored, by the last part of their paths."""
    found = (re.match(r"^test (\S+).* \.\.\. (?:FAILED|ignored)", line) for line in log)
    return {one.group(1).rsplit("::", 1)[-1] for one in found if one}


def passed(log):
    """Names of the tests that passed, by the last part of their paths, from the lines of a log."""
    names, begun = set(), None
    for line in log:
        if found := PASSED.match(line):
            names.add(found.group(1).rsplit("::", 1)[-1])
            begun = None
        elif found := BEGUN.match(line):
            begun = found.group(1).rsplit("::", 1)[-1]
        elif begun and line.rstrip() == "ok":
            names.add(begun)
            begun = None
    return names


def function(name):
    """What a test is run as: a history file is told by the one test that tells them all."""
    return HISTORIES if name.endswith(".txt") else name
