"""A cluster of three node processes on loopback, any of which can be killed and started again."""

import json
import os
import pathlib
import subprocess
import time

PATIENCE = 60  # s
# Without the caller's settings of other nodes.
ENV = {name: value for name, value in os.environ.items() if not name.startswith("ROADSTEAD_")}


def until(what, check, patience=PATIENCE, pause=0.05):
    """The first answer of `check` that is not empty; fails with `what` when none comes."""
    end = time.monotonic() + patience
    while not (found := check()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {patience} s: {what}")
        time.sleep(pause)
    return found


class Cluster:
    """`binaries` holds roadstead and roadstead-node; the data goes into `folder`."""

    def __init__(self, binaries, folder, logs):
        self.binaries, self.folder, self.logs = map(pathlib.Path, (binaries, folder, logs))
        self.nodes, self.processes = {}, {}  # by name

    def found(self):
        """`roadstead dev` founds the cluster in one process; its nodes go on as three."""
        command = [self.binaries / "roadstead", "dev", "--nodes", "3", "--port", "0"]
        command += ["--data-dir", self.folder, "--output", "json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENV) as dev:
            try:
                text = ""
                for line in dev.stdout:
                    text += line
                    if line == "}\n":
                        break
            finally:
                dev.terminate()
        self.nodes = {node["name"]: node for node in json.loads(text)["nodes"]}
        self.logs.mkdir(parents=True, exist_ok=True)
        for name in self.nodes:
            (self.logs / f"{name}.log").unlink(missing_ok=True)
            self.start(name)
        self.wait()

    def start(self, name):
        """Starts a node on the ports and the data that it had."""
        node = self.nodes[name]
        command = [self.binaries / "roadstead-node", "--name", name]
        command += ["--data-dir", self.folder / name, "--tls-dir", self.folder / "node"]
        command += ["--client-auth", "anonymous", "--memory-limit", "512Mi"]
        command += ["--client-listen", node["client"], "--peer-listen", node["admin"]]
        command += ["--http-listen", node["http"]]
        with open(self.logs / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=ENV
            )

    def kill(self, name):
        """SIGKILL."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self):
        for name in list(self.processes):
            self.kill(name)

    def ask(self, *words):
        """What the command line answers through the nodes that run; None when it fails."""
        alive = ",".join(self.nodes[name]["client"] for name in self.processes)
        command = [self.binaries / "roadstead", "--endpoint", alive, "--output", "json", *words]
        done = subprocess.run(command, capture_output=True, text=True, env=ENV, check=False)
        return json.loads(done.stdout or "{}") if done.returncode == 0 else None

    def wait(self):
        """Until every node serves, has caught up, and every shard has a leader."""

        def redundant():
            status = self.ask("cluster", "status")
            return status and (
                all(one["caughtUp"] and one["state"] == "Serving" for one in status["members"])
                and all(shard["leader"] for shard in status["shards"])
            )

        until("every node has caught up", redundant)

    def leader(self, queue):
        """The name of the node that leads most partitions of the queue."""
        shards = self.ask("queue", "get", queue)["shards"]
        status = self.ask("cluster", "status")
        names = {member["id"]: member["name"] for member in status["members"]}
        led = [names[one["leader"]] for one in status["shards"] if one["shard"] in shards]
        return max(names.values(), key=led.count)
