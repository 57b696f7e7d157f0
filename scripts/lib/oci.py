#!/usr/bin/env python3
"""Writes a container image from scratch as one tar: the same files give the same bytes.

The tar is an OCI layout (oci-layout, index.json, blobs/) with docker's manifest.json in it, so that
`docker load`, `ctr images import` and `crane push` all take it. No daemon, no base image.

    oci.py --tag local.test/coredns:1 --out coredns.tar --entrypoint /coredns bin/coredns=coredns
"""

import argparse
import dataclasses
import hashlib
import io
import json
import os
import platform
import tarfile

EPOCH = "1970-01-01T00:00:00Z"
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclasses.dataclass
class Image:
    """What goes into an image. Paths in it have no leading slash."""

    tag: str
    files: list = dataclasses.field(default_factory=list)  # (path on disk, path in the image)
    texts: list = dataclasses.field(default_factory=list)  # (path in the image, text)
    links: list = dataclasses.field(default_factory=list)  # (path in the image, its target)
    entrypoint: list = dataclasses.field(default_factory=list)
    env: list = dataclasses.field(default_factory=list)
    labels: dict = dataclasses.field(default_factory=dict)
    user: str = ""  # a number, so that runAsNonRoot can tell


def _entry(path, mode=0o644):
    """A tar entry that does not depend on who made it, or when."""
    info = tarfile.TarInfo(path.lstrip("/"))
    info.mode = mode
    return info


def _add_bytes(tar, path, data, mode=0o644):
    info = _entry(path, mode)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _folders(paths):
    """Every parent folder of the paths, parents first."""
    found = set()
    for path in paths:
        while path := os.path.dirname(path.strip("/")):
            found.add(path)
    return sorted(found)


def layer(image):
    """The bytes of the image's one layer: an uncompressed tar (compressors differ)."""
    out = io.BytesIO()
    names = [p for _, p in image.files] + [p for p, _ in image.texts] + [p for p, _ in image.links]
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for folder in sorted({"tmp", *_folders(names)}):
            info = _entry(folder, 0o1777 if folder == "tmp" else 0o755)
            info.type = tarfile.DIRTYPE
            tar.addfile(info)
        for source, path in sorted(image.files, key=lambda pair: pair[1]):
            executable = os.access(source, os.X_OK)
            with open(source, "rb") as f:
                _add_bytes(tar, path, f.read(), 0o755 if executable else 0o644)
        for path, text in sorted(image.texts):
            _add_bytes(tar, path, text.encode())
        for path, target in sorted(image.links):
            info = _entry(path, 0o777)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return out.getvalue()


def _json(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _descriptor(kind, data):
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    return {"mediaType": kind, "digest": digest, "size": len(data)}


def _config(image, layer_data):
    settings = {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin", *image.env], "WorkingDir": "/"}
    if image.entrypoint:
        settings["Entrypoint"] = image.entrypoint
    if image.user:
        settings["User"] = image.user
    if image.labels:
        settings["Labels"] = image.labels
    machine = platform.machine()
    return _json({
        "architecture": MACHINES.get(machine, machine),
        "os": "linux",
        "created": EPOCH,
        "config": settings,
        "rootfs": {
            "type": "layers",
            "diff_ids": ["sha256:" + hashlib.sha256(layer_data).hexdigest()],
        },
        "history": [{"created": EPOCH, "created_by": "scripts/image"}],
    })


def contents(image):
    """The files of the image's tar, as (path, bytes), in order."""
    kind = "application/vnd.oci.image."
    data = layer(image)
    config = _config(image, data)
    layers = [_descriptor(kind + "layer.v1.tar", data)]
    manifest = _json({
        "schemaVersion": 2,
        "mediaType": kind + "manifest.v1+json",
        "config": _descriptor(kind + "config.v1+json", config),
        "layers": layers,
    })
    entry = _descriptor(kind + "manifest.v1+json", manifest)
    # containerd takes the whole name from the first, other tools the tag from the second.
    entry["annotations"] = {
        "io.containerd.image.name": image.tag,
        "org.opencontainers.image.ref.name": image.tag.rpartition(":")[2],
    }
    index = _json({"schemaVersion": 2, "mediaType": kind + "index.v1+json", "manifests": [entry]})

    def blob(value):
        return "blobs/sha256/" + hashlib.sha256(value).hexdigest()

    docker = _json([{"Config": blob(config), "RepoTags": [image.tag], "Layers": [blob(data)]}])
    return [
        ("oci-layout", _json({"imageLayoutVersion": "1.0.0"})),
        ("index.json", index),
        ("manifest.json", docker),
        *((blob(value), value) for value in (manifest, config, data)),
    ]


def write(image, out):
    """Writes the image's tar to `out`, whole or not at all."""
    os.makedirs(os.path.dirname(out) or ".", exist_ok=True)
    part = f"{out}.part"
    with tarfile.open(part, "w", format=tarfile.GNU_FORMAT) as tar:
        for path, data in contents(image):
            _add_bytes(tar, path, data)
    os.replace(part, out)


def _pair(text):
    left, equals, right = text.partition("=")
    if not equals or not left or not right:
        raise argparse.ArgumentTypeError(f"'{text}' is not LEFT=RIGHT")
    return left, right


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tag", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--entrypoint", action="append", default=[])
    parser.add_argument("--user", default="", help="a number")
    parser.add_argument("--env", action="append", default=[])
    parser.add_argument("--link", action="append", default=[], type=_pair, metavar="PATH=TARGET")
    parser.add_argument("files", nargs="*", type=_pair, metavar="SOURCE=PATH")
    args = parser.parse_args()
    image = Image(args.tag, args.files, [], args.link, args.entrypoint, args.env, {}, args.user)
    write(image, args.out)


if __name__ == "__main__":
    main()
