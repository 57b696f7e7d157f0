"""Runs stages one after the other: a log each, a line every 30 s, and a sum at the end."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import threading
import time

from counts import Counts, count

BEAT = 30  # seconds between two lines of a stage that is still running
TAIL = 25  # lines of the log that are shown when a stage fails


@dataclasses.dataclass
class Result:
    """What became of a stage."""

    name: str
    state: str  # passed, failed, skipped
    seconds: float = 0
    counts: Counts = Counts()
    note: str = ""


class Runner:
    """Runs commands in the project's folder, into logs under `logs`."""

    def __init__(self, root, logs, say=print):
        self.root, self.logs, self.say = pathlib.Path(root), pathlib.Path(logs), say

    def stage(self, stage):
        """Runs a stage's steps until one fails, then what comes after in any case."""
        self.logs.mkdir(parents=True, exist_ok=True)
        path = self.logs / f"{stage.name}.log"
        began = time.monotonic()
        end = began + stage.hang * 60
        self.say(f"{stage.name}: started, log in {self._short(path)}")
        note = ""
        with open(path, "w", encoding="utf-8") as log:
            try:
                for step in stage.steps:
                    if note := self._step(stage.name, step, log, (began, end)):
                        break
            finally:
                for step in stage.after:
                    self._step(stage.name, step, log, (began, time.monotonic() + 300))
        return self._result(stage, path, time.monotonic() - began, note)

    def _result(self, stage, path, seconds, note):
        with open(path, encoding="utf-8", errors="replace") as log:
            lines = log.readlines()
        counts = count(lines)
        if note and not counts.failed:
            counts = counts.plus(Counts(failed=1))  # what failed was no test: a build, a hang
        state = "failed" if counts.failed else "passed"
        self.say(f"{stage.name}: {state} after {seconds:.0f} s ({counts}){note and ': ' + note}")
        if state == "failed":
            self.say("".join(f"    {line}" for line in lines[-TAIL:]).rstrip())
        return Result(stage.name, state, seconds, counts, note)

    def _step(self, name, command, log, times):
        """Runs one command; what is wrong with it, or ""."""
        began, end = times
        words = " ".join(map(str, command))
        log.write(f"$ {words}\n")
        log.flush()
        try:
            process = subprocess.Popen(
                command, cwd=self.root, stdout=log, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )
        except OSError as error:
            return f"{words}: {error}"
        stop = threading.Event()
        beat = threading.Thread(target=self._beat, args=(name, words, began, stop), daemon=True)
        beat.start()
        try:
            code = process.wait(timeout=max(1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._end(process)
            return f"{words}: ended, it took longer than it may"
        except KeyboardInterrupt:
            self._end(process)
            raise
        finally:
            stop.set()
            beat.join()
        return f"{words}: exit code {code}" if code else ""

    @staticmethod
    def _end(process):
        """Ends a step with all that it started."""
        for number, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
            try:
                os.killpg(process.pid, number)
                process.wait(timeout=patience)
                return
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue

    def _beat(self, name, words, began, stop):
        while not stop.wait(BEAT):
            self.say(f"{name}: {time.monotonic() - began:.0f} s, running {words}")

    def _short(self, path):
        return path.relative_to(self.root) if path.is_relative_to(self.root) else path


def skipped(stage, reason, strict):
    """The result of a stage that cannot run: with `strict` it failed."""
    if strict:
        return Result(stage.name, "failed", counts=Counts(failed=1), note=reason)
    return Result(stage.name, "skipped", counts=Counts(skipped=1), note=reason)
