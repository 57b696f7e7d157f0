"""Runs stages one after the other: a log each, a line every 30 s, and a sum at the end."""

from concurrent import futures
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
    """Runs commands in the project's folder, into logs under `logs` that begin with `first`."""

    def __init__(self, root, logs, say=print, first=""):
        self.root, self.logs, self.say = pathlib.Path(root), pathlib.Path(logs), say
        self._first = first and first + "\n"
        self._pool = futures.ThreadPoolExecutor(max_workers=8)
        self._aside = set()  # processes of stages that run beside the others
        self._stopped = False

    def aside(self, stage):
        """Runs a stage beside those after it, to which it leaves the processors; a future."""
        return self._pool.submit(self.stage, stage)

    def stop(self):
        """Ends all that runs beside the others."""
        self._stopped = True
        for process in list(self._aside):
            self._end(process)

    def stage(self, stage):
        """Runs a stage's steps until one fails, then what comes after in any case."""
        self.logs.mkdir(parents=True, exist_ok=True)
        path = self.logs / f"{stage.name}.log"
        began = time.monotonic()
        end = began + stage.hang * 60
        self.say(f"{stage.name}: started, log in {self._short(path)}")
        note = ""
        with open(path, "w", encoding="utf-8") as log:
            log.write(self._first)
            try:
                for step in stage.steps:
                    if note := self._step(stage, step, log, (began, end)):
                        break
            finally:
                for step in stage.after:
                    self._step(stage, step, log, (began, time.monotonic() + 300))
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

    def _step(self, stage, command, log, times):
        """Runs one command; what is wrong with it, or ""."""
        began, end = times
        if stage.aside:
            if self._stopped:
                return "stopped"
            command = ("nice", "-n", "19", *command)
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
        if stage.aside:
            self._aside.add(process)
            yield_to_others(process)
            if self._stopped:
                self._end(process)
        stop = threading.Event()
        about = (stage.name, words, began, stop)
        beat = threading.Thread(target=self._beat, args=about, daemon=True)
        if not stage.aside:
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
            if stage.aside:
                self._aside.discard(process)
            else:
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


def yield_to_others(process):
    """Where the kernel shares processors among sessions first, `nice` counts within one only."""
    try:
        pathlib.Path(f"/proc/{process.pid}/autogroup").write_text("19", encoding="utf-8")
    except OSError:  # it does not, or the process has ended
        pass


def skipped(stage, reason, strict):
    """The result of a stage that cannot run: with `strict` it failed."""
    if strict:
        return Result(stage.name, "failed", counts=Counts(failed=1), note=reason)
    return Result(stage.name, "skipped", counts=Counts(skipped=1), note=reason)
