#!/usr/bin/env python3
"""Packs built programs into container images without pulling, running or needing anything but this file.

    scripts/image.py --tar target/images.tar --tag 0.1.0 target/release/brainyd target/release/brainy-operator

writes one archive with an image for each program, named after it. It is an OCI image layout that is also what `docker save`
writes, so `ctr images import`, `kind load image-archive`, `podman load` and `docker load` all take it. The images have the form
of those that the Dockerfile makes: the program at /usr/local/bin, the shared libraries it needs (from this machine), CA certificates,
and user 65532. The same inputs give the same bytes.
"""

import argparse
import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UID = 65532
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
CA_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem")
CA_FILE = "etc/ssl/certs/ca-certificates.crt"
ENV = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", f"SSL_CERT_FILE=/{CA_FILE}"]

PASSWD = f"root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:{UID}:{UID}:nonroot:/home/nonroot:/sbin/nologin\n"
GROUP = f"root:x:0:\nnonroot:x:{UID}:\n"
NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\n"

# What each image says of itself; the Dockerfile says the same, and tests/images compares them.
TITLES = {
    "brainyd": "Brainy: the vector store",
    "brainy-operator": "Brainy: the operator",
    "brainy-s3": "Brainy: an S3 server for trying and testing",
}


class ImageError(Exception):
    """What could not be done, and what to do about it."""


class Layer:
    """A tar file that is written in a fixed order, with nothing of this machine in it but the files' content."""

    def __init__(self, path):
        self.path = path
        self.entries = {}  # path in the image: (mode, owner, bytes, or None for a directory)

    def directory(self, name, mode=0o755, owner=0):
        for parent in reversed(Path(name).parents):
            if str(parent) != ".":
                self.entries.setdefault(str(parent), (0o755, 0, None))
        self.entries[name] = (mode, owner, None)

    def file(self, name, content, mode=0o644):
        for parent in reversed(Path(name).parents):
            if str(parent) != ".":
                self.entries.setdefault(str(parent), (0o755, 0, None))
        self.entries[name] = (mode, 0, content)

    def write(self):
        """Writes the layer uncompressed: what gzip makes of it differs between versions. Returns its descriptor."""
        with tarfile.open(self.path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for name, (mode, owner, content) in sorted(self.entries.items()):
                add(tar, name, content, mode, owner)
        return {"mediaType": "application/vnd.oci.image.layer.v1.tar", **digest_and_size(self.path)}


def add(tar, name, content, mode=0o644, owner=0):
    """Adds a file, or a directory where `content` is None."""
    info = tarfile.TarInfo(name)
    info.mode, info.uid, info.gid, info.mtime = mode, owner, owner, 0
    if content is None:
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    else:
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))


def digest_and_size(path):
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"digest": f"sha256:{digest}", "size": path.stat().st_size}


def libraries(program):
    """Paths of the loader and the shared libraries that `program` needs; none for a static one."""
    result = subprocess.run(
        ["ldd", program], check=False, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}
    )
    output = result.stdout + result.stderr
    if "not a dynamic executable" in output or "statically linked" in output:
        return []
    if result.returncode != 0:
        raise ImageError(
            f"ldd cannot read {program}: {output.strip()}. Is it a program of this machine's architecture?"
        )
    missing = re.findall(r"(\S+) => not found", output)
    if missing:
        raise ImageError(
            f"{program} needs {', '.join(missing)}, which this machine does not have; install it, or build the program here"
        )
    return re.findall(r"(?:=> |^\s*)(/\S+) \(0x", output, re.MULTILINE)


def ca_certificates():
    for path in CA_BUNDLES:
        if Path(path).is_file():
            return Path(path).read_bytes()
    raise ImageError("no CA certificates here for the images to trust: install the package ca-certificates")


def stripped(program, scratch):
    """The program without debug information, which would be most of the image. Function names stay, for backtraces."""
    if not shutil.which("strip"):
        return program.read_bytes()
    copy = scratch / f"{program.name}.stripped"
    subprocess.run(["strip", "--strip-debug", "-o", copy, program], check=True)
    content = copy.read_bytes()
    copy.unlink()
    return content


