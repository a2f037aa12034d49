//! A real Chromium, driven by its keyboard over WebDriver, and axe-core inside it.
//!
//! Needs `chromium` and `chromedriver`, and in POSTHASTE_AXE the path of `axe.min.js` (package axe-core). Where one is missing, the stories say so and
//! are skipped, unless POSTHASTE_REQUIRE_BROWSER is set: then it is a failure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Keys by their numbers in the WebDriver standard.
pub const TAB: char = '\u{e004}';
pub const ENTER: char = '\u{e007}';
pub const SPACE: char = ' ';
pub const DOWN: char = '\u{e015}';

/// Chromedriver, and what finds faults in a page.
pub struct Driver {
    child: Child,
    address: String,
    client: reqwest::Client,
    axe: String,
    chromium: PathBuf,
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    names.iter().find_map(|name| std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file()))
}

impl Driver {
    pub async fn start() -> Option<Driver> {
        match Driver::try_start().await {
            Ok(driver) => Some(driver),
            Err(why) => {
                assert!(std::env::var_os("POSTHASTE_REQUIRE_BROWSER").is_none(), "a browser is required here: {why}");
                eprintln!("not looked at in a browser: {why}");
                None
            }
        }
    }

    async fn try_start() -> Result<Driver, String> {
        let chromium = program(&["chromium", "chromium-browser", "google-chrome"]).ok_or("chromium is not installed")?;
        let driver = program(&["chromedriver"]).ok_or("chromedriver is not installed")?;
        let axe = std::env::var_os("POSTHASTE_AXE").ok_or("POSTHASTE_AXE names no axe.min.js")?;
        let axe = std::fs::read_to_string(&axe).map_err(|error| format!("{}: {error}", Path::new(&axe).display()))?;
        let port = crate::processes::free_port();
        let child = Command::new(driver)
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("chromedriver does not start: {error}"))?;
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(300)).build().map_err(|error| error.to_string())?;
        let driver = Driver { child, address: format!("http://127.0.0.1:{port}"), client, axe, chromium };
        let deadline = Instant::now() + Duration::from_secs(60);
        while driver.client.get(format!("{}/status", driver.address)).send().await.is_err() {
            if Instant::now() > deadline {
                return Err("chromedriver does not answer".into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(driver)
    }

    /// A new window without cookies; `scripts`: whether pages may run any.
    pub async fn open(&self, scripts: bool) -> Page<'_> {
        let content = if scripts { 1 } else { 2 };
        let options = json!({
            "binary": self.chromium,
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--lang=en"],
            "prefs": { "profile.managed_default_content_settings.javascript": content },
        });
        let capabilities = json!({ "capabilities": { "alwaysMatch": { "browserName": "chrome", "goog:chromeOptions": options } } });
        let session = self.ask("/session", &capabilities).await;
        let id = session["sessionId"].as_str().unwrap_or_else(|| panic!("chromium does not start: {session}")).to_string();
        Page { driver: self, session: format!("/session/{id}") }
    }

    async fn ask(&self, path: &str, body: &Value) -> Value {
        self.try_asking(path, body).await.unwrap_or_else(|value| panic!("{path} {body}: {value}"))
    }

    async fn try_asking(&self, path: &str, body: &Value) -> Result<Value, Value> {
        let answer = self.client.post(format!("{}{path}", self.address)).json(body).send().await.unwrap();
        let status = answer.status();
        let value = answer.json::<Value>().await.unwrap()["value"].take();
        if status.is_success() { Ok(value) } else { Err(value) }
    }
}

/// A window.
pub struct Page<'a> {
    driver: &'a Driver,
    session: String,
}

