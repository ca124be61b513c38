"""Desired state minus facts gives operations: plans, drift, saved plans. No host is asked."""
