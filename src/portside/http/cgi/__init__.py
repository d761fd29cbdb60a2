"""CGI: programs of any language as handlers of requests (RFC 3875).

The script's way, each step in a file of its own: which script (`paths`), what it is told (`metavariables`), how it runs
and ends (`process`), what it answered (`output`), and what the client gets of that (`handler`).
"""
