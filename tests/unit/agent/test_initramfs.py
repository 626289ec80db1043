#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the initramfs: static agent below 1 MiB, the right members, the same bytes each time.

Arguments: mkinitramfs, the stripped agent, the initramfs of the build.
"""
import os
import stat
import struct
import subprocess
import sys
import tempfile

AGENT_MAX = 1 << 20
PT_INTERP = 3


def members(archive):
    """The members of a newc archive: name -> (mode, data, (major, minor))."""
    found, at = {}, 0
    while True:
        assert archive[at:at + 6] == b"070701", f"no header at {at}"
        fields = [int(archive[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = archive[at + 110:at + 110 + name_size - 1].decode()
        data_at = (at + 110 + name_size + 3) & ~3
        at = (data_at + size + 3) & ~3
        if name == "TRAILER!!!":
            return found
        found[name] = (mode, archive[data_at:data_at + size], (fields[9], fields[10]))


def program_types(elf):
    offset, = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    return [struct.unpack_from("<I", elf, offset + i * size)[0] for i in range(count)]


def main():
    mkinitramfs, agent_path, built = sys.argv[1:]
    with open(agent_path, "rb") as file:
        agent = file.read()
    assert len(agent) < AGENT_MAX, f"the agent has {len(agent)} bytes"
    assert PT_INTERP not in program_types(agent), "the agent is not static"

    with open(built, "rb") as file:
        archive = file.read()
    found = members(archive)
    mode, data, _ = found["init"]
    assert stat.S_ISREG(mode) and mode & 0o777 == 0o755 and data == agent
    for name, device in {"dev/console": (5, 1), "dev/kmsg": (1, 11)}.items():
        assert stat.S_ISCHR(found[name][0]) and found[name][2] == device, name
    for name in ["dev", "proc", "sys", "root", "image", "layer"]:
        assert stat.S_ISDIR(found[name][0]), name

    with tempfile.TemporaryDirectory() as folder:
        again = os.path.join(folder, "initramfs.cpio")
        subprocess.run([sys.executable, mkinitramfs, agent_path, again], check=True)
        with open(again, "rb") as file:
            assert file.read() == archive, "the same agent gives other bytes"
        result = subprocess.run([sys.executable, mkinitramfs, __file__, again],
                                stderr=subprocess.PIPE, text=True)
        assert result.returncode != 0 and "is no program" in result.stderr


main()
