"""What the machine is said to have."""

import os
import pathlib

from jaxmars import devices


def test_a_container_may_have_less_memory_than_its_machine(tmp_path: pathlib.Path) -> None:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [tmp_path / name for name in ("absent", "none", "loose", "tight")]
    for path, text in zip(limits[1:], ("max\n", f"{2 * machine}\n", "1048576\n"), strict=True):
        path.write_text(text)
    assert devices.host_bytes(limits[:3]) == machine
    assert devices.host_bytes(limits) == 1_048_576
    assert 0 < devices.memory_bytes() <= devices.host_bytes()
