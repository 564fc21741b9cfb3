//! A real browser: Chromium without a window, told what to do by its driver.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, dead_code)]

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

/// One browser of a test's own; ended with it.
pub struct Browser {
    driver: Child,
    pub client: Client,
    base: String,
}

/// What a page made the browser do.
pub struct Loaded {
    /// Bytes of the page and of everything that belongs to it, unpacked.
    pub bytes: u64,
    /// What was asked of others.
    pub outside: Vec<String>,
}

impl Browser {
    /// Opens it, so wide and high, for pages of `base`.
    pub async fn open(base: &str, (width, height): (u32, u32)) -> Browser {
        let program = |name: &str, or: &str| std::env::var(name).unwrap_or_else(|_| or.into());
        let mut driver = Command::new(program("CHROMEDRIVER", "chromedriver"))
            .arg("--port=0")
            .process_group(0) // with the browser that it starts
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver, which make test sets up, cannot be started");
        let mut said = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = said.find_map(|line| {
            let line = line.unwrap();
            let (_, port) = line.split_once("successfully on port ")?;
            Some(port.trim_end_matches('.').to_owned())
        });
        std::thread::spawn(move || said.for_each(drop)); // else it stops when its pipe is full
        let arguments = [
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            format!("--window-size={width},{height}"),
        ];
        let mut options = json!({ "args": arguments });
        if let Ok(path) = std::env::var("CHROMIUM") {
            options["binary"] = json!(path);
        }
        let wanted = json!({ "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } });
        let Value::Object(wanted) = wanted else { unreachable!() };
        let driven_at = format!("http://127.0.0.1:{}", port.unwrap());
        let client = ClientBuilder::new(HttpConnector::new()).capabilities(wanted).connect(&driven_at).await.unwrap();
        Browser { driver, client, base: base.into() }
    }

    /// Goes to a page, and waits until it is there with all that belongs to it.
    pub async fn go(&self, path: &str) {
        self.client.goto(&format!("{}{path}", self.base)).await.unwrap();
    }

    pub async fn run(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// What is written on the page.
    pub async fn text(&self) -> String {
        self.run("return document.body.innerText").await.as_str().unwrap().to_owned()
    }

    /// Waits until a script says yes, and says how many milliseconds that took.
    pub async fn wait(&self, what: &str, script: &str) -> u128 {
        let began = std::time::Instant::now();
        while self.run(script).await != json!(true) {
            assert!(began.elapsed().as_secs() < 90, "{what}: {}", self.text().await);
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        began.elapsed().as_millis()
    }

    /// Signs in with a token.
    pub async fn sign_in(&self, token: &str) {
        self.go("/sign-in").await;
        let form = self.client.form(fantoccini::Locator::Css("form.sign")).await.unwrap();
        form.set_by_name("token", token).await.unwrap().submit().await.unwrap();
        self.wait("signed in", "return document.readyState === 'complete' && location.pathname !== '/sign-in'").await;
    }

    /// Clicks what leads to another page, and waits until that is there.
    pub async fn follow(&self, css: &str) {
        let link = self.client.find(fantoccini::Locator::Css(css)).await.unwrap();
        let path = link.attr("href").await.unwrap().unwrap();
        link.click().await.unwrap();
        let is_there = format!("return document.readyState === 'complete' && location.pathname === '{path}'");
        self.wait(&path, &is_there).await;
    }

    /// What the page in view loaded.
    pub async fn loaded(&self) -> Loaded {
        let script = "return performance.getEntries().filter(e => e.entryType === 'resource' || e.entryType === 'navigation')\
            .map(e => [e.name, e.decodedBodySize])";
        let entries = self.run(script).await;
        let entries: Vec<(String, u64)> = serde_json::from_value(entries).unwrap();
        let outside = entries.iter().map(|(name, _)| name.clone());
        let outside = outside.filter(|name| !name.starts_with(&self.base) && !name.starts_with("data:")).collect();
        Loaded { bytes: entries.iter().map(|(_, bytes)| bytes).sum(), outside }
    }

    /// What axe-core, and the browser's own checks, find wrong.
    pub async fn complaints(&self) -> Vec<String> {
        let axe = std::env::var("AXE").expect("AXE is not set: run this by make test");
        let axe = std::fs::read_to_string(axe).unwrap();
        self.client.execute(&format!("{axe}; window.axe = axe;"), Vec::new()).await.unwrap();
        let script = "const done = arguments[arguments.length - 1]; axe.run().then(r => done(r.violations.map(v => \
            v.id + ': ' + v.nodes.map(n => n.html.slice(0, 200)).join(' | '))))";
        let found = self.client.execute_async(script, Vec::new()).await.unwrap();
        serde_json::from_value(found).unwrap()
    }

    /// What the browser's console says since it was last asked: errors and warnings.
    pub async fn console(&self) -> Vec<String> {
        let said = self.client.issue_cmd(Console).await.unwrap();
        let said = said.as_array().unwrap().iter();
        let matters = said.filter(|one| one["level"] == "SEVERE" || one["level"] == "WARNING");
        matters.map(|one| one["message"].as_str().unwrap().to_owned()).collect()
    }

    /// Prints the page, and gives the PDF.
    pub async fn print(&self) -> Vec<u8> {
        self.client.print(fantoccini::wd::PrintConfiguration::default()).await.unwrap()
    }

    /// Keeps a picture of it beside the tests' programs, to be looked at.
    pub async fn picture(&self, name: &str) {
        let folder = pictures();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), self.client.screenshot().await.unwrap()).unwrap();
    }
}

/// Where pictures are kept.
fn pictures() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages")
}

/// Asks the driver what the browser's console says.
#[derive(Debug)]
struct Console;

impl WebDriverCompatibleCommand for Console {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(json!({ "type": "browser" }).to_string()))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = format!("-{}", self.driver.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status(); // a browser does not end with its driver
        let _ = self.driver.wait();
    }
}