impl Page<'_> {
    async fn ask(&self, path: &str, body: Value) -> Value {
        self.driver.ask(&format!("{}{path}", self.session), &body).await
    }

    pub async fn tool(&self, command: &str, parameters: Value) -> Value {
        self.ask("/goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await
    }

    pub async fn look(&self, width: u32, dark: bool) {
        let metrics = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.tool("Emulation.setDeviceMetricsOverride", metrics).await;
        let scheme = if dark { "dark" } else { "light" };
        self.tool("Emulation.setEmulatedMedia", json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] })).await;
    }

    pub async fn go(&self, address: &str) {
        self.ask("/url", json!({ "url": address })).await;
    }

    /// The value of a script's `return`.
    pub async fn script(&self, script: &str) -> Value {
        self.ask("/execute/sync", json!({ "script": script, "args": [] })).await
    }

    pub async fn text(&self, script: &str) -> String {
        self.script(&format!("return String({script})")).await.as_str().unwrap_or_default().to_string()
    }

    /// Presses keys one after the other, as a keyboard does.
    pub async fn press(&self, keys: &str) {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|key| [json!({ "type": "keyDown", "value": key.to_string() }), json!({ "type": "keyUp", "value": key.to_string() })])
            .collect();
        self.ask("/actions", json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] })).await;
    }

    /// What has the focus: `name=value` of a field, the words of a button or a link. It must be seen that it has it.
    pub async fn focused(&self) -> String {
        let seen = self
            .script(
                "const at = document.activeElement;
                 if (!at || at === document.body) return ['', true];
                 const drawn = at.closest('.choices > label') || at, style = getComputedStyle(drawn);
                 const box = drawn.getBoundingClientRect();
                 const visible = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 && box.height > 0
                     && box.bottom > 0 && box.top < innerHeight;
                 return [at.name && at.type !== 'submit' ? at.name + '=' + at.value : at.textContent.trim(), visible];",
            )
            .await;
        let name = seen[0].as_str().unwrap_or_default().to_string();
        assert_eq!(seen[1], true, "the focus on `{name}` is not to be seen");
        name
    }

    /// Presses Tab until this has the focus; gives what had it on the way.
    pub async fn tab_to(&self, wanted: &str) -> Vec<String> {
        let mut order = Vec::new();
        for _ in 0..40 {
            self.press(&TAB.to_string()).await;
            order.push(self.focused().await);
            if order.last().is_some_and(|name| name == wanted) {
                return order;
            }
        }
        panic!("Tab does not come to `{wanted}`: {order:?}");
    }

    /// Presses Enter on what has the focus, and waits for the page that follows.
    pub async fn submit(&self) {
        self.script("document.documentElement.dataset.before = '1'").await;
        self.press(&ENTER.to_string()).await;
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.text("document.readyState + (document.documentElement.dataset.before || '')").await != "complete" {
            assert!(Instant::now() < deadline, "no page came");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// Fails with what axe-core finds: rules of WCAG 2.0 to 2.2, A and AA, and good practice.
    pub async fn is_accessible(&self, name: &str) {
        self.ask("/execute/sync", json!({ "script": format!("{}; return true", self.driver.axe), "args": [] })).await;
        let run = "const done = arguments[arguments.length - 1];
             axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })
                .then(found => done({ rules: found.passes.length,
                    faults: found.violations.concat(found.incomplete).map(one => [one.id, one.help, one.nodes.map(node => node.html)]) }),
                      error => done({ rules: 0, faults: [String(error)] }))";
        let found = self.ask("/execute/async", json!({ "script": run, "args": [] })).await;
        assert_eq!(found["faults"], json!([]), "{name}: {found:#}");
        assert!(found["rules"].as_u64().unwrap_or(0) > 10, "{name}: axe-core looked at nothing: {found}");
    }

    /// Nothing is wider than the window.
    pub async fn fits(&self, name: &str) {
        let wide = self
            .text("document.documentElement.scrollWidth <= innerWidth ? '' : [...document.querySelectorAll('body *')].filter(one => one.getBoundingClientRect().right > innerWidth).map(one => one.outerHTML.slice(0, 80)).join(' ')")
            .await;
        assert_eq!(wide, "", "{name} scrolls sideways");
    }

    /// Keeps a picture of the whole page where POSTHASTE_SCREENSHOTS says.
    pub async fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("POSTHASTE_SCREENSHOTS") else { return };
        let taken = self.tool("Page.captureScreenshot", json!({ "captureBeyondViewport": true })).await;
        let picture = STANDARD.decode(taken["data"].as_str().unwrap_or_default()).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(Path::new(&folder).join(format!("{name}.png")), picture).unwrap();
    }

    /// The page as it stands, also where no script may run. Another page may take its place between the two questions: then it is asked again.
    pub async fn html(&self) -> String {
        let path = format!("{}/goog/cdp/execute", self.session);
        for _ in 0..20 {
            let root = self.tool("DOM.getDocument", json!({ "depth": 0 })).await["root"]["nodeId"].clone();
            let asked = json!({ "cmd": "DOM.getOuterHTML", "params": { "nodeId": root } });
            match self.driver.try_asking(&path, &asked).await {
                Ok(html) => return html["outerHTML"].as_str().unwrap_or_default().to_string(),
                Err(error) => assert!(error.to_string().contains("Could not find node"), "{error}"),
            }
        }
        panic!("the page does not come to rest")
    }

    pub async fn close(self) {
        let _ = self.driver.client.delete(format!("{}{}", self.driver.address, self.session)).send().await;
    }
}
