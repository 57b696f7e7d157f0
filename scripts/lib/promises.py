"""The tests that docs/guarantees.md names for its promises: do they exist, and did they pass?"""

import re
import typing

TABLES = ("## Promise by promise", "## Combinations")
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
    """The promises of the tables, with the names in the last column."""
    found, inside = [], False
    for line in markdown.splitlines():
        if line.startswith("## "):
            inside = line.startswith(TABLES)
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not inside or not line.startswith("|") or len(cells) < 3:
            continue
        if not set(cells[0]) <= set("-: ") and cells[-1] != "shown by":
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


def count(name, rust, histories):
    """How many tests have this name: one that is there twice could pass for the other."""
    return histories.count(name) if name.endswith(".txt") else rust.count(f"fn {name}(")


def function(name):
    """What a test is run as: a history file is told by the one test that tells them all."""
    return HISTORIES if name.endswith(".txt") else name
