"""A real app server: gunicorn's parser. Tells what it read, a line a request, once a request is whole."""
import os

log = os.open(os.environ["SEEN"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def app(environ, start_response):
    body = environ["wsgi.input"].read()
    length = environ.get("CONTENT_LENGTH")
    if length and int(length) != len(body):
        # What broke off is no request.
        start_response("400 Bad Request", [("Content-Length", "0")])
        return []
    line = f"{environ['REQUEST_METHOD']} {environ['RAW_URI']} {body.hex()}\n"
    os.write(log, line.encode("latin-1"))
    answer = f"seen {len(body)}".encode()
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]
