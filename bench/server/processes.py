"""An engine as processes: a peer, or brainyd with the Rust worker as its clients."""

import json
import select
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from engines import ours

HERE = Path(__file__).resolve().parent
START_SECONDS = 60
ANSWER_SECONDS = 3600


class Failed(Exception):
    """An engine stopped, answered with an error, or not in time."""


def status(pid):
    """Bytes of anonymous and file memory of a process, and the most it ever had."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {
        key: int(fields[name].split()[0]) * 1024
        for key, name in (("anon", "RssAnon"), ("file", "RssFile"), ("peak", "VmHWM"))
    }


def get(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def only_child(pid):
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return int(child)


class Session:
    """Commands to one engine. Everything it started ends with it."""

    def __init__(self, name, programs, folder):
        """`programs`: folder of brainyd, brainy-operator and brainy-server-bench. `folder`: where the engine keeps its data."""
        self.name, self.folder, self.programs = name, Path(folder), Path(programs)
        with ExitStack() as stack:
            self.stack, self.address = stack, None
            if ours(name):
                command = [self.programs / "brainy-server-bench"]
                self.address, self.pid = self.start_brainyd()
            else:
                command = [sys.executable, HERE / "peers.py", name]
            self.worker = self.spawn(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            if self.address is None:
                self.pid = self.worker.pid
            self.stack = stack.pop_all()

    def spawn(self, command, **options):
        child = subprocess.Popen(command, **options)
        self.stack.callback(child.wait)
        self.stack.callback(child.terminate)
        return child

    def start_brainyd(self):
        """Starts what the engine is; (host:port of its node, pid of its node)."""
        if self.name == "brainy-s3":
            command = [self.programs / "brainy-operator", "local", "-f", HERE / "cluster.yaml", "--plain", "--port", "0"]
            ready = self.folder / "ready"
            child = self.logged([*command, "--data-dir", self.folder / "data", "--ready-file", ready])
            url = self.until(child, lambda: ready.exists() and ready.read_text().split()[0])
            (member,) = get(f"{url}/coordinate/assignments")["table"]["members"].values()
            return member["address"], only_child(child.pid)
        address = f"127.0.0.1:{free_port()}"
        child = self.logged([self.programs / "brainyd", "--listen", address, "--data-dir", self.folder / "data"])
        self.until(child, lambda: get(f"http://{address}/health")["ready"])
        return address, child.pid

    def logged(self, command):
        with self.log().open("wb") as output:
            return self.spawn(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def log(self):
        return self.folder / f"{self.name}.log"

    def until(self, child, look):
        """What `look` returns, once that is something."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and child.poll() is None:
            try:
                if found := look():
                    return found
            except OSError:
                pass  # nobody listens yet
            time.sleep(0.05)
        raise Failed(f"{self.name} did not start:\n{self.log().read_text(errors='replace')[-2000:]}")

    def ask(self, op, **fields):
        """The answer to one command; raises Failed."""
        try:
            self.worker.stdin.write(json.dumps({"op": op, **fields}).encode() + b"\n")
            self.worker.stdin.flush()
        except BrokenPipeError:
            pass  # the missing answer tells
        if not select.select([self.worker.stdout], [], [], ANSWER_SECONDS)[0]:
            raise Failed(f"{self.name}: no answer to {op} within {ANSWER_SECONDS} s")
        line = self.worker.stdout.readline()
        if not line:
            raise Failed(f"{self.name}: stopped at {op} with status {self.worker.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(f"{self.name}: {op}: {answer['error']}")
        return answer

    def open(self, dim, distance, m, ef_construct):
        if self.address is None:
            return self.ask("open", folder=str(self.folder), dim=dim, distance=distance)
        shape = {"dim": dim, "distance": distance, "m": m, "ef_construct": ef_construct}
        wire = "grpc" if self.name == "brainy-grpc" else "rest"
        return self.ask("open", address=self.address, wire=wire, collection="bench", **shape)

    def found(self, queries, k, width):
        """Ids, queries x k, -1 where nothing was found."""
        with tempfile.NamedTemporaryFile(dir=self.folder) as file:
            self.search(queries, k, width, clients=1, seconds=0, ids=file.name)
            return np.fromfile(file.name, dtype="<i8").reshape(-1, k)

    def search(self, queries, k, width, clients, seconds, ids=None):
        return self.ask(
            "search", queries=str(queries), k=k, width=width, clients=clients, seconds=seconds, ids=ids
        )

    def memory(self):
        return status(self.pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stack.close()
