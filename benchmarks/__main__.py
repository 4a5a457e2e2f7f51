"""The whole benchmark: every peer, every question."""

from benchmarks.catalogue import QUICK
from benchmarks.command import Preset, app

__all__ = ["main"]

main = app(
    Preset(
        module="benchmarks",
        help="Measure vxnet beside every other overlay that can run here.",
        quick_questions=QUICK,
        quick_rounds=2,
        quick_seconds=1,
    )
)

if __name__ == "__main__":
    main()
