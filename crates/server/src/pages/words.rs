//! What the pages say, in each language: a language is a file.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::http::{HeaderMap, header};

/// One language.
#[derive(Debug)]
pub(crate) struct Words {
    /// As in BCP 47: `en`.
    pub(crate) code: &'static str,
    texts: HashMap<String, String>,
}

static LANGUAGES: LazyLock<Vec<Words>> = LazyLock::new(|| {
    let all = [("en", include_str!("../../words/en.toml")), ("ko", include_str!("../../words/ko.toml"))];
    all.into_iter().map(|(code, file)| Words { code, texts: toml::from_str(file).unwrap_or_default() }).collect()
});

/// Every language, the first one for whoever asks for none of them.
pub(super) fn languages() -> &'static [Words] {
    &LANGUAGES
}

impl Words {
    /// The one that was chosen, else the first that the browser asks for and that there is.
    pub(crate) fn asked(headers: &HeaderMap) -> &'static Words {
        let chosen = cookie(headers, "language");
        let wanted = headers.get(header::ACCEPT_LANGUAGE).and_then(|wanted| wanted.to_str().ok()).unwrap_or_default();
        let wanted = wanted.split(',').map(|one| one.split([';', '-']).next().unwrap_or_default().trim());
        let mut codes = chosen.into_iter().chain(wanted);
        codes.find_map(|code| LANGUAGES.iter().find(|one| one.code == code)).unwrap_or(&LANGUAGES[0])
    }

    /// A text. A key that is not there is shown as it is: a test says that none is.
    pub(crate) fn say<'a>(&'a self, key: &'a str) -> &'a str {
        self.texts.get(key).map_or(key, String::as_str)
    }

    /// A text with what is filled in.
    pub(crate) fn fill(&self, key: &str, parts: &[impl AsRef<str>]) -> String {
        let with = |text: String, (nth, part): (usize, &_)| text.replace(&format!("{{{nth}}}"), AsRef::as_ref(part));
        parts.iter().enumerate().fold(self.say(key).to_owned(), with)
    }

    /// What a movement is; as histories write it where there is no word for it.
    pub(crate) fn kind<'a>(&'a self, kind: &'a str) -> &'a str {
        self.texts.get(&format!("move-{kind}")).map_or(kind, String::as_str)
    }

    /// What a rule is about, for people; its name where it has none.
    pub(crate) fn rule<'a>(&'a self, rule: &'a str) -> &'a str {
        self.texts.get(&format!("rule-{rule}")).map_or(rule, String::as_str)
    }
}

/// A cookie's text.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|one| one.to_str().ok());
    let mut each = all.flat_map(|one| one.split(';')).filter_map(|one| one.trim().split_once('='));
    each.find(|(known, _)| *known == name).map(|(_, text)| text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use assay_registry::{Owner, Role};
    use assay_verifier::Severity;

    use super::*;

    #[test]
    fn every_language_has_every_key_and_every_key_is_used() {
        let keys = |words: &Words| words.texts.keys().cloned().collect::<BTreeSet<_>>();
        let first = keys(&LANGUAGES[0]);
        assert!(first.len() > 50);
        for words in LANGUAGES.iter() {
            assert_eq!(keys(words), first, "{}", words.code);
            for (key, text) in &words.texts {
                let holes = |text: &str| (0..6).filter(|n| text.contains(&format!("{{{n}}}"))).collect::<Vec<_>>();
                assert_eq!(holes(text), holes(LANGUAGES[0].say(key)), "{key} in {}", words.code);
            }
        }
        let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let files = [crate_folder.join("templates"), crate_folder.join("src/pages")];
        let files = files.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
        let text: String = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
        // Words that come from elsewhere, and must be there.
        let severities =
            [Severity::Critical, Severity::Error, Severity::Warning, Severity::Notice].map(Severity::as_str);
        let elsewhere = [Role::Cold, Role::Hot, Role::Deposit].map(Role::as_str).into_iter();
        let elsewhere = elsewhere.chain([Owner::Customers, Owner::House].map(Owner::as_str)).chain(severities);
        let elsewhere: BTreeSet<&str> = elsewhere.collect();
        assert!(elsewhere.iter().all(|key| first.contains(*key)), "{elsewhere:?}");
        for kind in (0..=u8::MAX).map_while(assay_types::Kind::from_byte).map(assay_types::Kind::as_str) {
            assert!(first.contains(&format!("move-{kind}")), "{kind}");
        }
        for rule in crate::pages::rules::all() {
            assert!(first.contains(&format!("rule-{rule}")), "{rule}");
        }
        for key in &first {
            let used = text.contains(&format!("\"{key}\""))
                || ["err-", "span-", "rule-", "move-"].iter().any(|one| key.starts_with(one));
            let used = used || elsewhere.contains(key.as_str());
            assert!(used, "`{key}` is said nowhere");
        }
    }

    #[test]
    fn the_chosen_language_comes_first_then_the_browsers() {
        let asked = |cookie: &str, accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, cookie.parse().unwrap());
            headers.insert(header::ACCEPT_LANGUAGE, accept.parse().unwrap());
            Words::asked(&headers).code
        };
        assert_eq!(asked("a=b", "fr-FR,ko-KR;q=0.8"), "ko");
        assert_eq!(asked("a=b; language=en", "ko"), "en");
        assert_eq!(asked("language=xx", "fr"), "en");
    }
}
