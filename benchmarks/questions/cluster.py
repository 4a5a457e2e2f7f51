"""What the questions about clusters have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from benchmarks.clusters.base import Cluster
from benchmarks.questions.base import Setting

__all__ = ["ClusterQuestion"]


class ClusterQuestion(ABC):
    """Asked of clusters that are there for stations, or of those that are there for members."""

    underlay_mtu: ClassVar[int] = 1500
    about_stations: ClassVar[bool] = False

    def ask(self, cluster: Cluster, setting: Setting) -> Mapping[str, float]:
        """Answers by metric key; none of a cluster that is there for something else."""
        if cluster.for_stations != self.about_stations:
            return {}
        return self.measure(cluster, setting)

    @abstractmethod
    def measure(self, cluster: Cluster, setting: Setting) -> Mapping[str, float]:
        """Ask it. Raises HostError when it cannot be measured."""
