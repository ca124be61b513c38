"""Fuzzing of the node over raw sockets: ``python -m tests.fuzz --target url --seconds 600 --seed 1`` (``make fuzz``).

Inputs are valid ones, mutated, and new ones from a grammar. After each: every answer is well formed, of an allowed
status and, when it refuses, an error of the spec; nothing hangs; the node still answers others, and its memory stays.
What breaks that is kept in found/ as a file, which a test sends again from then on.
"""
