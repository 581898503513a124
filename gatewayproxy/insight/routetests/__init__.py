"""`gatewayproxy test`: what RouteTests expect, held against what the machine's own code decides. Pure.

`running` asks and counts, `judging` compares, `reports` and `junit` print, `recording` writes tests from logs.
"""
