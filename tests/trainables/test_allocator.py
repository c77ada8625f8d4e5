"""Large tensors reuse the memory of those before them."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from trainables.allocator import keep_freed_memory


def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(10_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


usual = page_faults()
assert keep_freed_memory()
for _ in range(20):  # the heap grows at first
    torch.ones(10_000_000)
print(usual, page_faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc maps large blocks anew")
def test_a_tensor_above_the_limit_of_mmap_touches_no_fresh_pages() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    usual, kept = map(int, done.stdout.split())
    assert kept < 100 < usual / 10
