"""The resume lock keeps a second driver out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tune_app.errors import InputError
from tune_app.experiment.lock import is_running, resume_lock


def test_a_second_driver_is_refused_with_the_name_of_the_first(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from tune_app.experiment.lock import resume_lock
with resume_lock(Path({str(tmp_path)!r})):
    print("held", flush=True)
    sys.stdin.read()
"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert is_running(tmp_path)
    with pytest.raises(InputError, match=f"pid {holder.pid}"), resume_lock(tmp_path):
        pass
    holder.kill()
    holder.communicate()
    with resume_lock(tmp_path):  # the system released the lock of the dead process
        pass
    assert not is_running(tmp_path)
