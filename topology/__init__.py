"""What should exist: the topology language, its loader, graph and rules.

from topology.load import load          # a file -> Loaded(topology, findings)
from topology.model import Topology     # and every class that a topology is made of
"""
