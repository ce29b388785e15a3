"""A process per engine: commands out as JSON lines, answers in. Whoever answers is `worker/` or `peers.py`."""

import json
import os
import select
import subprocess
import sys
from pathlib import Path

import numpy as np
from engines import ENGINES

HERE = Path(__file__).resolve().parent


class Failed(Exception):
    """An engine stopped, answered with an error, or not in time."""


class Process:
    def __init__(self, engine, worker, threads, folder):
        """`worker`: path of the Rust worker. `folder`: where ids are handed over."""
        self.engine = engine
        self.ids = Path(folder) / f"{engine}.{threads}.ids"
        command = [worker] if ENGINES[engine].rust else [sys.executable, HERE / "peers.py", engine]
        environment = {
            **os.environ,
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": str(threads),
            "RAYON_NUM_THREADS": str(threads),
            # Freed memory goes back to the system, in all engines alike: what is left is what the index holds.
            "MALLOC_MMAP_THRESHOLD_": "131072",
            "MALLOC_TRIM_THRESHOLD_": "131072",
        }
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)

    def ask(self, op, timeout=None, **fields):
        """The answer to one command.

        Raises Failed; after that the process is gone."""
        try:
            self.child.stdin.write(json.dumps({"op": op, **fields}).encode() + b"\n")
            self.child.stdin.flush()
        except BrokenPipeError:
            pass  # the missing answer tells
        if not select.select([self.child.stdout], [], [], timeout)[0]:
            self.close(kill=True)
            raise Failed(f"{self.engine}: no answer to {op} within {timeout:.0f} s")
        line = self.child.stdout.readline()
        if not line:
            raise Failed(f"{self.engine}: stopped at {op} with status {self.child.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            self.close()
            raise Failed(f"{self.engine}: {op}: {answer['error']}")
        return answer

    def found(self, k, ef):
        """Ids, queries x k, -1 where nothing was found."""
        answer = self.ask("search", k=k, ef=ef, warmup=0, ids=str(self.ids))
        ids = np.fromfile(self.ids, dtype="<i8").reshape(answer["queries"], k)
        self.ids.unlink()
        return ids

    def close(self, kill=False):
        if kill:
            self.child.kill()
        self.child.stdin.close()
        self.child.wait()
        self.child.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if not self.child.stdin.closed:
            self.close(kill=error is not None)
