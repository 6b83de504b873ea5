//! A real browser: chromium under chromedriver, headless, in a home of its
//! own whose certificate store trusts the given roots. Certificates are
//! verified as on anybody's machine. It lives in a network of its own
//! (`tests/rig/apart.py`), since it drops answers when an interface comes or
//! goes, and every network of an engine is one.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::runtime::Runtime;

use super::port::free_port;
use super::process::{Process, run, tool};
use super::until::{secs, until};

pub struct Browser {
    runtime: Runtime,
    client: Client,
    _driver: Process,
    _home: tempfile::TempDir,
}

/// How the browser is set up.
#[derive(Clone)]
pub struct Settings {
    /// Every name leads there.
    pub address: Ipv4Addr,
    /// PEM files of roots to trust.
    pub roots: Vec<PathBuf>,
    pub javascript: bool,
    pub dark: bool,
    pub size: (u32, u32),
}

impl Settings {
    pub fn new(address: Ipv4Addr, roots: &[&Path]) -> Self {
        Self {
            address,
            roots: roots.iter().map(|r| r.to_path_buf()).collect(),
            javascript: true,
            dark: false,
            size: (1440, 1000),
        }
    }
}

impl Browser {
    pub fn open(settings: &Settings) -> Self {
        let home = tempfile::tempdir().unwrap();
        trust(home.path(), &settings.roots);
        let port = free_port(Ipv4Addr::LOCALHOST);
        let driver = Process::start(
            Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rig/apart.py"))
                .args([&port.to_string(), &settings.address.to_string(), "--"])
                .args(["env", &format!("HOME={}", home.path().display())])
                .args(["chromedriver", &format!("--port={port}")])
                .env_remove("XDG_CONFIG_HOME"),
            home.path().join("chromedriver.log"),
        )
        .ready("chromedriver", || is_ready(port));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let client = runtime
            .block_on(
                ClientBuilder::new(HttpConnector::new())
                    .capabilities(capabilities(settings, home.path()))
                    .connect(&format!("http://127.0.0.1:{port}")),
            )
            .unwrap_or_else(|e| panic!("no browser session: {e}\n{}", driver.log_text()));
        Self {
            runtime,
            client,
            _driver: driver,
            _home: home,
        }
    }

    pub fn go(&self, url: &str) {
        self.runtime
            .block_on(self.client.goto(url))
            .unwrap_or_else(|e| panic!("{url} does not open: {e}"));
    }

    pub fn url(&self) -> String {
        self.runtime
            .block_on(self.client.current_url())
            .unwrap()
            .to_string()
    }

    /// Waits until the page at `url` is open, after a click that leads there.
    pub fn arrives(&self, url: &str) {
        until(&format!("the browser to be at {url}"), secs(120), || {
            let now = self.url();
            if now == url {
                Ok(())
            } else {
                Err(format!("{now}: {}", self.text()))
            }
        });
    }

    /// The same for any page under `url`.
    pub fn arrives_under(&self, url: &str) {
        until(&format!("the browser to be under {url}"), secs(120), || {
            let now = self.url();
            if now.starts_with(url) {
                Ok(())
            } else {
                Err(format!("{now}: {}", self.text()))
            }
        });
    }

    /// Presses the button of the form this field is in, and waits for the answer.
    pub fn submit(&self, css: &str) {
        self.leaving(&format!("the form of {css}"), || {
            self.runtime
                .block_on(async {
                    let field = self.client.find(Locator::Css(css)).await?;
                    let form = field.find(Locator::XPath("./ancestor::form")).await?;
                    let button = form.find(Locator::Css("button:not([type=button])")).await?;
                    button.click().await
                })
                .unwrap_or_else(|e| panic!("sending the form of {css}: {e}\n{}", self.text()));
        });
    }

    /// Clicks, and waits until the page this is on has been left. A click alone returns before a form is answered,
    /// and what the old page says can be taken for the answer.
    pub fn click_away(&self, css: &str) {
        self.leaving(css, || self.click(css));
    }

