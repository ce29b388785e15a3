"""The unmodified Qdrant client talks to a Brainy cluster.

Without settings the suite starts its own cluster: `brainy-operator local` on this machine, stopped at the end.

BRAINY_OPERATOR  path of brainy-operator (default: $CARGO_TARGET_DIR or target, then debug/brainy-operator)
BRAINY_URL       use the Brainy that runs there instead; tests make collections of their own and remove them
BRAINY_GRPC_PORT where it serves gRPC (default 6334)
BRAINY_API_KEY   its key, if it wants one

BRAINY_URL=:memory: runs the suite against the client's own in-process imitation. That checks the tests, not
Brainy, and is for those who change them; the tests of HTTP errors are left out then. CI never sets it.

Random tests make the same requests each time. For others, and more of them:
pytest tests/clients --hypothesis-profile=explore --hypothesis-seed=7
"""

import os
import re
import signal
import subprocess
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from qdrant_client import QdrantClient, models

import generate
from world import World, fill

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
START_SECONDS = 120
STOP_SECONDS = 60
REQUEST_SECONDS = 60

# A collection is made once for many requests. A failure tells the request; none is kept on disk.
random_requests = {
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
    "report_multiple_bugs": False,
}
settings.register_profile("steady", max_examples=40, derandomize=True, **random_requests)
settings.register_profile("explore", max_examples=1000, print_blob=True, **random_requests)
settings.load_profile("steady")

IN_MEMORY = os.environ.get("BRAINY_URL") == ":memory:"
collect_ignore = ["test_errors.py"] if IN_MEMORY else []


def operator_binary():
    default = Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "debug" / "brainy-operator"
    path = ROOT / os.environ.get("BRAINY_OPERATOR", default)
    if not path.is_file():
        pytest.exit(
            f"{path} does not exist: build it (make build), or set BRAINY_URL to a running Brainy", returncode=2
        )
    return path


def wait_for_endpoint(process, ready_file, log):
    """The lines that the cluster writes when it can serve: its URL, and host:port for gRPC."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.exit(
                f"the cluster stopped with {process.returncode} before it was ready:\n{tail(log)}", returncode=2
            )
        if ready_file.exists() and (line := ready_file.read_text()).endswith("\n"):
            return line.split()
        time.sleep(0.05)
    pytest.exit(f"the cluster was not ready within {START_SECONDS} s:\n{tail(log)}", returncode=2)


def tail(log):
    return "\n".join(log.read_text(errors="replace").splitlines()[-60:])


def group_is_alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="session")
def endpoints(tmp_path_factory):
    """Where Brainy serves: the URL, and the port for gRPC."""
    if given := os.environ.get("BRAINY_URL"):
        yield given, int(os.environ.get("BRAINY_GRPC_PORT", "6334"))
        return
    work = tmp_path_factory.mktemp("cluster")
    ready_file, log = work / "ready", work / "log"
    command = [operator_binary(), "local", "-f", HERE / "cluster.yaml"]
    command += ["--data-dir", work / "data", "--port", "0", "--ready-file", ready_file]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        url, grpc = wait_for_endpoint(process, ready_file, log)
        yield url, int(grpc.rpartition(":")[2])
        assert process.poll() is None, f"the cluster ended by itself with {process.returncode}:\n{tail(log)}"
        process.send_signal(signal.SIGINT)
        status = process.wait(STOP_SECONDS)
        assert status == 0, f"the cluster ended with {status} after SIGINT:\n{tail(log)}"
        assert not group_is_alive(process.pid), f"the cluster left processes behind:\n{tail(log)}"
    finally:
        if group_is_alive(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="session")
def url(endpoints):
    """Where Brainy serves HTTP."""
    return endpoints[0]


@pytest.fixture(scope="session")
def grpc_port(endpoints):
    """Where it serves gRPC, on the same host."""
    return endpoints[1]


def connected(url, **options):
    if IN_MEMORY:
        return QdrantClient(":memory:")
    return QdrantClient(url=url, api_key=os.environ.get("BRAINY_API_KEY"), timeout=REQUEST_SECONDS, **options)


@pytest.fixture(scope="session")
def rest(url):
    """The client as its documentation shows it."""
    made = connected(url)
    yield made
    made.close()


@pytest.fixture(scope="session")
def grpc(url, grpc_port):
    """The client over gRPC, wherever it has a way to use it."""
    made = connected(url, prefer_grpc=True, grpc_port=grpc_port)
    yield made
    made.close()


@pytest.fixture(scope="session", params=["rest"] if IN_MEMORY else ["rest", "grpc"])
def client(request):
    """Both: a test that asks for it runs twice."""
    return request.getfixturevalue(request.param)


@contextmanager
def random_world(client, indexes):
    made = World(client, QdrantClient(":memory:"), f"world-{uuid.uuid4().hex[:8]}")
    try:
        fill(made)
        for field, kind in indexes.items():
            client.create_payload_index(made.name, field_name=field, field_schema=kind)
        yield made
    finally:
        client.delete_collection(made.name)
        made.reference.close()


@pytest.fixture(scope="session")
def rest_plain(rest):
    """The collection of random points that the comparisons read."""
    with random_world(rest, {}) as made:
        yield made


@pytest.fixture(scope="session")
def rest_indexed(rest):
    """The same with indexes of the payload fields, which some requests need."""
    with random_world(rest, generate.INDEXES) as made:
        yield made


@pytest.fixture(scope="session")
def grpc_indexed(grpc):
    """That over gRPC."""
    with random_world(grpc, generate.INDEXES) as made:
        yield made


@pytest.fixture(scope="session", params=["rest_plain", "rest_indexed"] if IN_MEMORY else ["rest_plain", "grpc_indexed"])
def world(request):
    """Without and with indexes, each by another way."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session", params=["rest_indexed"] if IN_MEMORY else ["rest_indexed", "grpc_indexed"])
def indexed(request):
    """With indexes, by both ways."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def name(client, request):
    """A collection name that no other test uses; what a test leaves under it is removed."""
    made = f"{re.sub('[^a-z0-9]+', '-', request.node.name.lower())[:40]}-{uuid.uuid4().hex[:8]}"
    yield made
    if client.collection_exists(made):
        client.delete_collection(made)


@pytest.fixture
def collection(client, name):
    """An empty collection of four dimensions and cosine distance."""
    client.create_collection(name, vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE))
    return name


CITIES = [
    (
        1,
        [0.05, 0.61, 0.76, 0.74],
        {"city": "Berlin", "country": "DE", "people": 3_700_000, "tags": ["capital", "river"]},
    ),
    (
        2,
        [0.19, 0.81, 0.75, 0.11],
        {"city": "London", "country": "GB", "people": 8_900_000, "tags": ["capital", "port"]},
    ),
    (3, [0.36, 0.55, 0.47, 0.94], {"city": "Moscow", "country": "RU", "people": 12_600_000, "tags": ["capital"]}),
    (4, [0.18, 0.01, 0.85, 0.80], {"city": "Hamburg", "country": "DE", "people": 1_900_000, "tags": ["port", "river"]}),
    (5, [0.24, 0.18, 0.22, 0.44], {"city": "Porto", "country": "PT", "people": 230_000, "tags": ["port"]}),
    (6, [0.35, 0.08, 0.11, 0.44], {"note": {"text": "nowhere", "year": 1900}}),
]


@pytest.fixture
def cities(client, collection):
    """A collection with six points, the last of which has no city."""
    points = [models.PointStruct(id=i, vector=vector, payload=payload) for i, vector, payload in CITIES]
    client.upsert(collection, points=points)
    return collection
