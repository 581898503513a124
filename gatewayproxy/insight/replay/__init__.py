"""What a table, or two, would do with the lines of logs: a `Replay` counts, `report` sums up, `text` prints it."""

from gatewayproxy.insight.replay.deciding import Replay

__all__ = ["Replay"]
