"""What a registry is: values, grammar, errors, the port and its client. No server, no disk, no topology."""
