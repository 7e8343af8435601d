"""Pictures in: preparation, and loaders that give the same batches with FFCV and with plain torch.

The desk half reads `repro.data.manifest`, so this package imports what needs torch only when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from repro.data.loading import Batch, Batches, Loader, Prepared, make_loader, open_data

__all__ = ["Batch", "Batches", "Loader", "Prepared", "make_loader", "open_data"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("repro.data.loading"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
