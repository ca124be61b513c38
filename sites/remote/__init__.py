"""The child process that speaks SSH: pyinfra, and gevent with it, live here and nowhere else.

``python -m sites.remote`` reads one JSON object a line: first {"hosts": {name: {...}}, "known_hosts": path, "key": path},
then requests {"id", "host", "verb": "look" | "change", "told": {...}, "seconds"}. It answers {"id", "answer"} or
{"id", "error": {code, what, why, next}}, in whatever order they come, and ends at the end of its input.
See sites/rollout/ssh.py for the other side.
"""
