"""Hello in Flask, apart from the others: who measures without Flask need not have it."""

from flask import Flask

wsgi = Flask(__name__)


@wsgi.get("/")
def hello() -> tuple[str, dict[str, str]]:
    return "Hello, World!", {"Content-Type": "text/plain"}
