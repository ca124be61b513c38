"""The settings file of one node (JSON). ``towpath serve --settings FILE`` reads it; ``sites`` renders it."""

from registry_node.settings.content import MIB, Index, Limits, Postgresql, Rules
from registry_node.settings.load import SettingsInvalid, load, mark_of, parse
from registry_node.settings.mirror import Budget, Mirror, Neighbour, Remote, Secret, Upstream
from registry_node.settings.node import CHANGEABLE, Listen, NodeSettings, Tls, unchangeable
from registry_node.settings.people import GrantSettings, Rate, RateLimits, Tokens, User
from registry_node.settings.shape import Name, Strict
from registry_node.settings.virtual import Member, Owner, Virtual

__all__ = [
    "CHANGEABLE",
    "MIB",
    "Budget",
    "GrantSettings",
    "Index",
    "Limits",
    "Listen",
    "Member",
    "Mirror",
    "Name",
    "Neighbour",
    "NodeSettings",
    "Owner",
    "Postgresql",
    "Rate",
    "RateLimits",
    "Remote",
    "Rules",
    "Secret",
    "SettingsInvalid",
    "Strict",
    "Tls",
    "Tokens",
    "Upstream",
    "User",
    "Virtual",
    "load",
    "mark_of",
    "parse",
    "unchangeable",
]
