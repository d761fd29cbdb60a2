"""Worker processes, and the supervisor: it binds, starts and replaces them, listens to them, and serves nobody."""