class Archive:
    """The blobs of an image layout, each kept once."""

    def __init__(self, scratch):
        self.scratch = scratch
        self.blobs = {}  # hex digest: path

    def keep(self, layer):
        descriptor = layer.write()
        self.blobs.setdefault(descriptor["digest"].removeprefix("sha256:"), layer.path)
        return descriptor

    def document(self, value, media_type):
        content = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
        digest = hashlib.sha256(content).hexdigest()
        path = self.scratch / digest
        path.write_bytes(content)
        self.blobs[digest] = path
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    def write(self, target, index, docker):
        partial = target.with_name(target.name + ".new")
        with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar:
            add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
            add(tar, "index.json", json.dumps(index, sort_keys=True).encode())
            add(tar, "manifest.json", json.dumps(docker, sort_keys=True).encode())
            for directory in ("blobs", "blobs/sha256"):
                add(tar, directory, None, 0o755)
            for digest, path in sorted(self.blobs.items()):
                add(tar, f"blobs/sha256/{digest}", path.read_bytes())
        partial.replace(target)


def base_layer(path, needed):
    """What every program needs and none owns."""
    layer = Layer(path)
    layer.file("etc/passwd", PASSWD.encode())
    layer.file("etc/group", GROUP.encode())
    layer.file("etc/nsswitch.conf", NSSWITCH.encode())
    layer.file(CA_FILE, ca_certificates())
    layer.file("usr/share/doc/brainy/LICENSE", (ROOT / "LICENSE").read_bytes())
    layer.directory("tmp", 0o1777)
    layer.directory("home/nonroot", 0o700, UID)
    for library in sorted(needed):
        # Under the name by which it is asked for, as a file: a symbolic link there is this machine's affair.
        layer.file(library.lstrip("/"), Path(library).read_bytes(), 0o755)
    return layer


def image(archive, name, program_layer, base, args, architecture):
    """One image. Returns its descriptor for the index and its entry for Docker."""
    layers = [base, program_layer]
    labels = {
        "org.opencontainers.image.title": TITLES.get(name, name),
        "org.opencontainers.image.version": args.tag,
        "org.opencontainers.image.revision": args.revision,
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.source": args.source,
    }
    config = archive.document(
        {
            "architecture": architecture,
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "User": f"{UID}:{UID}",
                "Entrypoint": [f"/usr/local/bin/{name}"],
                "Env": ENV,
                "WorkingDir": "/home/nonroot",
                "Labels": labels,
            },
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
            "history": [{"created_by": "scripts/image.py: base"}, {"created_by": f"scripts/image.py: {name}"}],
        },
        "application/vnd.oci.image.config.v1+json",
    )
    manifest = archive.document(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": layers,
            "annotations": labels,
        },
        "application/vnd.oci.image.manifest.v1+json",
    )
    repository = f"{args.repository}/{name}" if args.repository else name
    full = repository if args.repository else f"docker.io/library/{name}"
    manifest["platform"] = {"architecture": architecture, "os": "linux"}
    manifest["annotations"] = {
        "io.containerd.image.name": f"{full}:{args.tag}",
        "org.opencontainers.image.ref.name": args.tag,
    }

    def blob(descriptor):
        return "blobs/sha256/" + descriptor["digest"].removeprefix("sha256:")

    docker = {
        "Config": blob(config),
        "RepoTags": [f"{repository}:{args.tag}"],
        "Layers": [blob(layer) for layer in layers],
    }
    return manifest, docker


def pack(args):
    architecture = ARCHITECTURES.get(platform.machine())
    if architecture is None:
        raise ImageError(f"{platform.machine()} is not supported: {', '.join(ARCHITECTURES)} are")
    for program in args.programs:
        if not program.is_file():
            raise ImageError(f"{program} does not exist: build it first (make build)")
    args.tar.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.tar.parent) as directory:
        scratch = Path(directory)
        archive = Archive(scratch)
        needed = {library for program in args.programs for library in libraries(program)}
        base = archive.keep(base_layer(scratch / "base", needed))
        manifests, docker = [], []
        for program in args.programs:
            layer = Layer(scratch / f"{program.name}.layer")
            layer.file(f"usr/local/bin/{program.name}", stripped(program, scratch), 0o755)
            manifest, entry = image(archive, program.name, archive.keep(layer), base, args, architecture)
            manifests.append(manifest)
            docker.append(entry)
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests}
        archive.write(args.tar, index, docker)
    for entry in docker:
        print(f"{args.tar}: {entry['RepoTags'][0]}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tar", type=Path, required=True, help="archive to write")
    parser.add_argument("--tag", required=True, help="tag of the images, and their version")
    parser.add_argument(
        "--repository", default="", help="what comes before the images' names, such as registry.example.com/team"
    )
    parser.add_argument("--revision", default="", help="commit that the programs were built from")
    parser.add_argument("--source", default="", help="URL of the source code")
    parser.add_argument(
        "programs", type=Path, nargs="+", metavar="PROGRAM", help="a program; its file name names the image"
    )
    return parser.parse_args()


if __name__ == "__main__":
    try:
        pack(arguments())
    except (ImageError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"image: {error}")
