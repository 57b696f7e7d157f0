"""The reader of promises: it must not take a test that is missing or failed for one that passed."""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))

import promises  # noqa: E402 (found by the line above)

PAGE = """
## Other
| x | y | `not_this` |
## Promise by promise, and what shows it
| promise | under faults | shown by |
|---|---|---|
| nothing is lost | never | `a_test`, `leases.txt` |
| order holds | always | |
## After
| z | z | `nor_this` |
## Combinations
| of | what it means | shown by |
|---|---|---|
| order, leases | both hold | `both.txt` |
"""

LOG = """
running 3 tests
test shard::tests::a_test ... ok
test other::failed ... FAILED
test noisy ... says something
and more
ok
test cut_off ... says something
test later ... ok
test ignored_one ... ignored
"""


class Promises(unittest.TestCase):
    def test_the_tables_are_read_and_nothing_else(self):
        found = promises.rows(PAGE)
        self.assertEqual(
            found,
            [
                ("nothing is lost", ("a_test", "leases.txt")),
                ("order holds", ()),
                ("order, leases", ("both.txt",)),
            ],
        )

    def test_only_what_passed_counts(self):
        self.assertEqual(promises.passed(LOG.splitlines()), {"a_test", "noisy", "later"})

    def test_what_failed_or_was_ignored_is_told_apart(self):
        self.assertEqual(promises.failed(LOG.splitlines()), {"failed", "ignored_one"})

    def test_a_name_that_two_have_names_neither(self):
        rust = "async fn one() {}\n fn two() {} mod other { fn two() {} } fn one_more() {}"
        names = ("one", "two", "three", "a.txt")
        counts = [promises.count(name, rust, ["a.txt"]) for name in names]
        self.assertEqual(counts, [1, 2, 0, 1])

    def test_a_history_is_told_by_one_test(self):
        self.assertEqual(promises.function("leases.txt"), promises.HISTORIES)
        self.assertEqual(promises.function("a_test"), "a_test")


if __name__ == "__main__":
    unittest.main()
