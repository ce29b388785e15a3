"""The API keeps to the document that it serves, whatever is sent: no error of the server, no hang, no answer of another form.

BRAINYD          path of brainyd (default: $CARGO_TARGET_DIR or target, then debug/brainyd)
OPENAPI_SECONDS  how long requests are made up (default: 100)
OPENAPI_SEED     from which number (default: 1)
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SECONDS = int(os.environ.get("OPENAPI_SECONDS", "100"))
SEED = os.environ.get("OPENAPI_SEED", "1")
START_SECONDS = 60
# What a request may take on a busy machine; the server gives up after half of it.
REQUEST_SECONDS = 120


def call(url, method="GET", document=None):
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as answer:
        return json.load(answer)


@pytest.fixture
def url(tmp_path):
    """Where a brainyd by itself serves, with the collection that hooks.py names."""
    default = Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "debug" / "brainyd"
    binary = ROOT / os.environ.get("BRAINYD", default)
    assert binary.is_file(), f"{binary} does not exist: build it (make build)"
    log = tmp_path / "log"
    command = [binary, "--listen", "127.0.0.1:0", "--data-dir", tmp_path / "data"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        base = listening(process, log)
        schema = {
            "vectors": {"size": 2, "distance": "Dot"},
            "sparse_vectors": {"words": {"modifier": "idf"}},
        }
        call(f"{base}/collections/fuzz", "PUT", schema)
        points = [
            {"id": n, "vector": [n, 1], "payload": {"n": n, "word": str(n), "tags": ["a", "b"][: n % 3]}}
            for n in range(100)
        ]
        call(f"{base}/collections/fuzz/points", "PUT", {"points": points})
        yield base
        assert process.poll() is None, f"brainyd ended with {process.returncode}:\n{tail(log)}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, tail(log)
        assert "panicked" not in log.read_text(errors="replace"), tail(log)
    finally:
        process.kill()
        process.wait()


def listening(process, log):
    """The address is in the log: the port is chosen by the system."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, tail(log)
        if found := re.search(r"127\.0\.0\.1:(\d+)", log.read_text(errors="replace")):
            base = f"http://127.0.0.1:{found[1]}"
            try:
                urllib.request.urlopen(f"{base}/readyz", timeout=REQUEST_SECONDS).close()
                return base
            except OSError:
                pass
        time.sleep(0.05)
    pytest.fail(f"brainyd was not ready within {START_SECONDS} s:\n{tail(log)}")


def tail(log):
    return "\n".join(log.read_text(errors="replace").splitlines()[-40:])


def test_answers_keep_to_the_document(url, tmp_path):
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", HERE / "schemathesis.toml"]
    command += ["run", f"{url}/openapi.json", "--seed", SEED, "--max-time", str(SECONDS)]
    command += ["--request-timeout", str(REQUEST_SECONDS), "--suppress-health-check", "all", "--no-color"]
    run = subprocess.run(
        command, cwd=HERE, capture_output=True, text=True, timeout=10 * SECONDS + REQUEST_SECONDS, check=False
    )
    assert run.returncode == 0, f"{run.stdout[-20000:]}\n{run.stderr[-2000:]}"
    # The server still answers, and has the points that nothing asked it to delete.
    assert call(f"{url}/collections/fuzz/exists")["result"] == {"exists": True}
