//! A browser without a window, told what to do through two pipes (Chrome's devtools protocol).

use std::{
    env,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const PATIENCE: Duration = Duration::from_secs(60);

/// An open page.
pub(crate) struct Browser {
    child: Child,
    to: File,
    from: BufReader<File>,
    calls: u64,
    session: Option<String>,
    /// What the browser said of itself: requests, errors, words on the console.
    told: Vec<Value>,
    folder: tempfile::TempDir,
}

impl Browser {
    /// Starts a browser whose window has these many pixels; `None` where none is installed.
    pub(crate) fn start(width: u32, height: u32) -> Option<Self> {
        let is_there = |name: &&&str| Command::new(name).arg("--version").output().is_ok();
        let Some(name) = NAMES.iter().find(is_there) else {
            println!("skipped: there is no chromium; Debian's package is chromium");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let pipe = |name| {
            let path = folder.path().join(name);
            assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
            path
        };
        let (to, from) = (pipe("to"), pipe("from"));
        let script = format!(
            "exec timeout 120 {name} --headless=new --no-sandbox --disable-gpu --no-first-run \
             --force-device-scale-factor=1 --window-size={width},{height} \
             --user-data-dir=\"$0/profile\" --remote-debugging-pipe 3<\"$0/to\" 4>\"$0/from\""
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(folder.path()).stderr(Stdio::null());
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        let to = File::options().write(true).open(to).unwrap();
        let from = BufReader::new(File::open(from).unwrap());
        let (calls, session, told) = (0, None, Vec::new());
        let mut browser = Self { child, to, from, calls, session, told, folder };
        browser.attach();
        Some(browser)
    }

    fn attach(&mut self) {
        let page = self.call("Target.createTarget", json!({ "url": "about:blank" }));
        let params = json!({ "targetId": page["targetId"], "flatten": true });
        let session = self.call("Target.attachToTarget", params);
        self.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
    }

    /// Calls a method and waits for its result.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut call = json!({ "id": self.calls, "method": method, "params": params });
        if let Some(session) = &self.session {
            call["sessionId"] = session.as_str().into();
        }
        self.to.write_all(format!("{call}\0").as_bytes()).unwrap();
        loop {
            let mut bytes = Vec::new();
            self.from.read_until(0, &mut bytes).unwrap();
            assert_eq!(bytes.pop(), Some(0), "the browser ended at {method}");
            let message: Value = serde_json::from_slice(&bytes).unwrap();
            if message["id"] == self.calls {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            self.told.push(message);
        }
    }

    /// The value of an expression in the page.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let params = json!({
            "expression": expression, "returnByValue": true, "awaitPromise": true,
        });
        let result = self.call("Runtime.evaluate", params);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// The number that a figure of the page stands for.
    pub(crate) fn number(&mut self, selector: &str) -> u64 {
        let value = self.value(&format!("document.querySelector('{selector}').value"));
        value.as_str().unwrap_or_else(|| panic!("{selector}: {value}")).parse().unwrap()
    }

    /// The sum of the numbers that these elements stand for.
    pub(crate) fn sum(&mut self, selector: &str) -> u64 {
        let script = format!(
            "[...document.querySelectorAll('{selector}')].reduce((sum, each) => sum + +each.value, 0)"
        );
        self.value(&script).as_u64().unwrap()
    }

    /// Waits until an expression is true.
    pub(crate) fn wait_for(&mut self, expression: &str) {
        let begin = Instant::now();
        while self.value(expression) != true {
            assert!(begin.elapsed() < PATIENCE, "waited in vain for {expression}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Until all that was asked for is drawn.
    pub(crate) fn settle(&mut self) {
        let frames =
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))";
        self.value(&format!("{frames}.then(() => true)"));
    }

    /// Opens a page, and returns how long it took until it could be used, milliseconds.
    pub(crate) fn open(&mut self, file: &Path, hash: &str) -> f64 {
        self.told.clear();
        let blank = json!({ "url": "about:blank" });
        self.call("Page.navigate", blank);
        self.call("Page.navigate", json!({ "url": format!("file://{}#{hash}", file.display()) }));
        self.wait_for("Boolean(document.documentElement?.dataset.readyMs)");
        self.settle();
        self.value("Number(document.documentElement.dataset.readyMs)").as_f64().unwrap()
    }

    /// What went wrong, and what was asked of others than the file itself.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let is_one = |message: &&Value| match message["method"].as_str() {
            Some("Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded") => true,
            Some("Network.requestWillBeSent") => {
                let url = message["params"]["request"]["url"].as_str().unwrap_or_default();
                !url.starts_with("file://") && !url.starts_with("data:,") && url != "about:blank"
            }
            _ => false,
        };
        self.told.iter().filter(is_one).map(ToString::to_string).collect()
    }

    /// How many files were asked for.
    pub(crate) fn files(&self) -> usize {
        let is_file = |message: &&Value| {
            let url = message["params"]["request"]["url"].as_str().unwrap_or_default();
            message["method"] == "Network.requestWillBeSent" && url.starts_with("file://")
        };
        self.told.iter().filter(is_file).count()
    }

    /// Moves, presses or turns the mouse at a place of an element, as parts of its size.
    pub(crate) fn mouse(&mut self, kind: &str, selector: &str, [x, y]: [f64; 2], more: Value) {
        let script = format!(
            "(() => {{ const it = document.querySelector('{selector}'); \
             it.scrollIntoView({{ block: 'center' }}); const box = it.getBoundingClientRect(); \
             return [box.x + box.width * {x}, box.y + box.height * {y}]; }})()"
        );
        let place = self.value(&script);
        let mut params = json!({ "type": kind, "x": place[0], "y": place[1], "button": "none" });
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.call("Input.dispatchMouseEvent", params);
    }

    pub(crate) fn click(&mut self, selector: &str, at: [f64; 2]) {
        let left = || json!({ "button": "left", "clickCount": 1 });
        self.mouse("mousePressed", selector, at, left());
        self.mouse("mouseReleased", selector, at, left());
        self.settle();
    }

    pub(crate) fn key(&mut self, selector: &str, key: &str) {
        self.value(&format!("document.querySelector('{selector}').focus()"));
        let text = if key.len() == 1 { key } else { "" };
        self.call("Input.dispatchKeyEvent", json!({ "type": "keyDown", "key": key, "text": text }));
        self.call("Input.dispatchKeyEvent", json!({ "type": "keyUp", "key": key }));
        self.settle();
    }

    /// Keeps a picture in the folder that `GENESIS_PAGES` names, if it does.
    pub(crate) fn picture(&mut self, name: &str) {
        let Some(folder) = env::var_os("GENESIS_PAGES").map(PathBuf::from) else { return };
        let params = json!({ "format": "png", "captureBeyondViewport": true });
        let png = self.call("Page.captureScreenshot", params);
        let bytes = base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            png["data"].as_str().unwrap(),
        );
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{name}.png")), bytes.unwrap()).unwrap();
    }

    /// A folder that goes with the browser.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let close = b"{\"id\":0,\"method\":\"Browser.close\"}\0";
        let _ = self.to.write_all(close).and_then(|()| self.to.flush());
        let _ = self.child.wait();
    }
}
