"""Files over HTTP: the handler class, and the parts that decide, find, send and store for it."""
