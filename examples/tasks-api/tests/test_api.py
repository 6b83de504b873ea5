"""Drives a running server (BASE, default http://127.0.0.1:8000) from outside; standard library only.

    python -m unittest discover tests
"""

import json
import os
import threading
import unittest
import urllib.error
import urllib.request
from uuid import uuid4

BASE = os.environ.get("BASE", "http://127.0.0.1:8000")


def call(method, path, body=None, token=None):
    request = urllib.request.Request(BASE + path, method=method)
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read() or "null"), answer.headers
    except urllib.error.HTTPError as err:
        return err.code, json.loads(err.read() or "null"), err.headers


def someone():
    user = {"nome": "Ana", "email": f"{uuid4().hex}@example.com", "senha": "uma boa senha"}
    assert call("POST", "/usuarios", user)[0] == 201
    status, answer, _ = call("POST", "/login", {"email": user["email"], "senha": user["senha"]})
    assert status == 200
    return user, answer["token"]


class Api(unittest.TestCase):
    def test_health_names_the_instance(self):
        status, body, headers = call("GET", "/healthz")
        self.assertEqual((status, body["estado"]), (200, "ok"))
        self.assertEqual(headers["X-Instance"], body["instancia"])

    def test_an_email_is_used_once_whatever_its_case(self):
        user, _ = someone()
        again = user | {"email": user["email"].upper()}
        self.assertEqual(call("POST", "/usuarios", again)[0], 409)

    def test_bad_input_is_422(self):
        for change in ({"email": "ana"}, {"senha": "curta"}, {"nome": "  "}):
            body = {"nome": "Ana", "email": "a@example.com", "senha": "uma boa senha"} | change
            self.assertEqual(call("POST", "/usuarios", body)[0], 422, change)

    def test_a_wrong_password_and_no_token_are_401(self):
        user, _ = someone()
        self.assertEqual(call("POST", "/login", {"email": user["email"], "senha": "x"})[0], 401)
        self.assertEqual(call("GET", "/tarefas")[0], 401)
        self.assertEqual(call("GET", "/tarefas", token="x.y.z")[0], 401)

    def test_a_task_lives_and_is_its_owners_alone(self):
        _, ana = someone()
        _, rui = someone()
        status, task, _ = call("POST", "/tarefas", {"titulo": "Comprar pão"}, ana)
        self.assertEqual((status, task["concluida"]), (201, False))
        path = f"/tarefas/{task['id']}"
        self.assertEqual(call("GET", path, token=rui)[0], 404)
        self.assertEqual(call("PATCH", path, {"concluida": True}, ana)[1]["concluida"], True)
        self.assertEqual(len(call("GET", "/tarefas?concluida=true", token=ana)[1]), 1)
        self.assertEqual(call("DELETE", path, token=ana)[0], 204)
        self.assertEqual(call("GET", path, token=ana)[0], 404)

    def test_the_limit_holds(self):
        _, ana = someone()
        limit = int(os.environ.get("TASK_LIMIT", "100"))
        for n in range(limit):
            self.assertEqual(call("POST", "/tarefas", {"titulo": f"{n}"}, ana)[0], 201)
        self.assertEqual(call("POST", "/tarefas", {"titulo": "a mais"}, ana)[0], 422)

    def test_events_stream_as_they_happen(self):
        _, ana = someone()
        request = urllib.request.Request(BASE + "/tarefas/eventos")
        request.add_header("Authorization", f"Bearer {ana}")
        with urllib.request.urlopen(request, timeout=20) as stream:
            self.assertEqual(stream.readline(), b": ok\n")
            threading.Timer(0.2, call, ["POST", "/tarefas", {"titulo": "viva"}, ana]).start()
            lines = [stream.readline() for _ in range(3)]
        self.assertEqual(lines[1], b"event: criada\n")
        self.assertEqual(json.loads(lines[2].removeprefix(b"data: "))["titulo"], "viva")

    def test_a_slow_stream_ends_whole(self):
        with urllib.request.urlopen(BASE + "/slow?seconds=2&stream=true", timeout=20) as answer:
            self.assertEqual(answer.read(), b"inicio\n1\n2\nfim\n")
        self.assertEqual(call("GET", "/slow?seconds=31")[0], 422)


if __name__ == "__main__":
    unittest.main()
