"""Trials of the server by the server's own means, each on a private one that it starts and ends itself."""
