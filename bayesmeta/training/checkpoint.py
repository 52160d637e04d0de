"""Tensors and a JSON description in one file: written whole or not at all, checked when read."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

_NAME = "training.safetensors"
# Of what is in a file; a file without a number is of the first. Raise it where an older version of
# this package would misread what it finds.
_FORMAT = 1


class CheckpointError(RuntimeError):
    """A checkpoint cannot be used: damaged, of another run, or not written, as on a full disk."""


def write(
    folder: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any], name: str = _NAME
) -> Path:
    """Replace the file of this name in the folder by this one.

    A reader meets the old file or the new one, never a part: it is written beside and renamed.

    Raises:
        NotADirectoryError: where the folder is a file.
        CheckpointError: where it cannot be written; nothing of it is left.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"'{folder}' is a file; give a folder, which need not exist yet")
    own = {name: x.detach().cpu().contiguous().clone() for name, x in tensors.items()}
    text = json.dumps(about)
    metadata = {"about": text, "sha256": _digest(own, text), "format": str(_FORMAT)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / name, save(own, metadata))
    except OSError as error:
        raise CheckpointError(
            f"'{folder}' cannot be written to ({error.strerror or error}); free space or give "
            "leave there, or give another folder"
        ) from error
    return folder / name


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def read(folder: Path, name: str = _NAME) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What was written to the folder last; None where nothing was.

    Raises:
        CheckpointError: where the file is damaged, or of a newer format.
    """
    path = folder / name
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise CheckpointError(_damaged(path, str(error))) from None
    _check_format(path, metadata.get("format", "1"))
    text = metadata.get("about", "")
    if metadata.get("sha256") != _digest(tensors, text):
        raise CheckpointError(_damaged(path, "its SHA-256 is another"))
    return tensors, json.loads(text)


def digest(tensors: Iterable[Tensor], text: str = "") -> str:
    """SHA-256 of a text and of tensors' values, shapes and dtypes, in this order."""
    found = hashlib.sha256(text.encode())
    for x in tensors:
        found.update(f"{x.dtype} {tuple(x.shape)}".encode())
        found.update(x.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def difference(name: str, old: Any, new: Any) -> str:
    """How an entry of a run's description differs; of the rows of its sites, what they say."""
    if not isinstance(new, list):
        return f"its {name} is {old}, this one's {new}"
    before, now = ({row["site"]: row for row in rows} for rows in (old, new))
    found = [f"it has a site {site}, which is not here" for site in before if site not in now]
    found += [f"it has no site {site}" for site in now if site not in before]
    found += [
        f"its {site} has {column} {before[site].get(column)}, here {cell}"
        for site in now
        if site in before
        for column, cell in now[site].items()
        if cell != before[site].get(column)
    ]
    return ", and ".join(found) or "its sites are in another order"


def _check_format(path: Path, found: str) -> None:
    if not found.isdecimal():
        raise CheckpointError(_damaged(path, f"its format is '{found}'"))
    if int(found) > _FORMAT:
        raise CheckpointError(
            f"{path} is of format {found}, but this version of bayesmeta reads formats up to "
            f"{_FORMAT}; read it with the version that wrote it, or a newer one: pip install "
            "--upgrade bayesmeta"
        )


def _damaged(path: Path, why: str) -> str:
    return f"{path} is no whole checkpoint ({why}); bring back a copy, or delete it and fit anew"


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    names = sorted(tensors)
    return digest((tensors[name] for name in names), f"{names} {text}")
