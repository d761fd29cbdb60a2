"""HTTP/1.1 on top of the handlers and servers: `portside.http.server` is the drop-in face of `http.server`."""
