"""A page in headless Chromium, moved by real keys and clicks over DevTools' pipe: no package, no
port, no time to guess."""
import base64
import json
import os
import shutil
import subprocess


def find_browser():
    """Its path, or None."""
    names = os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"
    return next(filter(None, (name and shutil.which(name) for name in names)), None)


class Browser:
    """One tab. errors: of the console and of scripts; requests: all that it asked for."""

    def __init__(self, program, folder):
        self.errors, self.requests, self.number = [], [], 0
        to, ours = os.pipe()
        mine, back = os.pipe()
        command = 'exec "$@" 3<&%d 4>&%d' % (to, back)
        self.process = subprocess.Popen(
            ["bash", "-c", command, "bash", program, "--headless=new", "--no-sandbox",
             "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe",
             "--hide-scrollbars", "--user-data-dir=" + folder, "about:blank"],
            pass_fds=(to, back), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to), os.close(back)
        self.send_to, self.read_from = os.fdopen(ours, "wb"), os.fdopen(mine, "rb")
        self.rest, self.events, self.session = b"", [], None
        pages = [t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page"]
        page = pages[0]["targetId"] if pages else \
            self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.send_to.close()  # which ends it
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.read_from.close()

    def receive(self):
        while b"\0" not in self.rest:
            piece = os.read(self.read_from.fileno(), 1 << 16)
            if not piece:
                raise EOFError("the browser has ended")
            self.rest += piece
        message, self.rest = self.rest.split(b"\0", 1)
        message = json.loads(message)
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.errors.append(params["exceptionDetails"].get("exception", {}).get("description"))
        if method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.errors.append(str(params["args"]))
        if method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(params["entry"]["text"])
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        if method:
            self.events.append(method)
        return message

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.send_to.write(json.dumps(message).encode() + b"\0")
        self.send_to.flush()
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError("%s: %s" % (method, answer["error"]))
                return answer["result"]

    def open(self, path):
        self.events.clear()
        self.call("Page.navigate", url="file://" + os.path.abspath(path))
        while "Page.loadEventFired" not in self.events:
            self.receive()

    def size(self, width, height, dark=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def value(self, expression):
        """Of JavaScript."""
        got = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in got:
            raise RuntimeError(got["exceptionDetails"]["exception"]["description"])
        return got["result"].get("value")

    def key(self, name):
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name,
                      windowsVirtualKeyCode={"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39,
                                             "ArrowDown": 40, "Tab": 9}[name])

    def move(self, selector, across=.5, down=.5):
        """The mouse, to the middle of an element, or such a share of it; where that is."""
        x, y = self.value("""(() => {
            const node = document.querySelector(%s);
            node.scrollIntoView({block: 'center'});
            const box = node.getBoundingClientRect();
            return [box.x + box.width * %g, box.y + box.height * %g];
        })()""" % (json.dumps(selector), across, down))
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        return x, y

    def click(self, *where):
        x, y = self.move(*where)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, clickCount=1, button="left")

    def picture(self, path, whole=True):
        got = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        with open(path, "wb") as f:
            f.write(base64.b64decode(got["data"]))
