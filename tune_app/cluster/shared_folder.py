"""Check that every node of a cluster can read and write where checkpoints will be."""

import time
from pathlib import Path
from secrets import token_hex

from trainables import storage
from tune_app.cluster.every_node import complaints, other_nodes
from tune_app.errors import InputError, first_line

SEE_SECONDS = 5.0
STORAGE_HINT = (
    "use an address like s3://BUCKET/FOLDER, gs:// or any of fsspec; each node needs its own credentials, "
    "and for fsspec the package of that kind of storage"
)
MARKER = ".unfinished-shared-"


def check_shared(out: Path, address: str | None) -> None:
    """Raise InputError unless each node of the joined cluster can write in `out` and read what the driver writes there.

    If `address` is given, check that storage instead of `out`.
    """
    others = other_nodes()
    if not others and not address:
        return
    folder = out.absolute()
    while not folder.exists():
        folder = folder.parent
    place, marker, secret = address or str(folder), f"{MARKER}{token_hex(8)}", token_hex(16)
    try:
        storage.touch(storage.below(place, marker), secret.encode())
        try:
            complaint = complaint_of_node(place, marker, secret)
            wrong = (
                [f"this machine {complaint}"]
                if complaint
                else complaints(others, complaint_of_node, place, marker, secret)
            )
        finally:
            storage.remove(storage.below(place, marker))
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"storage: {address or out}: {first_line(error)}", hint=STORAGE_HINT) from None
    if wrong and address:
        raise InputError(f"storage: {address} is not reachable from every node: {'; '.join(wrong)}", hint=STORAGE_HINT)
    if wrong:
        raise InputError(
            f"{out} is not shared by the nodes of the cluster: " + "; ".join(wrong),
            hint="mount one folder (NFS or similar) at the same path on every node, and give it with --out DIR; "
            "or store checkpoints with --set storage=s3://BUCKET/FOLDER; or run on a single node",
        )


def complaint_of_node(place: str, marker: str, secret: str) -> str:
    """Return what is wrong with `place` on this node, or an empty string. Its file `marker` must hold `secret`."""
    deadline = time.monotonic() + SEE_SECONDS  # a network file system may need time
    try:
        while storage.content(storage.below(place, marker)) != secret.encode():
            if time.monotonic() > deadline:
                return "cannot see what the driver writes there"
            time.sleep(0.1)
        answer = storage.below(place, f"{marker}.{token_hex(4)}")
        storage.touch(answer)
        storage.remove(answer)
    except (OSError, ValueError, ImportError) as error:
        return f"cannot use it ({first_line(error)})"
    return ""
