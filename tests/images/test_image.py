"""The archive that scripts/image.py writes is what container tools expect, and its programs have all that they need."""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "image.py"
PROGRAMS = ("brainyd", "brainy-operator", "brainy-s3")
TAG = "1.2.3"


def load():
    spec = importlib.util.spec_from_file_location("image", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pack(target, *programs, check=True):
    command = [SCRIPT, "--tar", target, "--tag", TAG, "--revision", "abc", *programs]
    return subprocess.run(command, check=check, capture_output=True, text=True)


@pytest.fixture(scope="module")
def programs():
    """The programs that this tree builds: BRAINY_BIN names their directory."""
    directory = Path(os.environ["BRAINY_BIN"])
    return [directory / name for name in PROGRAMS]


@pytest.fixture(scope="module")
def archive(programs, tmp_path_factory):
    directory = tmp_path_factory.mktemp("image")
    pack(directory / "images.tar", *programs)
    unpacked = directory / "unpacked"
    with tarfile.open(directory / "images.tar") as tar:
        tar.extractall(unpacked, filter="data")
    return unpacked


def blob(archive, descriptor):
    """Content behind a descriptor, whose digest and size are checked."""
    algorithm, digest = descriptor["digest"].split(":")
    content = (archive / "blobs" / algorithm / digest).read_bytes()
    assert hashlib.sha256(content).hexdigest() == digest
    assert len(content) == descriptor["size"]
    return content


def images(archive):
    index = json.loads((archive / "index.json").read_bytes())
    for descriptor in index["manifests"]:
        manifest = json.loads(blob(archive, descriptor))
        config = json.loads(blob(archive, manifest["config"]))
        yield descriptor, manifest, config


@pytest.fixture(scope="module", params=PROGRAMS)
def root(request, archive, tmp_path_factory):
    """The file system of one image."""
    number = PROGRAMS.index(request.param)
    _, manifest, _ = list(images(archive))[number]
    target = tmp_path_factory.mktemp(request.param)
    for layer in manifest["layers"]:
        blob(archive, layer)
        with tarfile.open(archive / "blobs" / "sha256" / layer["digest"].split(":")[1]) as tar:
            # Ownership needs root; modes and content do not.
            tar.extractall(target, filter="tar", numeric_owner=True)
    return request.param, target


def test_every_digest_and_size_is_right(archive):
    assert json.loads((archive / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    found = list(images(archive))
    assert len(found) == len(PROGRAMS)
    for _, manifest, config in found:
        # Layers are not compressed, so what identifies them packed and unpacked is the same.
        assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
        for layer in manifest["layers"]:
            blob(archive, layer)


def test_containerd_finds_the_names_that_manifests_use(archive):
    names = [descriptor["annotations"]["io.containerd.image.name"] for descriptor, _, _ in images(archive)]
    assert names == [f"docker.io/library/{name}:{TAG}" for name in PROGRAMS]


def test_docker_finds_the_same_images(archive):
    docker = json.loads((archive / "manifest.json").read_bytes())
    assert [entry["RepoTags"] for entry in docker] == [[f"{name}:{TAG}"] for name in PROGRAMS]
    for entry, (_, manifest, _) in zip(docker, images(archive), strict=True):
        assert entry["Config"] == "blobs/sha256/" + manifest["config"]["digest"].split(":")[1]
        assert entry["Layers"] == ["blobs/sha256/" + layer["digest"].split(":")[1] for layer in manifest["layers"]]


def test_images_share_what_is_common(archive):
    assert len({manifest["layers"][0]["digest"] for _, manifest, _ in images(archive)}) == 1


def test_the_same_programs_give_the_same_bytes(programs, tmp_path):
    for name in ("one.tar", "two.tar"):
        pack(tmp_path / name, *programs)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_the_program_needs_nothing_outside_its_image(root):
    """The image's own loader, told to look into the image only, lists every library and starts the program."""
    name, files = root
    program = files / "usr/local/bin" / name
    loader = next(path for path in files.rglob("ld-linux*"))
    folders = {str(path.parent) for path in files.rglob("*.so*")}
    command = [loader, "--inhibit-cache", "--library-path", ":".join(sorted(folders))]
    listed = subprocess.run([*command, "--list", program], check=True, capture_output=True, text=True).stdout
    found = re.findall(r"(\S+) => (\S+) \(0x", listed)
    outside = [line for line in found if not line[1].startswith(str(files)) and "ld-linux" not in line[0]]
    assert found and not outside
    said = subprocess.run([*command, program, "--version"], check=True, capture_output=True, text=True).stdout
    assert said.startswith(f"{name} ")


def test_it_runs_as_somebody_who_may_nothing(archive, root):
    _, files = root
    for _, _, config in images(archive):
        assert config["config"]["User"] == "65532:65532"
    assert "nonroot:x:65532:65532:" in (files / "etc/passwd").read_text()
    assert "BEGIN CERTIFICATE" in (files / "etc/ssl/certs/ca-certificates.crt").read_text()
    shells = [path for path in files.rglob("*") if path.name in ("sh", "bash", "busybox")]
    assert not shells
    special = [path for path in files.rglob("*") if path.is_file() and path.stat().st_mode & 0o6002]
    assert not special, "set-user-id, set-group-id or writable by all"


def test_a_missing_program_is_named(tmp_path):
    result = pack(tmp_path / "images.tar", tmp_path / "nothing", check=False)
    assert result.returncode != 0
    assert str(tmp_path / "nothing") in result.stderr
    assert not (tmp_path / "images.tar").exists()


def test_a_static_program_brings_no_libraries(tmp_path):
    pause = tmp_path / "pause"
    compiler = shutil.which("cc")
    assert compiler, "no C compiler: make setup"
    subprocess.run([compiler, "-Os", "-static", "-o", pause, ROOT / "tests/node/pause.c"], check=True)
    assert load().libraries(pause) == []


def test_the_dockerfile_makes_images_of_the_same_form():
    dockerfile = (ROOT / "Dockerfile").read_text()
    stages = re.split(r"^FROM ", dockerfile, flags=re.MULTILINE)
    for name, title in load().TITLES.items():
        stage = next(text for text in stages if text.split("\n")[0].endswith(f" AS {name}"))
        assert f'org.opencontainers.image.title="{title}"' in stage
        assert f'ENTRYPOINT ["/usr/local/bin/{name}"]' in stage
    runtime = next(text for text in stages if text.split("\n")[0].endswith(" AS runtime"))
    assert "USER 65532:65532" in runtime
    for label in ("version", "revision", "source", "licenses"):
        assert f"org.opencontainers.image.{label}=" in runtime
    version = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE).group(1)
    assert f"ARG VERSION={version}\n" in runtime
    assert f"image: brainy-s3:{version}\n" in (ROOT / "examples/kind/s3.yaml").read_text()
    crates = re.findall(
        r'"([a-z0-9-]+)"', re.search(r"^members = \[(.*)\]", (ROOT / "Cargo.toml").read_text(), re.MULTILINE).group(1)
    )
    assert set(crates) <= set(re.findall(r"^COPY (\S+) \1$", dockerfile, re.MULTILINE))
