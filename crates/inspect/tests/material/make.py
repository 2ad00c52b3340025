"""Unpacks the source archives in FOLDER/sources and has hostile files made by others' programs.

usage: make.py FOLDER SEEDS
"""

import pathlib
import shutil
import subprocess
import sys

import polyglots

folder, seeds = map(pathlib.Path, sys.argv[1:])

for archive in (folder / "sources").iterdir():
    shutil.unpack_archive(archive, folder)

# Two files in one, as the program can put them together; it says so by an exception where it cannot.
made = folder / "polyglots"
made.mkdir()
outer = {"gif": polyglots.gif, "jpg": polyglots.jpg, "png": polyglots.png, "tiff": polyglots.tiff, "webp": polyglots.riff}
inner = {"pdf": polyglots.pdf, "zip": polyglots.zip_}
names = {"jpg": "jpeg.jpg", "tiff": "tiff.tif"}
for first, outside in outer.items():
    for second, inside in inner.items():
        host = outside((seeds / names.get(first, f"{first}.{first}")).read_bytes())
        host.identify()
        host.endianness = getattr(host, "endianness", "<")
        polyglots.save(host, inside((seeds / f"{second}.{second}").read_bytes()), str(made / f"{first}-{second}"))
polyglots.save(
    polyglots.zip_((seeds / "zip.zip").read_bytes()), polyglots.pdf((seeds / "pdf.pdf").read_bytes()), str(made / "zip-pdf")
)

# Bombs that would come to a gigabyte, or to much more where they are nested.
made = folder / "bombs"
made.mkdir()
for recipe in ["flat", "layered", "cascade", "wide", "overlap", "traversal"]:
    command = [sys.executable, "-m", "zipbomb_lab", "create", "--quiet", "--no-banner", "--no-brand", "--force"]
    command += ["--size", "64MiB" if recipe == "flat" else "16MiB", "--recipe", recipe]
    command += ["--output", str(made / f"{recipe}.zip")]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        sys.exit(f"zbomb {recipe}: {done.stdout}{done.stderr}")
