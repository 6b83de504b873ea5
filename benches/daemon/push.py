"""From a git host's webhook to the first answer of the new release: a real repository over HTTPS, a signed push event, the
real engine behind a tap that notes every call, and an app that starts at once (busybox's httpd on static files).

Then rollbacks, from the command to the first answer by the release that is gone back to.

What is not Freehold's is measured and taken out: the build (the deploy's own state Building) and the app's start (from the
engine's answer to `start` to the container's first answer, measured on the same image beside it).
"""
import hashlib, hmac, http.client, json, os, pathlib, socket, ssl, subprocess, sys, threading, time

APP, HOST = "hello", "hello.localhost"
PORT = 8080
DOCKERFILE = f'FROM busybox:latest\nCOPY www /www\nEXPOSE {PORT}\nSTOPSIGNAL SIGKILL\nCMD ["httpd", "-f", "-p", "{PORT}", "-h", "/www"]\n'
# The old replica is idle, so there is nothing to wait for between two pushes.
FREEHOLD_TOML = f'[processes.web]\nport = {PORT}\nhealth = "/version"\n[deploy]\ndrain = "1s"\n'
LIMIT = 180
# Releases of an app that there are to go back to, the live one among them.
KEPT = 5


class UnixHTTP(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(path, method, url, body=None):
    connection = UnixHTTP(path)
    text = None if body is None else json.dumps(body)
    connection.request(method, url, text, {"Content-Type": "application/json"} if text else {})
    answer = connection.getresponse()
    data = answer.read()
    if answer.status >= 400 and not (method == "DELETE" and answer.status == 404):
        sys.exit(f"{method} {url} at {path}: {answer.status} {data[:400]!r}")
    return json.loads(data) if data else None


class Repository:
    """A bare repository behind git's own HTTP backend, and the working copy that is pushed from."""

    def __init__(self, root, folder):
        self.copy, self.bare, self.ca = folder / "work", folder / "git/hello.git", folder / "git.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{folder}/git.key", "-out", self.ca],
                       check=True, capture_output=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"https://127.0.0.1:{port}/hello.git"
        log = open(folder / "git.log", "w")
        self.server = subprocess.Popen([root / "tests/rig/git_host.py", "127.0.0.1", str(port), self.ca, folder / "git.key", folder / "git"],
                                       stdout=log, stderr=log)
        self.bare.mkdir(parents=True)
        (self.copy / "www").mkdir(parents=True)
        self.git("init", "-q", "--bare", "-b", "main", self.bare)
        self.git("init", "-q", "-b", "main", self.copy)
        self.git("-C", self.copy, "remote", "add", "origin", self.url)
        (self.copy / "Dockerfile").write_text(DOCKERFILE)
        (self.copy / "freehold.toml").write_text(FREEHOLD_TOML)
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.02)
        sys.exit(f"the git host did not start: {(folder / 'git.log').read_text()}")

    def git(self, *arguments):
        done = subprocess.run(["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com", *map(str, arguments)], capture_output=True,
                              text=True, env=os.environ | {"GIT_SSL_CAINFO": str(self.ca), "GIT_CONFIG_GLOBAL": "/dev/null"})
        if done.returncode:
            sys.exit(f"git {arguments}: {done.stderr}")
        return done.stdout.strip()

    def push(self, version):
        (self.copy / "www/version").write_text(version)
        self.git("-C", self.copy, "add", "-A")
        self.git("-C", self.copy, "commit", "-q", "-m", version)
        self.git("-C", self.copy, "push", "-q", "origin", "main")
        return self.git("-C", self.copy, "rev-parse", "HEAD")


class Visitor:
    """Somebody who asks the app for its version over and over on one connection, until it is the one they wait for."""

    def __init__(self, box, version):
        self.box, self.version, self.seen, self.stop = box, version, None, False
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()

    def _look(self):
        connection = None
        while not self.seen and not self.stop:
            try:
                connection = connection or self.box.https(HOST)
                connection.request("GET", "/version", headers={"Host": HOST})
                if connection.getresponse().read().decode() == self.version:
                    self.seen = time.time()
                    return
                time.sleep(0.002)
            except (OSError, http.client.HTTPException, ssl.SSLError):
                connection = None
                time.sleep(0.005)

    def wait(self, limit):
        self.thread.join(limit)
        self.stop = True
        return self.seen


def measure(box, tap, repository, engine, pushes):
    box.cli("app", "create", APP, "--git", repository.url, "--branch", "main")
    box.cli("domain", "add", APP, HOST)
    secret = json.loads(box.cli("app", "webhook", APP, "--json"))["secret"]
    # The first push finds nothing running and is not counted.
    runs = [one_push(box, tap, repository, secret, f"version {n}") for n in range(pushes + 1)][1:]
    image = ask(engine, "GET", f"/containers/{live_container(box, engine)}/json")["Image"]
    return {"pushes": runs, "rollbacks_ms": [one_rollback(box, pushes - back) for back in range(1, min(pushes, KEPT))],
            "app_start_ms": [app_start(engine, image) for _ in range(5)]}


