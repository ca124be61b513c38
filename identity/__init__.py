"""Who may do what: principals, grants, passwords and tokens. One evaluator for node, control plane and ``towpath can``."""
