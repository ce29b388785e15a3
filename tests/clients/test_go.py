"""The Go module github.com/qdrant/go-client, over gRPC: go/client_test.go, run by Go's own test runner."""

import os
import subprocess
from urllib.parse import urlsplit

import pytest

from conftest import HERE, IN_MEMORY

SECONDS = 600  # The first time it compiles gRPC.


@pytest.mark.skipif(IN_MEMORY, reason="it talks to a server")
def test_the_go_client(url, grpc_port):
    tests = subprocess.run(
        [os.environ.get("BRAINY_GO", "go"), "test", "-count=1", "./..."],
        cwd=HERE / "go",
        env=os.environ | {"BRAINY_HOST": urlsplit(url).hostname, "BRAINY_GRPC_PORT": str(grpc_port)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    assert tests.returncode == 0, tests.stdout
