"""One loaded model for everybody who looks, and the patches that may go on it.

Bits that one view flips are never there while another one computes: whoever computes has the turn, and turns go round
in the order in which they were asked for. Long work takes many short turns, so that nobody waits for the end of it.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Condition
from types import TracebackType
from typing import Self

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import StudioError
from bankai.jobs.checks import require_base
from bankai.jobs.search import Device, Dtype
from bankai.jobs.workbench import Workbench
from bankai.library.library import Library
from bankai.model import patched
from bankai.quantization import Matrices
from bankai.serving.catalog import Catalog

__all__ = ["SharedModel", "Turns"]


class Turns:
    """A lock that is given to those who wait in the order of their coming."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._last = self._current = 0  # tickets given out, tickets done

    def __enter__(self) -> None:
        with self._changed:
            mine, self._last = self._last, self._last + 1
            self._changed.wait_for(lambda: self._current == mine)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._current += 1
            self._changed.notify_all()


class SharedModel:
    """A base model and the patches of a `library` that fit it, closed by `with`.

    `base` are the bits of its file, which stay as they are. Raises what opening the model raises, StateError when it
    has patches on and LibraryError for no sound library.
    """

    def __init__(
        self,
        source: str | Path,
        library: str | Path | None = None,
        *,
        device: Device = "cpu",
        dtype: Dtype = "float32",
    ) -> None:
        require_base(source, "show")
        self.source, self.library = str(source), library
        self.device, self.dtype = device, dtype
        self._turns = Turns()
        with ExitStack() as opened:
            self.base: Matrices = opened.enter_context(open_checkpoint(source))
            self.catalog = Catalog(self.base, Path(source).name, library)
            self.bench = Workbench(source, device=device, dtype=dtype)
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    @property
    def name(self) -> str:
        return self.bench.name

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self.bench.tokenizer

    def patch_names(self) -> tuple[str, ...]:
        """What can be put on. Raises LibraryError when the library cannot be read."""
        return tuple(entry.name for entry in self.catalog.entries())

    def keep(self, patch: Path) -> str:
        """Put a patch file into the library and return its name there.

        Raises StudioError without a library, and what `Library.add` raises.
        """
        if self.library is None:
            raise StudioError("there is no library; start the studio with --library FILE")
        with Library(self.library, writable=True) as library:
            return library.add(patch).name

    @contextmanager
    def on(self, names: Sequence[str] = ()) -> Iterator[PreTrainedModel]:
        """The turn, and the model with the patches of these names on and no others.

        Raises UnknownModelError for a name that stands for no fitting patch.
        """
        patch = self.catalog.resolve(names).patch
        with self._turns, patched(self.bench.model, patch) as model:
            yield model
