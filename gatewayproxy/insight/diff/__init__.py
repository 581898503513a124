"""What another configuration does otherwise: `compare` finds it, `report` prints it, `traffic` weighs it with logs."""

from gatewayproxy.insight.diff.comparing import Change, Diff, Gone, compare, compare_tables

__all__ = ["Change", "Diff", "Gone", "compare", "compare_tables"]