    fn leaving(&self, what: &str, act: impl FnOnce()) {
        self.script("document.documentElement.setAttribute('data-old-page', '')");
        act();
        let old = "return document.documentElement.hasAttribute('data-old-page')";
        until(&format!("{what} to be answered"), secs(120), || {
            // Between two pages there is none to ask.
            match self.runtime.block_on(self.client.execute(old, Vec::new())) {
                Ok(serde_json::Value::Bool(false)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }

    pub fn source(&self) -> String {
        self.runtime.block_on(self.client.source()).unwrap()
    }

    /// What a person reads. By script, since an element may be gone by the time it is asked for its text.
    pub fn text(&self) -> String {
        let ask = "return document.body ? document.body.innerText : ''";
        let text = until("a page to be read", secs(120), || {
            // Between two pages there is none to ask.
            let text = self.runtime.block_on(self.client.execute(ask, Vec::new()));
            text.map_err(|error| error.to_string())
        });
        text.as_str().unwrap_or_default().to_owned()
    }

    pub fn type_into(&self, css: &str, text: &str) {
        self.runtime
            .block_on(async {
                self.client
                    .find(Locator::Css(css))
                    .await?
                    .send_keys(text)
                    .await
            })
            .unwrap_or_else(|e| panic!("typing into {css}: {e}\n{}", self.text()));
    }

    pub fn click(&self, css: &str) {
        self.runtime
            .block_on(async { self.client.find(Locator::Css(css)).await?.click().await })
            .unwrap_or_else(|e| panic!("clicking {css}: {e}\n{}", self.text()));
    }

    pub fn has(&self, css: &str) -> bool {
        self.runtime
            .block_on(self.client.find_all(Locator::Css(css)))
            .is_ok_and(|found| !found.is_empty())
    }

    pub fn script(&self, script: &str) -> serde_json::Value {
        self.runtime
            .block_on(self.client.execute(script, Vec::new()))
            .unwrap()
    }

    /// What a script says inside the first frame of the page.
    pub fn in_frame(&self, script: &str) -> serde_json::Value {
        self.runtime
            .block_on(async {
                self.client.enter_frame(0).await?;
                let said = self.client.execute(script, Vec::new()).await;
                self.client.enter_parent_frame().await?;
                said
            })
            .unwrap()
    }

    /// A script that calls `arguments[0]` with its result.
    pub fn script_async(&self, script: &str) -> serde_json::Value {
        self.runtime
            .block_on(self.client.execute_async(script, Vec::new()))
            .unwrap()
    }

    /// What axe-core finds serious or critical on this page, one line each.
    pub fn accessibility_faults(&self) -> Vec<String> {
        let axe = std::fs::read_to_string(tool("node_modules/axe-core/axe.min.js")).unwrap();
        self.script(&axe);
        let found = self.script_async(
            "const done = arguments[arguments.length - 1];
             axe.run(document, { resultTypes: ['violations'] }).then(
                 r => done(r.violations.filter(v => ['serious', 'critical'].includes(v.impact)).map(
                     v => v.id + ': ' + v.help + ': ' + v.nodes.map(n => n.target.join(' ')).join(', '))),
                 e => done(['axe failed: ' + e]));",
        );
        serde_json::from_value(found).unwrap()
    }

    /// By how many pixels the page is wider than the window, and the innermost elements that reach out of it.
    pub fn sideways_scroll(&self) -> (i64, String) {
        let wider = "const d = document.documentElement; return d.scrollWidth - d.clientWidth;";
        let reach = "const edge = document.documentElement.clientWidth;
             return [...document.querySelectorAll('main *')]
                 .filter(e => e.getBoundingClientRect().right > edge && ![...e.children].some(c => c.getBoundingClientRect().right > edge))
                 .map(e => e.tagName + '.' + e.className + ': ' + e.textContent.trim().slice(0, 60)).slice(0, 5).join('; ')";
        let reaching = self.script(reach);
        (
            self.script(wider).as_i64().unwrap(),
            reaching.as_str().unwrap_or_default().to_owned(),
        )
    }

    pub fn screenshot(&self, file: &Path) {
        let png = self.runtime.block_on(self.client.screenshot()).unwrap();
        std::fs::write(file, png).unwrap();
    }

    pub fn resize(&self, width: u32, height: u32) {
        self.runtime
            .block_on(self.client.set_window_size(width, height))
            .unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.runtime.block_on(self.client.clone().close()).ok();
    }
}

/// Whether the driver answers; what leads to it takes connections before it does.
fn is_ready(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(secs(5)))?;
        stream
            .write_all(b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    ask().is_ok_and(|answer| answer.ends_with(" 200"))
}

/// Puts the roots into the certificate store chromium reads under `home`.
fn trust(home: &Path, roots: &[PathBuf]) {
    let store = home.join(".pki/nssdb");
    std::fs::create_dir_all(&store).unwrap();
    let database = format!("sql:{}", store.display());
    run(Command::new("certutil").args(["-N", "--empty-password", "-d", &database]));
    for (number, root) in roots.iter().enumerate() {
        run(Command::new("certutil")
            .args([
                "-A",
                "-d",
                &database,
                "-t",
                "C,,",
                "-n",
                &format!("root {number}"),
                "-i",
            ])
            .arg(root));
    }
}

fn capabilities(settings: &Settings, home: &Path) -> serde_json::Map<String, serde_json::Value> {
    let (width, height) = settings.size;
    let mut arguments = vec![
        "--headless=new".to_owned(),
        // The tests run as root, and chromium's own sandbox does not.
        "--no-sandbox".into(),
        "--disable-dev-shm-usage".into(),
        "--disable-gpu".into(),
        "--no-proxy-server".into(),
        format!("--user-data-dir={}", home.join("profile").display()),
        format!("--window-size={width},{height}"),
        format!("--host-resolver-rules=MAP * {}", settings.address),
    ];
    if settings.dark {
        arguments.push("--force-dark-mode".into());
    }
    let javascript = if settings.javascript { 1 } else { 2 };
    let mut options = serde_json::json!({
        "args": arguments,
        "prefs": { "profile.managed_default_content_settings.javascript": javascript },
    });
    if width < 500 {
        // No window is that narrow; a phone's screen is.
        options["mobileEmulation"] = serde_json::json!({
            "deviceMetrics": { "width": width, "height": height, "pixelRatio": 1.0, "touch": true },
        });
    }
    serde_json::Map::from_iter([("goog:chromeOptions".to_owned(), options)])
}