def one_push(box, tap, repository, secret, version):
    commit = repository.push(version)
    event = json.dumps({"ref": "refs/heads/main", "before": "0" * 40, "after": commit, "deleted": False,
                        "repository": {"full_name": "ada/hello", "clone_url": repository.url, "default_branch": "main"},
                        "head_commit": {"id": commit, "message": version}, "pusher": {"name": "ada"}})
    signature = hmac.new(secret.encode(), event.encode(), hashlib.sha256).hexdigest()
    visitor = Visitor(box, version)
    begun = time.time()
    connection = box.https("panel.localhost")
    connection.request("POST", f"/hooks/{APP}", event, {"Host": "panel.localhost", "Content-Type": "application/json", "X-GitHub-Event": "push",
                                                       "X-GitHub-Delivery": version, "X-Hub-Signature-256": f"sha256={signature}"})
    answer = connection.getresponse()
    said = json.loads(answer.read())
    answered = time.time()
    if answer.status != 202:
        sys.exit(f"the webhook was answered with {answer.status}: {said}")
    seen = visitor.wait(LIMIT)
    deploy = settled(box, said["deploy"])
    if not seen or not deploy["success"]:
        sys.exit(f"the push did not go live: {json.dumps(deploy, indent=1)}\n{box.log()}")
    ends = [s["begun_ms"] for s in deploy["steps"][1:]] + [seen * 1e3]
    steps = [{"state": s["state"], "begun_ms": s["begun_ms"], "ms": max(0, min(end, seen * 1e3) - s["begun_ms"])} for s, end in zip(deploy["steps"], ends)]
    calls = []
    for call in tap.between(begun, seen):
        state = [s["state"] for s in steps if s["begun_ms"] <= call["at"] * 1e3]
        calls.append({"state": state[-1] if state else "queued", "begun_ms": round((call["at"] - begun) * 1e3, 1)} | {k: call[k] for k in ("method", "path", "status", "ms")})
    return {"total_ms": round((seen - begun) * 1e3, 1), "webhook_ms": round((answered - begun) * 1e3, 1),
            "steps_ms": {s["state"]: round(s["ms"], 1) for s in steps if s["begun_ms"] < seen * 1e3},
            "engine_ms": busy(calls), "engine_calls": calls}


def one_rollback(box, number):
    """From the command to the first answer by the release that said so."""
    visitor = Visitor(box, f"version {number}")
    begun = time.time()
    # The first push was version 0, and made release v1.
    box.cli("rollback", APP, f"v{number + 1}")
    seen = visitor.wait(LIMIT)
    if not seen:
        sys.exit(f"the rollback to version {number} did not go live: {box.log()}")
    return round((seen - begun) * 1e3, 1)


def busy(calls):
    """Milliseconds in which at least one call outside the build was under way."""
    total, until = 0.0, 0.0
    for call in sorted((c for c in calls if c["state"] != "building"), key=lambda c: c["begun_ms"]):
        end = call["begun_ms"] + call["ms"]
        total += max(0.0, end - max(until, call["begun_ms"]))
        until = max(until, end)
    return round(total, 1)


def settled(box, deploy):
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        row = ask(box.socket, "GET", f"/api/v1/apps/{APP}/deploys/{deploy}")
        if row["settled"]:
            return row
        time.sleep(0.05)
    sys.exit(f"the deploy did not settle: {row}")


def live_container(box, engine):
    found = ask(engine, "GET", "/containers/json")
    ours = [c["Id"] for c in found if c["Labels"].get("freehold.installation") == box.installation()]
    if not ours:
        sys.exit("no container of the app runs")
    return ours[0]


def app_start(engine, image):
    made = ask(engine, "POST", "/containers/create", {"Image": image})["Id"]
    try:
        ask(engine, "POST", f"/containers/{made}/start")
        begun = time.monotonic()
        address = ask(engine, "GET", f"/containers/{made}/json")["NetworkSettings"]["IPAddress"]
        while time.monotonic() < begun + 10:
            try:
                connection = http.client.HTTPConnection(address, PORT, timeout=1)
                connection.request("GET", "/version")
                if connection.getresponse().status == 200:
                    return round((time.monotonic() - begun) * 1e3, 1)
            except OSError:
                time.sleep(0.0005)
        sys.exit("the app does not answer outside Freehold")
    finally:
        ask(engine, "DELETE", f"/containers/{made}?force=true&v=true")


def clean(engine, installation):
    """Takes away what carries this installation's id, whatever happened."""
    wanted = "?all=true&filters=" + json.dumps({"label": [f"freehold.installation={installation}"]}).replace(" ", "").replace('"', "%22")
    for container in ask(engine, "GET", f"/containers/json{wanted}"):
        ask(engine, "DELETE", f"/containers/{container['Id']}?force=true&v=true")
    for network in ask(engine, "GET", f"/networks{wanted}"):
        ask(engine, "DELETE", f"/networks/{network['Id']}")
    for image in ask(engine, "GET", f"/images/json{wanted}"):
        ask(engine, "DELETE", f"/images/{image['Id']}?force=true")
