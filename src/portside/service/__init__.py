"""A server as a guest of the operating system: what is served is described, bound, run, and ended by signals."""
