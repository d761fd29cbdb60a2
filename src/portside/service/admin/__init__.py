"""The admin endpoint: metrics, health, a page to look at and commands, over HTTP, for this machine alone."""
