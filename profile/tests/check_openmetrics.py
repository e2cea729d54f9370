"""Reads an exposition with the reference parser and prints every sample as JSON, one a line.

Exits with 3 where the parser is not installed (Debian: python3-prometheus-client).
"""
import json
import sys

try:
    from prometheus_client.openmetrics.parser import text_fd_to_metric_families
except ImportError:
    sys.exit(3)

with open(sys.argv[1], encoding="utf-8") as exposition:
    for family in text_fd_to_metric_families(exposition):
        if not family.documentation:
            sys.exit(f"{family.name} has no HELP")
        for sample in family.samples:
            row = {"family": family.name, "type": family.type, "unit": family.unit}
            row |= {"name": sample.name, "labels": sample.labels, "value": sample.value}
            print(json.dumps(row))
