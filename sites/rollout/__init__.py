"""Bringing hosts there over SSH: in waves, behind health gates, under locks."""
