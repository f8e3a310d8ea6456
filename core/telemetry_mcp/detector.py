"""The contract of an anomaly detector that a plugin brings.

    class Seasonal(Detector):
        def score(self, timestamps_ms, values, *, causal=False): ...

    @hookimpl
    def telemetry_detectors():
        return [Seasonal]

It is switched on by a table `[detectors.<name>]` in plugins.toml, and used where a question names it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from telemetry_mcp.setting import PluginSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Detector:
    """Base of every detector. Subclass, name the settings if there are any, and write `score`."""

    Settings: ClassVar[type[PluginSettings]] = PluginSettings

    def __init__(self, settings: PluginSettings) -> None:
        self.settings = settings

    def score(
        self, timestamps_ms: NDArray[np.int64], values: NDArray[np.float64], *, causal: bool = False
    ) -> NDArray[np.float64]:
        """How unusual each point is, in robust sigmas: one number a point, NaN where nothing can be said.

        `timestamps_ms` is sorted epoch milliseconds, `values` may hold NaN; neither may be changed. With `causal`
        a point is judged by the points before it alone. At the default sensitivity of 3 a score of 6.5 is unusual.
        It runs in a worker thread, for several series at once.
        """
        raise NotImplementedError
