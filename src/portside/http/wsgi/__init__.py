"""WSGI: Python web applications as handlers of requests (PEP 3333).

    portside.serve(wsgi_handler(application), "tcp://127.0.0.1:8000")

An exchange's way, each step in a file of its own: what the application is told (`environ`), what it may answer
(`rules`), how that goes out (`exchange`, files through `file_wrapper`), and the handler around it (`handler`).
"""
