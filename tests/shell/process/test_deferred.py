import gc
import weakref

import pytest

from shell.process.deferred import Deferred, begun


class Held:
    """Something that a frame holds."""


def test_what_could_not_be_begun_is_held_by_nothing_once_it_was_waited_for() -> None:
    held = Held()
    seen = weakref.ref(held)

    def begin(of: Held) -> Deferred[None]:
        raise ValueError(type(of).__name__)

    gc.disable()
    try:
        wait = begun(lambda: begin(seen()))  # type: ignore[arg-type]
        del held
        assert seen() is not None, "its failure knows where it came from until then"
        with pytest.raises(ValueError, match="Held"):
            wait()
        assert seen() is None
    finally:
        gc.enable()
