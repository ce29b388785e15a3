"""The npm package @qdrant/js-client-rest: js/client.test.js, run by Node's own test runner."""

import os
import subprocess

import pytest

from conftest import HERE, IN_MEMORY

SECONDS = 120


@pytest.mark.skipif(IN_MEMORY, reason="it talks to a server")
def test_the_javascript_client(url):
    directory = HERE / "js"
    assert (directory / "node_modules").is_dir(), f"run `npm ci` in {directory}, as `make test-clients` does"
    tests = subprocess.run(
        ["node", "--test"],
        cwd=directory,
        env=os.environ | {"BRAINY_URL": url},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    assert tests.returncode == 0, tests.stdout
