"""Writes, reads, groups and sorts JSON records."""
import json
import random

random.seed(1)
records = [
    {
        "id": i,
        "name": f"person number {i}",
        "tags": [f"tag{random.randrange(200)}" for _ in range(4)],
        "address": {"street": f"street {i % 500}", "zip": f"{i:05}"},
        "score": random.random(),
    }
    for i in range(30_000)
]
for _ in range(3):
    text = json.dumps(records)
    records = json.loads(text)
groups = {}
for record in records:
    for tag in record["tags"]:
        groups.setdefault(tag, []).append(record["id"])
records.sort(key=lambda record: record["score"])
print(len(text), len(groups), records[0]["id"])
