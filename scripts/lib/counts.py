"""How many tests passed, failed and were skipped, read from what test programs print."""

import re
import typing


class Counts(typing.NamedTuple):
    """Numbers of tests."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def plus(self, other):
        return Counts(*(a + b for a, b in zip(self, other)))

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


CARGO = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored;")
UNITTEST = re.compile(r"^Ran (\d+) tests? in ")
UNITTEST_END = re.compile(r"^(?:OK|FAILED)(?: \((.*)\))?$")
PYTEST = re.compile(r"^=*\s*((?:\d+ \w+(?:, )?)+) in [\d.]+s")
GO = re.compile(r"^--- (PASS|FAIL|SKIP): ")  # `go test -v`; subtests are indented, so not counted


def _named(text):
    """{'passed': 3, 'failures': 1} from '3 passed, failures=1'."""
    found = {word: int(n) for n, word in re.findall(r"(\d+) (\w+)", text)}
    found.update({word: int(n) for word, n in re.findall(r"(\w+)=(\d+)", text)})
    return found


def _pytest(text):
    n = _named(text)
    failed = n.get("failed", 0) + n.get("error", 0) + n.get("errors", 0)
    return Counts(n.get("passed", 0), failed, n.get("skipped", 0))


def _unittest(ran, text):
    n = _named(text or "")
    failed = n.get("failures", 0) + n.get("errors", 0)
    skipped = n.get("skipped", 0)
    return Counts(ran - failed - skipped, failed, skipped)


def count(lines):
    """The sum over all test programs whose output is in the lines."""
    total, ran = Counts(), None
    for line in lines:
        line = line.rstrip("\n")
        if found := CARGO.match(line):
            total = total.plus(Counts(*map(int, found.groups())))
        elif found := GO.match(line):
            kind = found.group(1)
            total = total.plus(Counts(kind == "PASS", kind == "FAIL", kind == "SKIP"))
        elif found := UNITTEST.match(line):
            ran = int(found.group(1))
        elif ran is not None and (found := UNITTEST_END.match(line)):
            total, ran = total.plus(_unittest(ran, found.group(1))), None
        elif found := PYTEST.match(line):
            total = total.plus(_pytest(found.group(1)))
    return total
