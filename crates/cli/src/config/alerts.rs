//! `[alerts]`: when they are raised, whose they are, and to whom they are told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use assay_desk::{AlertSettings, Duty, RuleSettings};
use assay_registry::Source;
use assay_types::{InputError, InputErrors, suggestion};
use assay_verifier::{Age, FIRST_STEPS};
use serde::Deserialize;
use toml::Spanned;

use super::resolve;

/// `[alerts]`, its paths resolved.
pub struct AlertsConfig {
    pub settings: AlertSettings,
    pub webhooks: Vec<WebhookConfig>,
    pub alertmanagers: Vec<AlertmanagerConfig>,
    /// How often the watchdog barks.
    pub watchdog_every_s: u64,
}

/// One `[[alerts.webhook]]`.
#[derive(PartialEq, Eq)]
pub struct WebhookConfig {
    pub name: String,
    pub url_file: PathBuf,
    pub secret_file: PathBuf,
}

/// One `[[alerts.alertmanager]]`.
#[derive(PartialEq, Eq)]
pub struct AlertmanagerConfig {
    pub name: String,
    pub url: String,
    pub token_file: Option<PathBuf>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct AlertsBlock {
    raise_after: Option<Age>,
    clear_after: Option<Age>,
    max_maintenance: Option<Age>,
    watchdog_every: Option<Spanned<Age>>,
    #[serde(default)]
    rule: Vec<Spanned<RuleBlock>>,
    #[serde(default)]
    webhook: Vec<Spanned<WebhookBlock>>,
    #[serde(default)]
    alertmanager: Vec<Spanned<AlertmanagerBlock>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleBlock {
    rule: String,
    raise_after: Option<Age>,
    clear_after: Option<Age>,
    owner: Option<String>,
    notes: Option<String>,
    first_steps: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookBlock {
    name: String,
    url_file: PathBuf,
    secret_file: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AlertmanagerBlock {
    name: String,
    url: String,
    token_file: Option<PathBuf>,
}

const WATCHDOG_EVERY_S: u64 = 60;

/// Reads the table; what is wrong in it goes to `errors`.
pub fn read(source: &Source<'_>, folder: &Path, block: AlertsBlock, errors: &mut InputErrors) -> AlertsConfig {
    let default = AlertSettings::default();
    let mut names = Vec::new();
    let mut named = |at: usize, field: String, name: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        let why = match name {
            _ if names.iter().any(|before| before == name) => "is taken already",
            _ if name.is_empty() || !name.bytes().all(plain) => "is not a name: letters, digits, `-` and `_`",
            _ => return names.push(name.to_owned()),
        };
        errors.push(source.error(at, format!("`{name}` {why}")).field(field));
    };
    let mut webhooks = Vec::new();
    for (nth, written) in block.webhook.iter().enumerate() {
        let WebhookBlock { name, url_file, secret_file } = written.get_ref();
        named(written.span().start, format!("alerts.webhook[{nth}].name"), name);
        let (url_file, secret_file) = (resolve(folder, url_file), resolve(folder, secret_file));
        webhooks.push(WebhookConfig { name: name.clone(), url_file, secret_file });
    }
    let mut alertmanagers = Vec::new();
    for (nth, written) in block.alertmanager.iter().enumerate() {
        let AlertmanagerBlock { name, url, token_file } = written.get_ref();
        named(written.span().start, format!("alerts.alertmanager[{nth}].name"), name);
        let token_file = token_file.as_ref().map(|file| resolve(folder, file));
        alertmanagers.push(AlertmanagerConfig { name: name.clone(), url: url.clone(), token_file });
    }
    for (nth, written) in block.alertmanager.iter().enumerate() {
        let url = &written.get_ref().url;
        if !reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
            let error = source.error(written.span().start, format!("`{url}` is not the URL of an Alertmanager"));
            let hint = "its root, without /api: \"http://127.0.0.1:9093\"";
            errors.push(error.field(format!("alerts.alertmanager[{nth}].url")).hint(hint));
        }
    }
    let mut rules: BTreeMap<String, RuleSettings> = BTreeMap::new();
    for (nth, written) in block.rule.into_iter().enumerate() {
        let (at, field) = (written.span().start, format!("alerts.rule[{nth}].rule"));
        let RuleBlock { rule, raise_after, clear_after, owner, notes, first_steps } = written.into_inner();
        if let Err(error) = known(source, at, &rule, &rules) {
            errors.push(error.field(field));
        }
        let duty = Duty { owner, notes, first_steps };
        let (raise_after_s, clear_after_s) = (raise_after.map(seconds), clear_after.map(seconds));
        rules.insert(rule, RuleSettings { raise_after_s, clear_after_s, duty });
    }
    let watchdog = block.watchdog_every.map(|every| (every.span().start, every.into_inner().seconds));
    if let Some((at, 0)) = watchdog {
        errors.push(source.error(at, "must be a second at least").field("alerts.watchdog_every"));
    }
    let settings = AlertSettings {
        raise_after_s: block.raise_after.map_or(default.raise_after_s, seconds),
        clear_after_s: block.clear_after.map_or(default.clear_after_s, seconds),
        longest_maintenance_s: block.max_maintenance.map_or(default.longest_maintenance_s, seconds),
        rules,
    };
    let watchdog_every_s = watchdog.map_or(WATCHDOG_EVERY_S, |(_, every)| every.max(1));
    AlertsConfig { settings, webhooks, alertmanagers, watchdog_every_s }
}

fn known(
    source: &Source<'_>,
    at: usize,
    rule: &str,
    before: &BTreeMap<String, RuleSettings>,
) -> Result<(), InputError> {
    if before.contains_key(rule) {
        return Err(source.error(at, format!("`{rule}` is there already")));
    }
    let names = FIRST_STEPS.iter().map(|(name, _)| *name);
    match names.clone().any(|name| name == rule) {
        true => Ok(()),
        false => Err(source.error(at, format!("`{rule}` is not a rule")).hint(suggestion(rule, names))),
    }
}

fn seconds(age: Age) -> i64 {
    i64::try_from(age.seconds).unwrap_or(i64::MAX)
}
