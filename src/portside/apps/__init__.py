"""Ready-made servers: handlers on the modern face, which the `portside` command runs and any program may."""
